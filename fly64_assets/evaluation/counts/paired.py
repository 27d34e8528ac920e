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
import scipy
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
    """How much light the frames of a scan share, w_ij in [0, 1]: how what they see of an object's errors correlates.

    A difference of likelihoods has two parts: noise of the counts, of each frame its own, and errors of the objects,
    which count with the probe's intensity. If neighbouring pixels have independent errors, two frames correlate by the
    autocorrelation w of that intensity at their distance, 1 for a frame with itself. Both variances are found from the
    differences by their moments (analysis of variance; Searle, Casella and McCulloch, Variance Components, 1992).

    Examples
    --------
    Frames that are far apart are independent: the error is that of independent values.

    >>> scan = Scan(np.arange(50.0) * 40 + 16, np.full(50, 16.0), (32, 2048), 8)
    >>> values = np.random.default_rng(1).normal(size=50)
    >>> found = SharedLight(np.ones((8, 8)), scan).test(values)
    >>> bool(np.isclose(found.error, values.std(ddof=1) / 50**0.5)), round(found.independent)
    (True, 50)
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

    @property
    def areas(self) -> float:
        """Number of independent areas n / (mean over i of sum over j of w_ij)."""
        return len(self._places) ** 2 / self._sums[0]

    def test(self, differences: Real) -> FrameTest:
        """Whether the mean of differences (n,) could be 0: Student's t with as many degrees as there are areas."""
        n, areas = len(self._places), self.areas
        mean = math.fsum(differences.tolist()) / n
        if not areas > LEAST_AREAS:
            reason = f"the frames share their light: {areas:.1f} independent areas, more than {LEAST_AREAS:g} needed"
            return FrameTest(n, mean, None, None, None, reason)
        residuals = differences - mean
        own = float((residuals**2).sum())
        if own <= n * (1e-12 * abs(mean)) ** 2:
            # Every frame gives the same difference: certain if there is one at all.
            return FrameTest(n, mean, 0.0, float(n), 0.0 if mean else 1.0)
        error = math.sqrt(self._variance(own, float(residuals @ self._weighted(residuals))))
        p = 2 * float(scipy.stats.t.sf(abs(mean) / error, areas - 1))
        return FrameTest(n, mean, error, own / (n - 1) / error**2, p)

    def _variance(self, own: float, shared: float) -> float:
        """Variance of a mean from the sums r_i^2 and r_i w_ij r_j over residuals r.

        The expectation of a sum r K r is the trace of K M C M, where M takes the mean away and C = common w + single 1
        is the covariance.
        """
        n = len(self._places)
        total, squares, twice = self._sums
        of_own = np.array([n - total / n, n - 1.0])
        of_shared = np.array([squares - 2 * twice / n + (total / n) ** 2, n - total / n])
        rows = np.stack([of_own, of_shared])
        # Of frames that share nothing both sums are the same.
        common, single = np.linalg.lstsq(rows, np.array([own, shared]), rcond=1e-9)[0]
        if common < 0 or single < 0:
            common, single = (0.0, own / of_own[1]) if common < 0 else (own / of_own[0], 0.0)
        return float(common * total + single * n) / n**2

    @cached_property
    def _sums(self) -> tuple[float, float, float]:
        """Sums over frames of w_ij, of w_ij^2 and of w_ij w_jk."""
        ones = np.ones(len(self._places))
        rows = self._weighted(ones)
        return float(rows.sum()), float(self._weighted(ones, power=2).sum()), float((rows**2).sum())

    def _weighted(self, values: Real, power: int = 1) -> Real:
        """Sum over j of w_ij^power v_j (n,), for values (n,)."""
        tree, total = scipy.spatial.cKDTree(self._places), np.zeros(len(values))
        for part in blocks(len(values), FRAMES_AT_ONCE):
            near: Any = tree.query_ball_point(self._places[part], self._reach)
            rows = np.repeat(np.arange(len(near)), [len(found) for found in near])
            columns = np.concatenate([np.array(found, np.int64) for found in near])
            steps = (self._places[part][rows] - self._places[columns]).T + self._middle
            weights = scipy.ndimage.map_coordinates(self._shared, steps, order=1) ** power
            total[part] = np.bincount(rows, weights * values[columns], len(near))
        return total


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
