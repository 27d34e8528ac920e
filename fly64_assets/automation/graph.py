"""Dagster's view of the table of stages: partitions and their mappings, conditions of automation, jobs, the schedule.

Does not belong here: what is computed in a partition (``assets``), the sensors that evaluate conditions (``sensors``).
"""

import warnings
from collections.abc import Sequence
from typing import Any, Final

import dagster as dg

from fly64_assets.automation.run_tags import asset_key
from fly64_assets.errors import Fly64Error
from fly64_assets.store.keys import Cell, Coordinates, Dose, Study
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import JOBS, STAGES, Stage, job_assets

DOSE: Final = "dose"
INGEST: Final = "ingest"
AUDIT: Final = "audit"

# -- partitions ---------------------------------------------------------------------------------------------------


def partitions_of(design: StudyDesign, stage: Stage) -> dg.PartitionsDefinition[str] | None:
    """Partitions of a stage's asset: doses (``1000``), cells (``1000|dense``), or None for the study as a whole."""
    if stage.partitioned_by is Study:
        return None
    doses = dg.StaticPartitionsDefinition([str(dose) for dose in design.doses])
    if stage.partitioned_by is Dose:
        return doses
    return dg.MultiPartitionsDefinition({DOSE: doses, "view": dg.StaticPartitionsDefinition(list(design.views))})


def mapping_between(upstream: Stage, stage: Stage) -> dg.PartitionMapping | None:
    """How partitions of a stage depend on those of one that it needs.

    Written out where the two differ: an inferred mapping would silently give nothing.
    """
    if stage.partitioned_by is Cell and upstream.partitioned_by is Dose:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.MultiToSingleDimensionPartitionMapping(DOSE)
    if stage.partitioned_by is Study and upstream.partitioned_by is not Study:
        return dg.AllPartitionMapping()
    return None


def coordinates_of(partition_key: str) -> Coordinates:
    """What a partition key names, ``1000|dense`` -> ``Cell(1000, "dense")``; the whole study for an empty one."""
    dose, _, view = str(partition_key).partition("|")
    if not dose:
        return Study()
    return Cell(int(dose), view) if view else Dose(int(dose))


def partition_of_run(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> str:
    """The partition key of a run as text; ``FIRST...LAST`` for a range of them, empty for none."""
    if context.has_partition_key:
        return str(context.partition_key)
    if context.has_partition_key_range:
        return f"{context.partition_key_range.start}...{context.partition_key_range.end}"
    return ""


def checked_partition(design: StudyDesign, stage: Stage, partition_key: str) -> str:
    """The partition of a stage's asset that a run builds; empty for the study as a whole, whatever the run's key.

    Raises :class:`Fly64Error` for a key that is none of the asset's: Dagster hands on what a run was tagged with.
    """
    partitions = partitions_of(design, stage)
    if partitions is None:
        return ""
    if partition_key in partitions.get_partition_keys():
        return partition_key
    doses = ", ".join(str(dose) for dose in design.doses)
    wanted = f"one of the doses {doses}"
    if stage.partitioned_by is Cell:
        wanted = f"a cell DOSE|VIEW (doses: {doses}; views: {', '.join(design.views)})"
    found = f"partition {partition_key!r}" if partition_key else "no partition"
    raise Fly64Error(
        f"{stage.asset}: the run has {found}; expected {wanted} of study {design.name}: launch it for one of these"
    )


# -- automation ---------------------------------------------------------------------------------------------------


def condition_of(stage: Stage) -> dg.AutomationCondition[Any] | None:
    """When an asset follows its inputs; None for the base and for optional methods, which are never automated.

    In general when all inputs are there, their gates passed, and one of them is new. A comparison needs no methods that
    are built on request. The report shows cells that are missing or failed as such, and waits for those at work.
    """
    if stage.on_request or not stage.needs:
        return None
    eager, missing = dg.AutomationCondition.eager(), dg.AutomationCondition.any_deps_missing()
    if stage.kind == "report":
        return eager.without(~missing).with_label("a comparison is new, and none is at work")
    gates, passed = dg.AutomationCondition.all_deps_blocking_checks_passed(), "the gates of all inputs passed"
    if stage.kind == "comparison":
        on_request = dg.AssetSelection.assets(*(asset_key(each.asset) for each in STAGES.values() if each.on_request))
        default = eager.replace(missing, missing.ignore(on_request)) & gates.ignore(on_request).with_label(passed)
        return default.with_label("all methods but those on request are there with their gates passed, and one is new")
    return (eager & gates.with_label(passed)).with_label("all inputs are there with their gates passed, and one is new")


# -- jobs ---------------------------------------------------------------------------------------------------------


def build_jobs(checks: Sequence[dg.AssetChecksDefinition]) -> list[Any]:
    """The jobs of the table of stages, and the audit.

    There is one for each partitions definition, because a run cannot mix them, and for each method on request.
    """
    jobs = [
        dg.define_asset_job(name, [asset_key(asset) for asset in job_assets(name)], description=what)
        for name, what in JOBS.items()
    ]
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
    """The audit every night; off by default."""
    return dg.ScheduleDefinition(
        name="nightly_audit",
        job_name=AUDIT,
        cron_schedule="0 3 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The audit of everything on disk, every night at three (UTC). Off by default: it reads every byte.",
    )
