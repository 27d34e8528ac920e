"""The Dagster instance on which the command line works: its pool slots, and runs whose process has ended.

Belongs here: what is read from and written to an instance. Does not belong here: its folder
(``resources.environment``), executing a run (``runs``).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._core.storage.runs import SqliteRunStorage

CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Ticks per second in which Linux states when a process began."""

LOST: Final = "Its process has ended (a kill, a restart, a power cut). What it had finished is kept; start it again."


@contextmanager
def pool_slots(pool: str, slots: int) -> Iterator[None]:
    """Let ``slots`` steps of a pool work at a time on the instance of ``DAGSTER_HOME``, then restore its own limit."""
    storage = dg.DagsterInstance.get().event_log_storage
    storage.set_concurrency_slots(pool, slots)
    try:
        yield
    finally:
        storage.delete_concurrency_limit(pool)


def close_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed every run that counts as running and whose process on this machine has ended.

    Such a run would block its backfill, which waits for it, and keep the pool slot that it held. Only where the
    instance keeps its runs in SQLite: another storage may be shared with machines whose processes cannot be seen from
    here. A run that has not recorded its process yet is left alone: Dagster's monitoring ends it when it takes too long
    to start.

    Returns
    -------
    list of str
        The ids of those runs.
    """
    if not isinstance(instance.run_storage, SqliteRunStorage):
        return []
    running = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    lost = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=running)):
        process = _process(instance, run.run_id)
        if process is None or _is_alive(*process):
            continue
        instance.report_run_failed(run, LOST)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        lost.append(run.run_id)
    return lost


def close_own_lost_runs() -> list[str]:
    """:func:`close_lost_runs` on the instance of ``DAGSTER_HOME``."""
    with dg.DagsterInstance.get() as instance:
        return close_lost_runs(instance)


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Id of the run's first process, and when it was recorded (seconds since 1970); None where none was."""
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.is_engine_event and "pid" in event.engine_event_data.metadata:
            return int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp
    return None


def _is_alive(pid: int, recorded: float) -> bool:
    """Whether the process that had this id at that time still runs; ids are given anew."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        age = float(Path("/proc/uptime").read_text().split()[0]) - int(fields[19]) / CLOCK_TICKS
        return fields[0] != "Z" and time.time() - age <= recorded + 1
    return False
