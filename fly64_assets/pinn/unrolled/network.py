"""The network ``unrolled``: a U-Net on the object plane that corrects an object of the regularisation path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, cast

import torch
from torch import nn
from torch.nn import functional

from fly64_assets.pinn.layers import convolutions, doubled
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.pretrained.network import PretrainedNetwork
from fly64_assets.pinn.pretrained.pretrained_spec import PretrainedSpec

RESIDUAL_SCALE: Final = 0.3
"""The output of the last layer times this is added to the object; differences between the path's objects are divided
by it, so that the network sees and predicts values of order one."""
SLOW_STEP: Final = 8
"""Pixels over which the residual is averaged before its slow part is computed [px]."""
SURROUNDINGS: Final = 80
"""Pixels around a tile on which the network's prediction for the tile may depend [px]."""
TILE: Final = 256
"""Side of the tiles in which :meth:`UnrolledNetwork.correct` runs [px]; it bounds the memory of the activations."""
LEAST_ILLUMINATION: Final = 1e-3
"""Relative to the largest; the input does not distinguish less."""


def network_input(
    obj: torch.Tensor, path: Sequence[torch.Tensor], illumination: torch.Tensor, further: Sequence[torch.Tensor] = ()
) -> torch.Tensor:
    """Input channels (2 * levels + 1, H, W) float32 from the objects of a regularisation path, 2 more for each further.

    Real and imaginary part of the object to correct, the differences between neighbouring TV weights, which show what
    is detail and what is noise, and the logarithm of the illumination, which says how well each pixel was measured.

    ``obj`` (H, W) complex64 is to be corrected, ``path`` holds one object per TV weight, ``further`` are differences
    between other objects of the same scan, and the illumination (H, W) is float32.
    """
    channels = [obj.real - 1.0, obj.imag]
    for difference in (*(sharp - smooth for smooth, sharp in pairwise(path)), *further):
        change = difference / RESIDUAL_SCALE
        channels += [change.real, change.imag]
    measured = (illumination / illumination.max()).clamp_min(LEAST_ILLUMINATION).log() / 3.0 + 1.0
    return torch.stack([*channels, measured])


def _illumination(measured: torch.Tensor) -> torch.Tensor:
    """The illumination (h, w), relative to the largest, from its channel of :func:`network_input`."""
    return (3.0 * (measured - 1.0)).exp()


def slow_part(residual: torch.Tensor, illumination: torch.Tensor) -> torch.Tensor:
    """What varies over more than about 30 px in a residual (2, h, w): its mean nearby, weighted by the illumination."""
    images = torch.cat([residual * illumination, illumination[None]])[None]
    coarse = functional.avg_pool2d(images, SLOW_STEP)
    for _ in range(3):
        coarse = functional.avg_pool2d(coarse, 3, stride=1, padding=1, count_include_pad=False)
    mean = functional.interpolate(coarse, scale_factor=SLOW_STEP, mode="bilinear", align_corners=False)[0]
    return mean[:2] / mean[2].clamp_min(LEAST_ILLUMINATION)


class UnrolledNetwork(nn.Module):
    """A small U-Net on the object plane.

    Its output is added to the object to correct; the last layer starts at zero, so that training starts from that
    object. The same weights serve the whole plane: all frames that illuminate a pixel share one object, whichever
    frames they were grouped with. The slowly varying part of its output is taken away: phases that vary over more than
    the network sees at once are determined by the likelihood alone, and hardly by the counts of one frame, so that
    training would let them drift.

    With ``spec.pretrained`` it holds the weights of the network that is trained once as well, which stay as they are:
    a bundle is whole without other files.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        width = spec.width
        # With the network that is trained once, two more for the difference between its object and the likelihood's.
        inputs = 2 * len(spec.levels) + (1 if spec.pretrained is None else 3)
        self.down1 = convolutions(inputs, width, _leaky)
        self.down2 = convolutions(width, 2 * width, _leaky)
        self.bottom = convolutions(2 * width, 2 * width, _leaky)
        self.up2 = convolutions(4 * width, width, _leaky)
        self.up1 = convolutions(2 * width, width, _leaky)
        self.last = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(torch.Tensor, self.last.bias))
        self.pretrained: PretrainedNetwork | None = None
        if spec.pretrained is not None:
            self.pretrained = PretrainedNetwork(PretrainedSpec.from_dict(spec.pretrained)).requires_grad_(False)
        # The order in memory that the convolutions of a CPU want; any other is copied at every layer.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, channels: torch.Tensor, obj: torch.Tensor) -> torch.Tensor:
        """The corrected object (h, w) complex64 from channels (channels, h, w); sides are multiples of 8."""
        images = channels[None].contiguous(memory_format=torch.channels_last)
        fine = self.down1(images)
        middle = self.down2(functional.max_pool2d(fine, 2))
        coarse = self.bottom(functional.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([middle, doubled(coarse)], dim=1))
        residual = self.last(self.up1(torch.cat([fine, doubled(middle)], dim=1)))[0].float()
        residual = residual - slow_part(residual, _illumination(channels[-1]))
        return obj + RESIDUAL_SCALE * torch.complex(residual[0], residual[1])

    @torch.no_grad()
    def correct(self, channels: torch.Tensor, obj: torch.Tensor, tile: int = TILE) -> torch.Tensor:
        """The corrected object (H, W) of any size, computed tile by tile.

        Each tile is given with its surroundings, which reach further than the network's receptive field: the result
        is that of the whole plane at once, in memory that does not grow with the plane.
        """
        corrected = torch.empty_like(obj)
        height, width = obj.shape
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                first_row, first_column = max(0, top - SURROUNDINGS), max(0, left - SURROUNDINGS)
                rows = slice(first_row, top + tile + SURROUNDINGS)
                columns = slice(first_column, left + tile + SURROUNDINGS)
                part = self(channels[:, rows, columns], obj[rows, columns])
                inner = part[top - first_row :, left - first_column :][:tile, :tile]
                corrected[top : top + tile, left : left + tile] = inner
        return corrected


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)
