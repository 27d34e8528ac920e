"""Fourier ring correlation, with the truth or of two halves of the frames, and the resolution it gives.

Belongs here: the curve, its thresholds and its crossings, and the division of frames into two independent halves. Does
not belong here: scores in real space (``metrics``) and reconstruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.alignment import Alignment, align
from fly64_assets.evaluation.scores.bands import SINGLE_FROM, Pictures, bands, cropped
from fly64_assets.evaluation.scores.metrics import Score, no_score
from fly64_assets.evaluation.scores.region import (
    LEAST_RECTANGLE_PX,
    NO_RECTANGLE,
    Rectangle,
    evaluation_region,
    largest_rectangle,
    scan_box,
)
from fly64_assets.physics.measurement import Measurement

NYQUIST_PERIOD_PX: Final = 2.0
"""Shortest full period on a pixel grid."""


@dataclass(frozen=True)
class RingCorrelation:
    """Correlation of two pictures on rings of Fourier space, each (rings,) float64.

    Mean frequency [cycles/px] up to Nyquist, real part of the normalised cross-spectrum, and the half-bit threshold for
    the number of independent values in the ring.
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


TRUTH_AND_RESULT: Final = ("truth", "reconstruction")


def ring_correlation(
    pictures: Pictures, shape: tuple[int, ...], names: tuple[str, str] = TRUTH_AND_RESULT
) -> RingCorrelation | str:
    """Fourier ring correlation of two pictures, real or complex, under a Tukey window; or why there is none.

    Rings are one step of the shorter side's spectrum wide (Saxton and Baumeister, J. Microsc. 127, 127, 1982). The
    half-bit threshold is that of van Heel and Schatz (J. Struct. Biol. 151, 250, 2005, eq. 17): (0.2071 + 1.9102 /
    sqrt n) / (1.2071 + 0.9102 / sqrt n), where n counts independent values of a ring: half of them for real
    pictures (Friedel symmetry), times the share of the picture that the window leaves.

    ``pictures`` gives both on a slice of rows, ``shape`` is theirs (h, w); from ``bands.SINGLE_FROM`` pixels on the
    transforms are in single precision and in place, two complex64 copies in all. ``names`` says in a reason what the
    two are.

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
        powers, cross = (np.abs(first) ** 2, np.abs(second) ** 2), np.real(first * second.conj())
        terms = (*powers, cross, frequency, np.ones_like(frequency))
        rings = sums.shape[1]
        sums += [np.bincount(ring, weights=values.ravel(), minlength=rings)[:rings] for values in terms]
    *totals, cross, frequencies, count = sums[:, 1:]
    for power, name in zip(totals, names, strict=True):
        if not power.sum() > 1e-20 * (shape[0] * shape[1]) ** 2:
            return f"the {name} is constant in the rectangle"
    norm = np.sqrt(totals[0] * totals[1])
    # Rings on which neither picture has any power agree.
    agree = np.where(totals[0] + totals[1] > 0, 0.0, 1.0)
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

    The fall is the first one after two neighbouring rings above the threshold: diffraction determines the lowest
    spatial frequencies worst, so that the lowest rings may lie below it (a remark says so), and a single ring may lie
    above it by chance. Between rings the crossing is interpolated linearly in frequency. A curve that never falls
    below gives
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


def rectangle_correlation(
    pictures: Pictures, rectangle: Rectangle | None, names: tuple[str, str] = TRUTH_AND_RESULT
) -> RingCorrelation | str:
    """Ring correlation of two pictures (H, W) in a rectangle, or why there is none; ``names`` are theirs."""
    if rectangle is None:
        return NO_RECTANGLE
    return ring_correlation(cropped(pictures, rectangle), (rectangle.height, rectangle.width), names)


def resolutions(rings: RingCorrelation | str, threshold: float) -> dict[str, Score]:
    """Full periods [px] at which a curve falls below ``threshold`` and below the half-bit curve."""
    return {"frc_05": resolution(rings, threshold), "frc_half_bit": resolution(rings)}


@dataclass(frozen=True)
class HalfSets:
    """Agreement of two reconstructions from independent halves of the frames.

    The halves share no noise, so that their correlation falls where the signal does. It shows how far a result can be
    *repeated*, not how right it is: an error that both have in common (a prior, a wrong probe) counts as signal.

    The curve is that of the complex fields in the largest rectangle that both halves illuminate, or why there is none;
    the scores are those of :func:`resolutions`, the alignment that of the second reconstruction with the first.
    """

    curve: RingCorrelation | str
    scores: Mapping[str, Score]
    alignment: Alignment | None
    frames: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "frames": list(self.frames),
            "scores": {name: {"value": s.value, "reason": s.reason} for name, s in self.scores.items()},
            "frc": {"reason": self.curve} if isinstance(self.curve, str) else self.curve.to_dict(),
            "alignment": self.alignment.to_dict() if self.alignment else None,
        }


def half_indices(scan_index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (n1,), (n2,) of every other frame, in the order of the scan, and of the rest: no frame is in both.

    Raises
    ------
    ValueError
        If there are fewer than two frames.

    Examples
    --------
    >>> half_indices(np.array([4, 2, 0, 6, 8]))
    (array([0, 2, 4]), array([1, 3]))
    """
    if len(scan_index) < 2:
        raise ValueError(f"{len(scan_index)} frames cannot be divided into two halves")
    order = np.argsort(scan_index, kind="stable")
    return np.sort(order[::2]), np.sort(order[1::2])


def compare_halves(
    objects: tuple[NDArray[np.complexfloating], NDArray[np.complexfloating]],
    halves: tuple[Measurement, Measurement],
    *,
    coverage_threshold: float,
    max_shift_px: float,
    frc_threshold: float,
    remove_ramp: bool = False,
) -> HalfSets:
    """Correlate two reconstructions (H, W) after the alignment that all methods get; no truth is needed.

    Pixels count that both halves illuminate well enough. A reconstruction that cannot be aligned gives no value.

    Raises
    ------
    ValueError
        If a reconstruction is not on the grid of its measurement.
    """
    for obj, half in zip(objects, halves, strict=True):
        if obj.shape != tuple(half.object_shape):
            raise ValueError(f"a reconstruction has shape {obj.shape}, the measurement has {half.object_shape}")
    masks = [
        evaluation_region(m.modes, m.scan, threshold=coverage_threshold, scan_box=scan_box(m.scan)).mask for m in halves
    ]
    mask = masks[0] & masks[1]
    curve: RingCorrelation | str
    aligned = None
    try:
        aligned = align(objects[1], objects[0], mask, max_shift_px=max_shift_px, remove_ramp=remove_ramp)
    except ValueError as error:
        curve = str(error)
    else:
        rectangle = largest_rectangle(mask, LEAST_RECTANGLE_PX)
        curve = rectangle_correlation(lambda part: (objects[0][part], aligned.rows(part)), rectangle)
    return HalfSets(curve, resolutions(curve, frc_threshold), aligned, (halves[0].frames, halves[1].frames))
