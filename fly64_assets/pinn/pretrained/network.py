"""The network ``pretrained``: a few learned steps, each from the likelihood's direction of change to a better object.

Belongs here: the network, on arrays of the object plane. Does not belong here: how the direction is computed from
frames (:mod:`fly64_assets.pinn.pretrained.direction`), training, inference.

Learned iterative reconstruction as in Adler and Öktem, IEEE Trans. Med. Imaging 37, 1322 (2018): the network is given
the object so far, the direction in which the counts would change it, and how many photons were measured at every
pixel; it answers with the change to make and with a few channels that it hands to its next step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import nn
from torch.nn import functional

from fly64_assets.pinn.pretrained.pretrained_spec import PretrainedSpec

MEMORY: Final = 3
"""Channels that a step hands to the next."""
PLANE_STEP: Final = 16
"""Sides of the plane are multiples of this: the network halves it four times."""
CHANGE_SCALE: Final = 0.3
"""The output of a step times this is added to the object."""

Direction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From objects (b, H, W) complex64 and a background [photons per detector pixel] to the direction (b, H, W), before it
is divided by the illumination."""


@dataclass(frozen=True)
class Illuminated:
    """Photons that each object pixel receives, (b, H, W) float32, of an object of modulus one, and their scale.

    ``scale`` (b,) is the intensity scale s squared: photons per unit of |P|^2.
    """

    photons: torch.Tensor
    scale: torch.Tensor


class _Step(nn.Module):
    """One U-Net on the object plane; its first and last layers work on 2 x 2 pixels at once."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.entry = _convolution(4 * (5 + MEMORY), first)
        self.down = nn.ModuleList(
            [
                nn.Sequential(_convolution(above, below, stride=2), _convolution(below, below))
                for above, below in ((first, second), (second, third), (third, fourth))
            ]
        )
        self.up = nn.ModuleList(
            [
                _convolution(fourth + third, third),
                _convolution(third + second, second),
                _convolution(second + first, first),
            ]
        )
        self.last = nn.Conv2d(first, 4 * (2 + MEMORY), 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(torch.Tensor, self.last.bias))
        self.log_background = nn.Parameter(torch.tensor([-1.5]))
        self.log_noise = nn.Parameter(torch.tensor([0.0]))
        self.length = nn.Parameter(torch.tensor([0.3]))

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        images = [self.entry(functional.pixel_unshuffle(channels, 2))]
        for down in self.down:
            images.append(down(images[-1]))
        features = images.pop()
        for up in self.up:
            larger = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = up(torch.cat([larger, images.pop()], dim=1))
        return functional.pixel_shuffle(self.last(features), 2)


class PretrainedNetwork(nn.Module):
    """Learned steps, each with weights of its own."""

    def __init__(self, spec: PretrainedSpec) -> None:
        super().__init__()
        self.spec = spec
        self.steps = nn.ModuleList([_Step(spec.widths) for _ in range(spec.steps)])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, start: torch.Tensor, direction: Direction, illuminated: Illuminated) -> list[torch.Tensor]:
        """Objects (b, H, W) complex64 after every step from ``start``; H and W are multiples of 16."""
        obj = start
        photons, scale = illuminated.photons, illuminated.scale[:, None, None]
        known = (photons + 1e-2).log10() / 2.0
        memory = obj.real.new_zeros(obj.shape[0], MEMORY, *obj.shape[1:])
        objects = []
        for step in self.steps:
            step = cast(_Step, step)
            # Divided by the illumination, with as many photons added as say how little fewer than that tell.
            change = direction(obj, step.log_background.exp()) * scale / (photons + step.log_noise.exp())
            fields = torch.stack([obj.real - 1.0, obj.imag, change.real, change.imag, known], dim=1)
            channels = torch.cat([fields, memory], dim=1).contiguous(memory_format=torch.channels_last)
            answer = step(channels).float()
            correction = CHANGE_SCALE * torch.complex(answer[:, 0], answer[:, 1])
            obj = obj + step.length * change + correction
            memory = answer[:, 2:]
            objects.append(obj)
        return objects


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1), nn.LeakyReLU(0.1))
