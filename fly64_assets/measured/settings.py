"""Settings of a study of measured frames: its calibration, and how doses are made of the measured counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict

from fly64_assets.physics.quantities import NO_OTHER_FIELDS, Flag, Whole, within


@dataclass(frozen=True)
class MeasuredSettings:
    """What a study of measured frames (`scan: measured`) takes as known, and how it makes lower doses of the counts."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    calibrate: Flag = True
    """Whether probe and reference object are found from all counts; otherwise those of the file are taken."""
    refine_positions: Flag = False
    """Whether the calibration moves the positions too."""
    epochs: Annotated[Whole, within(1, 1000)] = 100
    """Largest number of passes of the calibration over all frames; counts kept aside end it before."""
    thinning: Literal["nested", "independent"] = "nested"
    """Whether a lower dose is a part of the next higher one, or no photon belongs to two doses."""
    pairs: Flag = True
    """Whether each method also reconstructs halves of the photons and of the frames, for their ring correlation."""

    def calibration(self) -> dict[str, Any]:
        """What the calibration depends on, in plain JSON types."""
        return {name: asdict(self)[name] for name in ("calibrate", "refine_positions", "epochs")}
