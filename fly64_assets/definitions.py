"""The whole code location on one page: partitions, assets, checks, jobs, resources.

Belongs here: putting parts together. Does not belong here: what any part does. Loading this module imports no
engine (torch, ptychi, tensorflow); they run in processes of their own.
"""

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from fly64_assets.assets.base import base_dataset_asset
from fly64_assets.assets.comparison import comparison_asset
from fly64_assets.assets.legacy_pinn import legacy_pinn_bundle_asset, legacy_pinn_reconstruction_asset
from fly64_assets.assets.lsqml import lsqml_reconstruction_assets
from fly64_assets.assets.overlap import overlap_view_asset
from fly64_assets.assets.pinn import pinn_bundle_asset, pinn_reconstruction_asset
from fly64_assets.assets.report import study_report_asset
from fly64_assets.assets.simulated import simulated_dataset_asset
from fly64_assets.automation.jobs import AUDIT, AUDIT_DESCRIPTION, INGEST, JOBS, NIGHTLY, NIGHTLY_AUDIT
from fly64_assets.automation.partitions import cell_partitions, dose_partitions
from fly64_assets.automation.sensors import automation_sensors, failure_sensor, new_base_sensor
from fly64_assets.checks.contract import data_001, oversampling_001
from fly64_assets.checks.factory import Examine, Place, asset_check
from fly64_assets.checks.integrity import sha256
from fly64_assets.checks.legacy import config_001
from fly64_assets.checks.physics import physics
from fly64_assets.checks.training import learned
from fly64_assets.resources.environment import default_data_root, default_inbox, default_study
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.inbox import InboxResource
from fly64_assets.resources.legacy_config import LegacyConfigResource
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.stages import LEGACY_ARM, WARM_ARM


def default_resources() -> dict[str, Any]:
    """Resources as the environment says: study, data root, watched folder, and whatever device is there."""
    return {
        "study": StudyResource(study=default_study()),
        "store": ArtifactStoreResource(data_root=default_data_root()),
        "inbox": InboxResource(inbox=default_inbox()),
        "gpu": GpuResource(),
        "legacy_config": LegacyConfigResource(),
    }


def build_assets(design: StudyDesign) -> dict[str, dg.AssetsDefinition]:
    """All assets by name, partitioned as the design says."""
    doses, cells = dose_partitions(design), cell_partitions(design)
    assets = [
        base_dataset_asset(),
        simulated_dataset_asset(doses),
        overlap_view_asset(cells),
        pinn_bundle_asset(cells),
        pinn_reconstruction_asset(cells),
        legacy_pinn_bundle_asset(cells),
        legacy_pinn_reconstruction_asset(cells),
        *lsqml_reconstruction_assets(cells),
        comparison_asset(cells),
        study_report_asset(),
    ]
    return {asset.key.to_user_string(): _described(asset, design) for asset in assets}


OWNER = "team:fly64_assets"


def _described(asset: dg.AssetsDefinition, design: StudyDesign) -> dg.AssetsDefinition:
    """The asset with its owner and tags, and the design's share in its code version: Dagster sees a changed design."""
    place = STAGES[asset.key.to_user_string()]
    version = stages.asset_version(design, place.stage, place.arms)
    tags = {"fly64/study": design.name, "fly64/stage": place.stage} | (
        {"fly64/split": place.split} if place.split else {}
    )
    return asset.map_asset_specs(
        lambda spec: spec.replace_attributes(code_version=version, owners=[OWNER], tags={**spec.tags, **tags})
    )


STAGES: Mapping[str, Place] = {
    "base_dataset": Place("base"),
    "simulated_dataset": Place("simulated"),
    "overlap_view": Place("view"),
    "pinn_bundle": Place("training"),
    "pinn_reconstruction": Place("inference"),
    "legacy_pinn_bundle": Place("training", arms=(LEGACY_ARM,)),
    "legacy_pinn_reconstruction": Place("inference", arms=(LEGACY_ARM,)),
    "lsqml_reconstruction_train": Place("reconstruction", "train"),
    "lsqml_reconstruction_test": Place("reconstruction", "test"),
    "lsqml_from_pinn_reconstruction_train": Place("reconstruction", "train", arms=(WARM_ARM,)),
    "lsqml_from_pinn_reconstruction_test": Place("reconstruction", "test", arms=(WARM_ARM,)),
    "comparison": Place("comparison"),
    "study_report": Place("report"),
}
"""Stage (with its split or arm) behind each asset."""


def build_checks(assets: Mapping[str, dg.AssetsDefinition]) -> list[dg.AssetChecksDefinition]:
    """Checks that re-read the files: integrity everywhere, the contract wherever there are frames, and physics."""

    def check(name: str, asset: str, examine: Examine, description: str) -> dg.AssetChecksDefinition:
        return asset_check(name, assets[asset], STAGES[asset], examine, description)

    checks = [check("sha256", asset, sha256, "Every file matches its sidecar and its record.") for asset in STAGES]
    framed = [asset for asset in STAGES if asset != "study_report"]
    checks += [check("data_001", asset, data_001, "The data sets obey the contract DATA-001.") for asset in framed]
    checks.append(check("oversampling_001", "overlap_view", oversampling_001, "Enough frames for the gridsize."))
    checks.append(check("physics", "simulated_dataset", physics, "Whole photons, the right dose, Parseval."))
    for bundle in ("pinn_bundle", "legacy_pinn_bundle"):
        checks.append(check("learned", bundle, learned, "The network is finite and not collapsed."))
    checks.append(check("config_001", "legacy_pinn_bundle", config_001, "Trained with exactly the design's values."))
    return checks


def steps_in_run() -> dg.ExecutorDefinition:
    """Steps one after another in the process of their run; engines have processes of their own anyway.

    A process for each step costs seconds of loading, four of them for an asset with its checks. A run that is to have
    them says so in its configuration: ``execution: {config: {multiprocess: {}}}``.
    """
    schema = dg.Field(dict, default_value={"in_process": {}})
    return dg.multi_or_in_process_executor.configured(lambda config: config, "steps_in_run", config_schema=schema)


def build_definitions(
    *, design: StudyDesign | None = None, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The code location for a design, with some resources replaced if wanted."""
    if design is None:
        design = load_design(default_study())
        for note in design.notes:
            logging.getLogger("fly64_assets").warning("study %s: %s", design.name, note)
    assets = build_assets(design)
    checks = build_checks(assets)
    jobs = [dg.define_asset_job(job.name, list(job.assets), description=job.description) for job in JOBS]
    audit = dg.define_asset_job(AUDIT, dg.AssetSelection.checks(*checks), description=AUDIT_DESCRIPTION)
    nightly = dg.ScheduleDefinition(
        name=NIGHTLY_AUDIT,
        job=audit,
        cron_schedule=NIGHTLY,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The audit of everything on disk, every night at three (UTC). Off by default: it reads every byte.",
    )
    return dg.Definitions(
        assets=list(assets.values()),
        asset_checks=checks,
        jobs=[*jobs, audit],
        sensors=[new_base_sensor(INGEST), *automation_sensors(), failure_sensor()],
        schedules=[nightly],
        resources=default_resources() | dict(resources or {}),
        executor=steps_in_run(),
    )


defs = build_definitions()
