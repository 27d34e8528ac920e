"""Comparison of all methods of one cell with the truth, in one evaluation region and by one procedure.

Belongs here: which methods are scored, their documents and verdicts. Does not belong here: the choice of files, and
which methods exist, are learned or refined the probe; the result of a method is an array, or says why there is none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import dose_limit
from fly64_assets.evaluation.scores import metrics as score
from fly64_assets.evaluation.scores.alignment import Alignment, align
from fly64_assets.evaluation.scores.bands import masked_moments, rows_of
from fly64_assets.evaluation.scores.metrics import Score, nll_excess, no_score
from fly64_assets.evaluation.scores.photons import (
    DoseLimit,
    LimitSource,
    PhotonBudget,
    efficiency,
    limit_at,
    photon_budget,
)
from fly64_assets.evaluation.scores.region import Region, ScanBox, evaluation_region
from fly64_assets.evaluation.scores.resolution import RingCorrelation, rectangle_correlation, resolutions
from fly64_assets.evaluation.scores.verdicts import VERDICT_TEXTS, contests, uniform_verdict
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.physics.windows import Scan

UNIFORM: Final = "flat"
TRUTH: Final = "truth"
REFERENCE: Final = "reference"
REFERENCES: Final = (UNIFORM, TRUTH, REFERENCE)
"""Names of objects that are scored beside the methods: a uniform one, which a method has to beat; the truth itself or,
of measured frames, the object that their calibration found."""
NO_ESTIMATE: Final = "no estimate from these counts"
CSV_COLUMNS: Final = ("arm", "split", "part", "metric", "value")
PICTURE_METRICS: Final = (
    "mae", "rmse", "psnr", "ssim", "ms_ssim", "correlation", "frc_05", "frc_half_bit", "efficiency"
)  # fmt: skip
COMPLEX_METRICS: Final = ("correlation", "frc_05", "frc_half_bit", "nll_excess")
DOCUMENT_VERSION: Final = 2
"""Raised when the comparison document changes its members."""

Curve = RingCorrelation | str
"""A ring correlation, or why there is none."""


@dataclass(frozen=True)
class SplitInput:
    """What one split of a cell brings to the comparison.

    ``methods`` holds reconstructions (H, W) on the truth's grid, or why there is none; ``scan_box`` is that of the
    split's baseline positions. For a method that refined the probe a phase ramp is ambiguous; to one with a learned
    prior the bound for unbiased estimates does not apply. ``outside`` has sentences on what of the split lies outside
    of a method's training.
    """

    measurement: Measurement
    methods: Mapping[str, NDArray[np.complexfloating] | str]
    scan_box: ScanBox
    refined_probe: frozenset[str] = frozenset()
    learned: frozenset[str] = frozenset()
    outside: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One score of one method."""

    method: str
    split: str
    part: str
    metric: str
    value: float | None
    reason: str | None


@dataclass(frozen=True)
class MethodResult:
    """Whether a method could be scored (outcome) and how good it is (verdict): two separate things.

    ``outcome`` is ``compared``, ``missing`` or ``failed``; ``verdict`` is that of
    :func:`~fly64_assets.evaluation.scores.verdicts.uniform_verdict`; ``outside`` says what of the split lies outside
    of the method's training.
    """

    outcome: str
    reason: str | None
    verdict: str | None
    alignment: Alignment | None
    outside: Sequence[str] = ()

    @property
    def verdict_text(self) -> str | None:
        """The verdict in words, or why there is none, and what lies outside of the method's training."""
        text = VERDICT_TEXTS[self.verdict] if self.verdict else self.reason
        return f"{text}; outside of its training: {', '.join(self.outside)}" if self.outside else text

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``outside_of_training`` only where there is something to say."""
        alignment = self.alignment.to_dict() if self.alignment else None
        document = {"outcome": self.outcome, "reason": self.reason, "verdict": self.verdict, "alignment": alignment}
        return document | ({"outside_of_training": list(self.outside)} if self.outside else {})


@dataclass(frozen=True)
class SplitComparison:
    """Scores of every method on one split; ``truth`` (H, W) is for figures.

    ``primary`` names the part whose RMSE decides: the phase, unless the design says otherwise.
    """

    split: str
    region: Region
    photons: PhotonBudget
    limit: DoseLimit
    primary: str
    rows: tuple[Row, ...]
    methods: Mapping[str, MethodResult]
    contests: tuple[Mapping[str, Any], ...]
    curves: Mapping[str, Mapping[str, Curve]]
    truth: NDArray[np.complexfloating] = field(repr=False)

    @property
    def standard(self) -> str:
        """Name of the object that pictures and errors of the methods are compared with: the truth."""
        return TRUTH

    @property
    def candidates(self) -> list[str]:
        """Names of the methods without the references."""
        return [name for name in self.methods if name not in REFERENCES]

    @property
    def fields(self) -> dict[str, Alignment]:
        """Aligned reconstructions by method, for figures."""
        return {name: result.alignment for name, result in self.methods.items() if result.alignment}

    def value(self, method: str, part: str, metric: str) -> float | None:
        """One score, None where it has no value."""
        return next((r.value for r in self.rows if (r.method, r.part, r.metric) == (method, part, metric)), None)

    def headlines(self) -> dict[str, Any]:
        """The numbers and verdicts to show first, by name, plain JSON types: phase errors, their bound, verdicts."""
        headlines: dict[str, Any] = {
            f"phase_rmse_rad_{name}_{self.split}": value
            for name in self.methods
            if name != TRUTH and (value := self.value(name, "phase", "rmse")) is not None
        }
        if (bound := self.limit.error("phase")) is None:
            headlines[f"phase_limit_{self.split}"] = self.limit.reason or "none"
        else:
            headlines[f"phase_limit_rad_{self.split}"] = bound
        headlines[f"verdicts_{self.split}"] = {
            name: result.verdict_text for name, result in self.methods.items() if name not in REFERENCES
        }
        sentences = "; ".join(str(contest["sentence"]) for contest in self.contests)
        return headlines | {f"contest_{self.split}": sentences or "nothing to compare"}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: scores with nulls and reasons, region, photons, verdicts, correlation curves."""
        curves = {
            name: {part: {"reason": c} if isinstance(c, str) else c.to_dict() for part, c in parts.items()}
            for name, parts in self.curves.items()
        }
        return {
            "split": self.split,
            "outcome": "compared",
            "reason": None,
            "primary": f"{self.primary} rmse",
            "region": self.region.to_dict(),
            "photons": self.photons.to_dict(),
            "limit": self.limit.to_dict(),
            "arms": {name: result.to_dict() for name, result in self.methods.items()},
            "contests": [dict(contest) for contest in self.contests],
            "rows": [
                {"arm": r.method, "part": r.part, "metric": r.metric, "value": r.value, "reason": r.reason}
                for r in self.rows
            ],
            "frc": curves,
        }


@dataclass(frozen=True)
class CellComparison:
    """Both splits of a cell; ``skipped`` holds the reason of a split that does not exist."""

    dose: int
    view: str
    splits: Mapping[str, SplitComparison]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The comparison document, plain JSON types without NaN."""
        documents: dict[str, Any] = {split: c.to_dict() for split, c in self.splits.items()}
        for split, reason in self.skipped.items():
            documents[split] = {"split": split, "outcome": "skipped", "reason": reason}
        return {"version": DOCUMENT_VERSION, "dose": self.dose, "view": self.view, "splits": documents}

    def to_csv(self) -> bytes:
        """The scores as ``comparison_metrics.csv``; a score without a value is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for r in (row for comparison in self.splits.values() for row in comparison.rows):
            writer.writerow((r.method, r.split, r.part, r.metric, "" if r.value is None else r.value))
        return text.getvalue().encode()


def compare_cell(
    dose: int,
    view: str,
    truth: NDArray[np.complexfloating],
    splits: Mapping[str, SplitInput | str],
    *,
    evaluation: EvaluationSettings,
    metrics: MetricsConfig,
    limit: LimitSource = dose_limit,
) -> CellComparison:
    """Compare all methods of a cell; pixels that its training frames illuminated do not count in the test split.

    ``splits`` holds ``train`` and ``test``; a text says why a split does not exist. The truth is (H, W) complex.
    """

    def score(split: str, data: SplitInput, train_scan: Scan | None) -> SplitComparison:
        return compare_split(
            split, truth, data, evaluation=evaluation, metrics=metrics, train_scan=train_scan, limit=limit
        )

    return both_halves(dose, view, splits, score)


Input = TypeVar("Input", bound=SplitInput)


def both_halves(
    dose: int, view: str, splits: Mapping[str, Input | str], score: Callable[[str, Input, Scan | None], SplitComparison]
) -> CellComparison:
    """The halves of a cell, each scored by ``score``, which gets the training positions for the judged half."""
    train = splits.get("train")
    compared, skipped = {}, {}
    for split, data in splits.items():
        if isinstance(data, str):
            skipped[split] = data
            continue
        scan = train.measurement.scan if split == JUDGED_SPLIT and isinstance(train, SplitInput) else None
        compared[split] = score(split, data, scan)
    return CellComparison(dose, view, compared, skipped)


def compare_split(
    split: str,
    truth: NDArray[np.complexfloating],
    data: SplitInput,
    *,
    evaluation: EvaluationSettings,
    metrics: MetricsConfig,
    train_scan: Scan | None = None,
    limit: LimitSource = dose_limit,
) -> SplitComparison:
    """Score every method of one split, a uniform object and the truth itself, all aligned by the same procedure."""
    m, threshold = data.measurement, evaluation.coverage_threshold
    region = evaluation_region(m.modes, m.scan, threshold=threshold, scan_box=data.scan_box, train_scan=train_scan)
    uniform = np.broadcast_to(np.ones((), dtype=truth.dtype), truth.shape)
    results: dict[str, MethodResult] = {}
    for name, candidate in {**data.methods, UNIFORM: uniform, TRUTH: truth}.items():
        results[name] = aligned_result(candidate, truth, region, evaluation.max_shift_px, name, data)
    fields = {name: result.alignment for name, result in results.items() if result.alignment}
    likelihood = nll_excess(fields, truth, m)
    photons = photon_budget(region.illumination, truth, region.mask, m.intensity_scale, m.frames)
    bound = limit_at(truth, m, region, limit, photons.phase_floor_rad)
    parts = ("amplitude", "phase") if metrics.report_amplitude else ("phase",)
    rows: list[Row] = []
    curves: dict[str, dict[str, Curve]] = {}
    for name, result in results.items():
        if name in fields:
            scores, curves[name] = _method_scores(fields[name], truth, region, parts, metrics)
            scores["complex", "nll_excess"] = likelihood[name]
            for part in parts:
                scores[part, "efficiency"] = (
                    no_score(NO_ESTIMATE)
                    if name in REFERENCES
                    else efficiency(bound, part, scores[part, "rmse"], learned=name in data.learned)
                )
        else:
            keys = [(part, metric) for part in parts for metric in PICTURE_METRICS]
            keys += [("complex", metric) for metric in COMPLEX_METRICS]
            scores = dict.fromkeys(keys, no_score(str(result.reason)))
        rows += [Row(name, split, part, metric, s.value, s.reason) for (part, metric), s in scores.items()]
    primary = "phase" if metrics.emphasize_phase or not metrics.report_amplitude else "amplitude"
    errors = {r.method: r.value for r in rows if (r.part, r.metric) == (primary, "rmse")}
    for name in data.methods:
        if name in fields:
            results[name] = replace(results[name], verdict=uniform_verdict(errors[name], errors[UNIFORM]))
    pairs = contests({name: errors[name] for name in data.methods}, primary)
    return SplitComparison(split, region, photons, bound, primary, tuple(rows), results, pairs, curves, truth)


def aligned_result(
    candidate: NDArray[np.complexfloating] | str,
    truth: NDArray[np.complexfloating],
    region: Region,
    max_shift_px: float,
    method: str,
    data: SplitInput,
) -> MethodResult:
    """Result of a method before its verdict; ``data`` says what is known of the method."""
    if isinstance(candidate, str):
        return MethodResult("missing", candidate, None, None)
    ramp, outside = method in data.refined_probe, data.outside.get(method, ())
    try:
        aligned = align(candidate, truth, region.mask, max_shift_px=max_shift_px, remove_ramp=ramp)
    except ValueError as error:
        return MethodResult("failed", str(error), None, None, outside)
    return MethodResult("compared", None, None, aligned, outside)


def _method_scores(
    aligned: Alignment,
    truth: NDArray[np.complexfloating],
    region: Region,
    parts: tuple[str, ...],
    metrics: MetricsConfig,
) -> tuple[dict[tuple[str, str], Score], dict[str, Curve]]:
    """Scores by part and metric but likelihood and efficiency, and correlation curves by part; truth (H, W)."""
    scores: dict[tuple[str, str], Score] = {}
    curves: dict[str, Curve] = {}
    for name in parts:
        make_part = score.phase_part if name == "phase" else score.amplitude_part
        part = make_part(aligned, truth, region.mask, region.rectangle)
        curves[name] = rectangle_correlation(part.pictures, region.rectangle)
        values = {
            "mae": score.mae(part),
            "rmse": score.rmse(part),
            "psnr": score.psnr(part),
            "ssim": score.ssim(part),
            "ms_ssim": score.ms_ssim(part, metrics.ms_ssim_sigma),
            "correlation": score.correlation(part.moments),
        } | resolutions(curves[name], metrics.frc_threshold)
        scores |= {(name, metric): value for metric, value in values.items()}

    def fields(rows: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        return rows_of(truth, rows), aligned.rows(rows)

    curves["complex"] = rectangle_correlation(fields, region.rectangle)
    scores["complex", "correlation"] = score.correlation(masked_moments(fields, region.mask))
    periods = resolutions(curves["complex"], metrics.frc_threshold)
    return scores | {("complex", metric): value for metric, value in periods.items()}, curves
