"""When a reconstruction has gone far enough, and which epoch's object is the result.

``held_out``: photons kept aside decide. The object that predicts them best is kept; the run ends when no better one
has come for a while. ``discrepancy``: Morozov's principle for counts (Bertero et al., Inverse Problems 26, 105004,
2010): the first epoch whose deviance is no larger than its expectation. ``epochs``: never, the last epoch is kept.
No rule knows the truth. Belongs here: the rules. Does not belong here: deviances (``photons``), epochs (``engine``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fly64_assets.lsqml.count_split import HELD_OUT, Judgement

PATIENCE: Final = 10
"""Epochs without a better prediction after which ``held_out`` ends a run."""


def held_out_fraction(stopping: str) -> float:
    """Part of the photons that a rule keeps aside."""
    return HELD_OUT if stopping == "held_out" else 0.0


@dataclass
class Watch:
    """Follows a run: after every epoch, whether its object is the one to keep and whether to go on.

    Attributes
    ----------
    rule : str
        ``held_out``, ``discrepancy`` or ``epochs``.
    epochs : int
        The most there may be.
    kept : int
        Epoch whose object is the result so far.
    reason : str
        Why the run ends; empty while it goes on.
    """

    rule: str
    epochs: int
    kept: int = 0
    reason: str = ""
    best: float = math.inf

    def better(self, epoch: int, found: Judgement) -> bool:
        """Take note of an epoch; True if its object is the one to keep."""
        keep = self.rule != "held_out" or found.held_out < self.best
        if keep:
            self.kept, self.best = epoch, found.held_out
        self.reason = self._reason(epoch, found)
        return keep

    def _reason(self, epoch: int, found: Judgement) -> str:
        if self.rule == "discrepancy" and found.deviance <= found.expected:
            return (
                f"discrepancy: deviance {found.deviance:.4f} per pixel reached its expectation "
                f"{found.expected:.4f} at epoch {epoch}"
            )
        if self.rule == "held_out" and epoch - self.kept >= PATIENCE:
            return f"held out: no epoch since {self.kept} predicted the photons kept aside better, {epoch} done"
        if epoch < self.epochs:
            return ""
        if self.kept < epoch:
            return f"all {epoch} epochs done; epoch {self.kept} predicted the photons kept aside best"
        return f"all {epoch} epochs done"
