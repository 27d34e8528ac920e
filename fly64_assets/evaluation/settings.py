"""Settings of the evaluation: the region in which pixels count, the image metrics, and what the report answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict

from fly64_assets.physics.quantities import NO_OTHER_FIELDS, Flag, Number, Positive, at_most, unit, within


@dataclass(frozen=True)
class MetricsConfig:
    """Settings of the image metrics."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    ms_ssim_sigma: Annotated[Positive, at_most(100), unit("px")] = 1.0
    """Width of the Gaussian windows of the multi-scale structural similarity, as a standard deviation."""
    emphasize_phase: Flag = True
    """Whether the verdict follows the phase; otherwise it follows the amplitude, where that is reported."""
    report_amplitude: Flag = True
    """Whether the amplitude is scored beside the phase and the complex object."""
    frc_threshold: Annotated[Number, within(0, 1, "()")] = 0.5
    """Fourier ring correlation at which the resolution is read off."""


@dataclass(frozen=True)
class EvaluationSettings:
    """The common evaluation region: where pixels count, and how far methods may be shifted to register."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    coverage_threshold: Positive = 0.1
    """Least illumination of a pixel that counts, as a multiple of one frame's mean over the pixels of its disc."""
    max_shift_px: Annotated[Number, within(0, 10), unit("px")] = 2.0
    """Largest shift by which an object is registered to the truth; 0 leaves it where it is."""


@dataclass(frozen=True)
class ReportSettings:
    """What the report answers; no result depends on it."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    threshold_rad: Annotated[Positive, at_most(3), unit("rad")] = 0.1
    """Phase error that is good enough: the report says how many photons per frame each method needs for it."""
