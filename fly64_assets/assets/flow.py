"""How every asset runs: verified inputs, one build under the store's lock, a gate before anything materialises.

Belongs here: the course that all assets share. Does not belong here: what a stage computes.

A failed blocking check stops only its own run, so every asset gates itself: it yields the failed check and raises
before it materialises, and whoever reads a file later verifies it again.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from fly64_assets.automation.run_tags import BASE_ID, COMMAND_TAG, RESUME, store_of_run
from fly64_assets.contract.npz import load_dataset
from fly64_assets.contract.schema import Dataset
from fly64_assets.errors import Fly64Error
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.builds import Build
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.layout import Layout, StageKey
from fly64_assets.study.states import active_layout

GATE = "gate"
"""Name of the check inside every asset: inputs are what their sidecars say, inputs and outputs obey their contract."""

DATA_VERSION_TAG = "dagster/data_version"
AssetEvent = dg.AssetCheckResult | dg.MaterializeResult[None]


@dataclass(frozen=True)
class Work:
    """What one build of a stage gets to work with."""

    context: dg.AssetExecutionContext
    design: StudyDesign
    store: ArtifactStore
    layout: Layout
    key: StageKey
    build: Build

    def dataset(self, path: Path) -> Dataset:
        """A data set whose SHA256 was checked just now; the contract judged it when it was written."""
        verified(path)
        return load_dataset(path)


Compute = Callable[[Work], Mapping[str, Any]]
"""Writes outputs through ``work.build``, declares the outcome there, returns metadata for Dagster."""


def gate_spec(asset: str, partitions: dg.PartitionsDefinition[str] | None = None) -> dg.AssetCheckSpec:
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
    context: dg.AssetExecutionContext,
    design: StudyDesign,
    store: ArtifactStore,
    key: StageKey,
    compute: Compute,
    *,
    beforehand: Callable[[], str] = str,
) -> Iterator[AssetEvent]:
    """Build a stage in every repeat of the study and yield Dagster's events.

    ``beforehand`` says what the engine will run on, or refuses by an error what cannot be met.
    Raises ``dagster.Failure`` with one sentence where an input or the result is not valid; nothing is materialised
    then, and the stage's record on disk says the same.
    """
    records: list[StageRecord] = []
    described: dict[str, Any] = {}
    try:
        store = store_of_run(context, store, context.asset_key.to_user_string())
        layout = active_layout(store)
        for one in stages.repeats(design, key) if key.stage != "report" else [key]:
            record, metadata = build_stage(context, design, store, layout, one, compute, beforehand)
            records.append(record)
            described = described or dict(metadata)
    except Fly64Error as error:
        yield failed_gate(error)
        raise dg.Failure(str(error), allow_retries=False) from None
    version = json_sha256([record.data_sha256 for record in records])
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version),
        metadata=(described or remembered(context, version)) | record_metadata(layout, records),
        check_results=[dg.AssetCheckResult(passed=True, check_name=GATE)],
    )


def remembered(context: dg.AssetExecutionContext, version: str) -> dict[str, Any]:
    """What the newest materialisation of the same data showed, for a build that found them there."""
    partitions = [context.partition_key] if context.has_partition_key else None
    wanted = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=partitions)
    for record in context.instance.fetch_materializations(wanted, limit=1).records:
        shown = record.asset_materialization
        if shown is not None and (shown.tags or {}).get(DATA_VERSION_TAG) == version:
            return dict(shown.metadata)
    return {}


def failed_gate(error: Fly64Error) -> dg.AssetCheckResult:
    """The failed check of an asset that stops itself."""
    return dg.AssetCheckResult(passed=False, check_name=GATE, description=str(error))


def build_stage(
    context: dg.AssetExecutionContext,
    design: StudyDesign,
    store: ArtifactStore,
    layout: Layout,
    key: StageKey,
    compute: Compute,
    beforehand: Callable[[], str] = str,
) -> tuple[StageRecord, Mapping[str, Any]]:
    """One build: what it needs, its work or its skip, its record."""
    wanted = stages.demand(store, layout, design, key)
    if wanted.waits_for:
        raise Fly64Error(f"{key.label} cannot run: {wanted.waits_for}")
    standing = store.record(layout, key)
    if not wanted.skip and standing is not None and standing.outcome != "failed":
        # What cannot be met is refused while the result that stands is still there; without one, the build itself
        # fails, and its record says why.
        beforehand()
    metadata: Mapping[str, Any] = {}
    with store.build(
        layout,
        key,
        inputs=wanted.inputs,
        parameters=stages.parameters(design, key),
        design=design,
        code_version=stages.CODE_VERSIONS[key.stage],
        seeds=design.repeat_seeds(key.repeat),
        announce=context.log.info,
        # The report shows states that are no inputs (failed, out of date), so it is always written anew.
        force=key.stage == "report" or context.run.tags.get(COMMAND_TAG) != RESUME,
    ) as build:
        if build.done:
            context.log.info(f"{key.label}: already there, from the same inputs and parameters")
        elif wanted.skip:
            context.log.info(f"{key.label}: skipped: {wanted.skip}")
            build.skip(wanted.skip, {})
        else:
            context.log.info(f"{key.label}: {beforehand() or 'begins'}")
            metadata = compute(Work(context, design, store, layout, key, build))
    return store.required(layout, key), metadata


def record_metadata(layout: Layout, records: Sequence[StageRecord]) -> dict[str, Any]:
    """Facts about a build that every asset shows: outcome, seconds, files with SHA256 and size."""
    last = records[-1]
    files: list[Any] = [
        dg.TableRecord(
            {
                "file": name,
                "bytes": (layout.folder / name).stat().st_size,
                "sha256": sha256,
                "repeat": record.key.repeat,
            }
        )
        for record in records
        for name, sha256 in record.outputs.items()
    ]
    metadata: dict[str, Any] = {
        BASE_ID: layout.base_id,
        "outcome": last.outcome,
        "seconds": sum(record.seconds for record in records),
        "size_bytes": sum(file.data["bytes"] for file in files),
        "folder": dg.MetadataValue.path(str(layout.folder_of(last.key))),
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
    import base64

    return dg.MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png).decode()})")
