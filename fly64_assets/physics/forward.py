"""Forward model of a ptychography scan: exit waves, photon scale, expected counts.

Symbols: object O (H, W), probe P (N, N), window centres (x_j, y_j), unitary 2-D Fourier transform F.
The model is that of Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023), with absolute photon counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.physics.probe_modes import MODES_AXES, added
from fly64_assets.physics.windows import Scan, cached_frames, read

BLOCK_FRAMES = 64
"""Frames handled at a time where the caller does not care; no result depends on it."""


def blocks(n: int, size: int = BLOCK_FRAMES) -> Iterator[slice]:
    """Slices that cover ``range(n)`` in steps of ``size``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def exit_wave_energies(
    obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], scan: Scan
) -> NDArray[np.float64]:
    """Energy of every exit wave, sum over pixels of |P O_j|^2, shape (n,), each summed separately in float64.

    The energies of the incoherent modes of a probe (M, N, N) add up.

    Examples
    --------
    >>> import numpy as np
    >>> scan = Scan(np.array([8.0, 9.5]), np.array([8.0, 8.0]), (16, 16), patch_size=4)
    >>> exit_wave_energies(np.full((16, 16), 0.5j), np.ones((4, 4)), scan)
    array([4., 4.])
    """
    if probe.ndim == MODES_AXES:
        probe = np.sqrt(added(np.abs(probe.astype(np.complex128)) ** 2))
    energies = np.empty(len(scan))
    for part in blocks(len(scan), cached_frames(scan.patch_size)):
        waves = probe * read(obj, scan[part])
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
    return _far_field(scale * waves)


def _far_field(waves: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Intensity fftshift |F psi|^2 of waves (..., N, M), whose memory is used for it."""
    field = scipy.fft.fft2(waves, norm="ortho", overwrite_x=True)
    squares = field.view(field.real.dtype)
    np.multiply(squares, squares, out=squares)
    # Adding first and moving real numbers then takes half the time of the other order.
    rates: NDArray[np.float64] = scipy.fft.fftshift(squares[..., ::2] + squares[..., 1::2], axes=(-2, -1))
    return rates


def patch_counts(
    obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], scan: Scan, scale: float
) -> NDArray[np.float64]:
    """Expected counts (n, N, N) of the frames of a scan; for a few frames at a time.

    The counts of the incoherent modes of a probe (M, N, N) add up.

    Examples
    --------
    With the scale of 1000 photons per frame the expected counts sum to 1000.

    >>> import numpy as np
    >>> obj, probe = np.ones((16, 16)), np.ones((4, 4))
    >>> scan = Scan(np.array([8.0, 9.5]), np.array([8.0, 8.0]), obj.shape, patch_size=4)
    >>> scale = intensity_scale(1000, exit_wave_energies(obj, probe, scan))
    >>> patch_counts(obj, probe, scan, scale).sum(axis=(1, 2)).round(6)
    array([1000., 1000.])
    """
    patches = read(obj, scan)
    if probe.ndim != MODES_AXES:
        return _counts_of(np.multiply(probe, patches, out=patches), scale)
    rates = np.zeros(patches.shape)
    for mode in probe:
        rates += _counts_of(mode * patches, scale)
    return rates


def _counts_of(waves: NDArray[np.complexfloating], scale: float) -> NDArray[np.float64]:
    """Expected counts of exit waves complex128, whose memory is used for it."""
    parts = waves.view(np.float64)
    np.multiply(scale, parts, out=parts)
    return _far_field(waves)
