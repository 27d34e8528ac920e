"""Every arm of one cell against the truth, in one frame."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize, picture
from fly64_assets.assets.limits import shared_limits, write_limit
from fly64_assets.automation.conditions import when_arms_change
from fly64_assets.automation.partitions import split_cell_key
from fly64_assets.contract.npz import load_base, load_measurement, open_npz
from fly64_assets.evaluation.bound.limit import UnitLimit
from fly64_assets.evaluation.report.figures import loss_history
from fly64_assets.evaluation.scores.compare import SplitInput, compare_cell
from fly64_assets.evaluation.scores.region import ScanBox, scan_box
from fly64_assets.physics.scan import SPLITS
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey


def comparison_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``comparison``, partitioned by dose and view."""

    @dg.asset(
        group_name="report",
        kinds={"numpy"},
        partitions_def=cells,
        deps=[
            "overlap_view",
            "pinn_reconstruction",
            "legacy_pinn_reconstruction",
            "lsqml_reconstruction_train",
            "lsqml_reconstruction_test",
            "lsqml_from_pinn_reconstruction_train",
            "lsqml_from_pinn_reconstruction_test",
        ],
        code_version=stages.CODE_VERSIONS["comparison"],
        automation_condition=when_arms_change(),
        check_specs=[gate_spec("comparison", cells)],
    )
    def comparison(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource
    ) -> Iterator[AssetEvent]:
        """Every method against the truth in one evaluation region, beside a uniform object, the baseline to beat.

        Methods that are missing, failed or skipped are named with their reason; the others are compared.
        """
        design = study.design()
        key = StageKey("comparison", *split_cell_key(context.partition_key))
        yield from materialize(context, design, store.store(design.name), key, _compare)

    return comparison


def _compare(work: Work) -> Mapping[str, Any]:
    from fly64_assets.evaluation.report.figures import cell_pictures, phase_strip

    key, layout, design = work.key, work.layout, work.design
    assert key.dose is not None
    assert key.view is not None
    verified(layout.base)
    truth = load_base(layout.base).object
    splits = {split: _split_input(work, split) for split in SPLITS}
    found: dict[str, UnitLimit] = {}
    compared = compare_cell(
        key.dose,
        key.view,
        truth,
        splits,
        evaluation=design.evaluation,
        metrics=design.metrics_config,
        limit=shared_limits(work, found),
    )
    pictures = cell_pictures(
        compared,
        coverage_threshold=design.evaluation.coverage_threshold,
        histories={split: _histories(work, split) for split in compared.splits},
    )
    for name, content in pictures.items():
        work.build.write_bytes(layout.output(key, name), content, data=False)
    for split, one in compared.splits.items():
        for digest, unit in found.items():
            if one.limit.unit is unit:
                write_limit(work, f"limit_{split}.npz", unit, digest)
    work.build.write_json(layout.output(key, "comparison.json"), compared.to_dict())
    work.build.write_bytes(layout.output(key, "comparison_metrics.csv"), compared.to_csv())
    work.build.succeed({"arms": {split: _outcomes(one) for split, one in splits.items()}})
    shown: dict[str, Any] = {}
    for split, one in compared.splits.items():
        shown[f"phase_{split}"] = picture(phase_strip(one))
        if f"limit_{split}.png" in pictures:
            shown[f"limit_{split}"] = picture(pictures[f"limit_{split}.png"])
        shown |= {
            name: dg.MetadataValue.json(value) if isinstance(value, dict) else value
            for name, value in one.headlines().items()
        }
    return shown


def _split_input(work: Work, split: str) -> SplitInput | str:
    key, layout = work.key, work.layout
    assert key.dose is not None
    assert key.view is not None
    view = work.store.required(layout, StageKey("view", key.dose, key.view, repeat=key.repeat))
    if split not in stages.existing_splits(view):
        return str(view.values["splits"][split]["reason"])
    frames = layout.view_frames(key.dose, key.view, split, key.repeat)
    verified(frames)
    refined = {work.design.lsqml.engine} if work.design.lsqml.probe == "refined" else set()
    return SplitInput(
        measurement=load_measurement(frames),
        methods={arm: _object(work, record, arm, split) for arm, record in _arm_records(work, split).items()},
        scan_box=_baseline_box(work, split),
        refined_probe=frozenset(refined),
        learned=frozenset(k.arm or "" for k in stages.upstream(work.design, key) if k.stage == "inference"),
    )


def _arm_records(work: Work, split: str) -> dict[str, StageRecord | None]:
    """Record of every arm that reconstructs this split; None where it has not run, unless it is one on request."""
    upstream = stages.upstream(work.design, work.key, stages.ALL_ARMS)
    keys = [k for k in upstream if k.stage == "inference" or (k.stage == "reconstruction" and k.split == split)]
    records = {key.arm or "": work.store.record(work.layout, key) for key in keys}
    return {arm: record for arm, record in records.items() if record or arm not in stages.ARMS_ON_REQUEST}


def _object(work: Work, record: StageRecord | None, arm: str, split: str) -> NDArray[np.complexfloating] | str:
    if record is None:
        return "missing: it has not run, or its result is damaged"
    if record.outcome != "succeeded":
        return f"{record.outcome}: {record.reason}"
    key = work.key
    assert key.dose is not None
    assert key.view is not None
    if record.key.stage == "inference":
        path = work.layout.inference(key.dose, key.view, arm, split, key.repeat)
    else:
        path = work.layout.reconstruction(arm, key.dose, key.view, split, key.repeat)
    verified(path)
    return open_npz(path)["reconstructed_object"]


def _baseline_box(work: Work, split: str) -> ScanBox:
    path = work.layout.patched(work.key.dose or 0, split, work.key.repeat)
    verified(path)
    baseline = load_measurement(path)
    return scan_box(baseline.scan)


def _histories(work: Work, split: str) -> dict[str, dict[str, list[float]]]:
    """Loss per epoch of each arm, as far as it is on disk."""
    key, layout = work.key, work.layout
    assert key.dose is not None
    assert key.view is not None
    histories: dict[str, dict[str, list[float]]] = {}
    for arm, record in _arm_records(work, split).items():
        if record is None or record.outcome != "succeeded":
            continue
        if record.key.stage == "inference":
            folder = layout.training_folder(key.dose, key.view, work.design.gridsize(key.view), arm, key.repeat)
            histories[arm] = loss_history((folder / "history.csv").read_text(encoding="utf-8"))
        else:
            losses = open_npz(layout.reconstruction(arm, key.dose, key.view, split, key.repeat))["loss"]
            histories[arm] = loss_history(losses)
    return histories


def _outcomes(split: SplitInput | str) -> dict[str, str] | str:
    if isinstance(split, str):
        return split
    return {arm: one if isinstance(one, str) else "compared" for arm, one in split.methods.items()}
