"""``fly64 ui`` is stopped by Ctrl-C while an engine works, more often than Dagster begins a crashed run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from endtoend.client import Client
from endtoend.services import FULL, HOST, STUDY, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FULL, reason="only in full form: make endtoend")]
COMMAND = [str(Path(sys.executable).with_name("fly64")), "--study", "study.yaml", "--data-root", "data"]
STOPS = 3
"""One more than ``run_retries.max_retries``."""


@contextmanager
def fly64_ui(folder: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """The command with its page open; killed with all that it started if the test fails."""
    port = free_port()
    command = [*COMMAND, "ui", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        until(lambda: f"http://{HOST}:{port}" in process.stdout.readline(), 300, "the page")
        yield process, Client(port)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(180)
        process.stdout.close()


def test_what_was_at_work_goes_on_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    only = ["run", "--stage", "view", "--view", "dense", "--dose", "1e4"]
    subprocess.run([*COMMAND, *only], cwd=tmp_path, env=environment, check=True)
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        storage = instance.event_log_storage
        for stop in range(STOPS):
            with fly64_ui(tmp_path, environment) as (process, client):
                if stop == 0:
                    until(lambda: client.ask("{ assetNodes { id } }")["assetNodes"], 300, "the asset graph")
                    backfill = client.backfill(["lsqml_reconstruction_train"], ["10000|dense"])
                holders = until(
                    lambda: storage.get_concurrency_info("gpu").active_run_ids, 300, "an engine with a slot"
                )
                (run,) = holders
                process.send_signal(signal.SIGINT)
                said, _ = process.communicate(timeout=180)
            assert process.returncode == 0
            assert f"run {run[:8]} was at work: it goes on at the next start" in said
            assert storage.get_concurrency_run_ids() == set()
            assert not list((tmp_path / "data").rglob("ptychi_reconstruction.npz"))
        with fly64_ui(tmp_path, environment) as (_, client):
            end = client.ended(backfill, 900)
    assert end["status"] == "COMPLETED_SUCCESS"
    assert [run["status"] for run in end["runs"]].count("SUCCESS") == 1
    assert len(end["runs"]) == STOPS + 1
    assert len(list((tmp_path / "data").rglob("ptychi_reconstruction.npz"))) == 1
