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

from fly64_assets.pinn.pretrained.inference import estimate
from fly64_assets.pinn.pretrained.network import PretrainedNetwork
from fly64_assets.pinn.unrolled.network import network_input, slow_part
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import Counts, RegularisedLikelihood
from fly64_assets.pinn.unrolled.slow_phases import with_slow_phases


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
        That of the chosen weight, with slow phases where they are asked for.
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
        further: Sequence[torch.Tensor] = (),
        *,
        slow_phases: bool = False,
    ) -> Starts:
        """From the path, the index of the chosen weight, and what :func:`further_objects` gave for it.

        ``light`` (H, W) float32 is the relative illumination.
        """
        best = path[level]
        if slow_phases or not further:
            return cls(path, further[0] if further else best, None)
        (learned,) = further
        turn = (light * best * learned.conj()).sum()
        slow = path[min(level + 1, len(path) - 1)]
        turned = learned * (turn / turn.abs().clamp_min(1e-12))
        return cls(path, with_slow_part(best, slow, light), with_slow_part(turned, slow, light))

    def network_input(self, illumination: torch.Tensor, corrects_pretrained: bool) -> NetworkInput:
        """The network's input when it corrects one of the two."""
        if self.pretrained is None:
            return NetworkInput(network_input(self.likelihood, self.path, illumination), self.likelihood)
        obj = self.pretrained if corrects_pretrained else self.likelihood
        difference = self.pretrained - self.likelihood
        return NetworkInput(network_input(obj, self.path, illumination, [difference]), obj)


def further_objects(
    plane: ObjectPlane,
    counts: Counts,
    scale: float,
    best: torch.Tensor,
    *,
    slow_phases: bool,
    pretrained: PretrainedNetwork | None,
) -> list[torch.Tensor]:
    """Objects (H, W) of some counts that a start needs besides the path, of which ``best`` is the chosen one.

    The best with slow phases, or that of the network that is trained once, if either is asked for.
    """
    if slow_phases:
        return [with_slow_phases(plane, RegularisedLikelihood(plane, counts, scale), best).object]
    return [] if pretrained is None else [estimate(pretrained, plane, counts, scale)]


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
