"""When a reconstruction ends, and which epoch's object is the result. No rule uses the truth.

``held_out``: the object that predicts the held-out counts best is kept; the run ends when no epoch has predicted them
better for a while. ``discrepancy``: Morozov's principle for counts (Bertero et al., Inverse Problems 26, 105004, 2010),
the first epoch whose deviance is no larger than its expectation. ``epochs``: a fixed number, the last epoch is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fly64_assets.lsqml.count_split import HELD_OUT_FRACTION, Deviances

PATIENCE: Final = 10
"""Epochs without a better prediction of the held-out counts after which ``held_out`` ends a run."""


def held_out_fraction(stopping: str) -> float:
    """Part of the counts that a rule holds out."""
    return HELD_OUT_FRACTION if stopping == "held_out" else 0.0


@dataclass
class StoppingCriterion:
    """Decides after every epoch whether its object is the one to keep, and whether the run ends.

    ``kept_epoch`` is the epoch whose object is the result so far; ``reason`` says why the run ends, else it is empty.

    Examples
    --------
    >>> criterion = StoppingCriterion("discrepancy", epochs=50)
    >>> criterion.update(1, Deviances(fitted=1.7, expected=1.1, held_out=math.nan)), criterion.reason
    (True, '')
    >>> criterion.update(2, Deviances(fitted=1.0, expected=1.1, held_out=math.nan)), criterion.reason
    (True, 'discrepancy: deviance 1.0000 per pixel reached its expectation 1.1000 at epoch 2')
    """

    rule: str
    epochs: int
    kept_epoch: int = 0
    reason: str = ""
    best: float = math.inf

    def update(self, epoch: int, deviances: Deviances) -> bool:
        """Take an epoch into account; True if its object is the one to keep."""
        keep = self.rule != "held_out" or deviances.held_out < self.best
        if keep:
            self.kept_epoch, self.best = epoch, deviances.held_out
        self.reason = self._reason(epoch, deviances)
        return keep

    def _reason(self, epoch: int, deviances: Deviances) -> str:
        if self.rule == "discrepancy" and deviances.fitted <= deviances.expected:
            return (
                f"discrepancy: deviance {deviances.fitted:.4f} per pixel reached its expectation "
                f"{deviances.expected:.4f} at epoch {epoch}"
            )
        if self.rule == "held_out" and epoch - self.kept_epoch >= PATIENCE:
            return (
                f"held out: no epoch after {self.kept_epoch} predicted the held-out counts better; "
                f"ended after epoch {epoch}"
            )
        if self.kept_epoch < epoch == self.epochs:
            return f"all {epoch} epochs done; epoch {self.kept_epoch} predicted the held-out counts best"
        return f"all {epoch} epochs done" if epoch == self.epochs else ""
