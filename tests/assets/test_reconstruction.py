"""The iterative methods through Dagster: an engine that is killed."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import Half, StageKey
from fly64_assets.study.states import active_layout

ASSET = "lsqml_reconstruction_test"


def engine_processes() -> list[int]:
    """Engine processes that this process started."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            with suppress(OSError):
                if b"fly64_assets.engines.process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return found


def kill_first_engine() -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for pid in engine_processes():
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the engine's process in /proc")
def test_a_killed_engine_leaves_no_result_and_the_next_run_does_it_again(graph):
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="10000").success
    assert graph.run("overlap_view", partition="10000|dense").success
    killer = threading.Thread(target=kill_first_engine)
    killer.start()
    assert not graph.run(ASSET, partition="10000|dense").success
    killer.join()
    layout = active_layout(graph.store)
    key = StageKey("reconstruction", Half(10000, "dense", "test"), "lsqml")
    record = graph.store.record(layout, key)
    assert (record.outcome, record.values["returncode"]) == ("failed", 1)
    assert "SIGKILL" in record.reason
    assert not list(layout.folder.rglob("ptychi_reconstruction.npz*"))
    assert verify_folder(layout.folder).bad == ()

    assert graph.run(ASSET, partition="10000|dense", resume=True).success
    record = graph.store.record(layout, key)
    assert (record.outcome, record.values["returncode"], record.values["algorithm"]) == ("succeeded", 0, "LSQML")
    assert layout.result(StageKey("reconstruction", Half(10000, "dense", "test"), "lsqml")).is_file()
    assert verify_folder(layout.folder).bad == ()
    assert graph.run("study_report").success
    manifest = json.loads(layout.manifest("reconstruction").read_text())
    assert [(row["split"], row["returncode"]) for row in manifest["execution_results"]] == [("test", 0)]
    assert len(manifest["missing_jobs"]) == 3 * (2 * 3 * 2) - 1, "three methods without training"
