"""Runs that an instance's launcher takes to a cluster: launched and awaited by the command line; lost ones are failed.

Does not belong here: runs in the process of the command (``runs``), any one launcher (``slurm``).
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import WorkerStatus
from dagster._core.origin import get_python_environment_entry_point
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from fly64_assets.automation.run_tags import BASE_TAG, COMMAND_TAG, ENDED_TAG, RESUME, asset_key
from fly64_assets.automation.runs import AT_WORK, close_lost_runs, failure_reason, load_instance, to_a_cluster

POLL_SECONDS: Final = 1.0
HEALTH_SECONDS: Final = 15.0
"""Between two questions to the cluster how the worker of a run fares."""
INTERVAL_SECONDS: Final = 30
UNOBSERVED: Final = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
"""Runs about whose workers Dagster's monitoring does not ask."""
LOST: Final = frozenset({WorkerStatus.FAILED, WorkerStatus.NOT_FOUND})


def execute_elsewhere(
    definitions: dg.Definitions,
    location: str,
    assets: Sequence[str],
    partition: str | None,
    *,
    gpu: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> tuple[bool, str]:
    """Materialise assets of one partition in a run that the instance's launcher takes to the cluster, and wait for it.

    As ``runs.execute``, with the module ``location`` whose ``defs`` are the ``definitions``. A run whose worker is lost
    (a node failed) is launched again as often as the instance says, and leaves alone what is finished; one that used up
    its time or memory is not. If this process is interrupted, the run is cancelled first.
    """
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = frozenset(map(asset_key, assets))
    # The program `dagster` need not be in the PATH of a machine of the cluster.
    repository = ReconstructableRepository.for_module(location, "defs")._replace(
        entry_point=get_python_environment_entry_point(sys.executable)
    )
    origin = repository.get_reconstructable_job(job.name).get_python_origin()
    tags = {COMMAND_TAG: RESUME} | ({BASE_TAG: base} if base else {})
    if partition is not None:
        tags |= job.get_tags_for_partition_key(partition, keys)
    with load_instance() as instance:
        again = instance.run_retries_max_retries if instance.run_retries_enabled else 0
        while True:
            run = instance.create_run_for_job(
                job,
                run_config={"resources": {"gpu": {"config": dict(gpu)}}} if gpu else {},
                tags=tags,
                asset_selection=keys,
                job_code_origin=origin,
            )
            lost = _launched(instance, run.run_id)
            if not lost or not again:
                return _outcome(instance, run.run_id)
            again -= 1
            tags |= {PARENT_RUN_ID_TAG: run.run_id, ROOT_RUN_ID_TAG: tags.get(ROOT_RUN_ID_TAG, run.run_id)}


def end_if_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """End a run whose worker has ended without ending it, as the cluster says; whether it was so.

    It has failed then, or is cancelled if it was to be.
    """
    health = instance.run_launcher.check_run_worker_health(run)
    # The run may have ended while the cluster was asked.
    now = instance.get_run_by_id(run.run_id)
    if health.status not in LOST or now is None or now.is_finished:
        return False
    more = instance.run_launcher.get_run_worker_debug_info(run)
    text = "\n".join(filter(None, [health.msg, more]))
    if now.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, text)
    else:
        instance.report_run_failed(now, text)
    return True


def lost_job_sensor() -> dg.SensorDefinition:
    """The sensor ``lost_jobs``: Dagster's monitoring asks a cluster about runs at work, and nobody about others."""

    @dg.sensor(
        name="lost_jobs",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Ends runs whose job on a cluster has ended before the run began, or before it could say that it was "
            "cancelled. A job that waits keeps waiting, however long. Where runs stay on this machine, ends those "
            "whose process has ended without a word, as after a restart of the machine or of its container."
        ),
    )
    def lost_jobs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        instance = context.instance
        if not to_a_cluster(instance):
            closed = [run_id[:8] for run_id in close_lost_runs(instance, others_may_work=True)]
            return dg.SkipReason(f"ended: {', '.join(closed)}" if closed else "runs stay on this machine")
        if not instance.run_launcher.supports_check_run_worker_health:
            return dg.SkipReason("the launcher of runs does not say how they fare")
        open_ended = instance.get_runs(filters=dg.RunsFilter(statuses=UNOBSERVED))
        lost = [run.run_id[:8] for run in open_ended if end_if_lost(instance, run)]
        if lost:
            return dg.SkipReason(f"ended: {', '.join(lost)}")
        return dg.SkipReason(f"{len(open_ended)} runs wait for their cluster")

    return lost_jobs


def _launched(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Launch a run and wait for its end; whether its worker was lost, and not for a reason that would come back."""
    lost, asked = False, time.monotonic()
    try:
        # Launchers of clusters need the run alone, not the workspace that it came from.
        run: dg.DagsterRun | None = instance.launch_run(run_id, None)  # type: ignore[arg-type]
        while run is not None and not run.is_finished:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - asked > HEALTH_SECONDS and run.status in AT_WORK:
                lost, asked = end_if_lost(instance, run), time.monotonic()
            run = instance.get_run_by_id(run_id)
    except BaseException:
        instance.run_launcher.terminate(run_id)
        raise
    if lost:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return lost and not (run is not None and ENDED_TAG in run.tags)


def _outcome(instance: dg.DagsterInstance, run_id: str) -> tuple[bool, str]:
    """Whether a run succeeded, and why not: the cluster's reason, else those of its steps, else that of the run."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.is_success:
        return True, ""
    if run is not None and ENDED_TAG in run.tags:
        return False, run.tags[ENDED_TAG]
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED):
        events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kind)]
        reasons = [_reason(event) for event in events if event is not None]
        if reasons:
            return False, "\n".join(reasons)
    return False, f"run {run_id} is gone from the instance"


def _reason(event: dg.DagsterEvent) -> str:
    if event.is_step_failure:
        return f"{event.step_key}: {failure_reason(event)}"
    return event.message or "no reason given"
