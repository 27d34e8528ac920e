"""Shift and phase ramp between a reconstruction and the truth, from the pixels that are evaluated.

Why not a registration from a library: ``skimage.registration.phase_cross_correlation`` finds whole pixels only with
masks, and without them it locks to the edge of an irregular region. Here the truth is free of noise, and a shift must
not be found where noise alone would give one. The estimates are therefore least-squares fits on the pixels of the mask:
an exhaustive search over whole pixels first, because Gauss-Newton steps converge only from within about a pixel, then
Gauss-Newton steps whose derivatives are those of the noise-free truth, and at last a test of significance.

Of a large object the estimates use the fullest tile in each of nine parts of the region: some two million pixels
determine the shift to a thousandth of a pixel where noise and slope of the truth are alike; more would not change a
score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

SPLINE_ORDER: Final = 5
"""Quintic splines: nearly lossless and local, so that a jump at the edge of the coverage causes no ringing inside."""

SPLINE_REACH_PX: Final = 48
"""Distance at which a pixel's contribution to the spline is below rounding: its slowest pole is 0.43."""

SMOOTHING_PX: Final = 1.0
"""Gaussian width at which shifts are estimated. It removes the frequencies that interpolation would damp, so
that an interpolated field has no advantage over a field that was not moved."""

SIGNIFICANCE: Final = 25.0
"""Least decrease of the squared error, in units of its mean per independent pixel, for which a shift is
accepted (five standard deviations; chance gives about 2). Below it, the shift would be that of the noise."""

EXACT: Final = 1e-24
"""Squared error relative to the truth's energy at which nothing is left to remove."""

STEPS: Final = 12
"""Most Gauss-Newton steps; noise-free fields need about five."""

ROUNDS: Final = 6
"""Most alternations of shift and ramp, each found with the other fixed; each divides the error by about 90."""

WHOLE_UP_TO: Final = 2**22
"""Pixels of an object up to which the estimates use all of it."""

TILE_PX: Final = 480
"""Side of the tiles of a larger one."""

Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]
Pair = tuple[float, float]
Span = tuple[slice, slice]


@dataclass(frozen=True)
class FieldTile:
    """Part of the object on which the fields are compared.

    ``origin`` is the centre of the evaluated region, the zero of phase ramps, from the tile's first pixel.
    """

    field: Complex
    truth: Complex
    mask: Mask
    origin: Pair


def register(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    mask: Mask,
    centre: Pair,
    *,
    max_shift_px: float,
    remove_ramp: bool,
) -> tuple[Pair, Pair]:
    """Shift (dy, dx) [px] and ramp (ky, kx) [rad/px], zero at ``centre``, that bring a reconstruction to the truth.

    All arrays are (H, W); the reconstruction may lack values (not finite) outside the mask.
    """
    tiles = []
    for span, chosen in _tiles(mask, SPLINE_REACH_PX + int(np.ceil(max_shift_px))):
        field = np.nan_to_num(reconstruction[span].astype(np.complex128), nan=0, posinf=0, neginf=0)
        origin = (centre[0] - (span[0].start or 0), centre[1] - (span[1].start or 0))
        tiles.append(FieldTile(field, truth[span].astype(np.complex128), chosen, origin))
    shift, ramp = (0.0, 0.0), (0.0, 0.0)
    if remove_ramp:
        fullest = [max(tiles, key=lambda tile: np.count_nonzero(tile.mask))]
        ramp = _phase_ramp(fullest, _coarse_ramp(fullest[0]), shift)
        if len(tiles) > 1:
            ramp = _phase_ramp(tiles, ramp, shift)
    for _ in range(ROUNDS if remove_ramp else 1):
        last = shift
        shift = _shift(tiles, ramp, max_shift_px)
        if remove_ramp:
            ramp = _phase_ramp(tiles, ramp, shift)
        if max(abs(a - b) for a, b in zip(shift, last, strict=True)) < 1e-6:
            break
    return shift, ramp


def shifted(field: Complex, shift: Pair) -> Complex:
    """Field displaced by (dy, dx) pixels; beyond its border the nearest pixel."""
    if not any(shift):
        return field
    order: Literal[0, 5] = 0 if all(s.is_integer() for s in shift) else SPLINE_ORDER
    return scipy.ndimage.shift(field, shift, order=order, mode="nearest")


def ramped(field: Complex, origin: Pair, ramp: Pair) -> Complex:
    """Field with a phase slope [rad/px] added, zero at ``origin``."""
    if not any(ramp):
        return field
    factors = [
        np.exp(1j * slope * (np.arange(n) - zero)) for slope, n, zero in zip(ramp, field.shape, origin, strict=True)
    ]
    turned: Complex = field * np.outer(*factors)
    return turned


def factor_of(field: Complex, target: Complex) -> complex:
    """Complex factor that brings ``field`` nearest to ``target`` in the least-squares sense."""
    energy = float(np.vdot(field, field).real)
    return complex(np.vdot(field, target)) / energy if energy > 0 else 0j


def _tiles(mask: Mask, margin: int) -> list[tuple[Span, Mask]]:
    """Slices of the tiles, each with a margin around its evaluated pixels, and the pixels to evaluate in them."""
    # Pixels of the mask are counted in a grid of squares (a sum over blocks of rows, then of columns); the bounding box
    # of the occupied squares is divided into three by three parts, and in each part the fullest square is taken. Tiles
    # far apart fix a ramp best, full ones the shift, and nine of them fit in memory for objects of any size.
    if mask.size <= WHOLE_UP_TO:
        return [((slice(None), slice(None)), mask)]
    edges = [np.arange(0, n, TILE_PX) for n in mask.shape]
    counts = np.add.reduceat(np.add.reduceat(mask, edges[0], axis=0, dtype=np.int64), edges[1], axis=1)
    occupied = np.argwhere(counts)
    (top, left), (bottom, right) = occupied.min(axis=0), occupied.max(axis=0) + 1
    tiles = []
    for rows in np.array_split(np.arange(top, bottom), 3):
        for columns in np.array_split(np.arange(left, right), 3):
            part = counts[np.ix_(rows, columns)]
            if part.any():
                row, column = np.unravel_index(int(part.argmax()), part.shape)
                tiles.append(_tile(mask, int(rows[row]) * TILE_PX, int(columns[column]) * TILE_PX, margin))
    return tiles


def _tile(mask: Mask, y: int, x: int, margin: int) -> tuple[Span, Mask]:
    top, left = max(0, y - margin), max(0, x - margin)
    span = slice(top, y + TILE_PX + margin), slice(left, x + TILE_PX + margin)
    chosen = np.zeros_like(mask[span])
    inside = slice(y - top, y - top + TILE_PX), slice(x - left, x - left + TILE_PX)
    chosen[inside] = mask[span][inside]
    return span, chosen


def _truth(tiles: Sequence[FieldTile]) -> Complex:
    """Evaluated values of the truth in all tiles."""
    return np.concatenate([t.truth[t.mask] for t in tiles])


def _moved(tiles: Sequence[FieldTile], shift: Pair) -> Complex:
    """Evaluated values of the shifted fields in all tiles."""
    return np.concatenate([shifted(t.field, shift)[t.mask] for t in tiles])


def _gauss_newton(columns: list[Complex], difference: Complex) -> NDArray[np.float64]:
    """Real coefficients of the least-squares fit of complex columns to a complex difference."""
    matrix = np.stack(columns, axis=1)
    # Normal equations, scaled to a unit diagonal: columns of a ramp are hundreds of times larger than the others.
    normal, right = (matrix.conj().T @ matrix).real, (matrix.conj().T @ difference).real
    scale = np.sqrt(np.maximum(np.diag(normal), np.finfo(float).tiny))
    solved = np.linalg.lstsq(normal / np.outer(scale, scale), right / scale, rcond=1e-12)[0]
    steps: NDArray[np.float64] = solved / scale
    return steps


def _residual(field: Complex, target: Complex) -> float:
    """Squared error after fitting the factor, relative to the target's energy."""
    difference = target - factor_of(field, target) * field
    energy = float(np.vdot(target, target).real)
    return float(np.vdot(difference, difference).real) / energy if energy > 0 else 0.0


def _shift(tiles: Sequence[FieldTile], ramp: Pair, limit: float) -> Pair:
    """Displacement (dy, dx) of fields without ramp, or zero where none is significant."""
    flattened = [replace(t, field=ramped(t.field, t.origin, ramp)) for t in tiles]

    def error(fields: Sequence[FieldTile], shift: Pair) -> float:
        return _residual(_moved(fields, shift), _truth(fields))

    unshifted_error = error(flattened, (0.0, 0.0))
    if limit <= 0 or unshifted_error <= EXACT:
        return 0.0, 0.0
    smooth = [_smoothed(tile, limit) for tile in flattened]
    target = _truth(smooth)
    whole = shift = _whole_pixels(smooth, target, int(limit))
    # Change of the truth with a displacement of one pixel along each axis.
    truths, reach = [replace(t, field=t.truth) for t in smooth], 0.05
    ends = [(_moved(truths, (d, 0.0)), _moved(truths, (0.0, d))) for d in (reach, -reach)]
    slopes = [(up - down) / (2 * reach) for up, down in zip(*ends, strict=True)]
    for _ in range(STEPS):
        field = _moved(smooth, shift)
        field = field * factor_of(field, target)
        # The factor is fitted along with the shift: what it explains must not be taken for a displacement.
        step = _gauss_newton([field, 1j * field, *slopes], target - field)[2:]
        last = shift
        y, x = (float(np.clip(s + d, -limit, limit)) for s, d in zip(shift, step, strict=True))
        shift = (y, x)
        if max(abs(a - b) for a, b in zip(shift, last, strict=True)) < 1e-7:
            break
    before, at_whole, refined = (error(smooth, s) for s in ((0.0, 0.0), whole, shift))
    best, least = (shift, refined) if refined < at_whole else (whole, at_whole)
    # Smoothing correlates neighbours: a Gaussian of width s leaves one independent value per 4 pi s^2 pixels.
    independent = max(1.0, len(target) / (4 * np.pi * SMOOTHING_PX**2))
    significant = (before - least) * independent > SIGNIFICANCE * least
    return best if significant and error(flattened, best) < unshifted_error else (0.0, 0.0)


def _smoothed(tile: FieldTile, limit: float) -> FieldTile:
    """Smoothed fields in the bounding box of the mask with a margin, and the mask less the pixels that this blends."""
    margin = int(np.ceil(limit + 8 * SMOOTHING_PX))
    occupied = [np.flatnonzero(tile.mask.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(max(0, int(i[0]) - margin), int(i[-1]) + 1 + margin) for i in occupied)
    box = (rows, columns)
    inner = scipy.ndimage.binary_erosion(tile.mask[box], iterations=int(np.ceil(3 * SMOOTHING_PX)), border_value=1)
    field, truth = (
        scipy.ndimage.gaussian_filter(f[box], SMOOTHING_PX, mode="nearest") for f in (tile.field, tile.truth)
    )
    origin = (tile.origin[0] - rows.start, tile.origin[1] - columns.start)
    return FieldTile(field, truth, inner if np.count_nonzero(inner) >= 64 else tile.mask[box], origin)


def _whole_pixels(tiles: Sequence[FieldTile], target: Complex, limit: int) -> Pair:
    """Displacement in whole pixels with the least squared error."""
    pixels = [np.nonzero(tile.mask) for tile in tiles]
    best, least = (0, 0), np.inf
    for dy in range(-limit, limit + 1):
        for dx in range(-limit, limit + 1):
            fields = [
                t.field[np.clip(y - dy, 0, t.mask.shape[0] - 1), np.clip(x - dx, 0, t.mask.shape[1] - 1)]
                for t, (y, x) in zip(tiles, pixels, strict=True)
            ]
            error = _residual(np.concatenate(fields), target)
            if error < least:
                best, least = (dy, dx), error
    return float(best[0]), float(best[1])


def _coarse_ramp(tile: FieldTile) -> Pair:
    """Phase slope between the fields: the peak of the spectrum of truth times conjugate reconstruction."""
    product = np.where(tile.mask, tile.truth * tile.field.conj(), 0)
    shape = tuple(int(scipy.fft.next_fast_len(2 * n)) for n in product.shape)
    peak = np.unravel_index(int(np.argmax(np.abs(scipy.fft.fft2(product, shape)))), shape)
    ky, kx = (2 * np.pi * float(scipy.fft.fftfreq(n)[i]) for n, i in zip(shape, peak, strict=True))
    # Less than one step of the spectrum is left to the refinement.
    return ky, kx


def _phase_ramp(tiles: Sequence[FieldTile], start: Pair, shift: Pair) -> Pair:
    """Phase slope [rad/px] of least squared error near ``start``; zero where it does not lower the error."""
    target, unramped = _truth(tiles), _moved(tiles, shift)
    rows, columns = (np.concatenate([np.nonzero(t.mask)[i] - t.origin[i] for t in tiles]) for i in (0, 1))

    def field_at(ramp: Pair) -> Complex:
        turned: Complex = unramped * np.exp(1j * (ramp[0] * rows)) * np.exp(1j * (ramp[1] * columns))
        return turned

    ramp = start
    for _ in range(STEPS):
        field = field_at(ramp)
        field = field * factor_of(field, target)
        step = _gauss_newton([field, 1j * field, 1j * rows * field, 1j * columns * field], target - field)[2:]
        ramp = (ramp[0] + float(step[0]), ramp[1] + float(step[1]))
        if np.abs(step).max() < 1e-13:
            break
    before, after = _residual(unramped, target), _residual(field_at(ramp), target)
    significant = before > EXACT and (before - after) * len(target) > SIGNIFICANCE * after
    return ramp if significant else (0.0, 0.0)
