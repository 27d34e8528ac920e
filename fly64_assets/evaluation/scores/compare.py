"""Comparison of all arms of one cell with the truth, in one frame and by one procedure.

Belongs here: which scores are taken of which arm, and the verdicts. Does not belong here: files, stages and stores;
an arm comes as an array, or as the sentence that says why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit, dose_limit
from fly64_assets.evaluation.scores.alignment import Alignment, align
from fly64_assets.evaluation.scores.efficiency import DoseLimit, efficiency
from fly64_assets.evaluation.scores.likelihood import nll_excess
from fly64_assets.evaluation.scores.method_scores import arm_scores
from fly64_assets.evaluation.scores.metrics import no_score
from fly64_assets.evaluation.scores.photon_budget import PhotonBudget, photon_budget
from fly64_assets.evaluation.scores.region import Region, ScanBox, evaluation_region
from fly64_assets.evaluation.scores.resolution import RingCorrelation
from fly64_assets.evaluation.scores.verdicts import contests, flat_verdict
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.measurement import Measurement

FLAT: Final = "flat"
TRUTH: Final = "truth"
NO_ESTIMATE: Final = "no estimate from these counts"
CSV_COLUMNS: Final = ("arm", "split", "part", "metric", "value")
PICTURE_METRICS: Final = (
    "mae", "rmse", "psnr", "ssim", "ms_ssim", "correlation", "frc_05", "frc_half_bit", "efficiency"
)  # fmt: skip
COMPLEX_METRICS: Final = ("correlation", "frc_05", "frc_half_bit", "nll_excess")
DOCUMENT_VERSION: Final = 2
"""Raised when the comparison document changes its members."""

LimitSource = Callable[[LimitProblem], UnitLimit]
"""Where a bound comes from: :func:`dose_limit`, or a store of bounds that were found before."""


@dataclass(frozen=True)
class SplitInput:
    """What one split of a cell brings to the comparison.

    Attributes
    ----------
    measurement : Measurement
        Frames, known probe and positions of the split.
    arms : name -> (H, W) complex, or str
        Reconstructions on the truth's grid; for an absent arm the reason.
    scan_box : ScanBox
        Box of the split's baseline positions.
    refined_probe : set of str
        Arms that refined the probe, for which a phase ramp is ambiguous.
    learned : set of str
        Arms with a learned prior, to which the bound for unbiased estimates does not apply.
    """

    measurement: Measurement
    arms: Mapping[str, NDArray[np.complexfloating] | str]
    scan_box: ScanBox
    refined_probe: frozenset[str] = frozenset()
    learned: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """One score of one arm."""

    arm: str
    split: str
    part: str
    metric: str
    value: float | None
    reason: str | None


@dataclass(frozen=True)
class ArmResult:
    """Whether an arm could be scored (outcome) and whether it is any good (verdict): two separate things.

    ``outcome`` is ``compared``, ``missing`` or ``failed``; ``verdict`` is ``better than flat``, ``worse than flat``,
    ``level with flat`` or None.
    """

    outcome: str
    reason: str | None
    verdict: str | None
    alignment: Alignment | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "verdict": self.verdict,
            "alignment": self.alignment.to_dict() if self.alignment else None,
        }


@dataclass(frozen=True)
class SplitComparison:
    """Scores of every arm on one split.

    ``truth`` (H, W) and ``fields`` (aligned arms) are for figures; they are not part of the document.
    ``primary`` names the part whose RMSE decides: the phase, unless the design says otherwise.
    """

    split: str
    region: Region
    photons: PhotonBudget
    limit: DoseLimit
    primary: str
    rows: tuple[Row, ...]
    arms: Mapping[str, ArmResult]
    contests: tuple[Mapping[str, Any], ...]
    curves: Mapping[str, Mapping[str, RingCorrelation | str]]
    truth: NDArray[np.complexfloating] = field(repr=False)
    fields: Mapping[str, Alignment] = field(repr=False)

    def value(self, arm: str, part: str, metric: str) -> float | None:
        """One score, None where it has no value."""
        for row in self.rows:
            if (row.arm, row.part, row.metric) == (arm, part, metric):
                return row.value
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: scores with nulls and reasons, region, photons, verdicts, correlation curves."""
        curves = {
            arm: {part: {"reason": c} if isinstance(c, str) else c.to_dict() for part, c in parts.items()}
            for arm, parts in self.curves.items()
        }
        return {
            "split": self.split,
            "outcome": "compared",
            "reason": None,
            "primary": f"{self.primary} rmse",
            "region": self.region.to_dict(),
            "photons": self.photons.to_dict(),
            "limit": self.limit.to_dict(),
            "arms": {name: arm.to_dict() for name, arm in self.arms.items()},
            "contests": [dict(contest) for contest in self.contests],
            "rows": [
                {"arm": r.arm, "part": r.part, "metric": r.metric, "value": r.value, "reason": r.reason}
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

    def csv_rows(self) -> list[dict[str, str | float]]:
        """Rows of ``comparison_metrics.csv``; a score without a value is an empty text."""
        return [
            {
                "arm": r.arm,
                "split": r.split,
                "part": r.part,
                "metric": r.metric,
                "value": "" if r.value is None else r.value,
            }
            for c in self.splits.values()
            for r in c.rows
        ]


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
    """Compare all arms of a cell; what the cell's training frames lit does not count in the test split.

    Parameters
    ----------
    truth : (H, W) complex
    splits : ``train`` and ``test`` -> input, or str
        A text says why the split does not exist.
    """
    train = splits.get("train")
    lit = (train.measurement.x, train.measurement.y) if isinstance(train, SplitInput) else None
    compared, skipped = {}, {}
    for split, data in splits.items():
        if isinstance(data, str):
            skipped[split] = data
            continue
        train_xy = lit if split == "test" else None
        compared[split] = compare_split(
            split, truth, data, evaluation=evaluation, metrics=metrics, train_xy=train_xy, limit=limit
        )
    return CellComparison(dose, view, compared, skipped)


def compare_split(
    split: str,
    truth: NDArray[np.complexfloating],
    data: SplitInput,
    *,
    evaluation: EvaluationSettings,
    metrics: MetricsConfig,
    train_xy: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    limit: LimitSource = dose_limit,
) -> SplitComparison:
    """Score every arm of one split, a flat object and the truth itself, all aligned by the same procedure."""
    m = data.measurement
    region = evaluation_region(
        m.probe,
        m.x,
        m.y,
        (truth.shape[0], truth.shape[1]),
        threshold=evaluation.coverage_threshold,
        scan_box=data.scan_box,
        train_xy=train_xy,
    )
    flat = np.broadcast_to(np.ones((), dtype=truth.dtype), truth.shape)
    candidates = {**data.arms, FLAT: flat, TRUTH: truth}
    aligned = {
        arm: _aligned(candidate, truth, region, evaluation.max_shift_px, arm in data.refined_probe)
        for arm, candidate in candidates.items()
    }
    fields = {arm: a for arm, a in aligned.items() if isinstance(a, Alignment)}
    likelihood = nll_excess(fields, truth, m)
    photons = photon_budget(region.illumination, truth, region.mask, m.intensity_scale, m.frames)
    bound = DoseLimit(_bound(truth, data, region, limit), m.intensity_scale, photons.phase_floor_rad)
    rows: list[Row] = []
    curves: dict[str, dict[str, RingCorrelation | str]] = {}
    for arm, result in aligned.items():
        if isinstance(result, Alignment):
            scores, curves[arm] = arm_scores(result, truth, region, metrics)
            scores["complex", "nll_excess"] = likelihood[arm]
            for part in _parts(metrics):
                scores[part, "efficiency"] = (
                    no_score(NO_ESTIMATE)
                    if arm in (FLAT, TRUTH)
                    else efficiency(bound, part, scores[part, "rmse"], learned=arm in data.learned)
                )
        else:
            scores = {key: no_score(result) for key in _keys(metrics)}
        rows += [Row(arm, split, part, metric, s.value, s.reason) for (part, metric), s in scores.items()]
    primary = "phase" if metrics.emphasize_phase or not metrics.report_amplitude else "amplitude"
    errors = {r.arm: r.value for r in rows if (r.part, r.metric) == (primary, "rmse")}
    arms = {arm: _result(arm, candidates[arm], aligned[arm], errors) for arm in candidates}
    won = contests({arm: errors[arm] for arm in data.arms}, primary)
    return SplitComparison(split, region, photons, bound, primary, tuple(rows), arms, won, curves, truth, fields)


def _bound(truth: NDArray[np.complexfloating], data: SplitInput, region: Region, limit: LimitSource) -> UnitLimit | str:
    m = data.measurement
    try:
        return limit(LimitProblem(truth, m.probe, m.x, m.y, region.mask, region.threshold_value))
    except ValueError as error:
        return str(error)


def _aligned(
    candidate: NDArray[np.complexfloating] | str,
    truth: NDArray[np.complexfloating],
    region: Region,
    max_shift_px: float,
    ramp: bool,
) -> Alignment | str:
    if isinstance(candidate, str):
        return candidate
    try:
        return align(candidate, truth, region.mask, max_shift_px=max_shift_px, remove_ramp=ramp)
    except ValueError as error:
        return str(error)


def _parts(metrics: MetricsConfig) -> tuple[str, ...]:
    return ("amplitude", "phase") if metrics.report_amplitude else ("phase",)


def _keys(metrics: MetricsConfig) -> list[tuple[str, str]]:
    keys = [(part, metric) for part in _parts(metrics) for metric in PICTURE_METRICS]
    return keys + [("complex", metric) for metric in COMPLEX_METRICS]


def _result(
    arm: str,
    candidate: NDArray[np.complexfloating] | str,
    aligned: Alignment | str,
    errors: Mapping[str, float | None],
) -> ArmResult:
    if isinstance(aligned, str):
        return ArmResult("missing" if isinstance(candidate, str) else "failed", aligned, None, None)
    verdict = None if arm in (FLAT, TRUTH) else flat_verdict(errors[arm], errors[FLAT])
    return ArmResult("compared", None, verdict, aligned)
