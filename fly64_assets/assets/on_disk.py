"""Telling Dagster of results that are on disk, made while a study's assets had other keys or another instance.

Does not belong here: making results (``flow``), judging them (``study.states``).
"""

from collections.abc import Sequence

import dagster as dg

from fly64_assets.assets.flow import DATA_VERSION_TAG, record_metadata
from fly64_assets.automation.graph import coordinates_of, partitions_of
from fly64_assets.automation.run_tags import asset_key, newest_materialization
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import BASE
from fly64_assets.store.records import StageRecord
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import STAGES, Stage

CODE_VERSION_TAG = "dagster/code_version"


def report_on_disk(instance: dg.DagsterInstance, design: StudyDesign, store: ArtifactStore) -> int:
    """Report every result of the active base that is up to date as materialised, unless Dagster knows it already.

    Files are judged by their records and sidecars, as ``fly64 status --quick`` does. Returns how many were reported.
    """
    if store.active_base() is None:
        return 0
    layout, states, reported = active_layout(store), study_states(store, design, quick=True), 0
    for stage in STAGES.values():
        partitions = partitions_of(design, stage)
        for partition in partitions.get_partition_keys() if partitions else ("",):
            found = [states.get(key) for key in stages.keys_of(design, stage, coordinates_of(partition))]
            records = [state.record for state in found if state and state.done and state.record]
            if len(records) < len(found):
                continue
            version = data_version(stage, records)
            newest = newest_materialization(instance, stage.asset, partition)
            if newest is None or (newest.tags or {}).get(DATA_VERSION_TAG) != version:
                event = dg.AssetMaterialization(
                    asset_key(stage.asset),
                    description="Found on disk.",
                    metadata=record_metadata(layout, records),
                    partition=partition or None,
                    tags={DATA_VERSION_TAG: version, CODE_VERSION_TAG: stages.asset_version(design, stage)},
                )
                instance.report_runless_asset_event(event)
                reported += 1
    return reported


def data_version(stage: Stage, records: Sequence[StageRecord]) -> str:
    """The version of a materialisation made from these records, one of each repeat."""
    if stage.kind == BASE.stage:
        return records[0].data_sha256
    return json_sha256([record.data_sha256 for record in records])
