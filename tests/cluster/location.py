"""A code location without a study: a job on one pretended GPU that says when it begins and ends."""

import os
import time
from pathlib import Path

import dagster as dg

from fly64_assets.automation.demands import Demand
from fly64_assets.automation.executors import chosen_executor


@dg.op(tags=Demand(cpus=1, gpus=1, memory_gib=1).tags(), config_schema={"folder": str})
def work(context: dg.OpExecutionContext) -> None:
    """Notes the GPU that it was given, and waits for the file ``go``."""
    folder = Path(context.op_config["folder"])
    (folder / f"began_{context.run.run_id}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    while not (folder / "go").exists():
        time.sleep(0.2)
    (folder / f"ended_{context.run.run_id}").touch()


@dg.job
def on_one_gpu() -> None:
    """One step."""
    work()


defs = dg.Definitions(jobs=[on_one_gpu], executor=chosen_executor())
