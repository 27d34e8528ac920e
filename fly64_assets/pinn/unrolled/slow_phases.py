"""Slowly varying phases from the object of a weaker TV weight, as far as counts that were kept aside tell.

Total variation costs as much for a phase that rises over the whole field as for an edge of that height, and counts
hardly tell a slow phase: with the weight that suits its details an object has slow phases that are too flat. Here its
details stay, and its slow phases go a part of the way to those of a weaker weight.

Belongs here: that object, and the choice. Does not belong here: how the objects are found
(:mod:`fly64_assets.pinn.unrolled.regularisation_path`), and who keeps counts aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from fly64_assets.pinn.unrolled.network import slow_part

WEAKER: Final = (1, 2)
"""How many weights further down those are whose slow phases are tried."""
PARTS: Final = (0.25, 0.5, 0.75, 1.0)
"""Parts of the way that are tried."""
LEAST_GAIN: Final = 2.0
"""By how much the counts kept aside must be more likely [nats]: less is no evidence for one parameter more (Akaike,
IEEE Trans. Autom. Control 19, 716, 1974)."""


@dataclass(frozen=True)
class SlowPhases:
    """The choice: the weight ``weaker`` places after the chosen one, and the part of the way; (0, 0.0) for none."""

    weaker: int = 0
    part: float = 0.0

    @classmethod
    def chosen(
        cls,
        path: Sequence[torch.Tensor],
        level: int,
        illumination: torch.Tensor,
        held_out: Callable[[torch.Tensor], float],
    ) -> SlowPhases:
        """The choice by counts that were kept aside.

        Parameters
        ----------
        path : sequence of (H, W) complex64
            Objects of decreasing TV weights, and ``level``, the index of the chosen one.
        illumination : (H, W) float32
            Relative to the largest.
        held_out : callable
            Negative log-likelihood [nats] of the counts kept aside, of an object.
        """
        losses = {cls(): held_out(path[level])}
        for weaker in WEAKER:
            if level + weaker < len(path):
                for part in PARTS:
                    choice = cls(weaker, part)
                    losses[choice] = held_out(choice.given(path, level, illumination))
        best = min(losses, key=losses.__getitem__)
        return best if losses[cls()] - losses[best] >= LEAST_GAIN else cls()

    def given(
        self, path: Sequence[torch.Tensor], level: int, illumination: torch.Tensor, obj: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The object (H, W) of a weight of a path with these slow phases, or another object (``obj``) with them."""
        obj = path[level] if obj is None else obj
        if not self.weaker:
            return obj
        return with_slow_phases(obj, path[level + self.weaker], illumination, self.part)

    def sentence(self, levels: Sequence[float], level: int) -> str:
        """What was chosen, for humans; ``levels`` are the TV weights, ``level`` the index of the chosen one."""
        if not self.weaker:
            return "slow phases stay as they are"
        return f"slow phases are {self.part:.0%} of the way to those of the TV weight {levels[level + self.weaker]:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | None) -> SlowPhases:
        """Inverse of :meth:`to_dict`; None stands for no change."""
        return cls(**document) if document else cls()


OWN: Final = SlowPhases()
"""Every object keeps its own."""


def with_slow_phases(obj: torch.Tensor, other: torch.Tensor, illumination: torch.Tensor, part: float) -> torch.Tensor:
    """An object (H, W) complex64 whose slow phases are a part of the way to those of another; amplitudes stay.

    The slow phase of the quotient is the angle of its mean nearby, weighted by the illumination (H, W) float32.

    Examples
    --------
    >>> wave = torch.polar(torch.ones(64, 64), 0.5 * torch.linspace(0, 1, 64).expand(64, 64))
    >>> found = with_slow_phases(torch.full((64, 64), 0.8 + 0j), wave, torch.ones(64, 64), 0.5)
    >>> bool((found - 0.8 * torch.polar(wave.abs(), 0.5 * wave.angle()))[24:40, 24:40].abs().max() < 0.01)
    True
    """
    turn = other * obj.conj()
    turn = turn / turn.abs().clamp_min(1e-12)
    mean = slow_part(torch.view_as_real(turn).movedim(-1, 0), illumination)
    phase = part * torch.atan2(mean[1], mean[0])
    return obj * torch.polar(torch.ones_like(phase), phase)
