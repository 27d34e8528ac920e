"""Paired test of two objects over the frames of a scan, whose windows overlap.

Where two windows share light, an error of an object there changes the likelihood of both frames: their differences are
correlated, and a test that takes frames as independent calls equal methods different far too often. Belongs here: the
test. Does not belong here: which likelihoods are compared (``judge``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
import scipy.spatial
import scipy.stats
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.probe_modes import added
from fly64_assets.physics.windows import Scan

FRAMES_AT_ONCE: Final = 64
"""Frames whose neighbours are held at a time."""
LEAST_SHARED: Final = 1e-3
"""Shared light below which two frames count as independent."""
LEAST_AREAS: Final = 3.0
"""Independent areas below which there is no test."""

Real = NDArray[np.float64]


@dataclass(frozen=True)
class FrameTest:
    """Mean difference over frames, its standard error, and the two-sided probability of one so large by chance.

    ``independent`` is the number of independent frames that would give this error; ``reason`` says why ``error`` and
    ``p`` are missing.
    """

    frames: int
    mean: float
    error: float | None
    independent: float | None
    p: float | None
    reason: str | None = None


class SharedLight:
    """How much light the frames of a scan share, w_ij in [0, 1]: the weights of a variance over overlapping windows.

    w is the autocorrelation of the probe's intensity at the distance of two frames, 1 for a frame with itself. It is
    positive definite, so that a variance estimated with it is never negative (Conley, J. Econometrics 92, 1, 1999).

    Examples
    --------
    Frames that are far apart are independent: the error is that of independent values.

    >>> scan = Scan(np.arange(50.0) * 40 + 16, np.full(50, 16.0), (32, 2048), 8)
    >>> found = SharedLight(np.ones((8, 8)), scan).test(np.random.default_rng(1).normal(size=50))
    >>> round(found.error * 50**0.5, 1), round(found.independent)
    (0.9, 50)
    """

    def __init__(self, probe: NDArray[np.complexfloating], scan: Scan) -> None:
        intensity = added(np.abs(probe.astype(np.complex128)) ** 2)
        n = len(intensity)
        power = np.abs(scipy.fft.rfft2(intensity, (2 * n, 2 * n))) ** 2
        shared = scipy.fft.fftshift(scipy.fft.irfft2(power, (2 * n, 2 * n)))
        self._shared: Real = shared / shared.max()
        self._middle = n
        self._places = np.stack([scan.y, scan.x], axis=1)
        steps = np.indices(shared.shape) - n
        self._reach = float(np.hypot(*steps)[self._shared >= LEAST_SHARED].max()) + 1.0

    @cached_property
    def areas(self) -> float:
        """Number of independent areas n / (mean over i of sum over j of w_ij)."""
        n = len(self._places)
        return n / float(self._weighted(np.ones((n, 1)))[0] / n)

    def test(self, differences: Real) -> FrameTest:
        """Whether the mean of differences (n,) could be 0: Student's t with as many degrees as there are areas."""
        return self.tests(differences[:, None])[0]

    def tests(self, differences: Real) -> list[FrameTest]:
        """:meth:`test` for every column of differences (n, k)."""
        n = len(self._places)
        means = [math.fsum(column) / n for column in differences.T.tolist()]
        if not self.areas > LEAST_AREAS:
            reason = (
                f"all frames share their light: {self.areas:.1f} independent areas, more than {LEAST_AREAS:g} needed"
            )
            return [FrameTest(n, mean, None, None, None, reason) for mean in means]
        residuals = differences - np.array(means)
        # The mean takes a part of the variance with it, as n - 1 instead of n for independent values.
        variances = self._weighted(residuals) / n**2 / (1 - 1 / self.areas)
        spreads = residuals.var(axis=0, ddof=1)
        return [
            _tested(n, mean, float(v), float(spread), self.areas - 1)
            for mean, v, spread in zip(means, variances, spreads, strict=True)
        ]

    def _weighted(self, values: Real) -> Real:
        """Sum over i and j of v_i w_ij v_j (k,), for columns (n, k)."""
        tree, total = scipy.spatial.cKDTree(self._places), np.zeros(values.shape[1])
        for part in blocks(len(values), FRAMES_AT_ONCE):
            near: Any = tree.query_ball_point(self._places[part], self._reach)
            rows = np.repeat(np.arange(len(near)), [len(found) for found in near])
            columns = np.concatenate([np.array(found, np.int64) for found in near])
            steps = (self._places[part][rows] - self._places[columns]).T + self._middle
            weights = scipy.ndimage.map_coordinates(self._shared, steps, order=1)
            block = scipy.sparse.csr_array((weights, (rows, columns)), shape=(len(near), len(values)))
            total += (values[part] * np.asarray(block @ values)).sum(axis=0)
        return total


def _tested(n: int, mean: float, variance: float, spread: float, degrees: float) -> FrameTest:
    if not variance > 0:
        # Every frame gives the same difference: certain if there is one at all.
        return FrameTest(n, mean, 0.0, float(n), 0.0 if mean else 1.0)
    error = math.sqrt(variance)
    p = 2 * float(scipy.stats.t.sf(abs(mean) / error, degrees))
    return FrameTest(n, mean, error, min(float(n), spread / variance), p)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Adjusted probabilities of several tests: below 0.05 with a chance of 5 % that any of them is wrong.

    Holm, Scand. J. Statist. 6, 65, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(probabilities, kind="stable")
    steps = np.array(probabilities)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]
