"""Forward model of a ptychography scan: patches, exit waves, photon scale, expected counts.

Symbols: object O (H, W), probe P (N, N), window centres (x_j, y_j), unitary 2-D Fourier transform F.
The model is that of Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023), with absolute photon counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

BLOCK_FRAMES = 64
"""Frames handled at a time where the caller does not care; no result depends on it."""


def blocks(n: int, size: int = BLOCK_FRAMES) -> Iterator[slice]:
    """Slices that cover ``range(n)`` in steps of ``size``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def extract_patches(
    obj: NDArray[np.complexfloating], x: NDArray[np.float64], y: NDArray[np.float64], patch_size: int
) -> NDArray[np.complex128]:
    """Windows of the object centred at (x, y), bilinear between pixels, zero outside the object.

    Rows y - N/2 ... y + N/2 - 1 and the like for columns; integer positions give plain slices.

    Parameters
    ----------
    obj : (H, W) complex
    x, y : (n,) float64 [px]
    patch_size : int
        Window side N.

    Returns
    -------
    (n, N, N) complex128
    """
    half = patch_size // 2
    height, width = obj.shape
    left, top = np.floor(x).astype(np.int64) - half, np.floor(y).astype(np.int64) - half
    fx, fy = (x - np.floor(x))[:, None, None], (y - np.floor(y))[:, None, None]
    window = patch_size + 1
    inside = left.min() >= 0 and top.min() >= 0 and left.max() + window <= width and top.max() + window <= height
    if not inside:
        # A margin of one window on each side holds every window that touches the object.
        obj = np.pad(obj, window)
        left = np.clip(left + window, 0, width + window)
        top = np.clip(top + window, 0, height + window)
    view = np.lib.stride_tricks.sliding_window_view(obj, (window, window))
    corners = view[top, left].astype(np.complex128)
    rows = corners[:, :-1] + fy * (corners[:, 1:] - corners[:, :-1])
    patches: NDArray[np.complex128] = rows[:, :, :-1] + fx * (rows[:, :, 1:] - rows[:, :, :-1])
    return patches


def exit_wave_energies(
    obj: NDArray[np.complexfloating],
    probe: NDArray[np.complexfloating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Energy of every exit wave, sum over pixels of |P O_j|^2, shape (n,), each summed by itself in float64."""
    energies = np.empty(len(x))
    for part in blocks(len(x)):
        waves = probe * extract_patches(obj, x[part], y[part], probe.shape[0])
        energies[part] = (waves.real**2 + waves.imag**2).reshape(len(waves), -1).sum(axis=1)
    return energies


def exact_mean(values: NDArray[np.float64]) -> float:
    """Mean by exact summation, so that the order and the blocks of work cannot show in the last digits."""
    return math.fsum(values.tolist()) / len(values)


def intensity_scale(dose: float, energies: NDArray[np.float64]) -> float:
    """Scale s for which the mean over all frames of the expected photons equals ``dose``."""
    mean = exact_mean(energies)
    if not mean > 0:
        raise ValueError("no light reaches the detector: probe times object is zero at every position")
    return math.sqrt(dose / mean)


def expected_counts(waves: NDArray[np.complexfloating], scale: float) -> NDArray[np.float64]:
    """Expected photons per detector pixel, fftshift |F(s psi)|^2, DC in the centre; shape like ``waves``."""
    field = scipy.fft.fftshift(scipy.fft.fft2(scale * waves, norm="ortho"), axes=(-2, -1))
    rates: NDArray[np.float64] = field.real**2 + field.imag**2
    return rates


def patch_counts(
    obj: NDArray[np.complexfloating],
    probe: NDArray[np.complexfloating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    scale: float,
) -> NDArray[np.float64]:
    """Expected counts (n, N, N) of the frames at (x, y); for a few frames at a time."""
    return expected_counts(probe * extract_patches(obj, x, y, probe.shape[0]), scale)
