"""Dagster for the command line: executing a run in this process, and maintaining the instance.

Does not belong here: anything that the Dagster UI would not do as well; the process around a run (``engines.process``).
The code location is an argument: it is in a higher layer.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from fly64_assets.automation.graph import AUDIT
from fly64_assets.automation.machines import has_ended, noted_machine, this_machine
from fly64_assets.automation.run_tags import BASE_TAG, COMMAND_TAG, MACHINE_TAG, RESUME, RETRY_TAG, asset_key
from fly64_assets.automation.slots import give_idle_slots
from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.resources.environment import HOME_VARIABLE, instance_folder
from fly64_assets.store.locks import HeldError, file_lock

ReportProgress = Callable[..., None]
"""Called as ``(done, total, values, label=...)``."""

progress_listener: ContextVar[ReportProgress | None] = ContextVar("progress_listener", default=None)
"""Receives the progress of engines besides Dagster's log: the process that launched this run."""

AT_WORK: Final = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
LOCK_NAME: Final = ".instance.lock"
CREATED_NAME: Final = ".instance.created"
"""An empty file in the folder of an instance that has been loaded once."""
CREATION_SECONDS: Final = 30
UNWRITABLE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
LOST: Final = "Its process has ended (a kill, a restart, a power cut). What it had finished is kept; start it again."

# -- runs ---------------------------------------------------------------------------------------------------------


def execute(
    definitions: dg.Definitions,
    assets: Sequence[str],
    partition: str | None,
    *,
    gpu: Mapping[str, Any] | None = None,
    base: str | None = None,
    progress: ReportProgress | None = None,
) -> tuple[bool, str]:
    """Materialise assets of one partition, leaving alone what is fresh, on the active base or another one.

    ``gpu`` overrides settings of the resource of that name; it is in the run's configuration, where the UI shows
    it. Returns whether all succeeded, and the reasons of those that did not.
    """
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
    if gpu:
        config["resources"] = {"gpu": {"config": dict(gpu)}}
    token = progress_listener.set(progress)
    try:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=load_instance(),
            asset_selection=[asset_key(asset) for asset in assets],
            partition_key=partition,
            run_config=config,
            tags={COMMAND_TAG: RESUME} | ({BASE_TAG: base} if base else {}),
            raise_on_error=False,
        )
    finally:
        progress_listener.reset(token)
    failures = (event for event in result.all_events if event.is_step_failure)
    return result.success, "\n".join(f"{event.step_key}: {failure_reason(event)}" for event in failures)


def audit(definitions: dg.Definitions, partition: str = "") -> list[dict[str, Any]]:
    """Run the job ``audit``: every stand-alone check over what is on disk; with a partition key, of that dose or cell.

    Returns ``asset``, ``check``, ``partition`` (empty for an asset without any), ``passed`` and ``finding`` of each.
    Raises :class:`Fly64Error` if a check could not be carried out.
    """
    result = definitions.resolve_job_def(AUDIT).execute_in_process(
        instance=load_instance(),
        tags={"dagster/partition": partition} if partition else {},
        run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        raise_on_error=False,
    )
    if not result.success:
        failures = [failure_reason(event) for event in result.all_events if event.is_step_failure]
        raise Fly64Error("the audit itself failed: " + "; ".join(failures[:3]))
    results = [
        {
            "asset": evaluation.asset_check_key.asset_key.path[-1],
            "check": evaluation.asset_check_key.name,
            "partition": str(evaluation.partition or ""),
            "passed": evaluation.passed,
            "finding": evaluation.description or "",
        }
        for evaluation in result.get_asset_check_evaluations()
    ]
    return sorted(results, key=lambda each: (each["asset"], each["partition"], each["check"]))


def failure_reason(event: dg.DagsterEvent) -> str:
    """Why a step failed, from its failure event: our own sentence where there is one, else Dagster's."""
    data = event.step_failure_data
    own = data.user_failure_data.description if data.user_failure_data else None
    error = data.error.message.strip() if data.error else ""
    return own or error or "no reason given"


# -- instance -----------------------------------------------------------------------------------------------------


def load_instance() -> dg.DagsterInstance:
    """The Dagster instance of this process, with each of its parts loaded once.

    Until it has been loaded once, one process at a time: two that create its databases at once leave them unusable.
    Raises :class:`Fly64Error` where its settings or its databases cannot be used, or another process takes longer than
    :data:`CREATION_SECONDS` to create them.
    """
    home = instance_folder()
    with ExitStack() as stack:
        if not (home / CREATED_NAME).exists():
            _wait_for_creation(home, stack)
        instance = _loaded(home)
        with suppress(OSError):
            (home / CREATED_NAME).touch()
    return instance


def _wait_for_creation(home: Path, stack: ExitStack) -> None:
    """Have ``stack`` hold the lock of an instance's creation; a folder that cannot be written has nothing to create."""
    end = time.monotonic() + CREATION_SECONDS
    while True:
        try:
            stack.enter_context(file_lock(home / LOCK_NAME, "Dagster's instance", wait=False))
        except HeldError as error:
            if time.monotonic() > end:
                raise Fly64Error(
                    f"Dagster's instance in {home} has been created by another process for more than "
                    f"{CREATION_SECONDS} s ({error}): see what it waits for, or end it, and try again"
                ) from error
            time.sleep(0.1)
        except ArtifactError as error:
            if getattr(error.__cause__, "errno", None) not in UNWRITABLE:
                raise
            return
        else:
            return


def _loaded(home: Path) -> dg.DagsterInstance:
    try:
        instance = dg.DagsterInstance.from_config(str(home))
        instance.run_storage.get_runs_count()
        instance.event_log_storage.get_concurrency_run_ids()
        instance.all_instigator_state()
        _ = (instance.run_launcher, instance.run_coordinator, instance.scheduler, instance.compute_log_manager)
    except Exception as error:
        # What Dagster, its plugins, YAML and databases raise has no class in common.
        raise Fly64Error(
            f"Dagster's instance in {home} cannot be used ({_why_unusable(error)}): mend its dagster.yaml "
            f"or its databases, or set {HOME_VARIABLE} to another folder; a new one gets the project's settings"
        ) from error
    return instance


def _why_unusable(error: Exception) -> str:
    """What is wrong, without what the error repeats of schemas, stacks and queries."""
    if not isinstance(error, dg.DagsterInvalidConfigError):
        return _shortened(str(error))[:400] or type(error).__name__
    # "root" is a section of the file, and Dagster does not say which.
    causes = (
        _shortened(each.message).replace(" at the root", "").replace("path root:", "path ") for each in error.errors
    )
    return "; ".join(cause.rstrip(".") for cause in causes)[:400]


def _shortened(text: str) -> str:
    return re.split(r" Expected: | You must provide | Stack Trace:| \[SQL:", " ".join(text.split()))[0]


def storage_place(instance: dg.DagsterInstance) -> str:
    """Where an instance keeps its runs, without any password."""
    storage = instance.run_storage
    if isinstance(storage, SqliteRunStorage) or not isinstance(storage, SqlRunStorage):
        return "SQLite files there" if isinstance(storage, SqliteRunStorage) else type(storage).__name__
    with storage.connect() as connection:
        url = connection.engine.url
        return f"{url.get_backend_name()}: database {url.database} on {url.host}:{url.port}"


def hours_from_utc(instance: dg.DagsterInstance) -> float:
    """How far the clock of an instance's database runs from UTC [h]; Dagster takes it for UTC."""
    storage = instance.run_storage
    if isinstance(storage, SqliteRunStorage) or not isinstance(storage, SqlRunStorage):
        return 0.0
    with storage.connect() as connection:
        offset = "SELECT EXTRACT(TIMEZONE FROM CURRENT_TIMESTAMP)"
        seconds = 0.0
        if connection.engine.url.get_backend_name() == "postgresql":
            seconds = float(connection.exec_driver_sql(offset).scalar_one())
    return seconds / 3600


def slot_holders(instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun | None]:
    """Runs that hold a slot of a pool or wait for one, by their id; None for a run that the instance does not know."""
    return {run: instance.get_run_by_id(run) for run in sorted(instance.event_log_storage.get_concurrency_run_ids())}


def free_slots(instance: dg.DagsterInstance) -> list[str]:
    """Free what finished runs still hold of pools, and give what is free to who waits; returns the runs' ids.

    A run whose process was killed does not give its slot back, and whatever needs one would wait for ever. A run that
    counts as finished while its process still works keeps its slot.
    """
    freed = []
    for run_id, run in slot_holders(instance).items():
        process = _process(instance, run_id) if run and run.is_finished else None
        if run and run.is_finished and not (process and _is_alive(*process)):
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            freed.append(run_id)
    give_idle_slots(instance)
    return freed


def close_lost_runs(instance: dg.DagsterInstance, *, others_may_work: bool = False) -> list[str]:
    """Mark as failed every run that counts as running and whose process on this machine has ended; returns their ids.

    Such a run would block its backfill, which waits for it, and keep the pool slot that it held. None where a launcher
    takes runs to other machines. An instance in SQLite is of this machine alone; in another storage, which machines may
    share, only those runs count whose processes can be seen from here, or have ended with their container or before a
    restart of this machine (:func:`~fly64_assets.automation.machines.has_ended`). With ``others_may_work`` the same
    holds in SQLite for runs with a tag, since another machine or container may be at work on them now. A run that has
    not recorded its process yet is left alone: Dagster's monitoring ends it when it takes too long to start.
    """
    if to_a_cluster(instance):
        return []
    shared = not isinstance(instance.run_storage, SqliteRunStorage)
    lost = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=[*AT_WORK, dg.DagsterRunStatus.CANCELING])):
        note = run.tags.get(MACHINE_TAG, "")
        noted = noted_machine(note, run.run_id)
        elsewhere = noted != this_machine() and (shared or (others_may_work and bool(noted)))
        if not (has_ended(note, run.run_id) if elsewhere else _has_ended(instance, run)):
            continue
        # A process that has ended since then may have written its run's end before.
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:
            continue
        if now.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, LOST)
        else:
            instance.report_run_failed(run, LOST)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        lost.append(run.run_id)
    return lost


def to_a_cluster(instance: dg.DagsterInstance) -> bool:
    """Whether the instance's launcher takes runs elsewhere; Dagster's own keeps them on this machine."""
    return not isinstance(instance.run_launcher, (DefaultRunLauncher, SyncInMemoryRunLauncher))


def _has_ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process of a run of this machine has ended; False where none is known."""
    process = _process(instance, run.run_id)
    return process is not None and not _is_alive(*process)


def runs_at_work(instance: dg.DagsterInstance) -> list[str]:
    """Ids of the runs that have been launched and not ended."""
    return [run.run_id for run in instance.get_runs(filters=dg.RunsFilter(statuses=AT_WORK))]


def begin_again(instance: dg.DagsterInstance, runs: Sequence[str]) -> list[str]:
    """Have the daemon begin those of these runs again that have failed since; returns their ids.

    They were stopped with the daemon. That is no crash, and does not count among the times that a run is begun again.
    """
    close_lost_runs(instance)
    failed = [run for run in map(instance.get_run_by_id, runs) if run and run.status == dg.DagsterRunStatus.FAILURE]
    for run in failed:
        instance.add_run_tags(run.run_id, {RETRY_TAG: "true"})
    return [run.run_id for run in failed]


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Id of the run's first process, and when it was recorded (seconds since 1970); None where none was."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is not None and event.is_engine_event and "pid" in event.engine_event_data.metadata:
            return int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp
    return None


def _is_alive(pid: int, recorded: float) -> bool:
    """Whether the process that had this id at that time still runs; ids are given anew."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # [s] after the machine's own beginning
        age = float(Path("/proc/uptime").read_text().split()[0]) - began
        return fields[0] != "Z" and time.time() - age <= recorded + 1
    return False
