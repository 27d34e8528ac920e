"""The report over all cells of the study."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np

from fly64_assets.assets.flow import Work, picture
from fly64_assets.contract.npz import load_measurement, open_npz
from fly64_assets.errors import ArtifactError
from fly64_assets.evaluation.report.figures import picture_name
from fly64_assets.evaluation.scores.compare import DOCUMENT_VERSION
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS
from fly64_assets.store.artifacts import State
from fly64_assets.store.keys import REPORT, Cell, Half, StageKey, Study
from fly64_assets.store.machine import host_load, now
from fly64_assets.store.sidecars import library_versions, verified
from fly64_assets.store.storage import size_of
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign, load_design, shipped_designs
from fly64_assets.study.states import existing_splits, study_states
from fly64_assets.study.table import STAGES, Key, design_cells


def write_report(work: Work[Study]) -> Mapping[str, Any]:
    """Write the page over all cells, the same as Markdown, and the tables."""
    from fly64_assets.evaluation.report.summary import study_table

    design, layout, key = work.design, work.layout, work.key
    states = study_states(work.store, design, quick=True)
    overlaps = _ProbeOverlaps(work)
    cells = [_cell(work, states, cell) for dose in design.doses for cell in design_cells(design, dose)]
    cells = [{**cell, "probe_overlap": overlaps.of(cell["dose"], cell["view"])} for cell in cells]
    found = _Study(cells, _views(design), _provenance(work, states), _figures(work))
    written = _measured_report(work, found) if design.of_measured_frames else _simulated_report(work, found)
    for name, page in written.pages.items():
        work.build.write_bytes(layout.output(key, name), page.encode(), data=False)
    work.build.write_bytes(layout.output(key, "report.md"), written.markdown.encode(), data=False)
    work.build.write_bytes(layout.output(key, "study_metrics.csv"), study_table(cells), data=False)
    work.build.write_json(layout.output(key, "metrics_summary.json"), written.summary, data=False)
    missing = [f"{cell['dose']}/{cell['view']}" for cell in cells if not cell["comparisons"]]
    work.build.succeed({"cells": len(cells), "cells_without_comparison": missing})
    return {
        "cells": len(cells),
        "cells_compared": len(cells) - len(missing),
        "cells_without_comparison": ", ".join(missing) or "none",
        **written.shown,
    }


@dataclass(frozen=True)
class _Study:
    """What a report is made of: its cells, views, provenance, and the pictures of its cells."""

    cells: Sequence[Mapping[str, Any]]
    views: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]
    figures: Mapping[str, bytes]


@dataclass(frozen=True)
class _Report:
    """A report as it is written, and what Dagster's UI shows of it."""

    summary: Mapping[str, Any]
    pages: Mapping[str, str]
    markdown: str
    shown: Mapping[str, Any]


class _ProbeOverlaps:
    """Overlap of neighbouring probes by view and half, from the positions and the probe of their frames.

    It is measured whenever a report is written, and no stage holds it: results of earlier versions have it, too. A
    view keeps the same positions at every dose, so that one dose of it is read.
    """

    def __init__(self, work: Work[Study]) -> None:
        self._work, self._known = work, dict[tuple[str, str], dict[str, Any]]()

    def of(self, dose: int, view: str) -> dict[str, dict[str, Any]]:
        """Documents of a cell by split, of those halves that exist and have neighbouring positions."""
        record = self._work.store.record(self._work.layout, StageKey("view", Cell(dose, view)))
        splits = existing_splits(record) if record is not None and record.outcome == "succeeded" else ()
        found = {split: self._half(Cell(dose, view).half(split)) for split in splits}
        return {split: document for split, document in found.items() if document}

    def _half(self, half: Half) -> dict[str, Any]:
        place = (half.view, half.split)
        if place not in self._known:
            try:
                data = self._work.dataset(self._work.layout.view_frames(half))
            except ArtifactError:
                return {}  # frames that are gone or damaged since; what was compared is still reported
            found = probe_overlap(np.c_[data.x, data.y], data.modes)
            self._known[place] = {} if found is None else found.to_dict()
        return self._known[place]


def _simulated_report(work: Work[Study], found: _Study) -> _Report:
    from fly64_assets.evaluation.report.page import render_markdown, render_report
    from fly64_assets.evaluation.report.plots import study_plots
    from fly64_assets.evaluation.report.summary import study_summary

    design = work.design
    summary = study_summary(
        design.name,
        design.doses,
        found.views,
        found.cells,
        threshold_rad=design.report.threshold_rad,
        design=design.to_dict(),
        provenance=found.provenance,
    )
    plots = study_plots(summary)
    pages = render_report(summary, {**found.figures, **plots, **_scan_pictures(work, found)})
    answer = summary["answer"]
    shown = {
        "answer": dg.MetadataValue.md(f"{answer['sentence'] or 'No cell has been compared yet.'}\n\n{answer['saved']}"),
        "phase_error_against_dose": picture(plots["study/dose/test"]),
    }
    return _Report(summary, pages, render_markdown(summary), shown)


def _scan_pictures(work: Work[Study], found: _Study) -> dict[str, bytes]:
    """Positions of every view and a frame of every dose, of the first repeat; those whose files exist."""
    from fly64_assets.evaluation.report.scan_pictures import scan_pictures

    views: dict[str, Measurement] = {}
    doses: dict[int, Measurement] = {}
    diameters: dict[str, float] = {}
    for cell in found.cells:
        half = Cell(cell["dose"], cell["view"]).half(JUDGED_SPLIT)
        path = work.layout.view_frames(half)
        if JUDGED_SPLIT not in cell["overlap"] or (half.view in views and half.dose in doses):
            continue
        verified(path)
        measurement = load_measurement(path)
        views.setdefault(half.view, measurement)
        doses.setdefault(half.dose, measurement)
        diameters.setdefault(half.view, cell["overlap"][JUDGED_SPLIT]["probe_diameter_px"])
    return scan_pictures(views, diameters, doses)


def _measured_report(work: Work[Study], found: _Study) -> _Report:
    from fly64_assets.evaluation.report.measured.page import render_measured_markdown, render_measured_report
    from fly64_assets.evaluation.report.measured.plots import measured_plots
    from fly64_assets.evaluation.report.measured.probe import in_counts, probe_figure, probe_health
    from fly64_assets.evaluation.report.measured.summary import measured_summary

    design, document = work.design, work.layout.calibration
    files = [document, document.with_suffix(".npz"), document.with_suffix(".png")]
    for path in files:
        verified(path)
    arrays = open_npz(files[1])
    calibration = json.loads(document.read_bytes())
    probes = in_counts(arrays["first_probe"], arrays["probe"], calibration["measured_photons"])
    summary = measured_summary(
        design.name,
        design.doses,
        found.views,
        found.cells,
        design=design.to_dict(),
        provenance=found.provenance,
        calibration=calibration,
        probes=probe_health(*probes),
    )
    plots = measured_plots(summary)
    drawn = {"study/probe": probe_figure(*probes), "study/calibration": files[2].read_bytes()}
    pages = render_measured_report(summary, {**found.figures, **plots, **drawn})
    sentences = "\n\n".join(verdict["sentence"] for verdict in summary["verdicts"])
    shown = {
        "best_methods": dg.MetadataValue.md(sentences),
        "kept_aside_counts_against_dose": picture(plots[f"study/likelihood/{JUDGED_SPLIT}"]),
        "resolution_against_dose": picture(plots["study/resolution"]),
    }
    return _Report(summary, pages, render_measured_markdown(summary), shown)


def _views(design: StudyDesign) -> list[dict[str, Any]]:
    return [
        {
            "name": view,
            "gridsize": design.gridsize(view),
            "overlap": design.overlap_views.get(view),
            "spacing_px": design.spacing_thresholds.get(view),
        }
        for view in design.views
    ]


def _cell(work: Work[Study], states: Mapping[Key, State], cell: Cell) -> dict[str, Any]:
    overlap = {split: _document(work, StageKey("view", cell), f"{split}_metrics.json") for split in SPLITS}
    return {
        "dose": cell.dose,
        "view": cell.view,
        "stages": {
            " ".join(part for part in (key.method, key.stage, key.split) if part): _stage(state)
            for key, state in states.items()
            if key.at == cell or (isinstance(key.at, Half) and key.at.cell == cell)
        },
        "comparisons": _comparisons(work, cell),
        "overlap": {split: metrics for split, metrics in overlap.items() if metrics is not None},
    }


def _comparisons(work: Work[Study], cell: Cell) -> dict[int, dict[str, Any]]:
    """Comparison documents of a cell by repeat, those that exist; one of older code counts as out of date alone."""
    keys = stages.keys_of(work.design, STAGES["comparison"], cell)
    documents = {key.repeat: _document(work, key, "comparison.json") for key in keys}
    return {
        repeat: document
        for repeat, document in documents.items()
        if document is not None and document.get("version") == DOCUMENT_VERSION
    }


def _stage(state: State) -> dict[str, Any]:
    record = state.record
    return {
        "outcome": record.outcome if record else "missing",
        "reason": (record.reason if record else state.reason) or None,
        # Halves are reconstructed for their ring correlation alone.
        "seconds": record.seconds - record.values.get("pairs_seconds", 0) if record else None,
        "stale": state.name == "stale",
        "stale_reason": state.reason if state.name == "stale" else None,
    }


def _document(work: Work[Study], key: Key, name: str) -> dict[str, Any] | None:
    """A JSON output of a stage that succeeded; None where there is none."""
    record = work.store.record(work.layout, key)
    path = work.layout.output(key, name)
    if record is None or path.relative_to(work.layout.folder).as_posix() not in record.outputs:
        return None
    verified(path)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _figures(work: Work[Study]) -> dict[str, bytes]:
    """Pictures of all cells that were compared, by the names that the report uses."""
    figures: dict[str, bytes] = {}
    for key in STAGES["comparison"].keys(work.design, repeats=[1]):
        record = work.store.record(work.layout, key)
        for output in record.outputs if record else ():
            path = work.layout.folder / output
            name = picture_name(path.name)
            if name is not None:
                verified(path)
                figures[f"{key.dose}/{key.view}/{name}"] = path.read_bytes()
    return figures


def _provenance(work: Work[Study], states: Mapping[Key, State]) -> dict[str, Any]:
    artifacts = [
        {"path": name, "sha256": sha256, "bytes": size}
        for state in states.values()
        if state.record is not None and state.record.key != REPORT
        for name, sha256 in state.record.outputs.items()
        if (size := size_of(work.layout.folder / name)) is not None
    ]
    design = work.design
    repeats = range(1, design.repeats + 1)
    return {
        "base_id": work.layout.base_id,
        "base_sha256": verified(work.layout.base).sha256,
        "design_sha256": design.sha256(),
        "seeds": {
            "simulation": design.rng_seeds["simulation"],
            "repeats": [design.repeat_seed(repeat) for repeat in repeats],
            "training": [design.repeat_seeds(repeat)["grouping"] for repeat in repeats],
        },
        "versions": library_versions(),
        "made": {"time": now(), **host_load(), "command": f"fly64 --study {_study_of(design)} run"},
        "artifacts": artifacts,
    }


def _study_of(design: StudyDesign) -> str:
    """What to give the command as its study: the name of a shipped design, or a file of the design that is shown."""
    shipped = design.name in shipped_designs() and load_design(design.name) == design
    return design.name if shipped else f"{design.name}.yaml"
