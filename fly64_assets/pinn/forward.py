"""Torch form of ``physics.forward`` and of the likelihood in ``physics.counts``, with gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.counts import RATE_FLOOR

WINDOW_STEP = 8
"""Windows are multiples of this."""
WINDOW_ENERGY = 0.999
"""Least part of the probe's energy inside the window."""


def probe_window(probe: NDArray[np.complexfloating]) -> int:
    """Side of the smallest centred window, a multiple of 8, that holds 99.9 % of the probe's energy [px].

    Outside it a frame says nothing about the object, so that a patch need not be predicted there.
    """
    size = int(probe.shape[0])
    intensity = np.abs(probe.astype(np.complex128)) ** 2
    for window in range(WINDOW_STEP, size, WINDOW_STEP):
        edge = (size - window) // 2
        inside = intensity[edge : edge + window, edge : edge + window]
        if float(inside.sum()) >= WINDOW_ENERGY * float(intensity.sum()):
            return window
    return size


class ForwardModel(torch.nn.Module):
    """Patches to expected counts for one probe (equations 2-4 of the study's forward model).

    Patches are given on a centred window of even side M <= N; outside it the object is taken as 1. ``weight``
    (M, M) float32 is the probe intensity on the window, 1 at the probe's peak.
    """

    probe: torch.Tensor
    weight: torch.Tensor

    def __init__(self, probe: NDArray[np.complexfloating], window: int) -> None:
        super().__init__()
        values = torch.from_numpy(np.array(probe, dtype=np.complex64))
        self.window = window
        self.margin = (probe.shape[0] - window) // 2
        peak = values.abs().square().max()
        for name, buffer in (("probe", values), ("weight", self.on_window(values).abs().square() / peak)):
            self.register_buffer(name, buffer, persistent=False)
        self.peak = float(peak)

    def on_window(self, images: torch.Tensor) -> torch.Tensor:
        """The window (..., M, M) of images (..., N, N)."""
        part = slice(self.margin, self.margin + self.window)
        return images[..., part, part]

    def rates(self, patches: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
        """Expected counts fftshift |F(s P O)|^2, (..., N, N), of complex patches (..., M, M)."""
        rates: torch.Tensor = torch.fft.fftshift(self.corner_rates(patches, scale), dim=(-2, -1))
        return rates

    def corner_rates(self, patches: torch.Tensor, scale: torch.Tensor | float) -> torch.Tensor:
        """Expected counts (..., N, N) with the DC in the corner."""
        field = torch.fft.fft2(scale * self.waves(patches), norm="ortho")
        rates: torch.Tensor = field.real.square() + field.imag.square()
        return rates

    def waves(self, patches: torch.Tensor) -> torch.Tensor:
        """Exit waves P O, (..., N, N), with O = 1 outside the window."""
        return self.probe + torch.nn.functional.pad(self.on_window(self.probe) * (patches - 1.0), (self.margin,) * 4)


def poisson_loss(rates: torch.Tensor, counts: torch.Tensor, bad_pixels: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over frames of sum (lambda - c log lambda), rates clamped to at least 1e-8; a float64 scalar.

    ``bad_pixels`` (N, N) bool, in the order of the rates, names pixels that were not measured: they are not summed.
    """
    clamped = rates.clamp_min(RATE_FLOOR)
    terms = clamped - counts * clamped.log()
    if bad_pixels is not None:
        terms = terms.masked_fill(bad_pixels, 0.0)
    # In float64: at high doses the differences between epochs are smaller than the steps of float32.
    return terms.sum(dim=(-2, -1), dtype=torch.float64).mean()
