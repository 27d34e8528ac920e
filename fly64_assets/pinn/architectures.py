"""The networks: from measured frames to objects.

Belongs here: layers and what they are fed with. Does not belong here: what determines a network besides its weights
(:mod:`fly64_assets.pinn.network_spec`), the loss, the overlap constraint, training. Imported by engine processes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fly64_assets.pinn.forward import ForwardModel
from fly64_assets.pinn.network_spec import NetworkSpec, encoder_filters


def _convolutions(channels_in: int, channels_out: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Two 3 x 3 convolutions, each followed by an activation."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        activation(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        activation(),
    )


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)


def _doubled(images: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(images, scale_factor=2.0, mode="nearest")


# -- unrolled -------------------------------------------------------------------------------------------------

RESIDUAL_SCALE: Final = 0.3
"""What the network's last layer gives is multiplied by this."""
REACH: Final = 48
"""Pixels around a part of the plane that decide what the network says about it."""
LEAST_LIGHT: Final = 1e-3


class UnrolledNetwork(nn.Module):
    """A small U-Net on the object plane, fed with the objects that likelihood steps reach from a constant.

    Input channels: real and imaginary part of the object to change, the differences between neighbouring levels of
    smoothing, and the logarithm of the light on the plane, which tells how well each pixel was measured. Output:
    what to add to the object, from a last layer that starts at zero. The same weights serve the whole plane, so
    that all frames which see a pixel agree on it, whatever they were grouped with.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        width = spec.width
        self.base = spec.base
        self.down1 = _convolutions(2 * len(spec.levels) + 1, width, _leaky)
        self.down2 = _convolutions(width, 2 * width, _leaky)
        self.bottom = _convolutions(2 * width, 2 * width, _leaky)
        self.up2 = _convolutions(4 * width, width, _leaky)
        self.up1 = _convolutions(2 * width, width, _leaky)
        self.last = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(torch.Tensor, self.last.bias))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def channels(self, path: Sequence[torch.Tensor], illumination: torch.Tensor) -> torch.Tensor:
        """What the network is shown, (channels, H, W) float32, from the path's objects and the light (H, W)."""
        obj = path[self.base]
        shown = [obj.real - 1.0, obj.imag]
        for smooth, sharp in pairwise(path):
            change = (sharp - smooth) / RESIDUAL_SCALE
            shown += [change.real, change.imag]
        light = (illumination / illumination.max()).clamp_min(LEAST_LIGHT).log() / 3.0 + 1.0
        return torch.stack([*shown, light])

    def forward(self, channels: torch.Tensor, obj: torch.Tensor) -> torch.Tensor:
        """The changed object (h, w) complex64 from channels (channels, h, w); sides are multiples of 4."""
        images = channels[None].contiguous(memory_format=torch.channels_last)
        fine = self.down1(images)
        middle = self.down2(functional.max_pool2d(fine, 2))
        coarse = self.bottom(functional.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([middle, _doubled(coarse)], dim=1))
        residual = self.last(self.up1(torch.cat([fine, _doubled(middle)], dim=1)))[0].float()
        return obj + RESIDUAL_SCALE * torch.complex(residual[0], residual[1])

    def whole(self, channels: torch.Tensor, obj: torch.Tensor, tile: int) -> torch.Tensor:
        """The changed object of any size, ``tile`` pixels at a time, each with its surroundings."""
        changed = torch.empty_like(obj)
        height, width = obj.shape
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                rows, columns = (
                    slice(max(0, top - REACH), top + tile + REACH),
                    slice(max(0, left - REACH), left + tile + REACH),
                )
                part = self(channels[:, rows, columns], obj[rows, columns])
                own = part[top - rows.start :, left - columns.start :][:tile, :tile]
                changed[top : top + tile, left : left + tile] = own
        return changed


# -- cnn ------------------------------------------------------------------------------------------------------


class _Decoder(nn.Module):
    """From the bottleneck to C bounded maps: the centre at N/2 and the border by an outer head."""

    OUTER_CHANNELS: Final = 4

    def __init__(self, filters: list[int], frames: int, bound: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        ups = list(zip(filters[:0:-1], filters[-2::-1], strict=True))
        self.ups = nn.ModuleList(_convolutions(a, b, nn.ReLU) for a, b in ups)
        self.centre = nn.Conv2d(filters[0], frames, 3, padding=1)
        self.outer_up = _convolutions(self.OUTER_CHANNELS, self.OUTER_CHANNELS, nn.ReLU)
        self.outer = nn.Conv2d(self.OUTER_CHANNELS, frames, 3, padding=1)
        self.bound = bound

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for up in self.ups:
            images = up(_doubled(images))
        edge = images.shape[-1] // 2
        centre = functional.pad(self.bound(self.centre(images)), (edge,) * 4)
        border = functional.pad(torch.zeros_like(images[:, :1]), (edge,) * 4, value=1.0)
        outer = self.bound(self.outer(self.outer_up(_doubled(images[:, -self.OUTER_CHANNELS :]))))
        return centre + border * outer


class EncoderDecoder(nn.Module):
    """The published network: one encoder, a decoder for the amplitude and one for the phase.

    Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023). The frames of a group are input channels; amplitudes lie
    in (0, amplitude_max), phases in (-pi, pi).

    Attributes
    ----------
    physics : ForwardModel
        The forward model of the probe, on whole patches.
    """

    def __init__(self, spec: NetworkSpec, physics: ForwardModel) -> None:
        super().__init__()
        self.physics = physics
        self.input_scale = spec.input_scale
        filters = encoder_filters(spec.patch_size, spec.n_filters_scale)
        blocks: list[nn.Module] = []
        for channels_in, channels_out in zip([spec.group_frames, *filters[:-1]], filters, strict=True):
            blocks += [_convolutions(channels_in, channels_out, nn.ReLU), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*blocks)
        bound = spec.amplitude_max
        self.amplitude = _Decoder(filters, spec.group_frames, lambda logits: bound * torch.sigmoid(logits))
        self.phase = _Decoder(filters, spec.group_frames, lambda logits: math.pi * torch.tanh(logits))

    def forward(self, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Patches (b, C, N, N) complex64 from counts (b, C, N, N) with intensity scales (b, C, 1, 1)."""
        code = self.encoder(self.input_scale / scale * counts.clamp_min(0.0).sqrt())
        return torch.polar(self.amplitude(code).float(), self.phase(code).float())


# -- registry -------------------------------------------------------------------------------------------------


def build_network(spec: NetworkSpec, probe: NDArray[np.complexfloating], seed: int) -> UnrolledNetwork | EncoderDecoder:
    """A network with initial weights that depend on ``spec`` and ``seed`` only.

    The state of torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.architecture == "unrolled":
            return UnrolledNetwork(spec)
        return EncoderDecoder(spec, ForwardModel(probe, int(probe.shape[0])))
