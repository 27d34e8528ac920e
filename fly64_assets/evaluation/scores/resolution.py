"""Fourier ring correlation of a reconstruction with the truth, and the resolution it gives.

Belongs here: the curve, its thresholds and its crossings. Does not belong here: scores in real space (``metrics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.bands import SINGLE_FROM, Pictures, bands
from fly64_assets.evaluation.scores.metrics import Score, no_score

NYQUIST_PERIOD_PX: Final = 2.0
"""Shortest full period on a pixel grid."""


@dataclass(frozen=True)
class RingCorrelation:
    """Correlation of two pictures on rings of Fourier space.

    Attributes
    ----------
    frequency : (rings,) float64
        Mean frequency of each ring [cycles/px], up to Nyquist.
    correlation : (rings,) float64
        Real part of the normalised cross-spectrum.
    half_bit : (rings,) float64
        The half-bit threshold for the number of independent values in each ring.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    half_bit: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Lists of floats."""
        return {
            "frequency_per_px": self.frequency.tolist(),
            "correlation": self.correlation.tolist(),
            "half_bit": self.half_bit.tolist(),
        }


def ring_correlation(pictures: Pictures, shape: tuple[int, ...]) -> RingCorrelation | str:
    """Fourier ring correlation of two pictures, real or complex, under a Tukey window; or why there is none.

    Rings are one step of the shorter side's spectrum wide (Saxton and Baumeister, J. Microsc. 127, 127, 1982). The
    half-bit threshold is that of van Heel and Schatz (J. Struct. Biol. 151, 250, 2005, eq. 17): (0.2071 + 1.9102 /
    sqrt n) / (1.2071 + 0.9102 / sqrt n), where n counts independent values of a ring: half of them for real
    pictures (Friedel symmetry), times the share of the picture that the window leaves.

    Parameters
    ----------
    pictures : callable
        Slice of rows -> both pictures there.
    shape : (h, w)
        Of the pictures; from ``bands.SINGLE_FROM`` pixels on the transforms are in single
        precision and in place, two complex64 copies in all.

    Examples
    --------
    White noise added to white noise of the same power: half of the power is common, the correlation 1 / sqrt(2).

    >>> truth, noise = np.random.default_rng(1).normal(size=(2, 256, 256))
    >>> rings = ring_correlation(lambda rows: (truth[rows], (truth + noise)[rows]), truth.shape)
    >>> len(rings.frequency), round(float(rings.correlation.mean()), 1)
    (128, 0.7)
    >>> resolution(rings, 0.5)
    Score(value=2.0, reason='never falls below the threshold: Nyquist')
    """
    window = [scipy.signal.windows.tukey(n + 2, 0.5)[1:-1] for n in shape]
    spectra, friedel = _spectra(pictures, shape, window)
    side = min(shape)
    fy, fx = (scipy.fft.fftfreq(n) for n in shape)
    # Rows: both powers, the cross-spectrum, frequencies and numbers of values.
    sums = np.zeros((5, side // 2 + 1))
    for part in bands(shape):
        frequency = np.hypot(fy[part, None], fx[None, :])
        ring = np.rint(frequency * side).astype(np.int64).ravel()
        first, second = (spectrum[part].astype(np.complex128) for spectrum in spectra)
        terms = (
            np.abs(first) ** 2,
            np.abs(second) ** 2,
            np.real(first * second.conj()),
            frequency,
            np.ones_like(frequency),
        )
        rings = sums.shape[1]
        sums += [np.bincount(ring, weights=values.ravel(), minlength=rings)[:rings] for values in terms]
    *powers, cross, frequencies, count = sums[:, 1:]
    for power, name in zip(powers, ("truth", "reconstruction"), strict=True):
        if not power.sum() > 1e-20 * (shape[0] * shape[1]) ** 2:
            return f"the {name} is constant in the rectangle"
    norm = np.sqrt(powers[0] * powers[1])
    # Rings on which neither picture has any power agree.
    agree = np.where(powers[0] + powers[1] > 0, 0.0, 1.0)
    curve = np.divide(cross, norm, out=agree, where=norm > 0)
    kept = float(np.prod([(w**2).mean() ** 2 / (w**4).mean() for w in window]))
    root = np.sqrt(np.maximum(1.0, count * friedel * kept))
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    return RingCorrelation(frequencies / count, np.clip(curve, -1, 1), half_bit)


def _spectra(
    pictures: Pictures, shape: tuple[int, ...], window: Sequence[NDArray[np.float64]]
) -> tuple[list[NDArray[np.complexfloating]], float]:
    """Spectra (h, w) of both pictures less their means, and the share of values that are independent of the others."""
    precision = np.complex64 if shape[0] * shape[1] >= SINGLE_FROM else np.complex128
    spectra: list[NDArray[np.complexfloating]] = [np.empty(shape, precision) for _ in range(2)]
    sums = [0j, 0j]
    origins: list[complex] = []
    friedel = 1.0
    for part in bands(shape):
        pair = pictures(part)
        # About its first pixel, so that a constant stays one in single precision.
        origins = origins or [complex(picture.flat[0]) for picture in pair]
        friedel = 1.0 if any(np.iscomplexobj(picture) for picture in pair) else 0.5
        for i, (picture, origin) in enumerate(zip(pair, origins, strict=True)):
            difference = picture - (origin if np.iscomplexobj(picture) else origin.real)
            sums[i] += complex(difference.sum())
            spectra[i][part] = difference
    for i, spectrum in enumerate(spectra):
        for part in bands(shape):
            spectrum[part] -= sums[i] / (shape[0] * shape[1])
            spectrum[part] *= window[0][part, None] * window[1]
        spectra[i] = scipy.fft.fft2(spectrum, overwrite_x=True)
    return spectra, friedel


def resolution(rings: RingCorrelation | str, threshold: float | None = None) -> Score:
    """Full period [px] at which the curve falls below ``threshold`` (the half-bit curve by default).

    The fall is the first one after two neighbouring rings above the threshold: diffraction knows the slowest waves of
    an object worst, so that the lowest rings may lie below it (a remark says so), and a single ring may lie above it
    by chance. Between rings the crossing is interpolated linearly in frequency. A curve that never falls below gives
    the Nyquist period with a remark; one that never holds two neighbouring rings above gives no value.
    """
    if isinstance(rings, str):
        return no_score(rings)
    level = rings.half_bit if threshold is None else np.full_like(rings.half_bit, threshold)
    # Rounding must not make a perfect match cross a half-bit threshold of 1.
    gap = rings.correlation - level + 1e-9
    above = gap >= 0
    pairs = np.flatnonzero(above[:-1] & above[1:])
    if not len(pairs):
        return no_score("no two neighbouring rings lie above the threshold: nothing is resolved")
    start = int(pairs[0])
    remark = f"periods above {1 / rings.frequency[start]:.1f} px lie below the threshold too" if start else None
    below = np.flatnonzero(~above[start:])
    if not len(below):
        return Score(NYQUIST_PERIOD_PX, "; ".join(filter(None, ("never falls below the threshold: Nyquist", remark))))
    fall = start + int(below[0])
    share = gap[fall - 1] / (gap[fall - 1] - gap[fall])
    frequency = rings.frequency[fall - 1] + share * (rings.frequency[fall] - rings.frequency[fall - 1])
    return Score(max(NYQUIST_PERIOD_PX, float(1 / frequency)), remark)
