"""What ``unrolled`` corrects: the object of a TV weight, or its mean with that of the network that is trained once.

Where it knows both, each of the two is good where the other is not. The network that is trained once finds details
better than total variation at low doses, but takes too few steps to find slowly varying phases; those of the
regularisation path are flattened by total variation, the more the larger its weight. Each is given slow phases where
they are worth adding, and counts kept aside choose the part of each in their mean: where their mistakes differ, a
mean can be better than either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fly64_assets.pinn.pretrained.inference import estimate
from fly64_assets.pinn.pretrained.network import PretrainedNetwork
from fly64_assets.pinn.unrolled.network import network_input
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import Counts, RegularisedLikelihood
from fly64_assets.pinn.unrolled.slow_phases import with_slow_phases


@dataclass(frozen=True)
class NetworkInput:
    """What the network is given: channels (channels, H, W) float32, and the object to correct (H, W) complex64."""

    channels: torch.Tensor
    obj: torch.Tensor


@dataclass(frozen=True)
class SlowPhasesOf:
    """To which of the objects slow phases are added: the likelihood's, and that of the network that is trained once."""

    likelihood: bool = False
    pretrained: bool = False


@dataclass(frozen=True)
class Starts:
    """Objects of one set of counts from which the start of the network is made, all (H, W) complex64.

    Attributes
    ----------
    path : sequence
        Objects of the regularisation path.
    likelihood : Tensor
        That of the chosen weight, with slow phases where they are added.
    pretrained : Tensor or None
        That of the network that is trained once, likewise; None where it is not used.
    """

    path: Sequence[torch.Tensor]
    likelihood: torch.Tensor
    pretrained: torch.Tensor | None = None

    def network_input(self, illumination: torch.Tensor, pretrained_part: float) -> NetworkInput:
        """The network's input when it corrects a mean in which the pretrained object has a part between 0 and 1."""
        if self.pretrained is None:
            return NetworkInput(network_input(self.likelihood, self.path, illumination), self.likelihood)
        difference = self.pretrained - self.likelihood
        obj = self.likelihood + pretrained_part * difference
        return NetworkInput(network_input(obj, self.path, illumination, [difference]), obj)


def start_objects(
    plane: ObjectPlane,
    counts: Counts,
    scale: float,
    best: torch.Tensor,
    slow_phases: SlowPhasesOf,
    pretrained: PretrainedNetwork | None,
) -> list[torch.Tensor]:
    """Objects (H, W) complex64 of some counts to start from: the likelihood's, and that of ``pretrained``, if any.

    ``best`` is the likelihood's without slow phases.
    """
    found = [best] if pretrained is None else [best, pretrained_object(pretrained, plane, counts, scale, best)]
    wanted = (slow_phases.likelihood, slow_phases.pretrained)[: len(found)]
    if not any(wanted):
        return found
    likelihood = RegularisedLikelihood(plane, counts, scale)
    return [
        with_slow_phases(plane, likelihood, obj).object if slow else obj
        for obj, slow in zip(found, wanted, strict=True)
    ]


def pretrained_object(
    network: PretrainedNetwork, plane: ObjectPlane, counts: Counts, scale: float, other: torch.Tensor
) -> torch.Tensor:
    """The object (H, W) complex64 of the network that is trained once, with the global phase of another object."""
    found = estimate(network, plane, counts, scale)
    turn = (plane.relative_illumination * other * found.conj()).sum()
    return found * (turn / turn.abs().clamp_min(1e-12))
