"""Sums over the evaluated pixels from which errors and correlations follow, gathered band by band.

Belongs here: the sums and how those of two bands combine. Does not belong here: what a score means (``metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Sums over pixels of truth t and estimate e, real or complex.

    Attributes
    ----------
    pixels : int
    means : (t, e)
    centred : (t, e)
        Sums of |t - mean|^2 and |e - mean|^2.
    common : float
        Real part of the sum of conj(t - mean) (e - mean).
    power : (t, e)
        Sums of |t|^2 and |e|^2.
    absolute_error, squared_error : float
        Sums of |e - t| and |e - t|^2.
    """

    pixels: int
    means: tuple[complex, complex]
    centred: tuple[float, float]
    common: float
    power: tuple[float, float]
    absolute_error: float
    squared_error: float

    @classmethod
    def of(cls, truth: NDArray[np.inexact], estimate: NDArray[np.inexact]) -> Moments:
        """Sums over vectors (pixels,), at least one pixel."""
        means = (complex(truth.mean()), complex(estimate.mean()))
        a, b = truth - truth.mean(), estimate - estimate.mean()
        error = np.abs(estimate - truth)
        return cls(
            truth.size,
            means,
            (_power(a), _power(b)),
            float(np.real(np.vdot(a, b))),
            (_power(truth), _power(estimate)),
            float(error.sum()),
            float((error**2).sum()),
        )

    def joined(self, other: Moments) -> Moments:
        """Sums over the pixels of both (Chan, Golub and LeVeque, Am. Stat. 37, 242, 1983), free of cancellation."""
        n = self.pixels + other.pixels
        weight = self.pixels * other.pixels / n
        step = [b - a for a, b in zip(self.means, other.means, strict=True)]
        means = [a + d * other.pixels / n for a, d in zip(self.means, step, strict=True)]
        centred = [a + b + weight * abs(d) ** 2 for a, b, d in zip(self.centred, other.centred, step, strict=True)]
        return Moments(
            n,
            (means[0], means[1]),
            (centred[0], centred[1]),
            self.common + other.common + weight * (step[0].conjugate() * step[1]).real,
            (self.power[0] + other.power[0], self.power[1] + other.power[1]),
            self.absolute_error + other.absolute_error,
            self.squared_error + other.squared_error,
        )


def _power(values: NDArray[np.inexact]) -> float:
    return float(np.vdot(values, values).real)
