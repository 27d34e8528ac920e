"""Probe diameter, and the illumination of the object by a set of frames."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.errors import ProbeError
from fly64_assets.physics.probe_modes import added
from fly64_assets.physics.windows import Scan, add

LEAST_COVERAGE: Final = 1e-2
"""Illumination, in frames at the peak of their weight, below which a pixel counts as not measured."""
LEAST_SINGLE: Final = 1e-25
MOST_SINGLE: Final = 1e38
"""Largest value between which single precision holds an array, down to values 1e-13 times as large."""

WRAPPED: Final = 0.5
"""Ratio of :func:`half_turned_spread` below which a probe is cut by the edges of its window, as in FFT order."""

WRAPPED_PERHAPS: Final = 2 / 3
"""Ratio below which it may be so: of a disc as wide as the window, or of a ring near its edges."""


def probe_diameter_px(probe: NDArray[np.complexfloating], energy: float = 0.5) -> float:
    """Diameter of the disc about the probe's centroid that holds a fraction of its energy, by default half [px].

    For a Gaussian the disc of half of the energy is as wide as the full width at half maximum; unlike that, it is also
    right for a probe with a dark centre. Between pixels the energy is interpolated over the disc's area. The energies
    of the incoherent modes of a probe (M, N, N) add up.

    Raises :class:`ProbeError`, also a ``ValueError``, for a probe without energy, and for one that the edges of its
    window cut (FFT order), whose centroid lies where no light is.

    Examples
    --------
    >>> import numpy as np
    >>> radius = np.hypot(*np.meshgrid(np.arange(-64, 64), np.arange(-64, 64)))
    >>> round(probe_diameter_px(np.exp(-(radius**2) / (4 * 8.0**2)).astype(complex)), 2)  # 2.355 sigma
    18.84
    """
    intensity, radius_squared = _about_centroid(probe)
    order = np.argsort(radius_squared, kind="stable")
    within = np.concatenate([[0.0], np.cumsum(intensity[order])]) / float(intensity.sum())
    # After k pixels the disc has an area of k pixels.
    area = float(np.interp(energy, within, np.arange(len(within))))
    return 2.0 * float(np.sqrt(area / np.pi))


def probe_fwhm_px(probe: NDArray[np.complexfloating]) -> float:
    """Full width at half maximum of the probe's intensity, averaged over rings one pixel wide about its centroid [px].

    Twice the largest radius at which the mean falls to half of its highest value, interpolated between rings, so that a
    dark centre does not count. The intensities of the incoherent modes of a probe (M, N, N) add up.

    Raises :class:`ProbeError` as :func:`probe_diameter_px` does.

    Examples
    --------
    >>> import numpy as np
    >>> radius = np.hypot(*np.meshgrid(np.arange(-64, 64), np.arange(-64, 64)))
    >>> round(probe_fwhm_px(np.exp(-(radius**2) / (4 * 8.0**2)).astype(complex)), 1)  # 2.355 sigma
    18.9
    """
    intensity, radius_squared = _about_centroid(probe)
    radius = np.sqrt(radius_squared)
    ring = np.rint(radius).astype(np.int64)
    pixels = np.bincount(ring)
    filled = pixels > 0
    mean = np.bincount(ring, intensity)[filled] / pixels[filled]
    middle = np.bincount(ring, radius)[filled] / pixels[filled]
    half = mean.max() / 2
    last = int(np.flatnonzero(mean >= half)[-1])
    if last == len(mean) - 1:
        return 2.0 * float(middle[last])
    fall = (mean[last] - half) / (mean[last] - mean[last + 1])
    return 2.0 * float(middle[last] + fall * (middle[last + 1] - middle[last]))


def _about_centroid(probe: NDArray[np.complexfloating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intensity of every pixel of a probe, and its squared distance from the centroid [px^2], each (N * N,)."""
    intensity = added(np.abs(probe.astype(np.complex128)) ** 2)
    total = float(intensity.sum())
    if not (np.isfinite(total) and total > 0):
        raise ProbeError("the probe has no finite positive energy")
    if min(half_turned_spread(probe)) < WRAPPED:
        raise ProbeError(
            "the probe's energy lies at the edges of its window, as in FFT order; expected its centre in the middle: "
            "import the base again with `fly64 base import FILE --probe-corner`"
        )
    rows, columns = np.indices(intensity.shape)
    centre_y = float((rows * intensity).sum()) / total
    centre_x = float((columns * intensity).sum()) / total
    return intensity.ravel(), ((rows - centre_y) ** 2 + (columns - centre_x) ** 2).ravel()


def half_turned_spread(probe: NDArray[np.complexfloating]) -> tuple[float, float]:
    """How much narrower a probe becomes if rows (columns) are rolled by half of the window: about 1 if not at all.

    The ratio of the energy's mean squared distances from the window's middle, after and before. A probe with its
    centre in the middle becomes wider, one in FFT order much narrower; a flat one stays as it is. 1 for a probe without
    energy. The energies of the incoherent modes of a probe (M, N, N) add up.

    Examples
    --------
    >>> import numpy as np
    >>> squared = np.add.outer(np.arange(-32.0, 32) ** 2, np.arange(-32.0, 32) ** 2)
    >>> probe = np.exp(-squared / 300).astype(complex)
    >>> [round(ratio, 2) for ratio in half_turned_spread(np.fft.fftshift(probe, axes=0))]
    [0.11, 8.79]
    """
    with np.errstate(all="ignore"):
        magnitude = np.nan_to_num(np.abs(probe.astype(np.complex128)), posinf=0.0)
        intensity = added((magnitude / max(float(magnitude.max(initial=0)), 1e-300)) ** 2)
    rows, columns = (_half_turned(intensity.sum(axis=1 - axis)) for axis in (0, 1))
    return rows, columns


def _half_turned(profile: NDArray[np.float64]) -> float:
    squared = (np.arange(len(profile)) - len(profile) // 2) ** 2
    before, after = float((profile * squared).sum()), float((profile * np.fft.fftshift(squared)).sum())
    return after / before if before > 0 else 1.0


def illumination_picture(
    probe: NDArray[np.complexfloating], scan: Scan, most: int = 1024
) -> tuple[NDArray[np.float64], int]:
    """Illumination of the grid as a picture of at most ``most`` pixels a side, and the side k of its pixels [px].

    The mean over k x k pixels of what :func:`illumination` gives, with every position moved to the corner of such a
    square: one convolution, whose time and memory do not grow with the number of frames.

    Examples
    --------
    >>> scan = Scan(np.array([8.0, 9.0]), np.array([8.0, 8.0]), (16, 16), patch_size=4)
    >>> picture, side = illumination_picture(np.ones((4, 4), complex), scan)
    >>> side, picture.round(6)[8, 5:13].tolist()
    (1, [0.0, 1.0, 2.0, 2.0, 2.0, 1.0, 0.0, 0.0])
    """
    side = max(1, math.ceil(max(scan.object_shape) / most))
    height, width = (math.ceil(length / side) for length in scan.object_shape)
    intensity, middle = added(np.abs(probe.astype(np.complex128)) ** 2), scan.patch_size // 2
    before = -middle % side  # the middle of the probe is the first pixel of a square
    after = -(before + scan.patch_size) % side
    squares = np.pad(intensity, (before, after)).reshape(-1, side, (before + scan.patch_size + after) // side, side)
    places = np.floor((scan.corners + middle + scan.fractions) / side + 0.5).astype(np.int64)
    rows, columns = places[((places >= 0) & (places < (height, width))).all(axis=1)].T
    frames = np.bincount(rows * width + columns, minlength=height * width).reshape(height, width).astype(np.float64)
    kernel = squares.mean(axis=(1, 3))
    shape = [scipy.fft.next_fast_len(a + b - 1, real=True) for a, b in zip(frames.shape, kernel.shape, strict=True)]
    total = scipy.fft.irfft2(scipy.fft.rfft2(frames, shape) * scipy.fft.rfft2(kernel, shape), shape)
    first = (middle + before) // side
    return np.maximum(total[first : first + height, first : first + width], 0.0), side


def illumination(probe: NDArray[np.complexfloating], scan: Scan) -> NDArray[np.float64]:
    """Summed probe intensity W(r) = sum_j |P(r - r_j)|^2 on the grid of a scan, (H, W) float64.

    The intensities of the incoherent modes of a probe (M, N, N) add up. Sub-pixel positions share each probe pixel
    bilinearly between its neighbours; what falls outside is dropped.

    Examples
    --------
    >>> import numpy as np
    >>> scan = Scan(np.array([2.0, 2.5]), np.array([1.0, 1.0]), (3, 5), patch_size=2)
    >>> illumination(np.ones((2, 2)), scan)
    array([[0. , 1.5, 2. , 0.5, 0. ],
           [0. , 1.5, 2. , 0.5, 0. ],
           [0. , 0. , 0. , 0. , 0. ]])
    """
    total = np.zeros(scan.object_shape)
    intensity = added(np.abs(probe.astype(np.complex128)) ** 2)
    add(total, scan, np.broadcast_to(intensity, (len(scan), *intensity.shape)))
    return total


def in_single(values: NDArray[np.float64]) -> NDArray[np.floating]:
    """Positive values in the unit of |P|^2, which is arbitrary, as files hold them: float32 where that represents them.

    Examples
    --------
    >>> import numpy as np
    >>> [in_single(unit * np.ones(2)).dtype.name for unit in (1.0, 1e-50, 1e50)]
    ['float32', 'float64', 'float64']
    """
    return values.astype(np.float32) if LEAST_SINGLE < values.max() < MOST_SINGLE else values


def disc_illumination(probe: NDArray[np.complexfloating], diameter_px: float) -> float:
    """One frame's mean illumination over its disc: the probe's energy over the disc's area."""
    return float((np.abs(probe.astype(np.complex128)) ** 2).sum() / (np.pi * diameter_px**2 / 4))
