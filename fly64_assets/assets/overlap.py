"""Overlap views of one cell."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from fly64_assets.assets.flow import Work, picture
from fly64_assets.contract.findings import Finding
from fly64_assets.contract.schema import Dataset
from fly64_assets.physics.overlap import BASELINE, counted
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.physics.scan import SPLITS
from fly64_assets.simulation.views import SplitView, exposure, split_view, view_metadata, write_view
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import Cell
from fly64_assets.study import stages
from fly64_assets.study.intake_terms import warned


def cut_view(work: Work[Cell]) -> Mapping[str, Any]:
    """Select the frames of one view in both halves, write them, and measure their overlap."""
    cell = work.at
    data = {split: work.dataset(work.layout.patched(cell.whole_dose, split)) for split in SPLITS}
    rule = work.design.view_rule(cell.view)
    views = {split: split_view(half, rule, cell.dose, split) for split, half in data.items()}
    findings = [finding for split, view in views.items() for finding in _write(work, data[split], view)]
    outcomes = {split: "skipped" if view.skipped else "succeeded" for split, view in views.items()}
    facts = {s: {"outcome": outcomes[s], "reason": view.reason, **view.facts} for s, view in views.items()}
    values = {"splits": facts} | warned(findings)
    if all(view.skipped for view in views.values()):
        work.build.skip("; ".join(view.reason for view in views.values()), values)
    else:
        metrics = {split: view.metrics or {"skipped": view.reason} for split, view in views.items()}
        work.build.write_json(work.layout.output(work.key, "metrics_bundle.json"), metrics)
        work.build.succeed(values)
    return {name: value for split, view in views.items() for name, value in _describe(data[split], view).items()}


def _write(work: Work[Cell], dataset: Dataset, view: SplitView) -> list[Finding]:
    if view.skipped:
        work.context.log.info(view.reason)
        return []
    half = work.at.half(view.split)
    work.build.write_json(work.layout.view_metrics(half), view.metrics)
    if view.view == BASELINE:
        return []
    parameters = stages.parameters(work.design, work.key)
    rule, expected = work.design.view_rule(view.view), work.design.expectations()
    at, seed = work.at, work.design.rng_seeds["simulation"]
    exposed = exposure(dataset, rule, view.kept, dose=at.dose, seed=seed, repeat=work.design.repeat_seed(at.repeat))
    metadata = view_metadata(dataset, view, rule, parameters_sha256=json_sha256(parameters), exposed=exposed)
    findings: list[Finding] = []

    def write(file: BinaryIO) -> None:
        report = write_view(dataset, view.kept, file, metadata=metadata, expected=expected, exposed=exposed)
        findings.extend(work.warnings(report, view.split))

    work.build.write(work.layout.view_frames(half), write)
    return findings


def _describe(dataset: Dataset, view: SplitView) -> Mapping[str, Any]:
    from fly64_assets.evaluation.report.figures import scan_figure

    if view.metrics is None:
        return {f"frames_{view.split}": len(view.kept), f"skipped_{view.split}": view.reason}
    found = probe_overlap(np.c_[dataset.x, dataset.y][view.kept], dataset.modes)
    return {
        f"frames_{view.split}": len(view.kept),
        **({} if found is None else {f"overlap_of_probes_{view.split}": found.sentence()}),
        f"overlap_of_probe_discs_{view.split}": view.metrics["metric_2_image_based_avg"],
        f"overlap_counts_{view.split}": counted(view.metrics),
        f"scan_{view.split}": picture(scan_figure(dataset.modes, dataset.scan[view.kept])),
    }
