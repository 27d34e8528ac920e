"""What the rules on detectors look at: frames, their statistics, the light that is expected, a sample of the frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import positions, schema
from fly64_assets.contract.archive import chosen_rows
from fly64_assets.contract.frames import REAL_KINDS, Frames, probe_of
from fly64_assets.contract.schema import Arrays
from fly64_assets.contract.statistics import FrameStatistics
from fly64_assets.physics.forward import exit_wave_energies, patch_counts
from fly64_assets.physics.probe_modes import added
from fly64_assets.physics.windows import Scan

SAMPLED_FRAMES: Final = 256
SAMPLED_ELEMENTS: Final = 2**20
LEAST_SAMPLE: Final = 8


COMPARED_FRAMES: Final = 32
"""Frames of which the expected light is computed where a comparison needs them all."""


@dataclass(frozen=True)
class Expected:
    """What object, probe and positions of a file let expect, in an unknown unit."""

    object: NDArray[np.complex128]
    probe: NDArray[np.complex128]
    scan: Scan

    def rates(self, chosen: NDArray[np.integer]) -> NDArray[np.float64]:
        """Light (b, N, N) of some frames, DC in the centre."""
        return patch_counts(self.object, self.probe, self.scan[chosen], 1.0)

    def share(self, chosen: NDArray[np.integer]) -> NDArray[np.float64]:
        """Light (b,) of some frames over the median of the scan's."""
        usual = float(np.median(exit_wave_energies(self.object, self.probe, self.scan[every(len(self.scan))])))
        light = exit_wave_energies(self.object, self.probe, self.scan[chosen])
        return light / usual if usual > 0 else np.ones(len(chosen))


def every(count: int, most: int = COMPARED_FRAMES) -> NDArray[np.int64]:
    """At most so many of ``count`` indices, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@dataclass(frozen=True)
class Evidence:
    """Frames and what one pass over them found.

    ``scale`` is the recorded intensity scale s, and ``saturation`` the recorded largest count of a pixel, where there
    is one; ``object_known`` says that the file's object is not just a stand-in.
    """

    arrays: Arrays
    frames: Frames
    statistics: FrameStatistics
    scale: float | None
    object_known: bool = False
    saturation: float | None = None

    @property
    def key(self) -> str:
        """Name of the array that holds the frames."""
        return self.frames.key

    @property
    def integers(self) -> bool:
        """Whether the frames are stored as integers, and so as counts."""
        return self.frames.values.dtype.kind in "iub"

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers, however they are stored."""
        return self.integers or self.statistics.integers

    @cached_property
    def good(self) -> NDArray[np.bool_]:
        """Pixels (M, N) that measured."""
        bad = self.statistics.bad
        return np.ones(self.statistics.intensity.shape, bool) if bad is None else ~bad

    @cached_property
    def unit(self) -> float:
        """One count in the unit of the light; where that is unknown, the least light of a pixel that has any."""
        if self.scale is not None or self.integers:
            return 1.0
        least = self.statistics.detector.least
        return least * least if math.isfinite(least) and least * least > 0 else 1.0

    @property
    def light(self) -> NDArray[np.float64]:
        """Counts (M, N) of each pixel over all frames."""
        return self.statistics.detector.light / self.unit

    def counts(self, value: float) -> float:
        """Counts of a stored value."""
        if self.integers:
            return value
        amplitude = value if self.scale is None else self.scale * value
        return amplitude * amplitude / self.unit

    @cached_property
    def far_field(self) -> NDArray[np.float64] | None:
        """|F P|^2 of the probe in the file, (N, N), DC in the centre; None without a probe of the frames' size."""
        size = self.frames.size
        probe = probe_of(self.arrays)
        if probe is None or size is None or probe.shape[-2:] != (size, size):
            return None
        probe = probe.astype(np.complex128)
        largest = float(np.abs(probe).max(initial=0.0))
        if not np.isfinite(probe).all() or not largest > 0 or not np.isfinite(largest):
            return None
        far: NDArray[np.float64] = np.fft.fftshift(added(np.abs(np.fft.fft2(probe / largest)) ** 2))
        return far if far[self.good].sum() > 0 else None

    @cached_property
    def sample(self) -> NDArray[np.float64]:
        """Up to 256 frames, fewer large ones, float64, with 0 for bad pixels and for what is no finite number."""
        stack = self.frames.values
        most = min(SAMPLED_FRAMES, max(LEAST_SAMPLE, SAMPLED_ELEMENTS // self.good.size))
        return self.rows(every(len(stack), most))

    def rows(self, chosen: NDArray[np.integer]) -> NDArray[np.float64]:
        """Some frames (b, N, N), with 0 for bad pixels and for what is no finite number."""
        rows = chosen_rows(self.frames.values, chosen.tolist())
        rows[~np.isfinite(rows) | ~self.good] = 0.0
        return rows

    @cached_property
    def expected(self) -> Expected | None:
        """The file's own expectation of every frame; None where it has no object, probe and positions that fit."""
        size, far, probe = self.frames.size, self.far_field, probe_of(self.arrays)
        obj = self.arrays.get(schema.OBJECT)
        x, y = (self.arrays.get(key) for key in (schema.XCOORDS, schema.YCOORDS))
        if (
            not self.object_known
            or size is None
            or far is None
            or probe is None
            or obj is None
            or x is None
            or y is None
        ):
            return None
        if obj.ndim != 2 or obj.dtype.kind != "c" or min(obj.shape) <= size or not np.isfinite(obj).all():
            return None
        if any(c.dtype.kind not in REAL_KINDS or c.shape != (len(self.frames.values),) for c in (x, y)):
            return None
        largest = float(np.abs(obj).max())
        if (obj == obj.flat[0]).all() or not 0 < largest < math.inf:
            return None
        wave = probe.astype(np.complex128)
        wave = wave * (1 / float(np.abs(wave).max()))
        shape = obj.shape[0], obj.shape[1]
        scan = Scan(x.astype(np.float64), y.astype(np.float64), shape, size)
        # What is no number lies nowhere.
        if not (positions.inside(scan.x, size, shape[1]) & positions.inside(scan.y, size, shape[0])).all():
            return None
        normalised = obj.astype(np.complex128)
        normalised /= largest
        return Expected(normalised, wave, scan)
