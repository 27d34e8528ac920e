"""The physics-informed network of one cell: training on the train half, reconstruction of both halves."""

from collections.abc import Iterator

import dagster as dg

from fly64_assets.assets.engines import POOL, step_tags
from fly64_assets.assets.flow import AssetEvent, gate_spec, materialize
from fly64_assets.assets.networks import Engine, reconstruct_with_network, train_network
from fly64_assets.automation.conditions import when_inputs_change
from fly64_assets.automation.partitions import split_cell_key
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey

ARM = "pinn"
ENGINE = Engine("pytorch", "fly64_assets.pinn.job", several_devices=True)


def pinn_bundle_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``pinn_bundle``, partitioned by dose and view."""

    @dg.asset(
        group_name="pinn",
        kinds={"pytorch"},
        pool=POOL,
        op_tags=step_tags(),
        partitions_def=cells,
        deps=["overlap_view"],
        code_version=stages.CODE_VERSIONS["training"],
        automation_condition=when_inputs_change(),
        check_specs=[gate_spec("pinn_bundle", cells)],
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
            context,
            design,
            store.store(design.name),
            key,
            lambda work: train_network(work, gpu.execution(), ENGINE, design.pinn.parameters()),
            beforehand=gpu.check,
        )

    return pinn_bundle


def pinn_reconstruction_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``pinn_reconstruction``, partitioned by dose and view."""

    @dg.asset(
        group_name="pinn",
        kinds={"pytorch"},
        pool=POOL,
        op_tags=step_tags(),
        partitions_def=cells,
        deps=["pinn_bundle", "overlap_view"],
        code_version=stages.CODE_VERSIONS["inference"],
        automation_condition=when_inputs_change(),
        check_specs=[gate_spec("pinn_reconstruction", cells)],
    )
    def pinn_reconstruction(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource, gpu: GpuResource
    ) -> Iterator[AssetEvent]:
        """The object that the trained network sees in the train half and in the unseen test half."""
        design = study.design()
        dose, view = split_cell_key(context.partition_key)
        key = StageKey("inference", dose, view, arm=ARM)
        yield from materialize(
            context,
            design,
            store.store(design.name),
            key,
            lambda work: reconstruct_with_network(work, gpu.execution(), ENGINE),
            beforehand=gpu.check,
        )

    return pinn_reconstruction
