"""The iterative reconstruction (LSQML, pty-chi) of one cell: one asset for each half, from one factory."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fly64_assets.assets.engines import POOL, numbers, run_engine, step_tags
from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize, picture
from fly64_assets.automation.conditions import when_inputs_change
from fly64_assets.automation.partitions import split_cell_key
from fly64_assets.engines.execution import Execution
from fly64_assets.physics.scan import SPLITS
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey

COLD = (
    "The object that the iterative LSQML solver of pty-chi finds in the view's {split} frames, with the known probe, "
    "starting from a flat object. It uses all frames and never sees the truth."
)
WARM = (
    "The same solver on the same {split} frames, started from the network's object of this half instead of a flat one: "
    "an arm of its own, built on request. It never sees the truth."
)


def lsqml_reconstruction_assets(cells: dg.MultiPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets ``lsqml_reconstruction_SPLIT``, and ``lsqml_from_pinn_reconstruction_SPLIT`` on request."""
    return [_reconstruction_asset(cells, split, warm) for warm in (False, True) for split in SPLITS]


def _reconstruction_asset(cells: dg.MultiPartitionsDefinition, split: str, warm: bool) -> dg.AssetsDefinition:
    name = f"{stages.WARM_ARM if warm else 'lsqml'}_reconstruction_{split}"

    @dg.asset(
        name=name,
        description=(WARM if warm else COLD).format(split=split),
        group_name="lsqml",
        kinds={"pytorch"},
        pool=POOL,
        op_tags=step_tags(),
        partitions_def=cells,
        deps=["overlap_view", *(["pinn_reconstruction"] if warm else [])],
        code_version=stages.CODE_VERSIONS["reconstruction"],
        automation_condition=None if warm else when_inputs_change(),
        check_specs=[gate_spec(name, cells)],
    )
    def lsqml_reconstruction(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource, gpu: GpuResource
    ) -> Iterator[AssetEvent]:
        design = study.design()
        dose, view = split_cell_key(context.partition_key)
        key = StageKey("reconstruction", dose, view, split, stages.WARM_ARM if warm else design.lsqml.engine)
        yield from materialize(
            context,
            design,
            store.store(design.name),
            key,
            lambda work: _reconstruct(work, gpu.execution()),
            beforehand=gpu.check,
        )

    return lsqml_reconstruction


def _reconstruct(work: Work, execution: Execution) -> Mapping[str, Any]:
    key, layout, build = work.key, work.layout, work.build
    assert key.dose is not None
    assert key.view is not None
    assert key.split is not None
    assert key.arm is not None
    frames = layout.view_frames(key.dose, key.view, key.split, key.repeat)
    dataset = work.dataset(frames)
    start = None
    if key.arm == stages.WARM_ARM:
        start = layout.inference(key.dose, key.view, stages.NETWORK_ARMS[0], key.split, key.repeat)
        verified(start)
    request = {
        "measurement": str(frames),
        "start": str(start) if start else None,
        "output_folder": str(build.scratch),
        "settings": work.design.lsqml.parameters(),
        "seed": work.design.repeat_seeds(key.repeat)["grouping"],
        "metadata": {"dose": key.dose, "view": key.view, "split": key.split, "frames": dataset.frames},
    }
    build.note({"returncode": 1, "algorithm": key.arm.upper()})
    log = layout.output(key, "ptychi.log")
    facts = run_engine(work, "fly64_assets.lsqml.job:reconstruct_job", request, execution, log)
    figure = (build.scratch / "reconstruction.png").read_bytes()
    result = layout.reconstruction(key.arm, key.dose, key.view, key.split, key.repeat)
    build.adopt(build.scratch / "ptychi_reconstruction.npz", result)
    build.adopt(build.scratch / "reconstruction.png", layout.output(key, "reconstruction.png"), data=False)
    build.succeed(facts | {"returncode": 0, "execution": execution.to_dict()})
    return numbers(facts) | {"object": picture(figure)}
