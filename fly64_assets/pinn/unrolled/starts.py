"""What ``unrolled`` corrects: the object of a TV weight, or that of the network that is trained once.

Where it knows both, each of the two is good where the other is not. The network that is trained once finds details
better than total variation at low doses, but takes too few steps to find slowly varying phases; those of the
regularisation path are flattened by total variation, the more the larger its weight, while counts hardly tell. Both
candidates therefore get the slowly varying part of the next weaker weight, and counts choose between their details.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fly64_assets.pinn.unrolled.network import network_input, slow_part
from fly64_assets.pinn.unrolled.slow_phases import OWN, SlowPhases


@dataclass(frozen=True)
class NetworkInput:
    """What the network is given: channels (channels, H, W) float32, and the object to correct (H, W) complex64."""

    channels: torch.Tensor
    obj: torch.Tensor


@dataclass(frozen=True)
class Starts:
    """Objects of one set of counts between which the start of the network is chosen, all (H, W) complex64.

    Attributes
    ----------
    path : sequence
        Objects of the regularisation path.
    likelihood : Tensor
        That of the chosen weight, with the slow phases that were chosen for it.
    pretrained : Tensor or None
        That of the network that is trained once; None where it is not used.
    """

    path: Sequence[torch.Tensor]
    likelihood: torch.Tensor
    pretrained: torch.Tensor | None

    @classmethod
    def of(
        cls,
        path: Sequence[torch.Tensor],
        level: int,
        light: torch.Tensor,
        estimate: torch.Tensor | None,
        slow_phases: SlowPhases = OWN,
    ) -> Starts:
        """From the path, the index of the chosen weight, and the object of the network that is trained once, if any.

        ``light`` (H, W) float32 is the relative illumination; ``slow_phases`` says whose slow phases the likelihood's
        object has where there is no such network.
        """
        best = path[level]
        if estimate is None:
            return cls(path, slow_phases.given(path, level, light), None)
        turn = (light * best * estimate.conj()).sum()
        slow = path[min(level + 1, len(path) - 1)]
        turned = estimate * (turn / turn.abs().clamp_min(1e-12))
        return cls(path, with_slow_part(best, slow, light), with_slow_part(turned, slow, light))

    def network_input(self, illumination: torch.Tensor, corrects_pretrained: bool) -> NetworkInput:
        """The network's input when it corrects one of the two."""
        if self.pretrained is None:
            return NetworkInput(network_input(self.likelihood, self.path, illumination), self.likelihood)
        obj = self.pretrained if corrects_pretrained else self.likelihood
        difference = self.pretrained - self.likelihood
        return NetworkInput(network_input(obj, self.path, illumination, [difference]), obj)


def with_slow_part(obj: torch.Tensor, other: torch.Tensor, illumination: torch.Tensor) -> torch.Tensor:
    """An object (H, W) complex64 with what varies slowly as in another.

    The illumination (H, W) float32, relative to the largest, weighs the means nearby.

    Examples
    --------
    >>> wave = torch.polar(torch.ones(64, 64), 0.5 * torch.linspace(0, 1, 64).expand(64, 64))
    >>> found = with_slow_part(torch.ones(64, 64, dtype=torch.complex64), wave, torch.ones(64, 64))
    >>> bool((found - wave)[24:40, 24:40].abs().max() < 0.01)
    True
    """
    change = slow_part(torch.view_as_real(other - obj).movedim(-1, 0), illumination)
    return obj + torch.complex(change[0], change[1])
