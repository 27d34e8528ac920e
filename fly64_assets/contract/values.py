"""Rules on values: finite numbers, amplitudes, photon counts, the detector's centre, positions.

They read arrays in blocks, so that memory does not grow with the number of frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.findings import Finding, error, warning
from fly64_assets.contract.frames import REAL_KINDS, Frames, squeezed
from fly64_assets.contract.schema import Arrays

FINITE: Final = "DATA-001.finite"
AMPLITUDE: Final = "DATA-001.amplitude"
CENTRE: Final = "DATA-001.centre"
COORDINATES: Final = "DATA-001.coordinates"
COUNTS: Final = "DATA-001.counts"

MEANINGFUL_COUNTS: Final = 1e6
"""Counts per pixel up to which float32 amplitudes distinguish integers from other numbers."""

SIGMAS: Final = 5.0
CORNER_SHARE_ERROR: Final = 2 / 3
CORNER_SHARE_WARNING: Final = 1 / 3
EDGE_TOLERANCE_PX: Final = 1e-6


@dataclass
class _Tally:
    """How many values break a rule, and where the first one is."""

    number: int = 0
    first: str = ""
    value: float = math.nan

    def add(self, bad: NDArray[np.bool_], offset: int, values: NDArray[Any]) -> None:
        found = int(np.count_nonzero(bad))
        if found and not self.number:
            index = np.unravel_index(int(np.argmax(bad)), bad.shape)
            self.first = ", ".join(str(int(i) + (offset if axis == 0 else 0)) for axis, i in enumerate(index))
            self.value = values[index]
        self.number += found


@dataclass
class FrameStatistics:
    """What one pass over the frames (n, M, N) finds."""

    nonfinite: _Tally = field(default_factory=_Tally)
    negative: _Tally = field(default_factory=_Tally)
    uncounted: _Tally = field(default_factory=_Tally)
    integers: bool = True
    largest_count: float = 0.0
    totals: list[float] = field(default_factory=list)
    intensity: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def mean_counts(self) -> float | None:
        """Counts per frame, averaged over the frames; None where no scale is known."""
        if not self.totals:
            return None
        try:
            return math.fsum(self.totals) / len(self.totals)
        except OverflowError:
            return math.inf


def frame_statistics(frames: Frames, scale: float | None) -> FrameStatistics:
    """Look at every value of the frames once; with a scale s, also at the counts rint((s X)^2)."""
    found = FrameStatistics(intensity=np.zeros(frames.values.shape[1:]))
    for start, block in row_blocks(frames.values):
        finite = np.isfinite(block)
        found.nonfinite.add(~finite, start, block)
        values = np.where(finite, np.abs(block) if block.dtype.kind == "c" else block, 0).astype(np.float64)
        found.integers = found.integers and bool(np.array_equal(np.rint(values), values))
        found.negative.add(values < 0, start, values)
        found.intensity += (values**2).sum(axis=0)
        if scale is not None and block.dtype.kind == "f":
            _count(found, np.maximum(values, 0.0), scale, start)
    return found


def _count(found: FrameStatistics, amplitude: NDArray[np.float64], scale: float, start: int) -> None:
    counts = np.rint((scale * amplitude) ** 2)
    found.largest_count = max(found.largest_count, float(counts.max()))
    found.totals += counts.reshape(len(counts), -1).sum(axis=1).tolist()
    expected = (np.sqrt(counts) / scale).astype(np.float32)
    # Non-negative floats sort like the integers that share their bits, so that a step of one is one ulp.
    steps = expected.view(np.int32).astype(np.int64) - np.abs(amplitude).astype(np.float32).view(np.int32)
    found.uncounted.add(np.abs(steps) > 1, start, amplitude)


def finite_findings(arrays: Arrays, frames: Frames | None, statistics: FrameStatistics | None) -> Iterator[Finding]:
    """NaN or infinity anywhere."""
    if frames is not None and statistics is not None and statistics.nonfinite.number:
        yield _not_finite(frames.key, statistics.nonfinite)
    for key in sorted(arrays):
        if (frames is not None and key == frames.key) or arrays[key].dtype.kind not in "fc":
            continue
        tally = _Tally()
        for start, block in row_blocks(arrays[key]):
            tally.add(~np.isfinite(block), start, block)
        if tally.number:
            yield _not_finite(key, tally)


def _not_finite(key: str, tally: _Tally) -> Finding:
    verb = "value is" if tally.number == 1 else "values are"
    return error(FINITE, f"{key}: {tally.number} {verb} NaN or infinite, the first ({tally.value}) at [{tally.first}]")


def amplitude_findings(frames: Frames, statistics: FrameStatistics, scale: float | None) -> Iterator[Finding]:
    """Values that cannot be amplitudes."""
    key, bad = frames.key, statistics.negative
    if bad.number:
        yield error(
            AMPLITUDE, f"{key}: {bad.number} amplitudes are negative, the first ({bad.value:g}) at [{bad.first}]"
        )
    if scale is None and statistics.integers and frames.values.size:
        yield error(
            AMPLITUDE,
            f"{key}: every value is an integer and no intensity_scale is recorded, so these look like raw counts or "
            "intensities; expected amplitudes, the square roots of counts",
        )


def centre_findings(arrays: Arrays, frames: Frames, statistics: FrameStatistics) -> Iterator[Finding]:
    """Whether the mean frame has its energy in the centre or in the corners."""
    share = _corner_share(statistics.intensity)
    if share is None and frames.values.size and not statistics.intensity.any():
        yield warning(CENTRE, f"{frames.key}: every value is zero, so nothing shows where the centre is")
    if share is None or share < CORNER_SHARE_WARNING:
        return
    said = f"{frames.key}: of the mean frame's energy in centre and corners, {share:.0%} lies in the corners"
    expected = _probe_corner_share(arrays, frames.size)
    if share > CORNER_SHARE_ERROR and (expected is None or expected < CORNER_SHARE_WARNING):
        yield error(CENTRE, f"{said}: the DC is not in the centre; apply fftshift to the frames")
    else:
        because = "" if expected is None else f"; the probe's own far field has {expected:.0%} there"
        yield warning(CENTRE, f"{said}{because}, so whether the DC is in the centre is not certain")


def _corner_share(intensity: NDArray[np.float64]) -> float | None:
    """Energy of the four corner boxes relative to corners and centre box of the same area; None without energy."""
    if min(intensity.shape) < 2:
        return None
    shifted = np.fft.fftshift(intensity)
    box = tuple(slice(side // 2 - max(1, side // 8), side // 2 + max(1, side // 8)) for side in intensity.shape)
    centre, corners = float(intensity[box].sum()), float(shifted[box].sum())
    total = centre + corners
    return corners / total if math.isfinite(total) and total > 0 else None


def _probe_corner_share(arrays: Arrays, size: int | None) -> float | None:
    probe = squeezed(arrays[schema.PROBE], 2) if schema.PROBE in arrays else None
    if probe is None or probe.shape != (size, size) or probe.dtype.kind not in "fc":
        return None
    far = np.fft.fftshift(np.abs(np.fft.fft2(np.nan_to_num(probe.astype(np.complex128)))) ** 2)
    return _corner_share(far)


def counts_findings(
    frames: Frames, statistics: FrameStatistics, scale: float, expected_mean: float | None
) -> Iterator[Finding]:
    """Whether the amplitudes are float32(sqrt(k) / s) of integers k, and their mean the expected one."""
    key, bad = frames.key, statistics.uncounted
    if bad.number:
        yield error(
            COUNTS,
            f"{key}: {bad.number} values are no square roots of integer counts at intensity_scale {scale:g}, "
            f"the first ({bad.value:g}, {(scale * bad.value) ** 2:g} counts) at [{bad.first}]",
        )
    if statistics.largest_count > MEANINGFUL_COUNTS:
        yield warning(
            COUNTS,
            f"{key}: a pixel has {statistics.largest_count:g} counts; above {MEANINGFUL_COUNTS:g} float32 amplitudes "
            "cannot show whether counts are integers",
        )
    mean = statistics.mean_counts
    if expected_mean is None or mean is None:
        return
    # The total of a frame is a Poisson variable, and the mean of n of them has the variance expected / n.
    sigma = math.sqrt(expected_mean / len(statistics.totals))
    if abs(mean - expected_mean) > SIGMAS * sigma:
        distance = f"{abs(mean - expected_mean) / sigma:.1f} sigma" if sigma > 0 else "far"
        yield error(
            COUNTS,
            f"{key}: {mean:.6g} counts per frame on average, {distance} from "
            f"expected_mean_counts = {expected_mean:.6g} (at most {SIGMAS:g} sigma of {sigma:.3g} are allowed)",
        )


def coordinate_findings(arrays: Arrays, size: int | None) -> Iterator[Finding]:
    """Windows that leave the object, positions that occur twice, start positions that differ."""
    x, y = (arrays.get(key) for key in (schema.XCOORDS, schema.YCOORDS))
    if x is None or y is None or any(c.ndim != 1 or c.dtype.kind not in REAL_KINDS for c in (x, y)):
        return
    x, y = x.astype(np.float64), y.astype(np.float64)
    obj = arrays.get(schema.OBJECT)
    if size is not None and obj is not None and obj.ndim == 2:
        yield from _window_findings(schema.XCOORDS, x, size, obj.shape[1])
        yield from _window_findings(schema.YCOORDS, y, size, obj.shape[0])
    if len(x) == len(y):
        unique = len(np.unique(np.stack([x, y], axis=1), axis=0)) if len(x) else 0
        if unique < len(x):
            yield warning(COORDINATES, f"{len(x) - unique} of {len(x)} positions repeat another one exactly")
    for start, key in schema.START_KEYS.items():
        old = arrays.get(start)
        if old is None or old.shape != arrays[key].shape or old.dtype.kind not in REAL_KINDS:
            continue
        if not np.array_equal(old, arrays[key], equal_nan=True):
            yield warning(COORDINATES, f"{start} differs from {key}; a canonical file holds the same values in both")


def _window_findings(key: str, centres: NDArray[np.float64], size: int, side: int) -> Iterator[Finding]:
    low, high = size // 2, side - size + size // 2
    outside = (centres < low - EDGE_TOLERANCE_PX) | (centres > high + EDGE_TOLERANCE_PX)
    if outside.any():
        first = int(np.argmax(outside))
        yield error(
            COORDINATES,
            f"{key}: {np.count_nonzero(outside)} windows of {size} px leave the object of {side} px; the first is "
            f"frame {first} at {centres[first]:g}, expected {low} ... {high}",
        )
