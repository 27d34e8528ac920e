"""What pixels and frames of a detector gave, gathered in the one pass over the frames.

The findings are in ``pixel_findings`` and ``frame_findings``. Light is counted in photons where the unit is known:
(s X)^2 of amplitudes with a scale s, the values themselves of integers. Otherwise it is the square of the stored
values, in an unknown unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_KINDS: Final = 4
"""Distinct negative values that are remembered: detectors mark pixels with one or two of them."""


@dataclass
class DetectorStatistics:
    """Sums and extremes over frames (n, M, N); bad pixels count as 0.

    Attributes
    ----------
    shape : (M, N)
    frames : int
        Number of frames seen.
    light : (M, N) float64
        Light of each pixel, summed over the frames.
    totals : list of float
        Light of each frame.
    least : float
        Smallest positive value, infinity where none was looked for.
    top : float
        Largest value in the frames; ``top_numbers`` are the frames that hold it, ``top_in_one`` is the most pixels
        of one frame that do, and ``top_seen`` (M, N) the number of frames in which each pixel does.
    missing, negative : (M, N) int64
        Number of frames in which each pixel is not finite, or negative.
    negative_values : list of float
        The first few distinct negative values.
    """

    shape: tuple[int, int]
    frames: int = 0
    light: NDArray[np.float64] = field(init=False)
    totals: list[float] = field(default_factory=list)
    least: float = math.inf
    top: float = 0.0
    top_numbers: list[int] = field(default_factory=list)
    top_in_one: int = 0
    top_seen: NDArray[np.int64] = field(init=False)
    missing: NDArray[np.int64] = field(init=False)
    negative: NDArray[np.int64] = field(init=False)
    negative_values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.light = np.zeros(self.shape)
        self.top_seen, self.missing, self.negative = (np.zeros(self.shape, np.int64) for _ in range(3))

    def add_extremes(self, block: NDArray[Any], largest: NDArray[Any]) -> None:
        """Count where finite values (b, M, N) reach the largest one so far; ``largest`` (b,) of each frame."""
        start = self.frames
        self.frames += len(block)
        most = float(largest.max(initial=0))
        if most < self.top or most <= 0:
            return
        if most > self.top:
            self.top, self.top_numbers, self.top_in_one = most, [], 0
            self.top_seen[:] = 0
        holders = np.flatnonzero(largest == largest.max())
        reached = block[holders] == largest.max()
        self.top_numbers += (start + holders).tolist()
        self.top_in_one = max(self.top_in_one, int(np.count_nonzero(reached, axis=(1, 2)).max()))
        self.top_seen += np.count_nonzero(reached, axis=0)

    @property
    def top_frames(self) -> int:
        """Number of frames that hold the largest value."""
        return len(self.top_numbers)

    def add_missing(self, finite: NDArray[np.bool_]) -> None:
        """Count which values of a block are not finite."""
        self.missing += np.count_nonzero(~finite, axis=0)

    def add_negative(self, block: NDArray[Any]) -> None:
        """Count which values of a block are negative, and remember the first few."""
        below = block < 0
        self.negative += np.count_nonzero(below, axis=0)
        if len(self.negative_values) <= MOST_KINDS:
            known = {*self.negative_values, *np.unique(block[below])[: MOST_KINDS + 1].tolist()}
            self.negative_values = sorted(known)[: MOST_KINDS + 1]
