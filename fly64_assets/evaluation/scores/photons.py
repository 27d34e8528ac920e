"""The photons of a split, the least error that they allow, and a method's error against it.

Does not belong here: the bound itself (``bound``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit
from fly64_assets.evaluation.scores.bands import masked_bands
from fly64_assets.evaluation.scores.metrics import Score, no_score
from fly64_assets.evaluation.scores.region import Region
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import one_mode_problem

LimitSource = Callable[[LimitProblem], UnitLimit]
"""Where a bound comes from: :func:`~fly64_assets.evaluation.bound.limit.dose_limit`, or bounds computed before."""

FLOOR_LABEL: Final = "photon floor: root mean of 1 / (4 n_r), the closed form that only a prior can beat"


@dataclass(frozen=True)
class PhotonBudget:
    """Photons of one split: mean over the evaluated pixels of n_r = s^2 W(r) |O(r)|^2, root mean of 1 / (4 n_r).

    ``reason`` says why a figure is missing.
    """

    frames: int
    photons_per_pixel: float | None
    phase_floor_rad: float | None
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types with the label of the floor."""
        document = asdict(self)
        reason = document.pop("reason")
        return document | {"phase_floor_label": FLOOR_LABEL, "reason": reason}


def expected_photons(
    illumination: NDArray[np.float64], truth: NDArray[np.complexfloating], intensity_scale: float
) -> NDArray[np.float64]:
    """Photons n_r = s^2 W(r) |O(r)|^2 expected through every pixel of the object, (H, W)."""
    photons: NDArray[np.float64] = intensity_scale**2 * illumination * np.abs(truth.astype(np.complex128)) ** 2
    return photons


def phase_variance_floor(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least variance [rad^2] of a phase that is measured with ``photons`` coherent photons, 1 / (4 n).

    The quantum limit of a coherent state (see Wei et al., arXiv 2003.05475, for ptychography); the same number
    bounds the variance of the logarithm of the amplitude.

    Examples
    --------
    >>> float(phase_variance_floor(np.array(2500.0)) ** 0.5)
    0.01
    """
    floor: NDArray[np.float64] = 1 / (4 * photons)
    return floor


def photon_budget(
    illumination: NDArray[np.float64],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    intensity_scale: float,
    frames: int,
) -> PhotonBudget:
    """Budget of a split over its evaluated pixels; figures that do not exist come with the reason."""
    if not mask.any():
        return PhotonBudget(frames, None, None, "the evaluated region is empty")
    total, inverse, pixels, dark = 0.0, 0.0, 0, 0
    for part in masked_bands(mask):
        photons = expected_photons(illumination[part], truth[part], intensity_scale)[mask[part]]
        bright = photons[photons > 0]
        total += float(photons.sum())
        inverse += float(phase_variance_floor(bright).sum())
        pixels, dark = pixels + len(photons), dark + len(photons) - len(bright)
    if dark:
        reason = f"{dark} evaluated pixels of the truth transmit no light: their phase is not defined"
        return PhotonBudget(frames, total / pixels, None, reason)
    return PhotonBudget(frames, total / pixels, float(np.sqrt(inverse / pixels)), None)


SCOPE: Final = (
    "The Cramér–Rao bound holds for unbiased estimates of every single pixel. A method that uses prior information (a "
    "learned prior, regularisation, an iteration that was stopped early) is biased and may have a smaller error: an "
    "efficiency below 1 means an error above the bound, one above 1 that a prior or regularisation dominates. It is no "
    "figure of merit."
)
LEARNED: Final = (
    "this method has a learned prior, so that the bound, which is for unbiased estimates, does not apply to it"
)
BELOW: Final = (
    "the error is below the bound of every unbiased estimate: the method is biased, because it uses prior information "
    "(it was stopped early, it is regularised, or it started from a prior)"
)


@dataclass(frozen=True)
class DoseLimit:
    """The photon limit of a cell's split at its intensity scale s.

    ``unit`` is the bound for s = 1, or why none was computed; ``floor_rad`` the root mean of 1 / (4 n), which needs no
    matrix and exists where the matrix is singular too.
    """

    unit: UnitLimit | str
    intensity_scale: float
    floor_rad: float | None

    @property
    def state(self) -> str:
        """``regular``, ``singular`` or ``none``."""
        if isinstance(self.unit, str):
            return "none"
        return "singular" if self.unit.singular else "regular"

    @property
    def reason(self) -> str | None:
        """Why there is no bound; None where there is one."""
        if isinstance(self.unit, str):
            return self.unit
        return "singular: " + "; ".join(self.unit.singular) if self.unit.singular else None

    def error(self, part: str) -> float | None:
        """Least root-mean-square error of an unbiased estimate of ``phase`` or ``amplitude`` at the cell's dose."""
        bound = None if isinstance(self.unit, str) else self.unit.phase if part == "phase" else self.unit.amplitude
        return None if bound is None else float(np.sqrt(bound.variance)) / self.intensity_scale

    def error_map(self, part: str) -> NDArray[np.float64] | None:
        """Least standard deviation of every evaluated pixel (H, W) at the cell's dose, 0 elsewhere."""
        if isinstance(self.unit, str):
            return None
        variance = self.unit.phase_map if part == "phase" else self.unit.amplitude_map
        return None if variance is None else np.sqrt(variance) / self.intensity_scale

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types with the sentence that says what the bound means."""
        return {
            "state": self.state,
            "reason": self.reason,
            "phase_rad": self.error("phase"),
            "amplitude": self.error("amplitude"),
            "photon_floor_rad": self.floor_rad,
            "intensity_scale": self.intensity_scale,
            "unit": None if isinstance(self.unit, str) else self.unit.to_dict(),
            "scope": SCOPE,
        }


def limit_at(
    obj: NDArray[np.complexfloating], m: Measurement, region: Region, limit: LimitSource, floor_rad: float | None
) -> DoseLimit:
    """The photon limit of a measurement in a region, evaluated at an object (H, W); it says why where there is none."""
    unit: UnitLimit | str = one_mode_problem(m.modes, "the photon limit")
    if not unit:
        try:
            unit = limit(LimitProblem(obj, m.probe, m.scan, region.mask, region.threshold_value, m.bad_pixels))
        except ValueError as error:
            unit = str(error)
    return DoseLimit(unit, m.intensity_scale, floor_rad)


def efficiency(limit: DoseLimit, part: str, rmse: Score, *, learned: bool) -> Score:
    """Bound over mean squared error of ``amplitude`` or ``phase``, with a remark where the two may not be compared.

    ``rmse`` is that of the method over the pixels of the bound; ``learned`` says that the method has a learned prior.
    """
    bound = limit.error(part)
    if bound is None:
        floor = "" if limit.floor_rad is None or part != "phase" else f"; 1 / (4 n) gives {limit.floor_rad:.3g} rad"
        return no_score(f"{limit.reason}{floor}")
    if rmse.value is None:
        return no_score(rmse.reason or "no error to compare with")
    if not rmse.value > 1e-6 * bound:
        return no_score("there is no error")
    value = (bound / rmse.value) ** 2
    return Score(value, LEARNED if learned else BELOW if value > 1 else None)
