from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import run_isolated
from fly64_assets.errors import EngineError
from fly64_assets.measured.pairs import HALVES, PAIRS, pair_measurements
from fly64_assets.tv_ml.job import reconstruct_job
from fly64_assets.tv_ml.settings import TvMlSettings


def request(measurement, folder):
    folder.mkdir()
    return {
        "measurement": str(measurement),
        "output_folder": str(folder),
        "settings": json.loads(json.dumps(TvMlSettings(levels=(0.6, 0.3), steps=6).parameters())),
        "seed": 123,
        "execution": Execution().to_dict(),
        "metadata": {"dose": 10000, "view": "dense", "split": "test"},
    }


def result_bytes(folder):
    return (folder / "ptychi_reconstruction.npz").read_bytes()


@pytest.fixture(scope="module")
def cell(tmp_path_factory, scanned):
    """One reconstructed cell: its folder, the scan, the job's facts and steps."""
    root = tmp_path_factory.mktemp("cell")
    s, steps = scanned(n=12), []
    facts = reconstruct_job(request(s.write(root / "test.npz"), root / "here"), lambda *row: steps.append(row))
    return root, s, facts, steps


def test_the_files_hold_what_the_other_iterative_method_writes_and_the_choice(cell):
    root, s, facts, steps = cell
    assert {path.name for path in (root / "here").iterdir()} == {"ptychi_reconstruction.npz", "reconstruction.png"}
    stored = open_npz(root / "here" / "ptychi_reconstruction.npz")
    assert stored["reconstructed_object"].shape == s.object.shape
    assert stored["reconstructed_object"].dtype == np.complex64
    np.testing.assert_array_equal(stored["reconstructed_probe"], s.measurement.probe)
    assert stored["coverage"].shape == s.object.shape
    assert stored["loss"].shape == (30,) == (len(steps),)
    assert stored["levels"].tolist() == [0.6, 0.3]
    assert stored["held_out_loss"].shape == (2,)
    document = json.loads(str(stored["_metadata"]))
    assert document["algorithm"] == "TV_ML"
    assert document["dose"] == 10000
    assert document["options"]["steps"] == 6
    assert document["level"] == facts["level"]
    assert document["stop_reason"] == facts["stop_reason"]
    assert "seconds" not in str(document)


def test_the_facts_are_those_that_the_manifests_read(cell):
    _, _, facts, _ = cell
    assert facts["algorithm"] == "TV_ML"
    assert facts["num_epochs"] == facts["epochs_run"] == facts["kept_epoch"] == 30
    assert facts["frames"] == 12
    assert facts["final_loss"] > 0
    assert json.loads(json.dumps(facts)) == facts


def test_another_truth_in_the_file_gives_the_same_bytes(cell, tmp_path):
    root, s, *_ = cell
    other = s.write(tmp_path / "swapped.npz", obj=0.3j * np.ones_like(s.object), patches=np.zeros((12, 64, 64)))
    assert other.read_bytes() != (root / "test.npz").read_bytes()
    reconstruct_job(request(other, tmp_path / "out"), lambda *_: None)
    assert result_bytes(tmp_path / "out") == result_bytes(root / "here")


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same_bytes_and_a_quiet_log(cell, tmp_path):
    root, *_ = cell
    log = tmp_path / "log"
    arguments = request(root / "test.npz", tmp_path / "out")
    run_isolated("fly64_assets.tv_ml.job:reconstruct_job", arguments, execution=Execution(), log_path=log)
    lines = log.read_text().splitlines()
    assert lines[0] == "TV_ML: 12 frames, CPU (no GPU is used), 1 thread(s)"
    assert [line.split(":")[0] for line in lines[1:]] == [*(f"step {k}" for k in (6, 12, 18, 24, 30)), "done"]
    assert result_bytes(tmp_path / "out") == result_bytes(root / "here")


def test_an_unfit_measurement_leaves_no_file(scanned, tmp_path):
    s = scanned(n=12)
    dark = replace(s, measurement=replace(s.measurement, amplitude=np.zeros_like(s.measurement.amplitude)))
    file = dark.write(tmp_path / "dark.npz")
    with pytest.raises(EngineError, match="all 12 frames are dark"):
        reconstruct_job(request(file, tmp_path / "out"), lambda *_: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_halves_are_reconstructed_as_the_whole_beside_an_unchanged_result(cell, tmp_path):
    root, s, *_ = cell
    facts = reconstruct_job(request(root / "test.npz", tmp_path / "out") | {"pairs": 5}, lambda *_: None)
    assert result_bytes(tmp_path / "out") == result_bytes(root / "here")
    objects = open_npz(tmp_path / "out" / PAIRS)
    assert tuple(objects) == HALVES == tuple(facts["pairs"])
    half = replace(s, measurement=dict(pair_measurements(s.measurement, 5))["frames_2"]).write(tmp_path / "half.npz")
    reconstruct_job(request(half, tmp_path / "half"), lambda *_: None)
    found = open_npz(tmp_path / "half" / "ptychi_reconstruction.npz")["reconstructed_object"]
    assert [(objects[name] == found).all() for name in HALVES] == [False, False, False, True]
