"""Overlap views of one cell."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize, picture
from fly64_assets.automation.conditions import when_inputs_change
from fly64_assets.automation.partitions import dose_of_cell, split_cell_key
from fly64_assets.contract.npz import load_base
from fly64_assets.contract.schema import Dataset
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import SPLITS
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.simulation.views import SplitView, split_view, view_metadata, write_view
from fly64_assets.store.hashing import json_sha256
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey


def overlap_view_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``overlap_view``, partitioned by dose and view."""

    @dg.asset(
        group_name="data",
        kinds={"numpy"},
        partitions_def=cells,
        deps=[dg.AssetDep("simulated_dataset", partition_mapping=dose_of_cell())],
        code_version=stages.CODE_VERSIONS["view"],
        automation_condition=when_inputs_change(),
        check_specs=[gate_spec("overlap_view", cells)],
    )
    def overlap_view(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource
    ) -> Iterator[AssetEvent]:
        """The frames that one overlap view keeps of each half, and their measured overlap.

        `baseline` keeps every frame; a spaced view keeps positions at least (1 - f) N apart. A view with too few
        positions is recorded as skipped, with the measured number; its threshold is never lowered.
        """
        design = study.design()
        key = StageKey("view", *split_cell_key(context.partition_key))
        yield from materialize(context, design, store.store(design.name), key, _cut)

    return overlap_view


def _cut(work: Work) -> Mapping[str, Any]:
    assert work.key.dose is not None
    assert work.key.view is not None
    dose, view = work.key.dose, work.key.view
    cut: dict[str, SplitView] = {}
    for split in SPLITS:
        dataset = work.dataset(work.layout.patched(dose, split, work.key.repeat))
        cut[split] = split_view(dataset, work.design.view_rule(view), dose, split)
        _save(work, dataset, cut[split])
    values = {"splits": {split: _facts(one) for split, one in cut.items()}}
    if all(one.skipped for one in cut.values()):
        work.build.skip("; ".join(one.reason for one in cut.values()), values)
    else:
        bundle = {split: one.metrics or {"skipped": one.reason} for split, one in cut.items()}
        work.build.write_json(work.layout.metrics_bundle(dose, view, work.key.repeat), bundle)
        work.build.succeed(values)
    return _describe(work, cut)


def _save(work: Work, dataset: Dataset, one: SplitView) -> None:
    if one.skipped:
        work.context.log.info(one.reason)
        return
    dose, repeat = work.key.dose or 0, work.key.repeat
    work.build.write_json(work.layout.view_metrics(dose, one.view, one.split, repeat), one.metrics)
    if one.view == BASELINE:
        return
    metadata = view_metadata(
        dataset,
        one,
        work.design.view_rule(one.view),
        parameters_sha256=json_sha256(stages.parameters(work.design, work.key)),
    )
    path = work.layout.view_data(dose, one.view, one.split, repeat)
    expected = work.design.expectations()
    work.build.write(path, lambda file: write_view(dataset, one.kept, file, metadata=metadata, expected=expected))


def _facts(one: SplitView) -> dict[str, Any]:
    return {"outcome": "skipped" if one.skipped else "succeeded", "reason": one.reason, **one.facts}


def _describe(work: Work, cut: Mapping[str, SplitView]) -> Mapping[str, Any]:
    from fly64_assets.evaluation.report.figures import scan_figure

    shown: dict[str, Any] = {}
    base = load_base(work.layout.base)
    for split, one in cut.items():
        shown[f"frames_{split}"] = len(one.kept)
        if one.metrics is None:
            shown[f"skipped_{split}"] = one.reason
            continue
        shown[f"measured_overlap_{split}"] = one.metrics["metric_2_image_based_avg"]
        frames = work.dataset(work.layout.view_frames(work.key.dose or 0, one.view, split, work.key.repeat))
        shown[f"scan_{split}"] = picture(scan_figure(base.probe, frames.scan))
    return shown
