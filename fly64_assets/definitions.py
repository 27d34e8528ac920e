"""The whole code location on one page: partitions, assets, checks, jobs, resources.

Belongs here: the list of them. Does not belong here: what any of them does. Loading this module imports no engine
(torch, ptychi, tensorflow); engines run in processes of their own.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import dagster as dg

from fly64_assets.assets.base import base_asset, current_base
from fly64_assets.assets.comparison import compare
from fly64_assets.assets.flow import POOL, Compute, stage_asset
from fly64_assets.assets.iterative import reconstruct
from fly64_assets.assets.networks import reconstruct_with_network, train_network
from fly64_assets.assets.overlap import cut_view
from fly64_assets.assets.report import write_report
from fly64_assets.assets.simulated import simulate_dose
from fly64_assets.automation.catalogue import definition_metadata, watched_folder
from fly64_assets.automation.demands import demand_of
from fly64_assets.automation.executors import chosen_executor
from fly64_assets.automation.graph import INGEST, build_jobs, nightly_audit
from fly64_assets.automation.launched import lost_job_sensor
from fly64_assets.automation.machines import note_this_machine
from fly64_assets.automation.sensors import automation_sensors, failure_sensor, new_base_sensor
from fly64_assets.checks.factory import asset_check
from fly64_assets.checks.rules import RULES, rules_of
from fly64_assets.resources.environment import default_data_root, default_inbox, default_study
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.legacy_config import LegacyConfigResource
from fly64_assets.resources.study import ArtifactStoreResource, InboxResource, StudyResource
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.manifests import write_manifests
from fly64_assets.study.table import STAGES, Stage

COMPUTE: Final[Mapping[str, Compute]] = {
    "simulated": simulate_dose,
    "view": cut_view,
    "training": train_network,
    "inference": reconstruct_with_network,
    "reconstruction": reconstruct,
    "comparison": compare,
    "report": write_report,
}
"""What makes the results of each kind of stage; the base has an asset of its own form."""


def default_resources() -> dict[str, Any]:
    """Resources from the environment: study, data root, watched folder, and the available device."""
    return {
        "study": StudyResource(study=default_study()),
        "store": ArtifactStoreResource(data_root=default_data_root()),
        "inbox": InboxResource(inbox=default_inbox()),
        "gpu": GpuResource(),
        "legacy_config": LegacyConfigResource(),
    }


def build_assets(design: StudyDesign, *, slots: bool = True) -> dict[str, dg.AssetsDefinition]:
    """All assets by name, partitioned as the design says; with ``slots`` engines take one of the pool."""
    pool = POOL if slots else None
    return {name: _described(_asset(stage, design, pool), stage) for name, stage in STAGES.items()}


def _described(asset: dg.AssetsDefinition, stage: Stage) -> dg.AssetsDefinition:
    """The asset with what the catalogue shows of it before it has results."""
    metadata = definition_metadata(stage, COMPUTE.get(stage.kind, current_base))
    return asset.map_asset_specs(lambda spec: spec.merge_attributes(metadata=metadata))


def _asset(stage: Stage, design: StudyDesign, pool: str | None) -> dg.AssetsDefinition:
    engine = bool(stage.engine) or (stage.kind == "base" and design.of_measured_frames)
    tags, pool = demand_of(stage, engine=engine).tags(), pool if engine else None
    if stage.kind == "base":
        return base_asset(stage, design, pool=pool, op_tags=tags)
    afterwards = write_manifests if stage.kind == "report" else None
    return stage_asset(stage, design, COMPUTE[stage.kind], pool=pool, op_tags=tags, afterwards=afterwards)


def build_checks(assets: Mapping[str, dg.AssetsDefinition]) -> list[dg.AssetChecksDefinition]:
    """Checks that re-read the files: integrity everywhere, the contract wherever there are frames, and their own."""
    return [
        asset_check(name, assets[stage.asset], stage, RULES[name])
        for stage in STAGES.values()
        for name in rules_of(stage)
    ]


def build_definitions(
    *, design: StudyDesign | None = None, resources: Mapping[str, Any] | None = None, slots: bool = True
) -> dg.Definitions:
    """The code location for a design, with some resources replaced if wanted.

    Without ``slots`` engines take none of the instance's pool: who starts the runs limits how many work at a time.
    """
    if design is None:
        design = load_design(default_study())
        for note in design.notes:
            logging.getLogger("fly64_assets").warning("study %s: %s", design.name, note)
    assets = build_assets(design, slots=slots)
    checks = build_checks(assets)
    return dg.Definitions(
        assets=[*assets.values(), watched_folder(Path(default_inbox()))],
        asset_checks=checks,
        jobs=build_jobs(checks),
        sensors=[new_base_sensor(INGEST), *automation_sensors(), failure_sensor(), lost_job_sensor()],
        schedules=[nightly_audit()],
        resources=default_resources() | dict(resources or {}),
        executor=chosen_executor(),
    )


note_this_machine()
defs = build_definitions()
