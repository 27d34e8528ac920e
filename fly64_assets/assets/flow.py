"""How every asset runs: verified inputs, one build under the store's lock, a gate before anything materialises.

A failed blocking check stops only its own run, so every asset gates itself: it yields the failed check and raises
before it materialises, and every later reader of a file verifies it again.
"""

import base64
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import dagster as dg

from fly64_assets.automation.catalogue import row_counts
from fly64_assets.automation.graph import (
    checked_partition,
    condition_of,
    coordinates_of,
    mapping_between,
    partition_of_run,
    partitions_of,
)
from fly64_assets.automation.run_tags import (
    BASE_ID,
    COMMAND_TAG,
    FOLDER,
    RESUME,
    asset_key,
    newest_materialization,
    store_of_run,
)
from fly64_assets.automation.slots import keep_to_one_slot
from fly64_assets.contract.findings import ContractReport, Finding
from fly64_assets.contract.npz import load_dataset
from fly64_assets.contract.schema import Dataset
from fly64_assets.engines.execution import Execution
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.study import ArtifactStoreResource, StudyResource
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.builds import Build
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import REPORT, Coordinates, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import size_of
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import active_layout, expected
from fly64_assets.study.table import STAGES, Stage

GATE = "gate"
"""Name of the check inside every asset: inputs are what their sidecars say, inputs and outputs obey their contract."""

POOL = "gpu"
"""The pool whose slots engines share; the instance's `dagster.yaml` says how many there are."""

DATA_VERSION_TAG = "dagster/data_version"

AssetEvent = dg.AssetCheckResult | dg.MaterializeResult[None]

C_co = TypeVar("C_co", bound=Coordinates, covariant=True)


@dataclass(frozen=True)
class Work(Generic[C_co]):
    """What one build of a stage gets to work with; ``execution`` says where its engine runs, if it has one."""

    context: dg.AssetExecutionContext
    design: StudyDesign
    store: ArtifactStore
    layout: Layout
    stage: Stage
    key: StageKey[C_co]
    build: Build
    execution: Execution

    @property
    def at(self) -> C_co:
        """The dose, the cell, the half of a cell, or the study as a whole."""
        return self.key.at

    def warnings(self, report: ContractReport, split: str) -> list[Finding]:
        """What is found in the file of a half and stops nothing: into the run's log, and for the record."""
        found = [replace(finding, message=f"{split}: {finding.message}") for finding in report.warnings]
        for finding in found:
            self.context.log.warning(f"{finding.code}: {finding.message}")
        return found

    def dataset(self, path: Path) -> Dataset:
        """A data set whose SHA256 was checked just now; its contract was judged when it was written."""
        verified(path)
        return load_dataset(path, hashed=True)


Compute = Callable[[Work[Any]], Mapping[str, Any]]
"""Writes outputs through ``work.build``, declares the outcome there, returns metadata for Dagster."""

Afterwards = Callable[[Layout, StudyDesign], object]


def stage_asset(
    stage: Stage,
    design: StudyDesign,
    compute: Compute,
    *,
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
    afterwards: Afterwards | None = None,
) -> dg.AssetsDefinition:
    """The asset of one record of the table of stages, for all stages but the base.

    A step of an engine takes a slot of ``pool``, and requests the cluster resources of ``op_tags``. ``afterwards`` is
    called when the record is written.
    """
    partitions = partitions_of(design, stage)
    decorate: Callable[..., dg.AssetsDefinition] = dg.asset(
        **catalogue_entry(stage, design),
        deps=[
            dg.AssetDep(asset_key(asset), partition_mapping=mapping_between(STAGES[asset], stage))
            for asset in stage.needs
        ],
        partitions_def=partitions,
        automation_condition=condition_of(stage),
        pool=pool,
        op_tags=dict(op_tags or {}),
        required_resource_keys={"study", "store", *(("gpu", "legacy_config") if stage.engine else ())},
        check_specs=[gate_spec(asset_key(stage.asset), partitions)],
    )

    def asset(context: dg.AssetExecutionContext) -> Iterator[AssetEvent]:
        if pool:
            hold_slot(context, pool)
        yield from materialize(context, stage, compute, afterwards)

    return decorate(asset)


def hold_slot(context: dg.AssetExecutionContext, pool: str) -> None:
    """Wait where the slot that Dagster gave to this step is another step's too."""
    step = context.op_execution_context.get_step_execution_context().step.key
    keep_to_one_slot(context.instance, pool, context.run.run_id, step, context.log.info)


def catalogue_entry(stage: Stage, design: StudyDesign) -> dict[str, Any]:
    """Catalogue entry of an asset. Its code version covers the design, so that Dagster sees a change."""
    tags = {"fly64/study": design.name, "fly64/stage": stage.kind, "fly64/split": stage.split}
    return {
        "key": asset_key(stage.asset),
        "description": (stage.of_measured if design.of_measured_frames else "") or stage.description,
        "group_name": stage.group,
        "kinds": {stage.tool},
        "owners": ["team:fly64_assets"],
        "tags": {name: value for name, value in tags.items() if value},
        "code_version": stages.asset_version(design, stage),
    }


def gate_spec(asset: dg.AssetKey, partitions: dg.PartitionsDefinition[str] | None = None) -> dg.AssetCheckSpec:
    """The check that every asset reports about itself while it runs, for each partition on its own.

    It is a blocking one, so that automation does not build on what failed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            GATE,
            asset=asset,
            description="Inputs match their SHA256; inputs and outputs obey their contract.",
            blocking=True,
            partitions_def=partitions,
        )


def materialize(
    context: dg.AssetExecutionContext, stage: Stage, compute: Compute, afterwards: Afterwards | None = None
) -> Iterator[AssetEvent]:
    """Build a stage in every repeat of the study and yield Dagster's events.

    Raises ``dagster.Failure`` with one sentence where an input or the result is not valid; nothing is materialised
    then, and the stage's record on disk says the same.
    """
    study: StudyResource = context.resources.study
    resource: ArtifactStoreResource = context.resources.store
    records: list[StageRecord] = []
    described: dict[str, Any] = {}
    try:
        design = study.design()
        partition = checked_partition(design, stage, partition_of_run(context))
        store = store_of_run(context, resource.store(design.name), stage, partition)
        layout = active_layout(store)
        for key in stages.keys_of(design, stage, coordinates_of(partition)):
            record, metadata = build_stage(context, design, store, layout, stage, key, compute)
            records.append(record)
            described = described or dict(metadata)
        if afterwards:
            afterwards(layout, design)
    except Fly64Error as error:
        yield failed_gate(error)
        raise dg.Failure(str(error), allow_retries=False) from None
    version = json_sha256([record.data_sha256 for record in records])
    if not described:
        # The data were there: the newest materialisation of the same data says what they are.
        newest = newest_materialization(context.instance, stage.asset, partition)
        if newest is not None and (newest.tags or {}).get(DATA_VERSION_TAG) == version:
            described = dict(newest.metadata)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata=described | row_counts(records) | record_metadata(layout, records),
        check_results=[dg.AssetCheckResult(passed=True, check_name=GATE)],
    )


def failed_gate(error: Fly64Error) -> dg.AssetCheckResult:
    """The failed check of an asset that stops itself."""
    return dg.AssetCheckResult(passed=False, check_name=GATE, description=str(error))


def build_stage(
    context: dg.AssetExecutionContext,
    design: StudyDesign,
    store: ArtifactStore,
    layout: Layout,
    stage: Stage,
    key: StageKey[Coordinates],
    compute: Compute,
) -> tuple[StageRecord, Mapping[str, Any]]:
    """One build: what it needs, its work or its skip, its record."""
    wanted = expected(store, layout, design, key)
    if wanted.waits_for:
        raise Fly64Error(f"{key.label} cannot run: {wanted.waits_for}")
    gpu: GpuResource | None = context.resources.gpu if stage.engine else None
    existing = store.record(layout, key)
    metadata: Mapping[str, Any] = {}
    with store.build(
        layout,
        key,
        inputs=wanted.inputs,
        parameters=stages.parameters_beside(design, key, existing),
        design_sha256=design.sha256(),
        code_version=stage.code_version,
        seeds=design.repeat_seeds(key.repeat),
        announce=context.log.info,
        # The report shows states that are no inputs (failed, out of date), so it is always written anew.
        force=key == REPORT or context.run.tags.get(COMMAND_TAG) != RESUME,
    ) as build:
        if build.done:
            context.log.info(f"{key.label}: already there, from the same inputs and parameters")
        elif wanted.skip:
            context.log.info(f"{key.label}: skipped: {wanted.skip}")
            build.skip(wanted.skip, {})
        else:
            execution = gpu.execution() if gpu else Execution()
            context.log.info(f"{key.label}: {gpu.describe(execution) if gpu else 'begins'}")
            metadata = compute(Work(context, design, store, layout, stage, key, build, execution))
    return store.required(layout, key), metadata


def record_metadata(layout: Layout, records: Sequence[StageRecord]) -> dict[str, Any]:
    """Facts about a build that every asset shows: outcome, seconds, files with SHA256 and size."""
    last = records[-1]
    files: list[Any] = []
    for record in records:
        for name, sha256 in record.outputs.items():
            size = size_of(layout.folder / name)
            files.append(dg.TableRecord({"file": name, "bytes": size, "sha256": sha256, "repeat": record.key.repeat}))
    metadata: dict[str, Any] = {
        BASE_ID: layout.base_id,
        "outcome": last.outcome,
        "seconds": sum(record.seconds for record in records),
        "size_bytes": sum(file.data["bytes"] for file in files),
        FOLDER: dg.MetadataValue.path(str(layout.folder_of(last.key))),
    }
    for name in last.outputs:
        if name.endswith((".log", ".html")):
            path = layout.folder / name
            metadata[path.name.replace(".", "_")] = dg.MetadataValue.path(str(path))
    if last.reason:
        metadata["reason"] = last.reason
    if files:
        metadata["files"] = dg.MetadataValue.table(files)
    return metadata


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG as inline picture for the UI."""
    return dg.MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png).decode()})")
