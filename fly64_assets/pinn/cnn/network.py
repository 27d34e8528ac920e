"""The network ``cnn``: the published encoder-decoder from frames to object patches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from fly64_assets.pinn.forward import ForwardModel
from fly64_assets.pinn.layers import convolutions, doubled
from fly64_assets.pinn.network_spec import NetworkSpec, encoder_filters


class _Decoder(nn.Module):
    """From the bottleneck to C bounded maps: the centre at N/2 and the border by an outer head."""

    OUTER_CHANNELS: Final = 4

    def __init__(self, filters: list[int], frames: int, bound: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        ups = list(zip(filters[:0:-1], filters[-2::-1], strict=True))
        self.ups = nn.ModuleList(convolutions(before, after, nn.ReLU) for before, after in ups)
        self.centre = nn.Conv2d(filters[0], frames, 3, padding=1)
        self.outer_up = convolutions(self.OUTER_CHANNELS, self.OUTER_CHANNELS, nn.ReLU)
        self.outer = nn.Conv2d(self.OUTER_CHANNELS, frames, 3, padding=1)
        self.bound = bound

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for up in self.ups:
            images = up(doubled(images))
        edge = images.shape[-1] // 2
        centre = functional.pad(self.bound(self.centre(images)), (edge,) * 4)
        border = functional.pad(torch.zeros_like(images[:, :1]), (edge,) * 4, value=1.0)
        outer = self.bound(self.outer(self.outer_up(doubled(images[:, -self.OUTER_CHANNELS :]))))
        return centre + border * outer


class EncoderDecoder(nn.Module):
    """The published network: one encoder, a decoder for the amplitude and one for the phase.

    Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023). The frames of a group are input channels; amplitudes lie
    in (0, amplitude_max), phases in (-pi, pi). ``physics`` is the forward model of the probe, on whole patches.
    """

    def __init__(self, spec: NetworkSpec, physics: ForwardModel) -> None:
        super().__init__()
        self.physics = physics
        self.input_scale = spec.input_scale
        filters = encoder_filters(spec.patch_size, spec.n_filters_scale)
        blocks: list[nn.Module] = []
        for channels_in, channels_out in zip([spec.group_frames, *filters[:-1]], filters, strict=True):
            blocks += [convolutions(channels_in, channels_out, nn.ReLU), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*blocks)
        bound = spec.amplitude_max
        self.amplitude = _Decoder(filters, spec.group_frames, lambda logits: bound * torch.sigmoid(logits))
        self.phase = _Decoder(filters, spec.group_frames, lambda logits: math.pi * torch.tanh(logits))

    def forward(self, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Patches (b, C, N, N) complex64 from counts (b, C, N, N) with intensity scales (b, C, 1, 1)."""
        code = self.encoder(self.input_scale / scale * counts.clamp_min(0.0).sqrt())
        return torch.polar(self.amplitude(code).float(), self.phase(code).float())
