"""The process of a run in a job of Slurm: ``dagster api execute_run``, which also says why Slurm ends the job.

At the time limit Slurm sends SIGTERM, as it does when it takes the node for another job. Dagster takes both for an
accident and begins the run again. Does not belong here: what is asked of Slurm for a run (``slurm``).
"""

import os
import sys
from contextlib import suppress
from typing import Final

import dagster as dg
from dagster._cli.api import _execute_run_command_body
from dagster._cli.utils import get_instance_for_cli
from dagster._core.events.log import EventLogEntry
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts

from fly64_assets.automation.run_tags import ENDED_TAG, not_again
from fly64_assets.automation.slurm_jobs import SlurmError, state_of

MODULE: Final = "fly64_assets.automation.slurm_run"
JOB_VARIABLE: Final = "SLURM_JOB_ID"
"""Slurm's own: the number of the job to which a process belongs."""


def main(arguments: str) -> int:
    """Execute a run; returns the exit status. ``arguments`` are Dagster's, as for ``dagster api execute_run``."""
    asked = deserialize_value(arguments, ExecuteRunArgs)
    with capture_interrupts(), get_instance_for_cli(instance_ref=asked.instance_ref) as instance:

        def note(entry: EventLogEntry) -> None:
            event = entry.dagster_event
            if event is not None and (event.is_step_failure or event.is_run_failure):
                note_exhausted(instance, asked.run_id, os.environ[JOB_VARIABLE])

        instance.add_event_listener(asked.run_id, note)
        return _execute_run_command_body(asked.run_id, instance, lambda _: None, set_exit_code_on_failure=True)


def note_exhausted(instance: dg.DagsterInstance, run_id: str, job: str) -> bool:
    """Say on a run that its job has used up what it requested, and that it is not begun again; whether it is so."""
    run = instance.get_run_by_id(run_id)
    if run is None or ENDED_TAG in run.tags:
        return False
    with suppress(SlurmError):
        state = state_of(job)
        if state is not None and state.exhausted:
            text = f"Slurm job {job}: {state.sentence}"
            instance.add_run_tags(run_id, not_again(text))
            instance.report_engine_event(text, run)
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
