"""Removal of what ptychography cannot know: a global complex factor, a shift, and a phase ramp.

One procedure for every arm, on the same pixels. Belongs here: registration of a reconstruction with the truth.
Does not belong here: which pixels count (``frame``) and scores (``metrics``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

SPLINE_ORDER: Final = 5
"""Quintic splines: local (a jump at the edge of the coverage does not ring through the region), nearly lossless."""

LEAST_GAIN: Final = 1e-3
"""Least relative decrease of the squared error for which a shift or a ramp is believed; below it, it is noise."""

EXACT: Final = 1e-24
"""Squared error relative to the truth's energy at which nothing is left to remove."""

REFINEMENTS: Final = 12
"""Most Gauss-Newton steps; noise-free fields need about five."""

Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Alignment:
    """A reconstruction in the truth's frame, and what was done to it.

    Attributes
    ----------
    field : (H, W) complex128
        factor * ramp * shifted reconstruction.
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

    The shift starts from whole pixels by phase correlation of the complex fields on the mask (Kuglin and Hines,
    1975) and is refined, together with the factor and the ramp, by Gauss-Newton steps on the squared error over
    the mask. The slope of the *truth* stands for that of the reconstruction: the refined shift is the peak of
    their cross-correlation, free of the noise in the reconstruction and of the blur of interpolation. A shift or
    ramp is kept only if it lowers the squared error by at least :data:`LEAST_GAIN`; a flat object stays put.

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
        If the mask is empty, or the reconstruction is not finite or zero everywhere on it.
    """
    if not mask.any():
        raise ValueError("the evaluated region is empty")
    bad = int(np.count_nonzero(~np.isfinite(reconstruction[mask])))
    if bad:
        raise ValueError(f"{bad} of {np.count_nonzero(mask)} evaluated pixels are not finite")
    if not np.any(reconstruction[mask]):
        raise ValueError("the reconstruction is zero on every evaluated pixel")
    fit = _Fit(np.nan_to_num(reconstruction.astype(np.complex128)), truth.astype(np.complex128), mask, max_shift_px)
    start = _State((0.0, 0.0), (0.0, 0.0))
    best = start
    for candidate in _starts(fit, start, remove_ramp):
        refined = _refine(fit, candidate, remove_ramp)
        for state in (candidate, refined):
            if fit.gains(state, best):
                best = state
    field, factor = fit.model(best)
    at_limit = max_shift_px > 0 and max(abs(s) for s in best.shift) >= max_shift_px * (1 - 1e-9)
    return Alignment(field, factor, best.shift, best.ramp, remove_ramp, at_limit)


@dataclass(frozen=True)
class _State:
    shift: tuple[float, float]
    ramp: tuple[float, float]


class _Fit:
    """Squared error over the mask as a function of shift and ramp, the factor always fitted."""

    def __init__(self, reconstruction: Complex, truth: Complex, mask: NDArray[np.bool_], limit: float) -> None:
        self.truth, self.mask, self.limit = truth, mask, limit
        self.reconstruction = reconstruction
        self.target = truth[mask]
        self.energy = float(np.vdot(self.target, self.target).real)
        rows, columns = np.nonzero(mask)
        self.centre = (float(rows.mean()), float(columns.mean()))
        self.rows, self.columns = rows - self.centre[0], columns - self.centre[1]
        self._coefficients: Complex | None = None
        self._errors: dict[_State, float] = {}

    def moved(self, state: _State) -> Complex:
        """Shifted and ramped reconstruction, without the factor."""
        field = self.reconstruction
        if any(state.shift):
            if self._coefficients is None:
                self._coefficients = scipy.ndimage.spline_filter(field, SPLINE_ORDER, np.complex128, mode="nearest")
            whole = all(float(s).is_integer() for s in state.shift)
            field = scipy.ndimage.shift(
                field if whole else self._coefficients,
                state.shift,
                order=0 if whole else SPLINE_ORDER,
                mode="nearest",
                prefilter=False,
            )
        if any(state.ramp):
            rows = np.exp(1j * state.ramp[0] * (np.arange(field.shape[0]) - self.centre[0]))
            columns = np.exp(1j * state.ramp[1] * (np.arange(field.shape[1]) - self.centre[1]))
            field = field * np.outer(rows, columns)
        return field

    def model(self, state: _State) -> tuple[Complex, complex]:
        field = self.moved(state)
        seen = field[self.mask]
        energy = float(np.vdot(seen, seen).real)
        factor = complex(np.vdot(seen, self.target)) / energy if energy > 0 else 0j
        return factor * field, factor

    def error(self, state: _State) -> float:
        """Squared error relative to the truth's energy."""
        if state not in self._errors:
            residual = self.target - self.model(state)[0][self.mask]
            self._errors[state] = float(np.vdot(residual, residual).real) / max(self.energy, np.finfo(float).tiny)
        return self._errors[state]

    def gains(self, state: _State, best: _State) -> bool:
        return self.error(best) > EXACT and self.error(state) < (1 - LEAST_GAIN) * self.error(best)

    def clipped(self, shift: tuple[float, float]) -> tuple[float, float]:
        y, x = (float(np.clip(s, -self.limit, self.limit)) for s in shift)
        return y, x


def _starts(fit: _Fit, start: _State, remove_ramp: bool) -> list[_State]:
    states = [start]
    if remove_ramp:
        ramped = _State(start.shift, _coarse_ramp(fit))
        states.append(ramped)
    for state in list(states):
        states.append(_State(fit.clipped(_coarse_shift(fit, state)), state.ramp))
    return list(dict.fromkeys(states))


def _coarse_shift(fit: _Fit, state: _State) -> tuple[float, float]:
    """Whole-pixel displacement by phase correlation on the masked, mean-free fields."""
    from skimage.registration import phase_cross_correlation

    box = _bounding_box(fit.mask)
    mask = fit.mask[box]
    moving, _ = fit.model(state)
    fields = [np.where(mask, f[box] - f[fit.mask].mean(), 0) for f in (fit.truth, moving)]
    if not all(np.any(np.abs(f) > 1e-9) for f in fields):
        return 0.0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        shift, _, _ = phase_cross_correlation(*fields, normalization="phase")
    y, x = (float(s) for s in shift)
    # A peak farther away than an ambiguity can be is chance.
    return (y, x) if max(abs(y), abs(x)) <= fit.limit else (0.0, 0.0)


def _coarse_ramp(fit: _Fit) -> tuple[float, float]:
    """Phase slope between the fields: the peak of the spectrum of truth times conjugate reconstruction."""
    box = _bounding_box(fit.mask)
    product = np.where(fit.mask[box], fit.truth[box] * fit.reconstruction[box].conj(), 0)
    shape = tuple(2 * int(scipy.fft.next_fast_len(n)) for n in product.shape)
    peak = np.unravel_index(int(np.argmax(np.abs(scipy.fft.fft2(product, shape)))), shape)
    ky, kx = (2 * np.pi * float(scipy.fft.fftfreq(n)[i]) for n, i in zip(shape, peak, strict=True))
    return ky, kx


def _refine(fit: _Fit, state: _State, remove_ramp: bool) -> _State:
    """Gauss-Newton steps for shift and ramp, the factor fitted along; stops when they no longer matter."""
    slopes = _slopes(fit) if fit.limit > 0 else []
    for _ in range(REFINEMENTS):
        if fit.error(state) <= EXACT:
            break
        model = fit.model(state)[0][fit.mask]
        columns = [model, 1j * model, *slopes]
        if remove_ramp:
            columns += [1j * fit.rows * model, 1j * fit.columns * model]
        if len(columns) == 2:
            break
        matrix = np.stack([np.concatenate([c.real, c.imag]) for c in columns], axis=1)
        residual = fit.target - model
        step = np.linalg.lstsq(matrix, np.concatenate([residual.real, residual.imag]), rcond=1e-10)[0][2:]
        shift, ramp = state.shift, state.ramp
        if slopes:
            shift = fit.clipped((shift[0] + float(step[0]), shift[1] + float(step[1])))
            step = step[2:]
        if remove_ramp:
            ramp = (ramp[0] + float(step[0]), ramp[1] + float(step[1]))
        moved = max(abs(a - b) for a, b in zip(shift, state.shift, strict=True))
        turned = max(abs(a - b) for a, b in zip(ramp, state.ramp, strict=True))
        state = _State(shift, ramp)
        if moved < 1e-6 and turned < 1e-12:
            break
    return state


def _slopes(fit: _Fit) -> list[Complex]:
    """Change of the truth with a displacement of one pixel along y and x, on the mask."""
    coefficients = scipy.ndimage.spline_filter(fit.truth, SPLINE_ORDER, np.complex128, mode="nearest")
    slopes = []
    for axis in (0, 1):
        ends = []
        for step in (-0.05, 0.05):
            offset = [step if a == axis else 0.0 for a in (0, 1)]
            end = scipy.ndimage.shift(coefficients, offset, order=SPLINE_ORDER, mode="nearest", prefilter=False)
            ends.append(end[fit.mask])
        slopes.append((ends[1] - ends[0]) / 0.1)
    return slopes


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
