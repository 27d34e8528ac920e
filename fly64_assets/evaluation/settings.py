"""Settings of the evaluation: the region in which pixels count, and the image metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricsConfig:
    """Settings of the image metrics (spec 07)."""

    ms_ssim_sigma: float = 1.0
    emphasize_phase: bool = True
    report_amplitude: bool = True
    frc_threshold: float = 0.5


@dataclass(frozen=True)
class EvaluationSettings:
    """The common evaluation frame: where pixels count and how far arms may be shifted to register."""

    coverage_threshold: float = 0.1
    max_shift_px: float = 2.0
