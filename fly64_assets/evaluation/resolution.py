"""Fourier ring correlation of a reconstruction with the truth, and the resolution it gives.

Belongs here: the curve, its thresholds and its crossings. Does not belong here: scores in real space (``metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from fly64_assets.evaluation.metrics import Score, no_score

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


def ring_correlation(a: NDArray[np.inexact], b: NDArray[np.inexact]) -> RingCorrelation | str:
    """Fourier ring correlation of two pictures (h, w), real or complex, under a Tukey window; or why there is none.

    Rings are one step of the shorter side's spectrum wide (Saxton and Baumeister, J. Microsc. 127, 127, 1982). The
    half-bit threshold is that of van Heel and Schatz (J. Struct. Biol. 151, 250, 2005, eq. 17): (0.2071 + 1.9102 /
    sqrt n) / (1.2071 + 0.9102 / sqrt n), where n counts independent values of a ring: half of them for real
    pictures (Friedel symmetry), times the share of the picture that the window leaves.
    """
    window = np.outer(*(scipy.signal.windows.tukey(n + 2, 0.5)[1:-1] for n in a.shape))
    spectra = [scipy.fft.fft2((picture - picture.mean()) * window) for picture in (a, b)]
    fy, fx = (scipy.fft.fftfreq(n) for n in a.shape)
    frequency = np.hypot(fy[:, None], fx[None, :])
    side = min(a.shape)
    ring = np.rint(frequency * side).astype(np.int64).ravel()
    rings = side // 2 + 1

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(ring, weights=values.ravel(), minlength=int(ring.max()) + 1)
        return sums.astype(np.float64)[1:rings]

    powers = [total(np.abs(s) ** 2) for s in spectra]
    for power, name in zip(powers, ("truth", "reconstruction"), strict=True):
        if not power.sum() > 1e-20 * a.size**2:
            return f"the {name} is constant in the rectangle"
    cross = total(np.real(spectra[0] * spectra[1].conj()))
    norm = np.sqrt(powers[0] * powers[1])
    # Rings on which neither picture has any power agree.
    agree = np.where(powers[0] + powers[1] > 0, 0.0, 1.0)
    curve = np.divide(cross, norm, out=agree, where=norm > 0)
    kept = float((window**2).mean() ** 2 / (window**4).mean())
    friedel = 1.0 if np.iscomplexobj(a) or np.iscomplexobj(b) else 0.5
    root = np.sqrt(np.maximum(1.0, total(np.ones_like(frequency)) * friedel * kept))
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    return RingCorrelation(total(frequency) / total(np.ones_like(frequency)), np.clip(curve, -1, 1), half_bit)


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
