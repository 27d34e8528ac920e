"""Poisson deviance of counts, pixel by pixel, and what it is on average if the rates are true.

Belongs here: both functions of plain numbers. Does not belong here: frames (``photons``), rules (``stopping``).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from fly64_assets.physics.counts import RATE_FLOOR

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
    # Linear between the points of an even grid, whose places need no search.
    place = (np.log(np.minimum(rates, LARGE_RATE)) - logarithms[0]) / (logarithms[1] - logarithms[0])
    left = np.minimum(place.astype(np.int64), len(table) - 2)
    mean: NDArray[np.float64] = table[left] + (place - left) * np.diff(table)[left]
    bright = rates > LARGE_RATE
    mean[bright] = 1 + 1 / (6 * rates[bright]) + 1 / (6 * rates[bright] ** 2)
    return mean


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    logarithms = np.linspace(np.log(RATE_FLOOR), np.log(LARGE_RATE), 2000)
    rates = np.exp(logarithms)
    counts = np.arange(400)[:, None]
    probability = np.exp(xlogy(counts, rates) - rates - gammaln(counts + 1))
    return logarithms, (probability * deviance(counts.astype(np.float64), rates)).sum(axis=0)
