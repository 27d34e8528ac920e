"""Poisson deviance of a reconstruction, and what it would be if the reconstruction were true.

Fitting until the deviance falls below its expectation means fitting noise; stopping where they meet is Morozov's
discrepancy principle, here for counts (Bertero et al., Inverse Problems 26, 105004, 2010).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from fly64_assets.physics.counts import RATE_FLOOR
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement

LARGE_RATE: Final = 100.0


def deviance(counts: NDArray[np.floating], rates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Poisson deviance 2 (c log(c / lambda) - c + lambda) of each pixel; 0 where counts equal rates."""
    rates = np.maximum(rates, RATE_FLOOR)
    result: NDArray[np.float64] = 2 * (xlogy(counts, counts / rates) - counts + rates)
    return result


def expected_deviance(rates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean deviance of Poisson counts with these rates, each pixel by itself.

    Tabulated by summing the distribution below 100 counts; 1 + 1 / (6 lambda) + 1 / (6 lambda^2) above.
    """
    rates = np.maximum(rates, RATE_FLOOR)
    logarithms, table = _table()
    low = np.interp(np.log(np.minimum(rates, LARGE_RATE)), logarithms, table)
    return np.where(rates > LARGE_RATE, 1 + 1 / (6 * rates) + 1 / (6 * rates**2), low)


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    logarithms = np.linspace(np.log(RATE_FLOOR), np.log(LARGE_RATE), 2000)
    rates = np.exp(logarithms)
    counts = np.arange(400)[:, None]
    probability = np.exp(xlogy(counts, rates) - rates - gammaln(counts + 1))
    return logarithms, (probability * deviance(counts.astype(np.float64), rates)).sum(axis=0)


def mean_deviances(
    obj: NDArray[np.complexfloating],
    probe: NDArray[np.complexfloating],
    measurement: Measurement,
    frames: NDArray[np.int64],
) -> tuple[float, float]:
    """Mean deviance per pixel of some frames, and its expectation if the object were true.

    Parameters
    ----------
    obj : (H, W) complex
    probe : (N, N) complex
        In the scale of ``measurement.probe``.
    frames : (k,) int64
        Frames to look at.
    """
    found = expected = 0.0
    for part in blocks(len(frames)):
        index = frames[part]
        x, y = measurement.x[index], measurement.y[index]
        rates = patch_counts(obj, probe, x, y, measurement.intensity_scale)
        found += float(deviance(measurement.counts(index), rates).sum())
        expected += float(expected_deviance(rates).sum())
    pixels = len(frames) * measurement.patch_size**2
    return found / pixels, expected / pixels
