"""Runs whose process is gone: after a power cut or a kill they would count as running for ever.

Belongs here: finding them on an instance of this machine, and closing them. Does not belong here: starting services.

Such a run blocks its backfill, which waits for it, and keeps the slot of the pool that it held.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    import dagster as dg

CLOCK_TICKS: Final = 100
"""Ticks per second in which Linux tells when a process began."""

LOST: Final = "Its process is gone (a kill, a restart, a power cut). What it had finished is kept; start it again."


def close_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed every run that counts as running and whose process on this machine is gone.

    Only where the instance keeps its runs in SQLite: another storage may be shared with machines whose processes cannot
    be seen from here. A run that has not told its process yet is left alone: Dagster's monitoring ends it when it takes
    too long to start.

    Returns
    -------
    list of str
        The ids of those runs.
    """
    import dagster as dg
    from dagster._core.storage.runs import SqliteRunStorage

    if not isinstance(instance.run_storage, SqliteRunStorage):
        return []
    running = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    lost = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=running)):
        process = _process(instance, run.run_id)
        if process is None or _alive(*process):
            continue
        instance.report_run_failed(run, LOST)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        lost.append(run.run_id)
    return lost


def settle_instance() -> None:
    """Close the lost runs of the instance of ``DAGSTER_HOME``, and say which."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        for run in close_lost_runs(instance):
            click.echo(f"run {run[:8]} counts as failed now: its process is gone", err=True)


def _process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Number of the run's first process, and when it said so (seconds since 1970); None where it has said nothing."""
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.is_engine_event and "pid" in event.engine_event_data.metadata:
            return int(str(event.engine_event_data.metadata["pid"].value)), entry.timestamp
    return None


def _alive(pid: int, told: float) -> bool:
    """Whether the process that had this number at that time still runs; numbers are given anew."""
    with suppress(OSError):
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        age = float(Path("/proc/uptime").read_text().split()[0]) - int(facts[19]) / CLOCK_TICKS
        return facts[0] != "Z" and time.time() - age <= told + 1
    return False
