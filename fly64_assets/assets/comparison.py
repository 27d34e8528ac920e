"""Every method of one cell on one evaluation region: against the truth, or by counts that no method has seen."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from fly64_assets.assets.flow import Work, picture
from fly64_assets.contract.npz import load_base, load_measurement, open_npz, write_npz
from fly64_assets.errors import Fly64Error
from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit, dose_limit, limit_arrays, limit_from_arrays
from fly64_assets.evaluation.counts.judge import JudgedInput, judge_cell
from fly64_assets.evaluation.report.figures import loss_history
from fly64_assets.evaluation.scores.compare import CellComparison, SplitInput, compare_cell
from fly64_assets.evaluation.scores.photons import LimitSource
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS
from fly64_assets.store.keys import Cell, Coordinates, StageKey
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import fetched
from fly64_assets.study import stages
from fly64_assets.study.states import existing_splits, failed_since
from fly64_assets.study.table import ON_REQUEST, STAGES


def compare(work: Work[Cell]) -> Mapping[str, Any]:
    """Score every method of a cell, and write the scores, figures and bounds."""
    from fly64_assets.evaluation.report.figures import cell_pictures, phase_strip
    from fly64_assets.evaluation.report.measured.pictures import residual_pictures

    layout, design = work.layout, work.design
    verified(layout.base)
    bounds: dict[str, UnitLimit] = {}
    splits, compared = _compared(work, _shared_bounds(work, bounds))
    pictures = cell_pictures(
        compared,
        coverage_threshold=design.evaluation.coverage_threshold,
        histories={split: _histories(work, split) for split in compared.splits},
    ) | residual_pictures(compared, splits)
    for name, content in pictures.items():
        work.build.write_bytes(layout.output(work.key, name), content, data=False)
    for split, result in compared.splits.items():
        for digest, bound in bounds.items():
            if result.limit.unit is bound:
                arrays = limit_arrays(bound, digest)
                path = layout.output(work.key, f"limit_{split}.npz")
                work.build.write(path, functools.partial(write_npz, arrays=arrays))
    work.build.write_json(layout.output(work.key, "comparison.json"), compared.to_dict())
    work.build.write_bytes(layout.output(work.key, "comparison_metrics.csv"), compared.to_csv())
    work.build.succeed({"arms": {split: _outcomes(data) for split, data in splits.items()}})
    description: dict[str, Any] = {}
    for split, result in compared.splits.items():
        description[f"phase_{split}"] = picture(phase_strip(result))
        if f"limit_{split}.png" in pictures:
            description[f"limit_{split}"] = picture(pictures[f"limit_{split}.png"])
        if f"residuals_{split}.png" in pictures:
            description[f"residuals_{split}"] = picture(pictures[f"residuals_{split}.png"])
        description |= {
            name: dg.MetadataValue.json(value) if isinstance(value, dict) else value
            for name, value in result.headlines().items()
        }
    return description


# -- what is compared ---------------------------------------------------------------------------------------------


def _compared(work: Work[Cell], limit: LimitSource) -> tuple[Mapping[str, SplitInput | str], CellComparison]:
    """Both halves and their scores: with the base's object as the truth, or as the reference of measured frames."""
    design, cell, known = work.design, work.at, load_base(work.layout.base).object
    settings = _Settings(evaluation=design.evaluation, metrics=design.metrics_config, limit=limit)
    if not design.of_measured_frames:
        splits = {split: _split_input(work, split) for split in SPLITS}
        return splits, compare_cell(cell.dose, cell.view, known, splits, **settings)
    judged = {split: _judged_input(work, split) for split in SPLITS}
    return judged, judge_cell(cell.dose, cell.view, known, judged, **settings)


class _Settings(TypedDict):
    evaluation: EvaluationSettings
    metrics: MetricsConfig
    limit: LimitSource


def _split_input(work: Work[Cell], split: str) -> SplitInput | str:
    view = work.store.required(work.layout, StageKey("view", work.at))
    if split not in existing_splits(view):
        return str(view.values["splits"][split]["reason"])
    frames, baseline = work.layout.view_frames(work.at.half(split)), work.layout.patched(work.at.whole_dose, split)
    verified(frames)
    verified(baseline)
    refined = {s.method for s in STAGES.values() if s.section == "lsqml" and work.design.lsqml.probe == "refined"}
    return SplitInput(
        measurement=load_measurement(frames),
        methods={key.method: _object(work, record, key, split) for key, record in _methods(work, split).items()},
        scan_box=scan_box(load_measurement(baseline).scan),
        refined_probe=frozenset(refined),
        outside={
            key.method: tuple(found)
            for key, record in _methods(work, split).items()
            if record is not None and (found := record.values.get("outside_of_training"))
        },
        learned=frozenset(key.method for key in stages.upstream(work.design, work.key) if key.stage == "inference"),
    )


def _judged_input(work: Work[Cell], split: str) -> JudgedInput | str:
    """What a comparison with a truth gets, and the counts and pairs that judge without one."""
    data = _split_input(work, split)
    if isinstance(data, str):
        return data
    verified(work.layout.measured_frames)
    return JudgedInput(
        **vars(data),
        measured=load_measurement(work.layout.measured_frames),
        half=load_measurement(work.layout.patched(work.at.whole_dose, split)).scan_index,
        pairs={key.method: _pairs(work, record, key, split) for key, record in _methods(work, split).items()},
    )


def _pairs(
    work: Work[Cell], record: StageRecord | None, key: StageKey[Coordinates], split: str
) -> Mapping[str, NDArray[np.complexfloating]] | str:
    if not work.design.measured.pairs:
        return "no pairs: the design has measured.pairs: false"
    if split != JUDGED_SPLIT:
        return f"pairs are made of the {JUDGED_SPLIT} half alone"
    if record is None or record.outcome != "succeeded":
        return "no pairs: the method has no result"
    path = work.layout.pairs(key, split)
    verified(path)
    return open_npz(path, hashed=True)


def _methods(work: Work[Cell], split: str) -> dict[StageKey[Coordinates], StageRecord | None]:
    """Every method that reconstructs this split, with its record; without one that is on request and has not run.

    The record of a result that is out of date because building it again failed says so.
    """
    keys = [key for key in stages.upstream(work.design, work.key) if key.method and key.split in (None, split)]
    records = {key: work.store.record(work.layout, key) for key in keys}
    for key, record in records.items():
        failure = failed_since(work.store, work.layout, work.design, work.key, key)
        if record and failure:
            records[key] = replace(record, outcome="failed", reason=failure)
    return {key: record for key, record in records.items() if record or key.method not in ON_REQUEST}


def _object(
    work: Work[Cell], record: StageRecord | None, key: StageKey[Coordinates], split: str
) -> NDArray[np.complexfloating] | str:
    if record is None:
        return "missing: it has not run, or its result is damaged"
    if record.outcome != "succeeded":
        return f"{record.outcome}: {record.reason}"
    path = work.layout.result(key, split)
    verified(path)
    return open_npz(path)["reconstructed_object"]


def _histories(work: Work[Cell], split: str) -> dict[str, dict[str, list[float]]]:
    """Loss per epoch of each method, as far as it is on disk."""
    histories: dict[str, dict[str, list[float]]] = {}
    for key, record in _methods(work, split).items():
        if record is None or record.outcome != "succeeded":
            continue
        if key.stage == "inference":
            training = StageKey("training", work.at, key.method, work.design.gridsize(work.at.view))
            text = fetched(work.layout.output(training, "history.csv")).read_text(encoding="utf-8")
            histories[key.method] = loss_history(text)
        elif (loss := open_npz(work.layout.result(key, split)).get("loss")) is not None:
            histories[key.method] = loss_history(loss)
    return histories


# -- bounds -------------------------------------------------------------------------------------------------------


def _shared_bounds(work: Work[Cell], bounds: dict[str, UnitLimit]) -> LimitSource:
    """Bounds for one cell; ``bounds`` collects them by the SHA256 of their problems.

    A bound does not depend on the dose, so that a cell takes it from the comparison of another dose or repeat where the
    problem is the same to the last bit.
    """

    def limit(problem: LimitProblem) -> UnitLimit:
        digest = problem.sha256()
        for path in _other_bounds(work):
            shared = _read_bound(path, digest)
            if shared is not None:
                work.context.log.info(f"{work.key.label}: photon limit taken from {path.parent.name} ({path.name})")
                bounds[digest] = shared
                return shared
        bounds[digest] = dose_limit(problem)
        return bounds[digest]

    return limit


def _other_bounds(work: Work[Cell]) -> list[Path]:
    """Files of bounds in the comparisons of the same view at other doses and in other repeats."""
    paths = []
    for dose in work.design.doses:
        for key in stages.keys_of(work.design, work.stage, Cell(dose, work.at.view)):
            record = None if key == work.key else work.store.record(work.layout, key)
            names = record.outputs if record else ()
            paths += [work.layout.folder / name for name in names if Path(name).name.startswith("limit_")]
    return [path for path in paths if path.suffix == ".npz"]


def _read_bound(path: Path, digest: str) -> UnitLimit | None:
    try:
        verified(path)
        return limit_from_arrays(open_npz(path), digest)
    except Fly64Error:
        # Damaged, or being rebuilt at this moment: the bound is computed anew.
        return None


def _outcomes(split: SplitInput | str) -> dict[str, str] | str:
    if isinstance(split, str):
        return split
    return {method: data if isinstance(data, str) else "compared" for method, data in split.methods.items()}
