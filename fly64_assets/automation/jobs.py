"""Named jobs and schedules of the code location.

There is one job for each partitions definition, because a run cannot mix them, and one for each method on request.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from fly64_assets.study.table import JOBS, job_assets

INGEST = "ingest"
AUDIT = "audit"


def build_jobs(checks: Sequence[dg.AssetChecksDefinition]) -> list[Any]:
    """The jobs of the table of stages, and the audit."""
    jobs = [dg.define_asset_job(name, list(job_assets(name)), description=what) for name, what in JOBS.items()]
    audit = dg.define_asset_job(
        AUDIT,
        dg.AssetSelection.checks(*checks),
        description=(
            "Every stand-alone check over everything that is on disk. With a partition key (the run's tag "
            "dagster/partition): over what belongs to a dose such as 1000, or to a cell such as 1000|dense."
        ),
    )
    return [*jobs, audit]


def nightly_audit() -> dg.ScheduleDefinition:
    """The audit every night, where somebody switches it on."""
    return dg.ScheduleDefinition(
        name="nightly_audit",
        job_name=AUDIT,
        cron_schedule="0 3 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The audit of everything on disk, every night at three (UTC). Off by default: it reads every byte.",
    )
