"""kill -9 in a calibration: nothing is half-written, what was there stays, and the same command works again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from fixtures.measured import write_measured

from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import BASE
from fly64_assets.study.design import load_design
from fly64_assets.study.states import base_state

DESIGN = """
name: small
patch_size_pixels: 64
scan: measured
dose_list: [1e3, 1e4]
measured: {epochs: 3}
"""
SECONDS = 120


@pytest.mark.slow
def test_a_killed_calibration_leaves_the_base_that_was_there(tmp_path):
    path = tmp_path / "small.yaml"
    store = ArtifactStore(tmp_path / "data", "small")

    def command(file):
        options = ["--study", str(path), "--data-root", str(store.data_root)]
        words = [sys.executable, "-m", "fly64_assets.cli.main", *options, "base", "import", str(file)]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    path.write_text(DESIGN.replace("epochs: 3", "calibrate: false"))
    assert command(write_measured(tmp_path / "first.npz").path).wait() == 0
    first = store.active_base()

    path.write_text(DESIGN)
    second = write_measured(tmp_path / "second.npz", seed=5, with_object=False).path
    process = command(second)
    deadline = time.monotonic() + SECONDS
    while not [log for log in store.folder.rglob("calibration.log") if "orientation: begins" in log.read_text()]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert store.active_base() == first
    assert store.bases() == (first.base_id,)
    assert store.record(store.layout(first.base_id), BASE).outcome == "succeeded"

    assert command(second).wait() == 0
    assert store.active_base().base_id.startswith("second_")
    assert base_state(store, load_design(path)).name == "fresh"
