"""Counts divided into those that are fitted and those that are held out, and how well an object explains both.

Binomial thinning of Poisson counts gives two independent sets of Poisson counts, so a reconstruction from one is judged
by the other without the truth: its deviance falls while the object gets better and rises when noise is fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from fly64_assets.physics.counts import RATE_FLOOR, frame_generator, thin_counts
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.physics.windows import Scan

FITTED_FRAMES: Final = 256
"""Frames in which the deviance of the fitted counts is evaluated after every epoch."""
HELD_OUT_PIXELS: Final = 2**22
"""Detector pixels in which the held-out counts are evaluated: epochs that differ little need many counts to decide."""
HELD_OUT_FRACTION: Final = 0.05
"""Part of the counts that is held out where they decide when to stop."""
LARGE_RATE: Final = 100.0
"""Counts per pixel above which the expected deviance comes from its series."""


@dataclass(frozen=True)
class Deviances:
    """Mean Poisson deviances per measured pixel of one object.

    ``fitted`` is that of the fitted counts, ``expected`` what it would be on average if the object were true, and
    ``held_out`` that of the held-out counts, NaN if there are none.
    """

    fitted: float
    expected: float
    held_out: float


class HeldOutCounts:
    """Counts of a measurement, divided at random; the division of a frame depends on the seed and its index alone.

    ``held_out`` is the part of the counts of every frame to hold out; 0 fits them all. ``fitted`` (n, N, N) float32 are
    the counts to fit, DC in the corner, as the library expects them, and ``scale`` is the s with which their
    expectation is s^2 |F P O|^2.
    """

    def __init__(self, measurement: Measurement, held_out: float, seed: int) -> None:
        self._measurement = measurement
        self._fraction = held_out
        n, size = measurement.frames, measurement.patch_size
        self.scale = measurement.intensity_scale * math.sqrt(1 - held_out)
        self.fitted = np.empty((n, size, size), np.float32)
        self._fitted_frames = evenly_spread(n, FITTED_FRAMES)
        most = max(FITTED_FRAMES, HELD_OUT_PIXELS // size**2)
        self._held_out_frames = evenly_spread(n, most) if held_out else np.empty(0, np.int64)
        self._held_out = np.empty((len(self._held_out_frames), size, size), np.float32)
        for part in blocks(n):
            counts = measurement.counts(part)
            taken = np.zeros_like(counts)
            if held_out:
                for row, frame in enumerate(range(part.start, part.stop)):
                    taken[row] = thin_counts(counts[row], held_out, frame_generator(seed, 0, frame))[1]
            self.fitted[part] = np.fft.ifftshift(counts - taken, axes=(-2, -1))
            rows = np.flatnonzero((self._held_out_frames >= part.start) & (self._held_out_frames < part.stop))
            self._held_out[rows] = taken[self._held_out_frames[rows] - part.start]

    def deviances(
        self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], scan: Scan | None = None
    ) -> Deviances:
        """Deviances of an object (H, W) and a probe (N, N) in the scale of the measurement's probe.

        ``scan`` holds refined positions of all frames, by default they are those of the measurement.
        """
        scan = self._measurement.scan if scan is None else scan
        fitted = expected = 0.0
        for part in blocks(len(self._fitted_frames)):
            index = self._fitted_frames[part]
            rates = (1 - self._fraction) * self._rates(obj, probe, scan[index])
            counts = self._measured(np.fft.fftshift(self.fitted[index], axes=(-2, -1)).astype(np.float64))
            fitted += float(deviance(counts, rates).sum())
            expected += float(expected_deviance(rates).sum())
        pixels = len(self._fitted_frames) * self._pixels
        return Deviances(fitted / pixels, expected / pixels, self._held_out_deviance(obj, probe, scan))

    def _held_out_deviance(
        self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], scan: Scan
    ) -> float:
        if not self._fraction:
            return math.nan
        total = 0.0
        for part in blocks(len(self._held_out_frames)):
            rates = self._fraction * self._rates(obj, probe, scan[self._held_out_frames[part]])
            # Nearly all pixels hold no held-out count, and their deviance is twice the rate.
            held_out = self._measured(self._held_out[part])
            occupied = held_out > 0
            counts = held_out[occupied].astype(np.float64)
            total += float(deviance(counts, rates[occupied]).sum()) + 2 * float(rates[~occupied].sum())
        return total / (len(self._held_out_frames) * self._pixels)

    def _rates(
        self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], scan: Scan
    ) -> NDArray[np.float64]:
        """Expected counts of frames in their measured pixels, as :meth:`_measured` gives them."""
        return self._measured(patch_counts(obj, probe, scan, self._measurement.intensity_scale))

    @property
    def _pixels(self) -> int:
        """Measured pixels of a frame."""
        bad = self._measurement.bad_pixels
        return self._measurement.patch_size**2 - (0 if bad is None else int(bad.sum()))

    def _measured(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Frames (b, N, N) as they are, or (b, k) of their measured pixels alone if some are bad."""
        bad = self._measurement.bad_pixels
        return frames if bad is None else frames[:, ~bad]


def deviance(counts: NDArray[np.floating], rates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Poisson deviance 2 (c log(c / lambda) - c + lambda) of each pixel; 0 where counts equal rates.

    Examples
    --------
    >>> import numpy as np
    >>> deviance(np.array([0.0, 4.0, 8.0]), np.array([1.5, 4.0, 4.0])).round(3)
    array([3.  , 0.  , 3.09])
    """
    rates = np.maximum(rates, RATE_FLOOR)
    result: NDArray[np.float64] = 2 * (xlogy(counts, counts / rates) - counts + rates)
    return result


def expected_deviance(rates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean deviance of Poisson counts with these rates, pixel by pixel.

    Up to 100 counts interpolated in a table of sums over the Poisson distribution, and above
    1 + 1 / (6 lambda) + 1 / (6 lambda^2).

    Examples
    --------
    >>> import numpy as np
    >>> expected_deviance(np.array([0.01, 1.0, 1e4])).round(3)
    array([0.092, 1.147, 1.   ])
    """
    rates = np.maximum(rates, RATE_FLOOR)
    logarithms, table = _expected_deviance_table()
    # The grid is even in log(rate), so that a rate's place in it is computed and not searched for.
    place = (np.log(np.minimum(rates, LARGE_RATE)) - logarithms[0]) / (logarithms[1] - logarithms[0])
    left = np.minimum(place.astype(np.int64), len(table) - 2)
    mean: NDArray[np.float64] = table[left] + (place - left) * np.diff(table)[left]
    bright = rates > LARGE_RATE
    mean[bright] = 1 + 1 / (6 * rates[bright]) + 1 / (6 * rates[bright] ** 2)
    return mean


@cache
def _expected_deviance_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of the rates, and the mean deviance at each."""
    logarithms = np.linspace(np.log(RATE_FLOOR), np.log(LARGE_RATE), 2000)
    rates = np.exp(logarithms)
    counts = np.arange(400)[:, None]
    probability = np.exp(xlogy(counts, rates) - rates - gammaln(counts + 1))
    return logarithms, (probability * deviance(counts.astype(np.float64), rates)).sum(axis=0)
