"""Children that run TensorFlow; it is never imported by the process of the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import run_isolated

JOBS = Path(__file__).parents[3] / "jobs"


@pytest.fixture(scope="session")
def in_child(tmp_path_factory):
    """Run a job of ``tests/jobs/keras_jobs.py``, or any other, in a process of its own."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(JOBS) + (f":{before}" if before else "")
    log = tmp_path_factory.mktemp("keras") / "child.log"

    def run(target, request):
        log.write_bytes(b"")
        name = target if ":" in target else f"keras_jobs:{target}"
        return run_isolated(name, request, execution=Execution(), log_path=log) | {"log": log.read_text()}

    yield run
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
