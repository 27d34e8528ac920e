"""A code location with one step that needs the pool of the engines: it works until a file says that it may end.

A sensor begins a run of it, and a second one when the first is at work: two that ask for the slot in the same instant
can both be told that it is theirs (``fly64_assets.automation.slots``).
"""

import os
import time
from pathlib import Path

import dagster as dg

HOME = Path(os.environ["DAGSTER_HOME"])


@dg.op
def data() -> None:
    """A step that needs no slot: the daemon does not launch a run whose first steps all wait for one."""


@dg.op(pool="gpu", ins={"data": dg.In(dg.Nothing)})
def engine() -> None:
    """Wait for the file ``end`` in the folder of the instance."""
    (HOME / "begun").touch()
    while not (HOME / "end").exists():
        time.sleep(0.1)


@dg.job(executor_def=dg.in_process_executor)
def holding() -> None:
    engine(data())


@dg.sensor(job=holding, default_status=dg.DefaultSensorStatus.RUNNING)
def two_runs() -> list[dg.RunRequest]:
    second = [dg.RunRequest(run_key="second")] if (HOME / "begun").exists() else []
    return [dg.RunRequest(run_key="first"), *second]


defs = dg.Definitions(jobs=[holding], sensors=[two_runs])
