"""The same study twice, in two processes: the same bytes, whatever the threads and the sizes of blocks."""

import json
import os
import subprocess
import sys

import pytest
from faults.study import FULL, STUDY

# What the command's worker does, with other sizes of blocks wherever arrays are walked through in parts.
CHILD = """
import json, sys
from fly64_assets.physics import forward
from fly64_assets.contract import archive

frames, elements, runs = json.loads(sys.argv[1])
forward.blocks.__defaults__ = (frames,)
archive.BLOCK_ELEMENTS = elements
from fly64_assets.physics import windows
from fly64_assets.simulation import frames as simulation
windows.cached_frames = forward.cached_frames = simulation.cached_frames = lambda _patch_size: frames
from fly64_assets.automation.runs import execute
from fly64_assets.definitions import defs
for assets, partition in runs:
    ok, reason = execute(defs, assets, partition)
    assert ok, reason
"""
DATA = ((["base_dataset"], None), (["simulated_dataset"], "10000"), (["overlap_view"], "10000|dense"))
ENGINES = ["pinn_bundle", "pinn_reconstruction", "lsqml_reconstruction_train", "lsqml_reconstruction_test"]


def build(folder, threads, frames, elements, runs):
    """Run assets in a process of its own; SHA256 of every data file by its place in the base's folder."""
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    (folder / "home").mkdir()
    environment = os.environ | {
        "FLY64_STUDY": str(folder / "study.yaml"),
        "FLY64_DATA_ROOT": str(folder / "data"),
        "DAGSTER_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": str(threads),
    }
    command = [sys.executable, "-c", CHILD, json.dumps([frames, elements, runs])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for path in [*folder.rglob("result.json"), *folder.rglob("base.json")]:
        record = json.loads(path.read_text())
        found |= {name: sha for name, sha in record["outputs"].items() if name not in record["diagnostics"]}
    return found


@pytest.mark.slow
def test_data_files_depend_on_neither_threads_nor_blocks(tmp_path):
    one = build(tmp_path / "one", 1, 64, 2**20, DATA)
    other = build(tmp_path / "other", 3, 7, 1000, DATA)
    assert one == other
    assert {name.rsplit("/")[-1] for name in one} == {
        "base.npz",
        "patched_train.npz",
        "patched_test.npz",
        "dense_train.npz",
        "dense_test.npz",
        "train_metrics.json",
        "test_metrics.json",
        "metrics_bundle.json",
    }


@pytest.mark.skipif(not FULL, reason="make faults runs engines")
def test_bundles_and_objects_are_the_same_at_the_same_number_of_engine_threads(tmp_path):
    """The engines' threads are the recorded ones, whatever the environment says."""
    chain = [*DATA, (ENGINES, "10000|dense"), (["comparison"], "10000|dense")]
    one = build(tmp_path / "one", 1, 64, 2**20, chain)
    other = build(tmp_path / "other", 2, 16, 5000, chain)
    assert one == other
    names = {name.rsplit("/")[-1] for name in one}
    assert {
        "wts.h5.zip",
        "history.csv",
        "train.npz",
        "test.npz",
        "ptychi_reconstruction.npz",
        "comparison.json",
    } <= names
