"""One pass over the frames of a file: values that break a rule, light per pixel and per frame, extremes.

Blocks are small enough for the processor's caches, and their arithmetic reuses the same memory, so that the time is
near that of reading the file and the memory does not grow with the number of frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.detector import DetectorStatistics
from fly64_assets.contract.frames import Frames
from fly64_assets.contract.masks import without_bad

ALWAYS_WHOLE: Final = 2.0**24
"""From here on every float32 is a whole number, which says nothing about counts."""

CACHED_ELEMENTS: Final = 2**15
"""Elements that are looked at together: three times as many float64 fit into a processor's second cache."""

SURE: Final = 1.2 * 2.0**-23
"""Relative distance of (s X)^2 from an integer k within which X is float32(sqrt(k) / s) to one unit in the last place.

X is then within 1.2 units in the last place of sqrt(k) / s, which is within half a unit of its own rounding.
"""

SQUARED_SCALES: Final = (1e-140, 1e140)
"""Scales whose squares are neither 0 nor infinite."""


@dataclass
class Tally:
    """How many values break a rule, and where the first one is."""

    number: int = 0
    first: str = ""
    value: float = math.nan

    def add(self, bad: NDArray[np.bool_], offset: int, values: NDArray[Any]) -> None:
        """Count the values of a block that starts at ``offset``."""
        found = int(np.count_nonzero(bad))
        if found and not self.number:
            index = np.unravel_index(int(np.argmax(bad)), bad.shape)
            self.first = ", ".join(str(int(i) + (offset if axis == 0 else 0)) for axis, i in enumerate(index))
            self.value = values[index]
        self.number += found


@dataclass
class FrameStatistics:
    """What one pass over the frames (n, M, N) finds at their good pixels; ``bad`` (M, N) are the others."""

    detector: DetectorStatistics
    nonfinite: Tally = field(default_factory=Tally)
    negative: Tally = field(default_factory=Tally)
    uncounted: Tally = field(default_factory=Tally)
    integers: bool = True
    largest_count: float = 0.0
    totals: list[float] = field(default_factory=list)
    intensity: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    bad: NDArray[np.bool_] | None = None

    @property
    def good_pixels(self) -> int:
        """Number of pixels of a frame that measured."""
        return self.intensity.size - (0 if self.bad is None else int(np.count_nonzero(self.bad)))

    @property
    def mean_counts(self) -> float | None:
        """Counts per frame, averaged over the frames; None where no scale is known."""
        if not self.totals:
            return None
        try:
            return math.fsum(self.totals) / len(self.totals)
        except OverflowError:
            return math.inf


def frame_statistics(frames: Frames, scale: float | None, bad: NDArray[np.bool_] | None = None) -> FrameStatistics:
    """Look at every value of the frames once; with a scale s, also at the counts rint((s X)^2). Bad pixels count as 0.

    ``bad`` (N, N) is that of :func:`fly64_assets.contract.masks.usable_mask`.
    """
    rows, columns = frames.values.shape[1:]
    found = FrameStatistics(DetectorStatistics((rows, columns)), intensity=np.zeros((rows, columns)), bad=bad)
    if frames.values.size == 0:
        return found
    telling = False
    kind = frames.values.dtype.kind
    counted = scale is not None and kind == "f"
    work = _Workspace(max(1, CACHED_ELEMENTS // (rows * columns)), rows * columns)
    for start, stored in _cached_blocks(frames.values):
        block = without_bad(stored, bad)
        block, largest, least = _finite_block(found, block, start)
        found.detector.add_extremes(block, largest)
        if least < 0:
            found.negative.add(block < 0, start, block)
            found.detector.add_negative(block)
        values, squares = work.loaded(block)
        if found.integers:
            found.integers = work.whole()
            telling = telling or bool(((values > 0) & (values < ALWAYS_WHOLE)).any())
        found.intensity += work.by_pixel(squares).reshape(rows, columns)
        if counted and scale is not None:
            _count(found, work, scale, block, start)
        elif kind in "iub":
            found.detector.light += work.by_pixel(values).reshape(rows, columns)
            found.detector.totals += work.by_frame(values)
        else:
            found.detector.totals += work.by_frame(squares)
            positive = block[block > 0]
            found.detector.least = min(found.detector.least, float(positive.min(initial=math.inf)))
    found.integers = found.integers and (telling or not found.intensity.any())
    if counted and scale is not None:
        found.detector.light = found.intensity * scale**2 if scale < SQUARED_SCALES[1] else found.intensity
        found.detector.totals = found.totals
    elif kind not in "iub":
        found.detector.light = found.intensity
    return found


def _cached_blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    step = max(1, CACHED_ELEMENTS * len(array) // array.size)
    for start, block in row_blocks(array):
        for first in range(0, len(block), step):
            yield start + first, block[first : first + step]


def _finite_block(found: FrameStatistics, block: NDArray[Any], start: int) -> tuple[NDArray[Any], NDArray[Any], float]:
    """The block with 0 for what is no finite number, moduli for complex numbers; largest value by frame, smallest."""
    flat = block.reshape(len(block), -1)
    if block.dtype.kind == "c":
        _note_missing(found, block, start)
        block = np.abs(np.where(np.isfinite(block), block, 0))
        flat = block.reshape(len(block), -1)
        return block, flat.max(axis=1), 0.0
    largest, least = flat.max(axis=1), flat.min()
    # NaN passes through both, and an infinity is one of them.
    if block.dtype.kind == "f" and not (np.isfinite(largest).all() and np.isfinite(least)):
        _note_missing(found, block, start)
        block = np.where(np.isfinite(block), block, 0)
        flat = block.reshape(len(block), -1)
        largest, least = flat.max(axis=1), flat.min()
    return block, largest, float(least)


def _note_missing(found: FrameStatistics, block: NDArray[Any], start: int) -> None:
    finite = np.isfinite(block)
    if not finite.all():
        found.nonfinite.add(~finite, start, block)
        found.detector.add_missing(finite)


class _Workspace:
    """Memory for the arithmetic on blocks of at most ``frames`` frames with ``pixels`` pixels each."""

    def __init__(self, frames: int, pixels: int) -> None:
        self._memory = np.empty((4, frames, pixels))
        self._ones = np.ones(frames), np.ones(pixels)
        self._held = frames

    def loaded(self, block: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values of a block and their squares, (b, pixels) float64."""
        self._held = len(block)
        values, squares, *_ = self.parts()
        np.copyto(values, block.reshape(len(block), -1))
        np.multiply(values, values, out=squares)
        return values, squares

    def parts(self) -> tuple[NDArray[np.float64], ...]:
        """Values, squares, and memory for two further arrays of their shape."""
        return tuple(self._memory[:, : self._held])

    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        values, _, rounded, _ = self.parts()
        np.rint(values, out=rounded)
        return bool(np.array_equal(rounded, values))

    def by_pixel(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the frames (pixels,)."""
        total: NDArray[np.float64] = self._ones[0][: self._held] @ array
        return total

    def by_frame(self, array: NDArray[np.float64]) -> list[float]:
        """Sum over the pixels of each frame."""
        totals: list[float] = (array @ self._ones[1]).tolist()
        return totals


def _count(found: FrameStatistics, work: _Workspace, scale: float, block: NDArray[Any], start: int) -> None:
    values, squares, counts, distance = work.parts()
    if found.negative.number:
        np.maximum(values, 0.0, out=values)
        np.multiply(values, values, out=squares)
    if SQUARED_SCALES[0] < scale < SQUARED_SCALES[1]:
        np.multiply(squares, scale * scale, out=distance)
    else:
        np.square(scale * values, out=distance)
    np.rint(distance, out=counts)
    found.largest_count = max(found.largest_count, float(counts.max()))
    found.totals += work.by_frame(counts)
    np.subtract(distance, counts, out=distance)
    np.abs(distance, out=distance)
    if not (distance > np.multiply(counts, SURE, out=squares)).any():
        return
    expected = (np.sqrt(counts) / scale).astype(np.float32)
    # Non-negative floats sort like the integers that share their bits, so that a step of one is one ulp.
    steps = expected.view(np.int32).astype(np.int64) - np.abs(values).astype(np.float32).view(np.int32)
    found.uncounted.add((np.abs(steps) > 1).reshape(block.shape), start, values.reshape(block.shape))
