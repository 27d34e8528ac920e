"""A method's error against the photon limit at the cell's dose: does the number of photons limit it, or the algorithm?

Belongs here: the limit at a dose, the efficiency of a method, and when the two may not be compared. Does not belong
here: the limit itself (``bound``) and the closed form 1 / (4 n) (``photon_budget``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import UnitLimit
from fly64_assets.evaluation.scores.metrics import Score, no_score

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
    """The photon limit of a cell's split.

    Attributes
    ----------
    unit : UnitLimit or str
        The bound for s = 1, or why none was computed.
    intensity_scale : float
        s of the cell.
    floor_rad : float or None
        Root of the mean of 1 / (4 n), which needs no matrix and exists where the matrix is singular too.
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
        if isinstance(self.unit, str):
            return None
        bound = self.unit.phase if part == "phase" else self.unit.amplitude
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


def efficiency(limit: DoseLimit, part: str, rmse: Score, *, learned: bool) -> Score:
    """Bound over mean squared error, with a remark where the two may not be compared.

    Parameters
    ----------
    part : str
        ``amplitude`` or ``phase``.
    rmse : Score
        Of the method, over the pixels of the bound.
    learned : bool
        The method has a learned prior.
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
