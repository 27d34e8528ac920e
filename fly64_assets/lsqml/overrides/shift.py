"""Sub-pixel shifts from one row and one column of phases instead of one exponential per pixel.

The library computes exp(-2 pi i (f_y d_y + f_x d_x)) for every pixel of every image. It is the outer product of a
column and a row: H + W exponentials instead of H W. An image shifted by nothing is a copy of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import ptychi.maths as pmath
import torch
from torch import Tensor


def phase_ramps(shifts: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Phases that shift images of one shape, one factor per axis.

    Parameters
    ----------
    shifts : (n, 2) float
        y, x [px].
    shape : (H, W)

    Returns
    -------
    ramps_y : (n, H) complex
    ramps_x : (n, W) complex
        exp(-2 pi i f d) at the frequencies of :func:`torch.fft.fftfreq`.
    """
    ramps = []
    for axis, size in enumerate(shape):
        frequency = torch.fft.fftfreq(size, device=shifts.device, dtype=shifts.dtype)
        angle = (-2 * torch.pi) * shifts[:, axis, None] * frequency
        ramps.append(torch.polar(torch.ones_like(angle), angle))
    return ramps[0], ramps[1]


def separable_fourier_shift(images: Tensor, shifts: Tensor, strictly_preserve_zeros: bool = False) -> Tensor:
    """Shift images (n, H, W) by ``shifts`` (n, 2) [px], y then x; ``ptychi.image_proc.fourier_shift`` to rounding."""
    if not (shifts.requires_grad or bool(shifts.any())):
        return images.clone()
    if strictly_preserve_zeros:
        moved = separable_fourier_shift((images == 0).float(), shifts)
    spectrum = pmath.fft2_precise(images)
    ramps_y, ramps_x = phase_ramps(shifts.to(spectrum.device), (images.shape[-2], images.shape[-1]))
    spectrum = spectrum * ramps_y[:, :, None].to(spectrum.dtype) * ramps_x[:, None, :].to(spectrum.dtype)
    result: Tensor = pmath.ifft2_precise(spectrum)
    if not images.dtype.is_complex:
        result = result.real
    if strictly_preserve_zeros:
        result[moved > 0] = 0
    return result


def fourier_shift(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Patch of ``ptychi.image_proc.fourier_shift``."""
    return wraps(stock)(separable_fourier_shift)
