"""The networks: from measured frames to object patches. One registry for all.

Belongs here: layers and what they are fed with. Does not belong here: the loss, the overlap constraint, training.
Imported by engine processes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fly64_assets.pinn.forward import ForwardModel, probe_window


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that determines a network but its weights; stored in the bundle.

    Attributes
    ----------
    architecture : str
        Name in :data:`ARCHITECTURES`.
    patch_size : int
        N [px].
    group_frames : int
        C, frames per sample.
    width : int
        Filters of the first level of ``unrolled``.
    n_filters_scale : int
        Factor k on the filters of ``cnn``.
    amplitude_max : float
        Bound of the amplitude of ``cnn``.
    input_scale : float
        alpha of ``cnn``: the network sees alpha times the stored amplitude.
    """

    architecture: str
    patch_size: int
    group_frames: int
    width: int
    n_filters_scale: int
    amplitude_max: float
    input_scale: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``NetworkSpec(**document)`` is the inverse."""
        return asdict(self)


class PatchNetwork(nn.Module):
    """Base of all networks: counts of C frames to C complex patches on a centred window.

    Attributes
    ----------
    physics : ForwardModel
        The forward model of the probe; its ``window`` is the side M of the patches.
    joint : bool
        Whether the C frames of a sample are seen together. A network that sees each frame alone treats a group
        and its permutations alike and can reconstruct frames one by one.
    """

    joint: bool

    def __init__(self, physics: ForwardModel) -> None:
        super().__init__()
        self.physics = physics

    def forward(self, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Patches (b, C, M, M) complex64 from counts (b, C, N, N) with intensity scales (b, C, 1, 1)."""
        raise NotImplementedError


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

LIKELIHOOD_STEPS: Final = 3
"""Likelihood steps of the last object that the network is shown; see :class:`UnrolledNetwork`."""


class UnrolledNetwork(PatchNetwork):
    """A small U-Net in object space, fed with likelihood steps from a flat object instead of the frame.

    Input channels: real and imaginary part of the object after the first likelihood step, of that after the
    third, and of the probe (the only thing that tells a convolution where in the window it is). Output: the
    residual to the first step, from a last layer that starts at zero. The third step resolves more at high doses
    but carries more noise at low ones, so it is shown to the network and not the point it starts from. The images
    are folded two by two into channels, which makes a step four times cheaper; the window is the part of the
    patch that the probe lights.
    """

    joint = False

    def __init__(self, spec: NetworkSpec, physics: ForwardModel) -> None:
        super().__init__(physics)
        width = spec.width
        self.down1 = _convolutions(6 * 4, width, _leaky)
        self.down2 = _convolutions(width, 2 * width, _leaky)
        self.bottom = _convolutions(2 * width, 2 * width, _leaky)
        self.up2 = _convolutions(4 * width, width, _leaky)
        self.up1 = _convolutions(2 * width, width, _leaky)
        self.last = nn.Conv2d(width, 2 * 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(torch.Tensor, self.last.bias))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Each frame alone; see :class:`PatchNetwork`."""
        frames, scale = counts.flatten(0, 1), scale.flatten(0, 1)
        first = self.physics.likelihood_step(None, frames, scale)
        later = first
        for _ in range(LIKELIHOOD_STEPS - 1):
            later = self.physics.likelihood_step(later, frames, scale)
        probe = self.physics.window_probe.expand(first.shape)
        channels = [first.real - 1.0, first.imag, later.real - 1.0, later.imag, probe.real, probe.imag]
        folded = functional.pixel_unshuffle(torch.stack(channels, dim=1), 2)
        residual = functional.pixel_shuffle(self._unet(folded.contiguous(memory_format=torch.channels_last)), 2)
        patches = first + torch.complex(residual[:, 0].float(), residual[:, 1].float())
        return patches.view(*counts.shape[:2], *patches.shape[-2:])

    def _unet(self, images: torch.Tensor) -> torch.Tensor:
        fine = self.down1(images)
        middle = self.down2(functional.max_pool2d(fine, 2))
        coarse = self.bottom(functional.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([middle, _doubled(coarse)], dim=1))
        return cast(torch.Tensor, self.last(self.up1(torch.cat([fine, _doubled(middle)], dim=1))))


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


class EncoderDecoder(PatchNetwork):
    """The published network: one encoder, a decoder for the amplitude and one for the phase.

    Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023). The frames of a group are input channels; amplitudes lie
    in (0, amplitude_max), phases in (-pi, pi).
    """

    joint = True

    def __init__(self, spec: NetworkSpec, physics: ForwardModel) -> None:
        super().__init__(physics)
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
        """The frames of a sample together; see :class:`PatchNetwork`."""
        code = self.encoder(self.input_scale / scale * counts.clamp_min(0.0).sqrt())
        return torch.polar(self.amplitude(code).float(), self.phase(code).float())


def encoder_filters(patch_size: int, n_filters_scale: int) -> list[int]:
    """Filters of the encoder's blocks: 32k, 64k, 128k for N = 64, from 16k for N = 128, from 8k for N = 256."""
    first = {64: 32, 128: 16, 256: 8}[patch_size]
    filters = [first]
    while filters[-1] < 128:
        filters.append(2 * filters[-1])
    return [n_filters_scale * count for count in filters]


# -- registry -------------------------------------------------------------------------------------------------

ARCHITECTURES: Final[dict[str, tuple[type[Any], Callable[[NDArray[np.complexfloating]], int]]]] = {
    "unrolled": (UnrolledNetwork, probe_window),
    "cnn": (EncoderDecoder, lambda probe: int(probe.shape[0])),
}
"""Network class and window side by name."""


def build_network(spec: NetworkSpec, probe: NDArray[np.complexfloating], seed: int) -> PatchNetwork:
    """A network with initial weights that depend on ``spec`` and ``seed`` only.

    The state of torch's global generator is left as it was.
    """
    network, window = ARCHITECTURES[spec.architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cast(PatchNetwork, network(spec, ForwardModel(probe, window(probe))))
