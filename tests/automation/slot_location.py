"""A code location with one step that needs the pool of the engines: it works until a file says that it may end.

A sensor begins two runs of it, so that one works and the other waits for its slot.
"""

import os
import time
from pathlib import Path

import dagster as dg


@dg.op(pool="gpu")
def engine() -> None:
    """Wait for the file ``end`` in the folder of the instance."""
    while not (Path(os.environ["DAGSTER_HOME"]) / "end").exists():
        time.sleep(0.1)


@dg.job(executor_def=dg.in_process_executor)
def holding() -> None:
    engine()


@dg.sensor(job=holding, default_status=dg.DefaultSensorStatus.RUNNING)
def two_runs() -> list[dg.RunRequest]:
    return [dg.RunRequest(run_key="first"), dg.RunRequest(run_key="second")]


defs = dg.Definitions(jobs=[holding], sensors=[two_runs])
