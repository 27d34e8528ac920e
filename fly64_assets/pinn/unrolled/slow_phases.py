"""Slowly varying phases from the object of a weaker TV weight, as far as counts that were kept aside tell.

Total variation costs as much for a phase that rises over the whole field as for an edge of that height, and counts
hardly tell a slow phase: with the weight that suits its details an object has slow phases that are too flat. Here its
details stay, and its slow phases go a part of the way to those of a weaker weight.

Belongs here: that object, and the choice. Does not belong here: how the objects are found
(:mod:`fly64_assets.pinn.unrolled.regularisation_path`), and who keeps counts aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import torch

from fly64_assets.pinn.unrolled.network import LEAST_ILLUMINATION, slow_part

WEAKER: Final = (1, 2)
"""How many weights further down those are whose slow phases are tried."""
PARTS: Final = (0.25, 0.5, 0.75, 1.0)
"""Parts of the way that are tried."""
LEAST_GAIN: Final = 2.0
"""By how much the counts kept aside, of the frames that are judged, must be more likely [nats]; chosen on tuning
objects."""
LARGEST: Final = 2.5
"""Largest slow phase between two objects [rad] of which a part is taken: near pi its sign is not known."""


@dataclass(frozen=True)
class SlowPhases:
    """The choice: the weight ``weaker`` places after the chosen one, and the part of the way; (0, 0.0) for none.

    ``gain`` says how much more likely [nats] it makes the counts kept aside; for none, the best of what was tried.
    """

    weaker: int = 0
    part: float = 0.0
    gain: float = field(default=0.0, compare=False)

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
        before, losses = held_out(path[level]), dict[SlowPhases, float]()
        for weaker in WEAKER:
            if level + weaker < len(path):
                for part in PARTS:
                    choice = cls(weaker, part)
                    losses[choice] = held_out(choice.given(path, level, illumination))
        best = min(losses, key=losses.__getitem__, default=cls())
        gain = before - losses.get(best, before)
        return replace(best if gain >= LEAST_GAIN else cls(), gain=gain)

    def given(self, path: Sequence[torch.Tensor], level: int, illumination: torch.Tensor) -> torch.Tensor:
        """The object (H, W) of a weight of a path with these slow phases."""
        if not self.weaker:
            return path[level]
        return with_slow_phases(path[level], path[level + self.weaker], illumination, self.part)

    def sentence(self, levels: Sequence[float], level: int) -> str:
        """What was chosen, for humans; ``levels`` are the TV weights, ``level`` the index of the chosen one."""
        if not self.weaker:
            return f"slow phases stay as they are (others gain {self.gain:.1f} nats at most)"
        way = f"{100 * self.part:.0f} % of the way to those of the TV weight {levels[level + self.weaker]:g}"
        return f"slow phases go {way}, a gain of {self.gain:.1f} nats"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"gain": round(self.gain, 3)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any] | None) -> SlowPhases:
        """Inverse of :meth:`to_dict`; None stands for no change."""
        return cls(**document) if document else cls()


OWN: Final = SlowPhases()
"""Every object keeps its own."""


def with_slow_phases(obj: torch.Tensor, other: torch.Tensor, illumination: torch.Tensor, part: float) -> torch.Tensor:
    """An object (H, W) complex64 whose slow phases are a part of the way to those of another; amplitudes stay.

    The slow phase of the quotient is the angle of its mean nearby, weighted by the illumination (H, W) float32. Where
    it exceeds :data:`LARGEST` in the illuminated part, the object stays as it is. See
    :func:`fly64_assets.pinn.unrolled.starts.with_slow_part` for slow parts of both amplitude and phase.

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
    whole = torch.atan2(mean[1], mean[0])
    if float(whole[illumination > LEAST_ILLUMINATION].abs().max()) > LARGEST:
        return obj
    phase = part * whole
    return obj * torch.polar(torch.ones_like(phase), phase)
