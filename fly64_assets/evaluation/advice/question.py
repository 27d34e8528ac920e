"""What is asked: a dose or a goal, and the field to scan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from fly64_assets.errors import AdviceError
from fly64_assets.evaluation.atlas.law import NYQUIST_PX, Quantity

Ask = Literal["photons_per_pixel", "total_photons", "photons_per_nm2", "phase_error_rad", "resolution_px"]
UNITS: Final[dict[Ask, str]] = {
    "photons_per_pixel": "photons per object pixel",
    "total_photons": "photons in all",
    "photons_per_nm2": "photons per nm²",
    "phase_error_rad": "rad",
    "resolution_px": "px of a full period",
}
"""What may be asked, and in which unit it is given: three doses and two goals."""
LARGEST_FIELD_PX: Final = 10**6
LEAST_PHOTONS: Final = 1e-3
MOST_PHOTONS: Final = 1e9
"""Photons per object pixel that are answered at all; those of the atlas are between 1 and 14,000."""
MOST_OVERLAP: Final = 0.95
"""Largest overlap that is considered; positions a twentieth of a probe apart are nobody's scan."""


@dataclass(frozen=True)
class Question:
    """A dose that may be spent, or an error or a resolution to reach, and the field.

    Attributes
    ----------
    ask : str
        One of :data:`UNITS`.
    value : float
        In its unit.
    field_px : (float, float) [px]
        Height and width of the field to scan, in object pixels.
    pixel_size_nm : float or None [nm]
        Side of an object pixel.
    overlap : float or None
        A linear overlap that is given; None for the best one.
    methods : tuple of str
        Methods that come into question; empty for all of the atlas.
    """

    ask: Ask
    value: float
    field_px: tuple[float, float]
    pixel_size_nm: float | None = None
    overlap: float | None = None
    methods: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise AdviceError(problems)

    @property
    def goal(self) -> Quantity | None:
        """The quantity that shall be reached; None where a dose is given."""
        goals: dict[Ask, Quantity] = {"phase_error_rad": "error", "resolution_px": "resolution"}
        return goals.get(self.ask)

    def photons_per_pixel(self, frames: int, step_px: float) -> float:
        """Photons per object pixel of a given dose, for a scan of some frames."""
        if self.ask == "total_photons":
            return self.value / (frames * step_px**2)
        if self.ask == "photons_per_nm2":
            assert self.pixel_size_nm is not None
            return self.value * (self.pixel_size_nm * self.pixel_size_nm)
        return self.value

    def _roughly_per_pixel(self) -> float | None:
        """Photons per object pixel of the field; None for a goal, and where a number of the question is none."""
        numbers = (self.value, *self.field_px, 1.0 if self.pixel_size_nm is None else self.pixel_size_nm)
        lacking = self.ask == "photons_per_nm2" and self.pixel_size_nm is None
        if self.goal is not None or lacking or not all(math.isfinite(one) and one > 0 for one in numbers):
            return None
        return self.photons_per_pixel(1, math.sqrt(math.prod(self.field_px)))

    def _problems(self) -> Iterator[str]:
        words = self.ask.replace("_", " ")
        if not (math.isfinite(self.value) and self.value > 0):
            yield f"{words} = {self.value}: must be a positive number"
        if self.ask == "photons_per_nm2" and self.pixel_size_nm is None:
            yield f"{words}: needs the pixel size, from which the photons per object pixel follow"
        if self.ask == "resolution_px" and 0 < self.value < NYQUIST_PX:
            yield f"{words} = {self.value:g}: no pixel grid resolves less than {NYQUIST_PX:g} px, a full period"
        if not all(math.isfinite(side) and 1 <= side <= LARGEST_FIELD_PX for side in self.field_px):
            sides = " x ".join(f"{side:g}" for side in self.field_px)
            yield f"field = {sides} px: both sides must be in [1, {LARGEST_FIELD_PX:,}]"
        if self.pixel_size_nm is not None and not (math.isfinite(self.pixel_size_nm) and self.pixel_size_nm > 0):
            yield f"pixel size = {self.pixel_size_nm} nm: must be a positive number"
        elif (photons := self._roughly_per_pixel()) is not None and not LEAST_PHOTONS <= photons <= MOST_PHOTONS:
            yield (
                f"{words} = {self.value:g}: that is {photons:.3g} photons per object pixel; "
                f"must be in [{LEAST_PHOTONS:g}, {MOST_PHOTONS:g}]"
            )
        if self.overlap is not None and not 0 <= self.overlap <= MOST_OVERLAP:
            yield f"overlap = {self.overlap}: must be in [0, {MOST_OVERLAP}]; it is 1 - d/D of nearest probes"
