"""Removal of what ptychography cannot know: a global complex factor, a shift, and a phase ramp.

One procedure for every arm, on the same pixels. Belongs here: registration of a reconstruction with the truth.
Does not belong here: which pixels count (``frame``) and scores (``metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

SPLINE_ORDER: Final = 5
"""Quintic splines: local (a jump at the edge of the coverage does not ring through the region), nearly lossless."""

SMOOTHING_PX: Final = 1.0
"""Gaussian width at which shifts are estimated. It takes away the frequencies that interpolation would damp, so
that an interpolated field has no advantage over a field that stayed on its pixels."""

SIGNIFICANCE: Final = 25.0
"""Least decrease of the squared error, in units of its mean per independent pixel, for which a shift is believed
(five standard deviations; chance gives about 2). Below it, the shift would be that of the noise."""

EXACT: Final = 1e-24
"""Squared error relative to the truth's energy at which nothing is left to remove."""

STEPS: Final = 12
"""Most Gauss-Newton steps; noise-free fields need about five."""

ROUNDS: Final = 6
"""Most turns of shift and ramp, each found with the other held; every turn divides the error by about 90."""

Complex = NDArray[np.complex128]
Pair = tuple[float, float]


@dataclass(frozen=True)
class Alignment:
    """A reconstruction in the truth's frame, and what was done to it.

    Attributes
    ----------
    field : (H, W) complex128
        factor * ramp * shifted reconstruction; NaN where the reconstruction had no value.
    factor : complex
        Global factor of the least-squares fit.
    shift_px : (dy, dx)
        Displacement applied to the reconstruction.
    ramp_rad_per_px : (ky, kx)
        Phase slope that was added; zero unless it was asked for.
    at_limit : bool
        The shift stopped at the largest allowed one: the reconstruction is probably not registered.
    """

    field: Complex
    factor: complex
    shift_px: tuple[float, float]
    ramp_rad_per_px: tuple[float, float]
    ramp_removed: bool
    at_limit: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the field."""
        return {
            "factor_magnitude": abs(self.factor),
            "factor_phase_rad": float(np.angle(self.factor)),
            "shift_y_px": self.shift_px[0],
            "shift_x_px": self.shift_px[1],
            "shift_at_limit": self.at_limit,
            "ramp_removed": self.ramp_removed,
            "ramp_y_rad_per_px": self.ramp_rad_per_px[0],
            "ramp_x_rad_per_px": self.ramp_rad_per_px[1],
        }


def align(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    *,
    max_shift_px: float,
    remove_ramp: bool = False,
) -> Alignment:
    """Bring a reconstruction into the truth's frame.

    The shift is the peak of the cross-correlation of the two complex fields over the mask: whole pixels by trying
    all that are allowed (a correlation by Fourier transform of masked fields would lock to the mask's edge), then
    Gauss-Newton steps with the slope of the *truth*, which are free of the noise in the reconstruction. It is kept
    only if it lowers the squared error by more than chance would (:data:`SIGNIFICANCE`); a flat object stays put.

    Parameters
    ----------
    reconstruction, truth : (H, W) complex
    mask : (H, W) bool
        Evaluated pixels; every estimate uses these alone.
    max_shift_px : float
        Largest shift along each axis.
    remove_ramp : bool
        Remove a linear phase ramp, which is ambiguous only where the probe was refined as well.

    Raises
    ------
    ValueError
        If shapes differ, the mask is empty, or the reconstruction is not finite or zero everywhere on it.
    """
    if reconstruction.shape != truth.shape:
        raise ValueError(f"the reconstruction has shape {reconstruction.shape}, the truth {truth.shape}")
    if not mask.any():
        raise ValueError("the evaluated region is empty")
    bad = int(np.count_nonzero(~np.isfinite(reconstruction[mask])))
    if bad:
        raise ValueError(f"{bad} of {np.count_nonzero(mask)} evaluated pixels are not finite")
    if not np.any(reconstruction[mask]):
        raise ValueError("the reconstruction is zero on every evaluated pixel")
    known = np.isfinite(reconstruction)
    field = np.where(known, reconstruction, 0).astype(np.complex128)
    target = truth.astype(np.complex128)
    shift, ramp = (0.0, 0.0), (0.0, 0.0)
    if remove_ramp:
        ramp = _phase_ramp(field, target, mask, _coarse_ramp(field, target, mask))
    for _ in range(ROUNDS if remove_ramp else 1):
        last = shift
        shift = _shift(_ramped(field, mask, ramp), target, mask, max_shift_px)
        if remove_ramp:
            ramp = _phase_ramp(_shifted(field, shift), target, mask, ramp)
        if max(abs(a - b) for a, b in zip(shift, last, strict=True)) < 1e-6:
            break
    field = _ramped(_shifted(field, shift), mask, ramp)
    factor = _factor(field[mask], target[mask])
    at_limit = max_shift_px > 0 and max(abs(s) for s in shift) >= max_shift_px * (1 - 1e-9)
    return Alignment(np.where(known, factor * field, np.nan), factor, shift, ramp, remove_ramp, at_limit)


def _factor(seen: Complex, target: Complex) -> complex:
    """Complex factor that brings ``seen`` nearest to ``target`` in the least-squares sense."""
    energy = float(np.vdot(seen, seen).real)
    return complex(np.vdot(seen, target)) / energy if energy > 0 else 0j


def _residual(seen: Complex, target: Complex) -> float:
    """Squared error after fitting the factor, relative to the target's energy."""
    difference = target - _factor(seen, target) * seen
    energy = float(np.vdot(target, target).real)
    return float(np.vdot(difference, difference).real) / energy if energy > 0 else 0.0


def _shifted(field: Complex, shift: Pair) -> Complex:
    """Field displaced by (dy, dx) pixels; beyond its border the nearest pixel."""
    if not any(shift):
        return field
    if all(s.is_integer() for s in shift):
        return scipy.ndimage.shift(field, shift, order=0, mode="nearest")
    return scipy.ndimage.shift(field, shift, order=SPLINE_ORDER, mode="nearest")


def _ramped(field: Complex, mask: NDArray[np.bool_], ramp: Pair) -> Complex:
    """Field with a phase slope [rad/px] added, zero at the centre of the mask."""
    if not any(ramp):
        return field
    factors = [
        np.exp(1j * slope * (np.arange(n) - centre))
        for slope, n, centre in zip(ramp, field.shape, _centre(mask), strict=True)
    ]
    turned: Complex = field * np.outer(*factors)
    return turned


def _centre(mask: NDArray[np.bool_]) -> Pair:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def _gauss_newton(columns: list[Complex], difference: Complex) -> NDArray[np.float64]:
    """Real coefficients of the least-squares fit of complex columns to a complex difference."""
    matrix = np.stack(columns, axis=1)
    normal, right = (matrix.conj().T @ matrix).real, (matrix.conj().T @ difference).real
    scale = np.sqrt(np.maximum(np.diag(normal), np.finfo(float).tiny))
    solved = np.linalg.lstsq(normal / np.outer(scale, scale), right / scale, rcond=1e-12)[0]
    steps: NDArray[np.float64] = solved / scale
    return steps


# -- shift ------------------------------------------------------------------------------------------------------


def _shift(field: Complex, truth: Complex, mask: NDArray[np.bool_], limit: float) -> Pair:
    """Displacement (dy, dx) of a field without ramp, or zero where none is significant."""
    if limit <= 0 or _residual(field[mask], truth[mask]) <= EXACT:
        return 0.0, 0.0
    box, inner = _inner(mask, limit)
    moving, reference = (scipy.ndimage.gaussian_filter(f[box], SMOOTHING_PX, mode="nearest") for f in (field, truth))
    target = reference[inner]
    whole = _whole_pixels(moving, target, inner, int(limit))
    shift = whole
    slopes = _slopes(reference, inner)
    for _ in range(STEPS):
        seen = _shifted(moving, shift)[inner]
        seen = seen * _factor(seen, target)
        step = _gauss_newton([seen, 1j * seen, *slopes], target - seen)[2:]
        moved = tuple(float(np.clip(s + d, -limit, limit)) for s, d in zip(shift, step, strict=True))
        change = max(abs(a - b) for a, b in zip(moved, shift, strict=True))
        shift = (moved[0], moved[1])
        if change < 1e-7:
            break
    at_rest, at_whole, refined = (_residual(_shifted(moving, s)[inner], target) for s in ((0.0, 0.0), whole, shift))
    best, least = (shift, refined) if refined < at_whole else (whole, at_whole)
    independent = max(1.0, np.count_nonzero(inner) / (4 * np.pi * SMOOTHING_PX**2))
    believed = (at_rest - least) * independent > SIGNIFICANCE * least
    lowers = _residual(_shifted(field, best)[mask], truth[mask]) < _residual(field[mask], truth[mask])
    return best if believed and lowers else (0.0, 0.0)


def _inner(mask: NDArray[np.bool_], limit: float) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Bounding box of the mask with a margin, and within it the mask less the pixels that smoothing blends."""
    margin = int(np.ceil(limit + 8 * SMOOTHING_PX))
    spans = []
    for axis in (1, 0):
        lit = np.flatnonzero(mask.any(axis=axis))
        spans.append(slice(max(0, int(lit[0]) - margin), int(lit[-1]) + 1 + margin))
    box = (spans[0], spans[1])
    inner = scipy.ndimage.binary_erosion(mask[box], iterations=int(np.ceil(3 * SMOOTHING_PX)), border_value=1)
    return box, inner if np.count_nonzero(inner) >= 64 else mask[box]


def _whole_pixels(moving: Complex, target: Complex, inner: NDArray[np.bool_], limit: int) -> Pair:
    """Displacement in whole pixels with the least squared error."""
    rows, columns = np.nonzero(inner)
    best, least = (0, 0), np.inf
    for dy in range(-limit, limit + 1):
        from_row = np.clip(rows - dy, 0, inner.shape[0] - 1)
        for dx in range(-limit, limit + 1):
            seen = moving[from_row, np.clip(columns - dx, 0, inner.shape[1] - 1)]
            error = _residual(seen, target)
            if error < least:
                best, least = (dy, dx), error
    return float(best[0]), float(best[1])


def _slopes(reference: Complex, inner: NDArray[np.bool_]) -> list[Complex]:
    """Change of the truth with a displacement of one pixel along y and x."""
    reach = 0.05
    slopes = []
    for axis in (0, 1):
        ends = [_shifted(reference, (step, 0.0) if axis == 0 else (0.0, step))[inner] for step in (-reach, reach)]
        slopes.append((ends[1] - ends[0]) / (2 * reach))
    return slopes


# -- ramp -------------------------------------------------------------------------------------------------------


def _coarse_ramp(field: Complex, truth: Complex, mask: NDArray[np.bool_]) -> Pair:
    """Phase slope between the fields: the peak of the spectrum of truth times conjugate reconstruction."""
    product = np.where(mask, truth * field.conj(), 0)
    shape = tuple(int(scipy.fft.next_fast_len(2 * n)) for n in product.shape)
    peak = np.unravel_index(int(np.argmax(np.abs(scipy.fft.fft2(product, shape)))), shape)
    ky, kx = (2 * np.pi * float(scipy.fft.fftfreq(n)[i]) for n, i in zip(shape, peak, strict=True))
    # Less than one step of the spectrum is left to the refinement.
    return ky, kx


def _phase_ramp(field: Complex, truth: Complex, mask: NDArray[np.bool_], start: Pair) -> Pair:
    """Phase slope [rad/px] of least squared error near ``start``; zero where it does not lower the error."""
    target, indices, centre = truth[mask], np.nonzero(mask), _centre(mask)
    rows, columns = (i - c for i, c in zip(indices, centre, strict=True))
    ramp = start
    for _ in range(STEPS):
        seen = _ramped(field, mask, ramp)[mask]
        seen = seen * _factor(seen, target)
        step = _gauss_newton([seen, 1j * seen, 1j * rows * seen, 1j * columns * seen], target - seen)[2:]
        ramp = (ramp[0] + float(step[0]), ramp[1] + float(step[1]))
        if np.abs(step).max() < 1e-13:
            break
    before = _residual(field[mask], target)
    now = _residual(_ramped(field, mask, ramp)[mask], target)
    significant = before > EXACT and (before - now) * len(target) > SIGNIFICANCE * now
    return ramp if significant else (0.0, 0.0)
