"""The report over all cells of the study."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize, picture
from fly64_assets.automation.conditions import when_cells_change
from fly64_assets.automation.partitions import all_partitions
from fly64_assets.automation.run_tags import store_of_run
from fly64_assets.evaluation.report.figures import picture_name
from fly64_assets.evaluation.scores.compare import DOCUMENT_VERSION
from fly64_assets.physics.scan import SPLITS
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.store.artifacts import State
from fly64_assets.store.sidecars import library_versions, verified
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey
from fly64_assets.study.manifests import write_manifests
from fly64_assets.study.states import active_layout, study_states

SHOWN_STAGES = ("view", "training", "inference", "reconstruction", "comparison")


def study_report_asset() -> dg.AssetsDefinition:
    """The asset ``study_report``."""

    @dg.asset(
        group_name="report",
        kinds={"html"},
        deps=[dg.AssetDep("comparison", partition_mapping=all_partitions())],
        code_version=stages.CODE_VERSIONS["report"],
        automation_condition=when_cells_change(),
        check_specs=[gate_spec("study_report")],
    )
    def study_report(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource
    ) -> Iterator[AssetEvent]:
        """The answer of the study: one self-contained page over all cells, the same as Markdown, and the manifests.

        Cells that failed, were skipped or are out of date are shown as such, with their reason.
        """
        design = study.design()
        artifacts = store.store(design.name)
        yield from materialize(context, design, artifacts, StageKey("report"), _report)
        write_manifests(active_layout(store_of_run(context, artifacts, "study_report")), design, {})

    return study_report


def _report(work: Work) -> Mapping[str, Any]:
    from fly64_assets.evaluation.report.markdown import render_markdown
    from fly64_assets.evaluation.report.page import render_report
    from fly64_assets.evaluation.report.plots import study_plots
    from fly64_assets.evaluation.report.summary import study_summary, study_table

    design, layout, key = work.design, work.layout, work.key
    states = study_states(work.store, design, quick=True)
    cells = [_cell(work, states, dose, view) for dose in design.doses for view in design.views]
    views = [
        {
            "name": view,
            "gridsize": design.gridsize(view),
            "overlap": design.overlap_views.get(view),
            "spacing_px": design.spacing_thresholds.get(view),
        }
        for view in design.views
    ]
    summary = study_summary(
        design.name, design.doses, views, cells, design=design.to_dict(), provenance=_provenance(work, states)
    )
    plots = study_plots(summary)
    page = render_report(summary, _figures(work) | plots)
    work.build.write_bytes(layout.output(key, "index.html"), page.encode(), data=False)
    work.build.write_bytes(layout.output(key, "report.md"), render_markdown(summary).encode(), data=False)
    work.build.write_bytes(layout.output(key, "study_metrics.csv"), study_table(cells), data=False)
    work.build.write_json(layout.output(key, "metrics_summary.json"), summary, data=False)
    missing = [f"{cell['dose']}/{cell['view']}" for cell in cells if not cell["comparisons"]]
    work.build.succeed({"cells": len(cells), "cells_without_comparison": missing})
    return {
        "cells": len(cells),
        "cells_compared": len(cells) - len(missing),
        "cells_without_comparison": ", ".join(missing) or "none",
        "phase_error_against_dose": picture(plots["study/dose/test"]),
    }


def _cell(work: Work, states: Mapping[StageKey, State], dose: int, view: str) -> dict[str, Any]:
    keys = [key for key in states if (key.dose, key.view, key.repeat) == (dose, view, 1) and key.stage in SHOWN_STAGES]
    return {
        "dose": dose,
        "view": view,
        "stages": {_stage_name(key): _stage(states[key]) for key in keys},
        "comparisons": _comparisons(work, dose, view),
        "overlap": _overlap(work, dose, view),
    }


def _comparisons(work: Work, dose: int, view: str) -> dict[int, dict[str, Any]]:
    """Comparison documents of a cell by repeat, those that exist; one of older code counts as out of date alone."""
    keys = stages.repeats(work.design, StageKey("comparison", dose, view))
    documents = {key.repeat: _document(work, key, "comparison.json") for key in keys}
    return {
        repeat: document
        for repeat, document in documents.items()
        if document is not None and document.get("version") == DOCUMENT_VERSION
    }


def _stage_name(key: StageKey) -> str:
    return " ".join(part for part in (key.arm, key.stage, key.split) if part)


def _stage(state: State) -> dict[str, Any]:
    record = state.record
    return {
        "outcome": record.outcome if record else "missing",
        "reason": (record.reason if record else state.reason) or None,
        "seconds": record.seconds if record else None,
        "stale": state.name == "stale",
        "stale_reason": state.reason if state.name == "stale" else None,
    }


def _document(work: Work, key: StageKey, name: str) -> dict[str, Any] | None:
    """A JSON output of a stage that succeeded; None where there is none."""
    record = work.store.record(work.layout, key)
    path = work.layout.output(key, name)
    if record is None or path.relative_to(work.layout.folder).as_posix() not in record.outputs:
        return None
    verified(path)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _overlap(work: Work, dose: int, view: str) -> dict[str, Any]:
    documents = {s: _document(work, StageKey("view", dose, view), f"{s}_metrics.json") for s in SPLITS}
    return {split: document for split, document in documents.items() if document is not None}


def _figures(work: Work) -> dict[str, bytes]:
    """Pictures of all cells that were compared, by the names that the report knows."""
    figures: dict[str, bytes] = {}
    for dose in work.design.doses:
        for view in work.design.views:
            record = work.store.record(work.layout, StageKey("comparison", dose, view))
            for output in record.outputs if record else ():
                path = work.layout.folder / output
                name = picture_name(path.name)
                if name is not None:
                    verified(path)
                    figures[f"{dose}/{view}/{name}"] = path.read_bytes()
    return figures


def _provenance(work: Work, states: Mapping[StageKey, State]) -> dict[str, Any]:
    artifacts = [
        {"path": name, "sha256": sha256, "bytes": (work.layout.folder / name).stat().st_size}
        for state in states.values()
        if state.record is not None and state.record.key.stage != "report"
        for name, sha256 in state.record.outputs.items()
        if (work.layout.folder / name).is_file()
    ]
    return {
        "base_id": work.layout.base_id,
        "base_sha256": verified(work.layout.base).sha256,
        "design_sha256": work.design.sha256(),
        "versions": library_versions(),
        "artifacts": artifacts,
    }
