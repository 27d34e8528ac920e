"""The physics-informed network of one cell: training on the train half, reconstruction of both halves."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from fly64_assets import stages
from fly64_assets.assets.engines import numbers, run_engine
from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize, picture
from fly64_assets.contract.npz import open_npz
from fly64_assets.execution import Execution
from fly64_assets.partitions import split_cell_key
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.store.layout import StageKey
from fly64_assets.store.sidecars import verified

ARM = "pinn"
BACKEND = "pytorch"


def pinn_bundle_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``pinn_bundle``, partitioned by dose and view."""

    @dg.asset(
        group_name="pinn",
        kinds={"pytorch"},
        pool="gpu",
        partitions_def=cells,
        deps=["overlap_view"],
        code_version=stages.CODE_VERSIONS["training"],
        check_specs=[gate_spec("pinn_bundle")],
    )
    def pinn_bundle(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource, gpu: GpuResource
    ) -> Iterator[AssetEvent]:
        """A network trained on the view's train frames by the photon likelihood alone; it never sees the truth.

        The bundle `wts.h5.zip` holds everything needed to run it again.
        """
        design = study.design()
        dose, view = split_cell_key(context.partition_key)
        key = StageKey("training", dose, view, arm=ARM, gridsize=design.gridsize(view))
        yield from materialize(
            context, design, store.store(design.name), key, lambda work: _train(work, gpu.execution())
        )

    return pinn_bundle


def pinn_reconstruction_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``pinn_reconstruction``, partitioned by dose and view."""

    @dg.asset(
        group_name="pinn",
        kinds={"pytorch"},
        pool="gpu",
        partitions_def=cells,
        deps=["pinn_bundle", "overlap_view"],
        code_version=stages.CODE_VERSIONS["inference"],
        check_specs=[gate_spec("pinn_reconstruction")],
    )
    def pinn_reconstruction(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource, gpu: GpuResource
    ) -> Iterator[AssetEvent]:
        """The object that the trained network sees in the train half and in the unseen test half."""
        design = study.design()
        dose, view = split_cell_key(context.partition_key)
        key = StageKey("inference", dose, view, arm=ARM)
        yield from materialize(
            context, design, store.store(design.name), key, lambda work: _reconstruct(work, gpu.execution())
        )

    return pinn_reconstruction


def _train(work: Work, execution: Execution) -> Mapping[str, Any]:
    key, layout, build = work.key, work.layout, work.build
    assert key.dose is not None
    assert key.view is not None
    assert key.gridsize is not None
    frames = layout.view_frames(key.dose, key.view, "train", key.repeat)
    work.dataset(frames)
    request = {
        "measurement": str(frames),
        "output_folder": str(build.scratch),
        "arm": ARM,
        "settings": asdict(work.design.pinn),
        "gridsize": key.gridsize,
        "neighbor_count": work.design.neighbor_count,
        "seeds": work.design.repeat_seeds(key.repeat),
        "provenance": {
            "design_sha256": work.design.sha256(),
            "data_sha256": verified(frames).sha256,
            "code_version": stages.CODE_VERSIONS["training"],
        },
    }
    log, devices = layout.output(key, "train.log"), execution.devices
    facts = run_engine(work, "fly64_assets.pinn.job:train_job", request, execution, log, processes=devices)
    curve = (build.scratch / "loss.png").read_bytes()
    build.adopt(build.scratch / "wts.h5.zip", layout.bundle(key.dose, key.view, key.gridsize, ARM, key.repeat))
    build.adopt(build.scratch / "history.csv", layout.output(key, "history.csv"))
    build.adopt(build.scratch / "loss.png", layout.output(key, "loss.png"), data=False)
    build.succeed(facts | {"backend": BACKEND, "execution": execution.to_dict()})
    return numbers(facts) | {"learning_curve": picture(curve)}


def _reconstruct(work: Work, execution: Execution) -> Mapping[str, Any]:
    key, layout, build = work.key, work.layout, work.build
    assert key.dose is not None
    assert key.view is not None
    view = work.store.required(layout, StageKey("view", key.dose, key.view, repeat=key.repeat))
    bundle = layout.bundle(key.dose, key.view, work.design.gridsize(key.view), ARM, key.repeat)
    verified(bundle)
    shown: dict[str, Any] = {}
    values: dict[str, Any] = {"execution": execution.to_dict(), "splits": {}}
    for split in stages.existing_splits(view):
        frames = layout.view_frames(key.dose, key.view, split, key.repeat)
        work.dataset(frames)
        request = {
            "bundle": str(bundle),
            "measurement": str(frames),
            "output": str(build.scratch / f"{split}.npz"),
            "figure": str(build.scratch / f"{split}.png"),
        }
        log = layout.output(key, f"{split}.log")
        label = f"{key.label} {split}"
        facts = run_engine(work, "fly64_assets.pinn.job:infer_job", request, execution, log, label)
        shown[f"object_{split}"] = picture((build.scratch / f"{split}.png").read_bytes())
        build.adopt(build.scratch / f"{split}.png", layout.output(key, f"{split}.png"), data=False)
        result = layout.inference(key.dose, key.view, ARM, split, key.repeat)
        build.adopt(build.scratch / f"{split}.npz", result)
        open_npz(result)
        values["splits"][split] = facts
        shown |= {f"{name}_{split}": value for name, value in numbers(facts).items()}
    build.succeed(values)
    return shown
