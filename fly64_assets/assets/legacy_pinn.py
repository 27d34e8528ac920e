"""The network of frames in TensorFlow, trained through the legacy-config bridge; built only when asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from fly64_assets.assets.engines import POOL, step_tags
from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize
from fly64_assets.assets.networks import Engine, reconstruct_with_network, train_network
from fly64_assets.automation.partitions import split_cell_key
from fly64_assets.engines.execution import Execution
from fly64_assets.ptychopinn.training_config import training_config
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.legacy_config import LegacyConfigResource, training_job
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey

ARM = stages.LEGACY_ARM
ENGINE = Engine("tensorflow", "fly64_assets.pinn.cnn.keras.job")


def legacy_pinn_bundle_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``legacy_pinn_bundle``, partitioned by dose and view."""

    @dg.asset(
        group_name="legacy",
        kinds={"tensorflow"},
        pool=POOL,
        op_tags=step_tags(),
        partitions_def=cells,
        deps=["overlap_view"],
        code_version=stages.CODE_VERSIONS["training"],
        check_specs=[gate_spec("legacy_pinn_bundle", cells)],
    )
    def legacy_pinn_bundle(
        context: dg.AssetExecutionContext,
        study: StudyResource,
        store: ArtifactStoreResource,
        gpu: GpuResource,
        legacy_config: LegacyConfigResource,
    ) -> Iterator[AssetEvent]:
        """The published network (`cnn`) in TensorFlow, trained on the train frames by the photon likelihood alone.

        Its parameters go through PtychoPINN's dictionary, filled for this training and put back after it; the bundle
        holds a snapshot, which the check `config_001` compares with the design. Either backend runs the bundle.
        """
        design = study.design()
        dose, view = split_cell_key(context.partition_key)
        key = StageKey("training", dose, view, arm=ARM, gridsize=design.gridsize(view))
        yield from materialize(
            context,
            design,
            store.store(design.name),
            key,
            lambda work: _train(work, gpu.execution(), legacy_config),
            beforehand=gpu.check,
        )

    return legacy_pinn_bundle


def legacy_pinn_reconstruction_asset(cells: dg.MultiPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset ``legacy_pinn_reconstruction``, partitioned by dose and view."""

    @dg.asset(
        group_name="legacy",
        kinds={"tensorflow"},
        pool=POOL,
        op_tags=step_tags(),
        partitions_def=cells,
        deps=["legacy_pinn_bundle", "overlap_view"],
        code_version=stages.CODE_VERSIONS["inference"],
        check_specs=[gate_spec("legacy_pinn_reconstruction", cells)],
    )
    def legacy_pinn_reconstruction(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource, gpu: GpuResource
    ) -> Iterator[AssetEvent]:
        """The object that the TensorFlow network sees in the train half and in the unseen test half."""
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

    return legacy_pinn_reconstruction


def _train(work: Work, execution: Execution, legacy_config: LegacyConfigResource) -> Mapping[str, Any]:
    key, layout = work.key, work.layout
    assert key.dose is not None
    assert key.view is not None
    view = work.store.required(layout, StageKey("view", key.dose, key.view, repeat=key.repeat))
    files = {
        split: layout.view_frames(key.dose, key.view, split, key.repeat).relative_to(layout.data_root).as_posix()
        for split in stages.existing_splits(view)
    }
    job = training_job(work.design, key.dose, key.view, key.repeat, int(view.values["splits"]["train"]["n_accepted"]))
    config, others = training_config(
        job,
        train_data_file=files["train"],
        test_data_file=files.get("test"),
        output_dir=layout.folder_of(key).relative_to(layout.data_root).as_posix(),
    )
    return train_network(work, execution, ENGINE, job.settings.parameters(), legacy_config.request(config, others))
