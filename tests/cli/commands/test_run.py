"""``fly64 run``, ``status``, ``plan`` and ``verify`` as a user has them: processes, a real instance, real files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = """
name: tiny
dose_list: [1e4]
base: {amplitude: coins, phase: grass, object_size: 160, positions: 200}
pinn: {epochs: 2}
lsqml: {epochs: 4}
"""
COMMAND = [str(Path(sys.executable).with_name("fly64")), "--study", "study.yaml"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.yaml").write_text(TINY)
    return tmp_path


def environment():
    hidden = ("DAGSTER_HOME", "FLY64_STUDY", "FLY64_DATA_ROOT")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def fly64(folder, *arguments):
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, env=environment(), check=False
    )


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_run_resume_and_repair(folder):
    before = files(folder)
    dry = fly64(folder, "run", "--dry-run")
    assert dry.returncode == 0
    assert "nothing was written" in dry.stdout
    assert files(folder) == before

    only = ("--stage", "view", "--view", "dense")
    first = fly64(folder, "run", *only)
    assert first.returncode == 0, first.stderr
    assert "1 of 1 stages are done" in first.stdout
    done = files(folder / "data")

    second = fly64(folder, "run", *only)
    assert second.returncode == 0
    assert files(folder / "data") == done

    cells = json.loads(fly64(folder, "status", "--json").stdout)["cells"]
    views = [cell for cell in cells if cell["stage"] == "view" and cell["view"] == "dense"]
    assert [cell["split"] for cell in views] == ["train", "test"]
    for cell in views:
        assert cell["state"] == "fresh"
        assert (folder / "data" / cell["path"]).is_file()
        assert len(cell["sha256"]) == 64
    jobs = json.loads(fly64(folder, "plan", "--json").stdout)["jobs"]
    assert set(jobs[0]) == {"repeat", "stage", "dose", "view", "split", "gridsize", "arm", "state", "reason"}
    assert len(jobs) == 1 + 1 + 3 * 10 + 1

    # A flipped byte is found, named and repaired.
    assert json.loads(fly64(folder, "verify", "--json").stdout)["bad"] == []
    (victim,) = (folder / "data").rglob("patched_train.npz")
    content = bytearray(victim.read_bytes())
    content[9000] ^= 1
    victim.write_bytes(content)
    found = fly64(folder, "verify", "--json")
    assert found.returncode == 1
    assert [bad["path"] for bad in json.loads(found.stdout)["bad"]] == ["dose_10000/patched_train.npz"]
    assert fly64(folder, "run", *only).returncode == 0
    assert fly64(folder, "verify").returncode == 0


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing_half_written(folder):
    assert fly64(folder, "run", "--stage", "view", "--view", "dense").returncode == 0
    process = subprocess.Popen(
        [*COMMAND, "run", "--stage", "training", "--view", "dense"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = None
    while log is None and process.poll() is None:
        time.sleep(0.2)
        log = next((folder / "data").rglob("*train.log"), None)
    process.send_signal(signal.SIGINT)
    text = process.communicate()[0]
    assert process.returncode == 130, text
    assert "interrupted" in text
    assert not list((folder / "data").rglob("wts.h5.zip"))
    assert fly64(folder, "verify").returncode == 0
    assert fly64(folder, "run", "--stage", "training", "--view", "dense").returncode == 0
    assert len(list((folder / "data").rglob("wts.h5.zip"))) == 1


def test_wrong_use_is_told_apart_from_bad_results(folder):
    assert fly64(folder, "run", "--dose", "77").returncode == 2
    assert fly64(folder, "run", "--view", "nothing").returncode == 2
    empty = fly64(folder, "verify")
    assert empty.returncode == 1
    assert "has no base yet" in empty.stderr
    (folder / "study.yaml").write_text("name: X Y\nneighbor_count: 2\npinn: {architecture: cnn}\n")
    bad = fly64(folder, "run")
    assert bad.returncode == 2
    assert "name = 'X Y'" in bad.stderr
    assert "OVERSAMPLING-001" in bad.stderr
    assert "Traceback" not in bad.stderr
