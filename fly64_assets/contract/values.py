"""Rules on values: finite numbers, amplitudes, photon counts, the detector's centre, positions.

They read arrays in blocks, so that memory does not grow with the number of frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import positions, schema
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.findings import Finding, error, information, warning
from fly64_assets.contract.frames import REAL_KINDS, Frames, is_frames_last, probe_of
from fly64_assets.contract.masks import without_bad
from fly64_assets.contract.schema import Arrays
from fly64_assets.contract.statistics import FrameStatistics, Tally
from fly64_assets.physics.illumination import WRAPPED, WRAPPED_PERHAPS, half_turned_spread
from fly64_assets.physics.probe_modes import MODES_AXES, added, in_order, power_shares

FINITE: Final = "DATA-001.finite"
AMPLITUDE: Final = "DATA-001.amplitude"
CENTRE: Final = "DATA-001.centre"
COORDINATES: Final = "DATA-001.coordinates"
COUNTS: Final = "DATA-001.counts"
MODES: Final = "DATA-001.modes"

MEANINGFUL_COUNTS: Final = 1e6
"""Counts per pixel up to which float32 amplitudes distinguish integers from other numbers."""

SIGMAS: Final = 5.0
CORNER_SHARE_ERROR: Final = 2 / 3
CORNER_SHARE_WARNING: Final = 1 / 3


def finite_findings(arrays: Arrays, frames: Frames | None, statistics: FrameStatistics | None) -> Iterator[Finding]:
    """NaN or infinity anywhere."""
    if frames is not None and statistics is not None and statistics.nonfinite.number:
        yield _not_finite(frames.key, statistics.nonfinite)
    for key in sorted(arrays):
        if (frames is not None and key == frames.key) or arrays[key].dtype.kind not in "fc":
            continue
        tally = Tally()
        bad = None
        if statistics is not None and key == schema.LEGACY_FRAMES:
            bad = statistics.bad if arrays[key].shape[1:] == statistics.intensity.shape else None
        for start, stored in row_blocks(arrays[key]):
            block = without_bad(stored, bad)
            tally.add(~np.isfinite(block), start, block)
        if tally.number:
            yield _not_finite(key, tally)


def _not_finite(key: str, tally: Tally) -> Finding:
    verb = "value is" if tally.number == 1 else "values are"
    return error(FINITE, f"{key}: {tally.number} {verb} NaN or infinite, the first ({tally.value}) at [{tally.first}]")


def amplitude_findings(frames: Frames, statistics: FrameStatistics, scale: float | None) -> Iterator[Finding]:
    """Values that cannot be amplitudes."""
    key, bad = frames.key, statistics.negative
    if bad.number:
        yield error(
            AMPLITUDE,
            f"{key}: {bad.number} amplitudes are negative, the first ({bad.value:g}) at [{bad.first}]; counts after "
            "dark subtraction? `--clip-negative` sets them to 0",
        )
    if scale is None and statistics.integers and frames.values.size:
        yield error(
            AMPLITUDE,
            f"{key}: every value is an integer and no intensity_scale is recorded, so these look like raw counts or "
            "intensities; expected amplitudes, the square roots of counts",
        )


def centre_findings(arrays: Arrays, frames: Frames, statistics: FrameStatistics) -> Iterator[Finding]:
    """Whether the mean frame has its energy in the centre, in the corners, or at two edges."""
    share = _turned_share(statistics.intensity, (0, 1), statistics.bad)
    if share is None and frames.values.size and not statistics.intensity.any():
        yield error(AMPLITUDE, f"{frames.key}: every value is zero, so nothing was measured; are these the frames?")
    axes = turned_axes(arrays, frames, statistics)
    if axes == (0, 1):
        said = _in_corners(frames, share or 0.0)
        yield error(CENTRE, f"{said}: the DC is not in the centre; apply fftshift to the frames")
    elif axes:
        where = "rows" if axes == (0,) else "columns"
        yield error(CENTRE, f"{frames.key}: the DC lies in the centre of two edges; apply fftshift to the {where}")
    elif share is not None and share >= CORNER_SHARE_WARNING:
        expected = _probe_turned_share(arrays, frames.size, (0, 1), statistics.bad)
        because = "" if expected is None else f"; the probe's own far field has {expected:.0%} there"
        said = _in_corners(frames, share)
        yield warning(CENTRE, f"{said}{because}, so whether the DC is in the centre is not certain")


def turned_axes(arrays: Arrays, frames: Frames, statistics: FrameStatistics) -> tuple[int, ...]:
    """Axes of a frame along which its DC is at the edge, so that half of a turn brings it to the centre."""
    candidates = ((0, 1), (0,), (1,))
    # The box with most of the energy first: beside it the others differ by chance.
    for axes in sorted(candidates, key=lambda axes: -_boxes(statistics.intensity, axes, statistics.bad)[1]):
        share = _turned_share(statistics.intensity, axes, statistics.bad)
        if share is None or share <= CORNER_SHARE_ERROR:
            continue
        expected = _probe_turned_share(arrays, frames.size, axes, statistics.bad)
        if expected is None or expected < CORNER_SHARE_WARNING:
            return axes
    return ()


def _in_corners(frames: Frames, share: float) -> str:
    return f"{frames.key}: of the mean frame's energy in centre and corners, {share:.0%} lies in the corners"


def probe_centre_findings(arrays: Arrays) -> Iterator[Finding]:
    """Whether the probe lies in the middle of its window, or at its edges as in FFT order."""
    ratio = min(half_turned_spread(arrays[schema.PROBE])) if has_probe(arrays) else 1.0
    said = f"{schema.PROBE}: its energy lies at the edges of the window"
    if ratio < WRAPPED:
        yield error(CENTRE, f"{said}, as in FFT order; expected the probe's centre in the middle")
    elif ratio < WRAPPED_PERHAPS:
        yield warning(CENTRE, f"{said}, so whether the probe's centre is in the middle is not certain")


def modes_findings(arrays: Arrays) -> Iterator[Finding]:
    """What several incoherent modes of a probe hold, and whether they are orthogonal, the strongest first."""
    if not has_probe(arrays) or arrays[schema.PROBE].ndim != MODES_AXES:
        return
    modes = arrays[schema.PROBE]
    if not (np.isfinite(modes).all() and modes.any()):
        return
    if not in_order(modes):
        yield error(
            MODES,
            f"{schema.PROBE}: its {len(modes)} modes are not orthogonal by falling power; canonicalisation gives those "
            "that are and that make the same counts",
        )
    shares = ", ".join(f"{share:.1%}" for share in power_shares(modes).tolist()[:8])
    yield information(
        MODES,
        f"{schema.PROBE}: {len(modes)} incoherent modes hold {shares} of the power; LSQML uses them all, methods that "
        "know one mode refuse: `--probe-mode 0` takes the strongest alone",
    )


def dark_findings(arrays: Arrays, keys: Iterable[str]) -> Iterator[Finding]:
    """Object or probe without any light."""
    for key in keys:
        if key in arrays and arrays[key].dtype.kind in "fc" and arrays[key].size and not arrays[key].any():
            yield error(AMPLITUDE, f"{key} is zero everywhere, so no light reaches the detector")


def has_probe(arrays: Arrays) -> bool:
    """Whether there is a probe of numbers, of one mode or of several."""
    probe = arrays.get(schema.PROBE)
    if probe is None or probe.dtype.kind not in "fc":
        return False
    if probe.ndim == MODES_AXES and is_frames_last(probe.shape, None):  # whose windows lie along other axes
        return False
    return probe.ndim == schema.axes_of(schema.PROBE, probe) and probe.size > 0


def _turned_share(intensity: NDArray[np.float64], axes: tuple[int, ...], bad: NDArray[np.bool_] | None) -> float | None:
    """Energy of the box that half a turn brings to the centre, relative to it and the centre's box of the same area.

    Of both axes these are the corners. None without energy, and of one axis where the two boxes hold less than their
    share of the frame.
    """
    centre, turned, even = _boxes(intensity, axes, bad)
    total = centre + turned
    if not (math.isfinite(total) and total > 0):
        return None
    return None if len(axes) == 1 and turned < 2 * even else turned / total


def _boxes(
    intensity: NDArray[np.float64], axes: tuple[int, ...], bad: NDArray[np.bool_] | None
) -> tuple[float, float, float]:
    """Energy of the centre's box, of the one that half a turn brings there, and what a box of an even frame has.

    Pixels count only where they and those that half a turn brings there are good: a beamstop would darken one box.
    """
    if min(intensity.shape) < 2:
        return 0.0, 0.0, 0.0
    if bad is not None:
        intensity = np.where(bad | np.fft.fftshift(bad, axes) | np.fft.ifftshift(bad, axes), 0.0, intensity)
    box = tuple(slice(side // 2 - max(1, side // 8), side // 2 + max(1, side // 8)) for side in intensity.shape)
    centre, turned = float(intensity[box].sum()), float(np.fft.fftshift(intensity, axes)[box].sum())
    return centre, turned, intensity[box].size / intensity.size * float(intensity.sum())


def _probe_turned_share(
    arrays: Arrays, size: int | None, axes: tuple[int, ...], bad: NDArray[np.bool_] | None
) -> float | None:
    probe = probe_of(arrays)
    if probe is None or probe.shape[-2:] != (size, size):
        return None
    far = np.fft.fftshift(added(np.abs(np.fft.fft2(np.nan_to_num(probe.astype(np.complex128)))) ** 2))
    return _turned_share(far, axes, bad)


def counts_findings(
    frames: Frames, statistics: FrameStatistics, scale: float, expected_mean: float | None, read_noise: float = 0.0
) -> Iterator[Finding]:
    """Whether the amplitudes are float32(sqrt(k) / s) of integers k, and their mean over good pixels the expected one.

    ``read_noise`` is the standard deviation of the read-out in counts per pixel, where there was one.
    """
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
    # The total of a frame is a Poisson variable, and the mean of n of them has the variance expected / n. Reading
    # adds its own variance and that of rounding in every pixel.
    variance = expected_mean + (statistics.good_pixels * (read_noise**2 + 1 / 12) if read_noise else 0.0)
    sigma = math.sqrt(variance / len(statistics.totals))
    if abs(mean - expected_mean) > SIGMAS * sigma:
        distance = f"{abs(mean - expected_mean) / sigma:.1f} sigma" if sigma > 0 else "far"
        yield error(
            COUNTS,
            f"{key}: {mean:.6g} counts per frame on average, {distance} from "
            f"expected_mean_counts = {expected_mean:.6g} (at most {SIGMAS:g} sigma of {sigma:.3g} are allowed)",
        )


def coordinate_findings(arrays: Arrays, size: int | None) -> Iterator[Finding]:
    """Windows that leave the object, positions that occur twice, start positions that differ."""
    found = window_geometry(arrays, size)
    if found is not None:
        *centres, shape, side = found
        yield from _window_findings(schema.XCOORDS, centres[0], side, shape[1])
        yield from _window_findings(schema.YCOORDS, centres[1], side, shape[0])
    x, y = (arrays.get(key) for key in (schema.XCOORDS, schema.YCOORDS))
    if x is None or y is None or any(c.ndim != 1 or c.dtype.kind not in REAL_KINDS for c in (x, y)):
        return
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


def distinct_findings(arrays: Arrays) -> Iterator[Finding]:
    """Fewer than two distinct positions: no scan that could be split into two halves."""
    x, y = (arrays.get(key) for key in (schema.XCOORDS, schema.YCOORDS))
    if x is None or y is None or any(c.ndim != 1 or c.dtype.kind not in REAL_KINDS for c in (x, y)):
        return
    if len(x) != len(y):
        return
    x, y = x.astype(np.float64), y.astype(np.float64)
    if len(np.unique(np.stack([x, y], axis=1), axis=0)) < 2:
        found = "there are no positions" if not len(x) else f"all positions ({len(x)}) are the same"
        yield error(COORDINATES, f"{found}; a scan needs at least two, of which one half trains and one tests")
    elif positions.spread(x, y) < positions.LEAST_SPREAD_PX:
        yield error(COORDINATES, positions.too_close(x, y))


def window_geometry(
    arrays: Arrays, size: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int], int] | None:
    """Positions x and y, the object's shape and N, as far as windows can be laid on the object; else None."""
    x, y, obj = (arrays.get(key) for key in (schema.XCOORDS, schema.YCOORDS, schema.OBJECT))
    if x is None or y is None or obj is None or size is None or obj.ndim != 2:
        return None
    if any(c.ndim != 1 or c.dtype.kind not in REAL_KINDS for c in (x, y)):
        return None
    return x.astype(np.float64), y.astype(np.float64), (obj.shape[0], obj.shape[1]), size


def _window_findings(key: str, centres: NDArray[np.float64], size: int, side: int) -> Iterator[Finding]:
    low, high = positions.window_range(size, side)
    # A position that is no number is reported as such.
    outside = ~(positions.inside(centres, size, side) | np.isnan(centres))
    if outside.any():
        first = int(np.argmax(outside))
        yield error(
            COORDINATES,
            f"{key}: {np.count_nonzero(outside)} windows of {size} px leave the object of {side} px; the first is "
            f"frame {first} at {centres[first]:g}, expected {low} ... {high}",
        )
