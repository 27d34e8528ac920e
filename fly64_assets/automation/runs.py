"""One Dagster run executed in this process, on the instance of ``DAGSTER_HOME``: assets of one partition, or the audit.

Belongs here: what the command line asks of Dagster. Does not belong here: anything that the Dagster UI would not do as
well; the process around a run (``engines.process``). The code location comes in as an argument: it lies above.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import dagster as dg

from fly64_assets.automation.failures import failure_reason
from fly64_assets.automation.jobs import AUDIT
from fly64_assets.automation.run_tags import BASE_TAG, COMMAND_TAG, RESUME
from fly64_assets.errors import Fly64Error

ReportProgress = Callable[..., None]
"""Called as ``(done, total, values, label=...)``."""

progress_listener: ContextVar[ReportProgress | None] = ContextVar("progress_listener", default=None)
"""Who besides Dagster's log receives the progress of engines: the process that asked for this run."""


def execute(
    definitions: dg.Definitions,
    assets: Sequence[str],
    partition: str | None,
    *,
    gpu: Mapping[str, Any] | None = None,
    base: str | None = None,
    progress: ReportProgress | None = None,
) -> tuple[bool, str]:
    """Materialise assets of one partition, leaving alone what is fresh.

    Parameters
    ----------
    definitions : Definitions
        The code location.
    assets : sequence of str
        Asset names; all have the same partitions.
    partition : str or None
        Partition key.
    gpu : mapping, optional
        Overrides settings of the resource ``gpu``; part of the run's configuration, where the UI shows it.
    base : str, optional
        Base to work on; by default the active one.
    progress : callable, optional
        Receives the engines' progress.

    Returns
    -------
    bool
        Whether all succeeded.
    str
        The reasons of those that did not.
    """
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
    if gpu:
        config["resources"] = {"gpu": {"config": dict(gpu)}}
    token = progress_listener.set(progress)
    try:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=dg.DagsterInstance.get(),
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            partition_key=partition,
            run_config=config,
            tags={COMMAND_TAG: RESUME} | ({BASE_TAG: base} if base else {}),
            raise_on_error=False,
        )
    finally:
        progress_listener.reset(token)
    failures = (event for event in result.all_events if event.is_step_failure)
    return result.success, "\n".join(f"{event.step_key}: {failure_reason(event)}" for event in failures)


@dataclass(frozen=True)
class CheckResult:
    """What one check found in one partition of an asset (empty for an asset without partitions)."""

    asset: str
    check: str
    partition: str
    passed: bool
    finding: str


def audit(definitions: dg.Definitions, partition: str = "") -> list[CheckResult]:
    """Run the job ``audit``: every stand-alone check over what is on disk; with a partition key, of that dose or cell.

    Raises
    ------
    Fly64Error
        If a check could not be carried out.
    """
    result = definitions.resolve_job_def(AUDIT).execute_in_process(
        instance=dg.DagsterInstance.get(),
        tags={"dagster/partition": partition} if partition else {},
        run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        raise_on_error=False,
    )
    if not result.success:
        failures = [failure_reason(event) for event in result.all_events if event.is_step_failure]
        raise Fly64Error("the audit itself failed: " + "; ".join(failures[:3]))
    results = [
        CheckResult(
            evaluation.asset_check_key.asset_key.to_user_string(),
            evaluation.asset_check_key.name,
            str(evaluation.partition or ""),
            evaluation.passed,
            evaluation.description or "",
        )
        for evaluation in result.get_asset_check_evaluations()
    ]
    return sorted(results, key=lambda each: (each.asset, each.partition, each.check))
