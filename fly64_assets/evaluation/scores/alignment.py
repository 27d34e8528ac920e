"""Removal of the trivial ambiguities of ptychography: a global complex factor, a shift, and a phase ramp.

One procedure for every method, on the same pixels, band by band. How shift and ramp are found is in ``registration``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.bands import masked_bands, widened
from fly64_assets.evaluation.scores.registration import SPLINE_REACH_PX, Complex, Pair, ramped, register, shifted


@dataclass(frozen=True)
class Alignment:
    """A reconstruction (H, W) on the truth's pixels, and what was done to it.

    Global factor of the least-squares fit, displacement (dy, dx), and phase slope (ky, kx) that was added, zero at the
    ``centre`` (y, x) of the evaluated region. With ``at_limit`` the shift stopped at the largest allowed one: the
    reconstruction is probably not registered.
    """

    reconstruction: NDArray[np.complexfloating] = dataclasses.field(repr=False)
    factor: complex
    shift_px: Pair
    ramp_rad_per_px: Pair
    centre: Pair
    ramp_removed: bool
    at_limit: bool

    @property
    def field(self) -> Complex:
        """The whole aligned field (H, W) complex128; NaN where the reconstruction had no value."""
        return self.rows(slice(None))

    def rows(self, part: slice) -> Complex:
        """Rows of factor * ramp * shifted reconstruction, (rows, W); NaN where the reconstruction had no value."""
        height = self.reconstruction.shape[0]
        reach = SPLINE_REACH_PX + int(np.ceil(abs(self.shift_px[0]))) if any(self.shift_px) else 0
        outer, inner = widened(part, reach, height)
        source = self.reconstruction[outer].astype(np.complex128)
        known = np.isfinite(source)
        moved = shifted(np.where(known, source, 0), self.shift_px)[inner]
        origin = (self.centre[0] - (outer.start + inner.start), self.centre[1])
        return np.where(known[inner], self.factor * ramped(moved, origin, self.ramp_rad_per_px), np.nan)

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
    """Bring a reconstruction onto the truth's pixels, scale and phase.

    The shift is found by least squares (``registration``), and is kept only if it lowers the squared error by more than
    chance would; a uniform object is not shifted. The complex factor is that of least squares.

    Parameters
    ----------
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

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> truth = np.exp(1j * gaussian_filter(np.random.default_rng(1).normal(size=(64, 64)), 2))
    >>> mask = np.zeros((64, 64), bool)
    >>> mask[8:-8, 8:-8] = True
    >>> moved = 2j * np.roll(truth, (-1, 2), (0, 1))
    >>> aligned = align(moved, truth, mask, max_shift_px=2)
    >>> [round(shift, 3) for shift in aligned.shift_px], round(abs(aligned.factor), 3)
    ([1.0, -2.0], 0.5)
    >>> bool(np.allclose(aligned.field[mask], truth[mask], atol=1e-6))
    True
    """
    _require_comparable(reconstruction, truth, mask)
    # Mean position of the evaluated pixels.
    counts = [np.count_nonzero(mask, axis=axis) for axis in (1, 0)]
    y, x = (float((np.arange(len(count)) * count).sum() / count.sum()) for count in counts)
    centre = (y, x)
    shift, ramp = register(reconstruction, truth, mask, centre, max_shift_px=max_shift_px, remove_ramp=remove_ramp)
    at_limit = max_shift_px > 0 and max(abs(s) for s in shift) >= max_shift_px * (1 - 1e-9)
    moved = Alignment(reconstruction, 1 + 0j, shift, ramp, centre, remove_ramp, at_limit)
    energy, product = 0.0, 0j
    for part in masked_bands(mask):
        values, target = moved.rows(part)[mask[part]], truth[part][mask[part]].astype(np.complex128)
        energy += float(np.vdot(values, values).real)
        product += complex(np.vdot(values, target))
    return dataclasses.replace(moved, factor=product / energy if energy > 0 else 0j)


def _require_comparable(
    reconstruction: NDArray[np.complexfloating], truth: NDArray[np.complexfloating], mask: NDArray[np.bool_]
) -> None:
    if reconstruction.shape != truth.shape:
        raise ValueError(f"the reconstruction has shape {reconstruction.shape}, the truth {truth.shape}")
    if not mask.any():
        raise ValueError("the evaluated region is empty")
    bad, dark = 0, True
    for part in masked_bands(mask):
        values = reconstruction[part][mask[part]]
        bad += int(np.count_nonzero(~np.isfinite(values)))
        dark = dark and not np.any(values)
    if bad:
        raise ValueError(f"{bad} of {np.count_nonzero(mask)} evaluated pixels are not finite")
    if dark:
        raise ValueError("the reconstruction is zero on every evaluated pixel")
