"""All scores of one aligned reconstruction but the likelihood and the efficiency, and its correlation curves.

Belongs here: which scores are taken of which part. Does not belong here: the scores themselves (``metrics``,
``resolution``), methods and verdicts (``compare``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores import metrics as score
from fly64_assets.evaluation.scores.alignment import Alignment
from fly64_assets.evaluation.scores.bands import Pictures, cropped, masked_moments, rows_of
from fly64_assets.evaluation.scores.metrics import Part, Score
from fly64_assets.evaluation.scores.region import Rectangle, Region, no_rectangle_reason
from fly64_assets.evaluation.scores.resolution import RingCorrelation, resolution, ring_correlation
from fly64_assets.evaluation.settings import MetricsConfig

Curve = RingCorrelation | str


def method_scores(
    aligned: Alignment, truth: NDArray[np.complexfloating], region: Region, metrics: MetricsConfig
) -> tuple[dict[tuple[str, str], Score], dict[str, Curve]]:
    """Scores by part and metric, and correlation curves by part, of a reconstruction against the truth (H, W)."""
    scores: dict[tuple[str, str], Score] = {}
    curves: dict[str, Curve] = {}
    parts = {"phase": score.phase_part(aligned, truth, region.mask, region.rectangle)}
    if metrics.report_amplitude:
        amplitude = score.amplitude_part(aligned, truth, region.mask, region.rectangle)
        parts = {"amplitude": amplitude, **parts}
    for name, part in parts.items():
        curves[name] = _curve(part.pictures, region.rectangle)
        scores |= {(name, metric): s for metric, s in _picture_scores(part, metrics).items()}
        scores |= {(name, metric): s for metric, s in _resolutions(curves[name], metrics).items()}

    def fields(part: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        return rows_of(truth, part), aligned.rows(part)

    curves["complex"] = _curve(fields, region.rectangle)
    scores["complex", "correlation"] = score.correlation(masked_moments(fields, region.mask))
    scores |= {("complex", metric): s for metric, s in _resolutions(curves["complex"], metrics).items()}
    return scores, curves


def _curve(pictures: Pictures, rectangle: Rectangle | None) -> Curve:
    if rectangle is None:
        return no_rectangle_reason()
    return ring_correlation(cropped(pictures, rectangle), (rectangle.height, rectangle.width))


def _picture_scores(part: Part, metrics: MetricsConfig) -> dict[str, Score]:
    return {
        "mae": score.mae(part),
        "rmse": score.rmse(part),
        "psnr": score.psnr(part),
        "ssim": score.ssim(part),
        "ms_ssim": score.ms_ssim(part, metrics.ms_ssim_sigma),
        "correlation": score.correlation(part.moments),
    }


def _resolutions(curve: Curve, metrics: MetricsConfig) -> dict[str, Score]:
    return {"frc_05": resolution(curve, metrics.frc_threshold), "frc_half_bit": resolution(curve)}
