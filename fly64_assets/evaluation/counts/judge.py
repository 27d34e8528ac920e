"""Comparison of all methods of one cell of measured frames: by counts that no method has seen, without a truth.

Belongs here: the scores and verdicts of one half, and its document, which has the shape of that with a truth
(``scores.compare``). Does not belong here: the likelihood itself (``likelihood``), its test (``paired``), files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import dose_limit
from fly64_assets.evaluation.counts.contests import FrameJudge
from fly64_assets.evaluation.counts.likelihood import COVERED, FrameLikelihoods, IndependentCounts, frame_likelihoods
from fly64_assets.evaluation.counts.paired import SharedLight
from fly64_assets.evaluation.counts.pairs import PAIRS, pair_curves, pair_scores
from fly64_assets.evaluation.scores.alignment import Alignment
from fly64_assets.evaluation.scores.bands import Field, bands, rows_of
from fly64_assets.evaluation.scores.compare import (
    COMPLEX_METRICS,
    PICTURE_METRICS,
    REFERENCE,
    REFERENCES,
    UNIFORM,
    CellComparison,
    Curve,
    MethodResult,
    Row,
    SplitComparison,
    SplitInput,
    aligned_result,
    both_halves,
)
from fly64_assets.evaluation.scores.metrics import Score, amplitude_part, no_score, phase_part, rmse
from fly64_assets.evaluation.scores.photons import LimitSource, limit_at, photon_budget
from fly64_assets.evaluation.scores.region import Region, evaluation_region
from fly64_assets.evaluation.scores.resolution import rectangle_correlation
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.forward import BLOCK_FRAMES, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan

PRIMARY: Final = "counts complement"
"""The score that decides: part and metric."""
COUNT_METRICS: Final = ("complement", "complement_error", "complement_relative", "left_out", "left_out_error")
NO_TRUTH: Final = "not available: measured data"
NO_PAIR: Final = "no pair: this object comes from no method"
BIASED: Final = "biased towards the solver that made the reference"
WORST_FRAMES: Final = 3
"""Frames that are listed for every method."""
REFERENCE_NOTE: Final = (
    "The reference is the object that the calibration found, without a prior, from all counts, those that judge among "
    "them. It is no truth and no bound: an object with less noise can predict the counts better; its value is below 0."
)
TEST_NOTE: Final = (
    "t-test on the differences of every frame; frames that share light count together, as many as there are "
    "independent areas; probabilities are Holm's over all pairs of methods"
)


@dataclass(frozen=True)
class JudgedInput(SplitInput):
    """What one half of a cell of measured frames brings: that of a :class:`SplitInput`, and counts to judge by.

    ``measurement`` holds the thinned frames that the methods had, ``measured`` all frames at full counts, ``half`` (k,)
    the scan index of every frame of this half, ``pairs`` by method the objects of its halves or why there are none.
    """

    measured: Measurement = field(kw_only=True)
    half: NDArray[np.int64] = field(kw_only=True)
    pairs: Mapping[str, Mapping[str, NDArray[np.complexfloating]] | str] = field(kw_only=True)


@dataclass(frozen=True)
class JudgedSplit(SplitComparison):
    """Scores of every method on one half without a truth; ``truth`` (H, W) holds the reference object.

    ``measured`` says in plain JSON types which counts judged, and what the tests found; ``backgrounds`` (N, N) by name
    are the expected counts per pixel that an object leaves unexplained in a frame that the methods had.
    """

    measured: Mapping[str, Any] = field(kw_only=True)
    backgrounds: Mapping[str, NDArray[np.float64]] = field(kw_only=True, repr=False)

    @property
    def standard(self) -> str:
        """Name of the object that pictures and errors of the methods are compared with: the reference."""
        return REFERENCE

    def headlines(self) -> dict[str, Any]:
        """The numbers and verdicts to show first, by name, plain JSON types: likelihoods, verdicts."""
        headlines: dict[str, Any] = {
            f"complement_nats_per_frame_{name}_{self.split}": value
            for name in self.methods
            if name != REFERENCE and (value := self.value(name, "counts", "complement")) is not None
        }
        headlines[f"verdicts_{self.split}"] = {name: self.methods[name].verdict_text for name in self.candidates}
        sentences = "; ".join(str(contest["sentence"]) for contest in self.contests)
        return headlines | {f"contest_{self.split}": sentences or "nothing to compare"}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in the shape of a comparison with a truth; ``measured`` besides."""
        document = super().to_dict()
        evaluated = {"evaluated_at": "reference object"}
        return document | {
            "primary": PRIMARY,
            "photons": document["photons"] | evaluated,
            "limit": document["limit"] | evaluated,
            "measured": dict(self.measured),
        }


def judge_cell(
    dose: int,
    view: str,
    reference: NDArray[np.complexfloating],
    splits: Mapping[str, JudgedInput | str],
    *,
    evaluation: EvaluationSettings,
    metrics: MetricsConfig,
    limit: LimitSource = dose_limit,
) -> CellComparison:
    """Compare all methods of a cell of measured frames; see :func:`judge_split`.

    ``splits`` holds ``train`` and ``test``; a text says why a half does not exist. The reference is (H, W) complex.
    """

    def score(split: str, data: JudgedInput, train_scan: Scan | None) -> JudgedSplit:
        return judge_split(
            split, reference, data, evaluation=evaluation, metrics=metrics, train_scan=train_scan, limit=limit
        )

    return both_halves(dose, view, splits, score)


def judge_split(
    split: str,
    reference: NDArray[np.complexfloating],
    data: JudgedInput,
    *,
    evaluation: EvaluationSettings,
    metrics: MetricsConfig,
    train_scan: Scan | None = None,
    limit: LimitSource = dose_limit,
) -> JudgedSplit:
    """Score every method of one half, a uniform object and the reference (H, W) by counts that no method has seen.

    Objects are judged as they are: with a known probe their amplitude and place are no ambiguities. Where the probe
    was refined they are, and the object is judged as it is aligned with the reference. The amplitude of the uniform
    object is fitted to the counts that the methods had. The region is that of a comparison with a truth.
    """
    m = data.measurement
    region = evaluation_region(
        m.modes, m.scan, threshold=evaluation.coverage_threshold, scan_box=data.scan_box, train_scan=train_scan
    )
    candidates = {**data.methods, UNIFORM: uniform_object(m), REFERENCE: reference}
    results: dict[str, MethodResult] = {}
    for name, candidate in candidates.items():
        results[name] = aligned_result(candidate, reference, region, evaluation.max_shift_px, name, data)
    aligned = {name: result.alignment for name, result in results.items() if result.alignment}
    fields: dict[str, Field] = {
        name: found if name in data.refined_probe else found.reconstruction for name, found in aligned.items()
    }
    finite = {name: f for name, f in fields.items() if _is_finite(f, m.object_shape)}
    counts = IndependentCounts(m, data.measured, data.half)
    likelihoods = frame_likelihoods(finite, counts, region.mask)
    judges = _judges(likelihoods, counts)
    scorer = _Scorer(data, reference, region, judges, evaluation, metrics)
    curves = {name: scorer.curves(name, found) for name, found in aligned.items()}
    scores = {n: scorer.scores(n, result, curves.get(n, {}), finite=n in finite) for n, result in results.items()}
    methods = [name for name in data.methods if name in finite]
    verdicts = judges["complement"].verdicts(methods)
    for name in methods:
        results[name] = replace(results[name], verdict=verdicts[name][0])
    photons = photon_budget(region.illumination, reference, region.mask, m.intensity_scale, m.frames)
    return JudgedSplit(
        split,
        region,
        photons,
        limit_at(reference, m, region, limit, photons.phase_floor_rad),
        "phase" if metrics.emphasize_phase or not metrics.report_amplitude else "amplitude",
        tuple(
            Row(name, split, part, metric, s.value, s.reason)
            for name, rows in scores.items()
            for (part, metric), s in rows.items()
        ),
        results,
        tuple(contest for judge in judges.values() for contest in judge.contests(methods)),
        curves,
        reference,
        measured=_document(counts, likelihoods, judges, verdicts),
        backgrounds=likelihoods.backgrounds,
    )


def uniform_object(m: Measurement) -> NDArray[np.complex64]:
    """A uniform object (H, W) whose amplitude gives as many photons as a measurement holds."""
    ones = np.ones(m.object_shape, np.complex64)
    rates = counted = 0.0
    good = slice(None) if m.bad_pixels is None else ~m.bad_pixels
    for part, counts in m.count_blocks(BLOCK_FRAMES):
        rates += float(patch_counts(ones, m.modes, m.scan[part], m.intensity_scale)[:, good].sum())
        counted += float(counts.sum())
    return ones * np.float32(np.sqrt(counted / rates))


@dataclass(frozen=True)
class _Scorer:
    """Scores and curves of one object after the other."""

    data: JudgedInput
    reference: NDArray[np.complexfloating]
    region: Region
    judges: Mapping[str, FrameJudge]
    evaluation: EvaluationSettings
    metrics: MetricsConfig

    @property
    def parts(self) -> tuple[str, ...]:
        return ("amplitude", "phase") if self.metrics.report_amplitude else ("phase",)

    def scores(
        self, name: str, result: MethodResult, curves: Mapping[str, Curve], *, finite: bool
    ) -> dict[tuple[str, str], Score]:
        """All rows of an object; those that need a truth, or that it has no values for, with their reason."""
        rows = {("counts", metric): score for metric, score in self._counts(name, result, finite=finite).items()}
        rows |= {("complex", metric): no_score(NO_TRUTH) for metric in COMPLEX_METRICS}
        pairs = {pair: curves.get(pair, str(result.reason)) for pair in PAIRS}
        rows |= pair_scores(pairs, self.metrics.frc_threshold)
        for part in self.parts:
            rows |= {(part, metric): no_score(NO_TRUTH) for metric in PICTURE_METRICS}
            rows[part, "rmse_to_reference"] = self._to_reference(part, result)
        return rows

    def curves(self, name: str, aligned: Alignment) -> dict[str, Curve]:
        """Ring correlations of an object's own pairs, and with the reference."""
        pairs = self.data.pairs.get(name, NO_PAIR if name in REFERENCES else "no pair of objects was made")
        ramp = name in self.data.refined_probe
        curves = pair_curves(pairs, self.region, max_shift_px=self.evaluation.max_shift_px, remove_ramp=ramp)
        curves["reference"] = rectangle_correlation(
            lambda rows: (rows_of(self.reference, rows), aligned.rows(rows)),
            self.region.rectangle,
            (REFERENCE, "reconstruction"),
        )
        return curves

    def _counts(self, name: str, result: MethodResult, *, finite: bool) -> dict[str, Score]:
        if not finite:
            reason = result.reason or "the reconstruction is not finite outside the region"
            return dict.fromkeys(COUNT_METRICS, no_score(reason))
        complement = self.judges["complement"]
        test, relative = complement.against(name, REFERENCE), complement.relative(name)
        scores = {
            "complement": Score(test.mean),
            "complement_error": Score(test.error, test.reason),
            "complement_relative": no_score(relative) if isinstance(relative, str) else Score(relative),
        }
        if "left_out" not in self.judges:
            reason = no_left_out(self.data)
            return scores | {"left_out": no_score(reason), "left_out_error": no_score(reason)}
        test = self.judges["left_out"].against(name, REFERENCE)
        return scores | {"left_out": Score(test.mean), "left_out_error": Score(test.error, test.reason)}

    def _to_reference(self, part: str, result: MethodResult) -> Score:
        if result.alignment is None:
            return no_score(str(result.reason))
        make_part = phase_part if part == "phase" else amplitude_part
        picture = make_part(result.alignment, self.reference, self.region.mask, self.region.rectangle)
        return Score(rmse(picture).value, BIASED)


def no_left_out(data: JudgedInput) -> str:
    """Why no frame was left out that could judge."""
    if len(np.setdiff1d(data.half, data.measurement.scan_index)):
        return f"no frame that the view left out has {COVERED:.0%} of its light on evaluated pixels"
    return "the view keeps every frame of this half: none was left out"


def _is_finite(obj: Field, shape: tuple[int, int]) -> bool:
    return all(bool(np.isfinite(rows_of(obj, part)).all()) for part in bands(shape))


def _judges(likelihoods: FrameLikelihoods, counts: IndependentCounts) -> dict[str, FrameJudge]:
    """Complement and left-out frames, the latter where there are any."""
    m, measured, rows = counts.seen, counts.measured, likelihoods.left_out_rows
    light = SharedLight(m.modes, m.scan)
    judges = {"complement": FrameJudge("complement", likelihoods.complement, light, REFERENCE, UNIFORM)}
    if len(rows):
        light = SharedLight(measured.modes, measured.scan[rows])
        judges["left_out"] = FrameJudge("left_out", likelihoods.left_out, light, REFERENCE, UNIFORM)
    return judges


def _document(
    counts: IndependentCounts,
    likelihoods: FrameLikelihoods,
    judges: Mapping[str, FrameJudge],
    verdicts: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> dict[str, Any]:
    """Which counts judged, in plain JSON types."""
    m, complement = counts.seen, judges["complement"]
    seen = math.fsum(float(block.sum()) for _, block in m.count_blocks(BLOCK_FRAMES)) / m.frames
    return {
        "measured_photons": seen / counts.fraction,
        "fraction": counts.fraction,
        "complement_photons": seen / counts.fraction - seen,
        "left_out_frames": len(likelihoods.left_out_rows),
        "covered": COVERED,
        "independent_areas": {name: judge.light.areas for name, judge in judges.items()},
        "unexplained": {name: float(b.sum() / seen) for name, b in likelihoods.backgrounds.items()},
        "worst_frames": {name: _worst(name, complement, m) for name in complement.values},
        "against_uniform": {name: dict(test) for name, (_, test) in verdicts.items()},
        "test_note": TEST_NOTE,
        "reference_note": REFERENCE_NOTE,
    }


def _worst(name: str, judge: FrameJudge, m: Measurement) -> list[dict[str, Any]]:
    """The frames that an object predicts worst, against the reference."""
    excess = judge.values[name] - judge.values[REFERENCE]
    worst = np.argsort(-excess, kind="stable")[:WORST_FRAMES]
    return [{"scan_index": int(m.scan_index[k]), "complement": float(excess[k])} for k in worst]
