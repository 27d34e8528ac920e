"""A simulated detector: pixels that do not measure, a largest count, and noise of the read-out.

The photons that reach the detector are Poisson counts. A pixel gives rint(photons + noise), cut at zero and at the
saturation level; a bad pixel gives nothing. Paths and designs do not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.contract.masks import has_too_few_good
from fly64_assets.contract.metadata import positive_parameter
from fly64_assets.contract.schema import Dataset
from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import READ_OUT, frame_generators
from fly64_assets.physics.forward import blocks, exact_mean, patch_counts
from fly64_assets.physics.windows import Scan, cached_frames
from fly64_assets.simulation.recipe import DetectorSettings

KNOTS_PER_ROOT: Final = 32
"""Knots of a table per unit of the square root of the rate, in which a Poisson variable has the width 1/2."""

TAIL: Final = 8.0
"""Standard deviations beyond which a tail of a distribution counts nothing in double precision."""


@dataclass(frozen=True)
class Detector:
    """What becomes of the photons in each pixel.

    Attributes
    ----------
    bad : (N, N) bool or None
        True at pixels that do not measure; None where all do.
    saturation : int
        Largest count that a pixel gives; 0 without one.
    read_noise : float
        Standard deviation of the Gaussian noise of the read-out in counts; 0 without.
    """

    bad: NDArray[np.bool_] | None
    saturation: int
    read_noise: float

    @classmethod
    def of(cls, dataset: Dataset) -> Self | None:
        """The detector with which a simulated data set was made; None where it counted every photon."""
        saturation, noise = (
            positive_parameter(dataset.metadata, name) for name in ("saturation_counts", "read_noise_counts")
        )
        if dataset.bad_pixels is None and saturation is None and noise is None:
            return None
        return cls(dataset.bad_pixels, int(saturation or 0), noise or 0.0)

    @property
    def physics(self) -> dict[str, Any]:
        """What ``physics_parameters`` of a data set says of saturation and noise."""
        found = {"saturation_counts": self.saturation, "read_noise_counts": self.read_noise}
        return {name: value for name, value in found.items() if value}

    @property
    def bad_pixels(self) -> int:
        """Number of pixels that do not measure."""
        return 0 if self.bad is None else int(np.count_nonzero(self.bad))

    def noise_variance(self, pixels: int) -> float:
        """Variance that reading adds to the counts of a frame of so many pixels, rounding among it."""
        return (pixels - self.bad_pixels) * (self.read_noise**2 + 1 / 12) if self.read_noise else 0.0

    def record(
        self, photons: NDArray[np.int64], frames: NDArray[np.int64], seed: int, dose: int, repeat: int = 1
    ) -> NDArray[np.int64]:
        """Counts (b, N, N) int64 that the detector gives of the photons of some frames; 0 at bad pixels.

        The noise has a stream of its own in the generator of each frame, so that it changes no photon, and neither
        blocks nor the mask change it.
        """
        counts = photons
        if self.read_noise:
            counts = counts.copy()
            for row, generator in enumerate(frame_generators(seed, dose, frames.tolist(), repeat, READ_OUT)):
                noise = np.rint(generator.normal(0.0, self.read_noise, counts.shape[1:]))
                counts[row] = np.maximum(counts[row] + noise.astype(np.int64), 0)
        if self.saturation:
            counts = np.minimum(counts, self.saturation)
        return counts if self.bad is None else np.where(self.bad, 0, counts)

    def expected_counts(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expected value of :meth:`record` per pixel, of rates (b, N, N) in photons."""
        expected = rates
        if self._below_zero is not None:
            expected = expected + self._below_zero.at(rates)
        if self._above_saturation is not None:
            expected = np.where(
                np.sqrt(rates) > self._above_saturation.high,
                self.saturation,
                expected - self._above_saturation.at(rates),
            )
        return expected if self.bad is None else np.where(self.bad, 0.0, expected)

    def mean_counts(
        self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], scan: Scan, scale: float
    ) -> float:
        """Expected counts of a frame, averaged over the frames of a scan."""
        totals = [
            self.expected_counts(patch_counts(obj, probe, scan[part], scale)).sum(axis=(1, 2))
            for part in blocks(len(scan), cached_frames(scan.patch_size))
        ]
        return exact_mean(np.concatenate(totals))

    @cached_property
    def _noise(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Values of the rounded noise, and their probabilities."""
        if not self.read_noise:
            return np.zeros(1, np.int64), np.ones(1)
        most = math.ceil(TAIL * self.read_noise) + 1
        values = np.arange(-most, most + 1)
        return values, scipy.special.ndtr((values + 0.5) / self.read_noise) - scipy.special.ndtr(
            (values - 0.5) / self.read_noise
        )

    @cached_property
    def _below_zero(self) -> Table | None:
        """Expected part of photons + noise below zero, E max(0, -(c + noise))."""
        values, shares = self._noise
        below = values < 0
        if not below.any():
            return None
        least, shares = -values[below], shares[below]
        high = TAIL / 2 + math.sqrt(TAIL**2 / 4 + values[-1]) + 1
        # max(0, b - c) = max(0, c - b) + b - c
        return Table.of(lambda rate: (_above(rate, least) + least - rate) @ shares, 0.0, high)

    @cached_property
    def _above_saturation(self) -> Table | None:
        """Expected part of photons + noise above the saturation level, E max(0, c + noise - S)."""
        if not self.saturation:
            return None
        values, shares = self._noise
        low = math.sqrt(max(self.saturation - values[-1], 0)) - TAIL
        high = math.sqrt(self.saturation + values[-1]) + TAIL
        return Table.of(lambda rate: _above(rate, self.saturation - values) @ shares, max(low, 0.0), high)


@dataclass(frozen=True)
class Table:
    """A smooth function of the rate, tabulated over its square root from ``low`` to ``high``."""

    low: float
    high: float
    spline: scipy.interpolate.CubicSpline

    @classmethod
    def of(cls, function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, high: float) -> Self:
        """Tabulate a function from rates (k, 1) to values (k,)."""
        knots = np.linspace(low, high, math.ceil((high - low) * KNOTS_PER_ROOT) + 4)
        return cls(low, high, scipy.interpolate.CubicSpline(knots, function(knots[:, None] ** 2)))

    def at(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The function, 0 outside of the table."""
        roots, values = np.sqrt(rates), np.zeros_like(rates)
        inside = (roots >= self.low) & (roots <= self.high)
        values[inside] = self.spline(roots[inside])
        return values


def make_detector(settings: DetectorSettings, size: int, mask: NDArray[np.bool_] | None = None) -> Detector:
    """The detector of a study with frames of N x N pixels, ``size`` = N; ``mask`` is that of its file.

    Raises :class:`ContractError` if the mask has another shape, or if more than half of the detector would be bad and
    not just a rim around its middle, as in frames that were enlarged.

    Examples
    --------
    >>> detector = make_detector(DetectorSettings(gap_rows=((2, 1),), saturation=50), 8)
    >>> detector.bad_pixels, detector.record(np.full((1, 8, 8), 99), np.array([0]), 1, 1)[0, :3, 0].tolist()
    (8, [50, 50, 0])
    """
    bad = settings.pattern(size)
    if mask is not None:
        if mask.shape != bad.shape:
            raise ContractError(
                f"detector.mask: the mask of {settings.mask} has shape {mask.shape}; the frames of this study have "
                f"{size} x {size} pixels: cut it to the same part of the detector"
            )
        bad |= mask
    number = int(np.count_nonzero(bad))
    if has_too_few_good(bad):
        raise ContractError(
            f"detector: {number} of {bad.size} pixels would be bad, more than half; in a mask file 0 is good and "
            "another value is bad: perhaps the file has the opposite convention"
        )
    return Detector(bad if number else None, settings.saturation, settings.read_noise)


def detector_step(detector: Detector) -> Mapping[str, Any]:
    """What a data set's history says of its detector."""
    return {"bad_pixels": detector.bad_pixels, **detector.physics}


def _above(rate: NDArray[np.float64], limit: NDArray[np.int64]) -> NDArray[np.float64]:
    """E max(0, c - a) of Poisson counts c with a rate, for whole a: rate P(c >= a) - a P(c > a)."""
    least = np.maximum(limit, 1)
    expected = rate * scipy.special.pdtrc(least - 1, rate) - least * scipy.special.pdtrc(least, rate)
    above: NDArray[np.float64] = np.where(limit > 0, expected, rate - limit)
    return above
