from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
from fixtures.scan import write_data_set

from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.preview import FILE
from fly64_assets.measured.pairs import HALVES, PAIRS, pair_measurements
from fly64_assets.physics.windows import read
from fly64_assets.pinn.bundle import read_bundle
from fly64_assets.pinn.job import infer_job, train_job

N = 32
TRAIN = (
    "import json, sys; from fly64_assets.pinn.job import train_job; train_job(json.loads(sys.argv[1]), lambda *_: None)"
)


def request(measurement, folder, settings):
    folder.mkdir()
    return {
        "measurement": str(measurement),
        "output_folder": str(folder),
        "arm": "pinn",
        "settings": asdict(replace(settings, epochs=2)),
        "gridsize": 2,
        "neighbor_count": 7,
        "seeds": {"simulation": 42, "grouping": 123, "subsampling": 456},
        "execution": Execution().to_dict(),
        "provenance": {"design_sha256": "d" * 64, "data_sha256": "e" * 64, "code_version": "1"},
    }


@pytest.fixture(scope="module")
def cell(tmp_path_factory, measurement, obj, settings):
    """One cell trained in this process, and in another process with another truth in the file."""
    root = tmp_path_factory.mktemp("cell")
    patches = read(obj, measurement.scan)
    file = write_data_set(root / "train.npz", measurement, obj, patches)
    swapped = write_data_set(root / "swapped.npz", measurement, np.ones_like(obj), np.zeros_like(patches))
    other = request(swapped, root / "there", settings)
    process = subprocess.Popen([sys.executable, "-c", TRAIN, json.dumps(other)], stdout=subprocess.DEVNULL)
    steps = []

    def step(*row):
        steps.append(row)
        assert (root / "here" / FILE).is_file()  # the object so far, while the job is at work

    facts = train_job(request(file, root / "here", settings), step)
    assert process.wait(timeout=120) == 0
    return root, facts, steps


def infer(root, bundle, name, **more):
    return infer_job(
        {
            "bundle": str(bundle),
            "measurement": str(root / "train.npz"),
            "output": str(root / f"{name}.npz"),
            "figure": str(root / f"{name}.png"),
            "execution": Execution().to_dict(),
            **more,
        },
        lambda *_: None,
    )


def test_two_processes_and_another_truth_give_the_same_bytes(cell):
    root, _, _ = cell
    assert (root / "here" / "wts.h5.zip").read_bytes() == (root / "there" / "wts.h5.zip").read_bytes()


def test_training_writes_the_files_of_a_cell(cell):
    root, facts, steps = cell
    assert {path.name for path in (root / "here").iterdir()} == {"wts.h5.zip", "history.csv", "loss.png"}
    bundle = read_bundle(root / "here" / "wts.h5.zip")
    with zipfile.ZipFile(root / "here" / "wts.h5.zip") as archive:
        assert archive.read("history.csv") == (root / "here" / "history.csv").read_bytes()
    assert [row["epoch"] for row in bundle.history] == [1, 2]
    assert bundle.manifest["data_sha256"] == "e" * 64
    assert str(root) not in json.dumps([bundle.manifest, bundle.params])
    assert [done for done, _, _ in steps] == [1, 2]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["epochs_completed"] == 2
    assert facts["best_val_loss"] == min(row["validation_loss"] for row in bundle.history)
    assert facts["collapsed"] is False


def test_facts_and_history_of_the_plane(cell, settings):
    root, facts, _ = cell
    assert tuple(facts["levels"]) == settings.levels[: len(facts["levels"])]
    assert facts["base_level"] == settings.levels[int(np.argmin(facts["path_losses"]))]
    assert facts["validation_loss_before"] < facts["flat_val_loss"]
    # Two epochs add next to nothing to the path's object; what training gains is tested where it is longer.
    assert facts["best_val_loss"] == pytest.approx(facts["validation_loss_before"], abs=0.1)
    assert facts["frames_held_out"] == 0
    assert 0 <= facts["preparation_seconds"] <= facts["seconds"]
    header = (root / "here" / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,generalisation_gap,train_loss,validation_loss,learning_rate"
    bundle = read_bundle(root / "here" / "wts.h5.zip")
    assert bundle.params["network"]["levels"] == facts["levels"]
    assert bundle.params["settings"] == json.loads(json.dumps(asdict(replace(settings, epochs=2))))
    assert bundle.params["intensity_scale"] > 0
    assert facts["parameters"] == sum(value.size for value in bundle.weights.values())


def test_inference_needs_only_the_bundle_and_repeats_its_bytes(cell, obj, tmp_path):
    root, _, _ = cell
    alone = tmp_path / "elsewhere.zip"
    alone.write_bytes((root / "here" / "wts.h5.zip").read_bytes())
    facts = infer(root, alone, "one")
    infer(root, root / "here" / "wts.h5.zip", "two")
    assert (root / "one.npz").read_bytes() == (root / "two.npz").read_bytes()
    assert (root / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert facts["frames"] == 64
    arrays = open_npz(root / "one.npz")
    found, coverage = arrays["reconstructed_object"], arrays["coverage"]
    assert (found.dtype, found.shape, coverage.dtype) == (np.complex64, obj.shape, np.float32)
    assert (found[coverage == 0] == 1).all()
    assert json.loads(str(arrays["_metadata"]))["frames"] == 64


def test_the_bundle_reconstructs_halves_beside_an_unchanged_result(cell, measurement, obj, tmp_path):
    root, _, _ = cell
    bundle = root / "here" / "wts.h5.zip"
    infer(root, bundle, "alone")
    assert not (root / PAIRS).exists()
    facts = infer(root, bundle, "halved", pairs=5)
    assert (root / "alone.npz").read_bytes() == (root / "halved.npz").read_bytes()
    objects = open_npz(root / PAIRS)
    assert tuple(objects) == HALVES == tuple(facts["pairs"])
    assert facts["pairs_seconds"] > 0
    half = dict(pair_measurements(measurement, 5))["photons_1"]
    write_data_set(tmp_path / "train.npz", half, obj, read(obj, half.scan))
    infer(tmp_path, bundle, "half")
    found = open_npz(tmp_path / "half.npz")["reconstructed_object"]
    assert [(objects[name] == found).all() for name in HALVES] == [True, False, False, False]


def test_the_object_is_nearer_the_truth_than_a_flat_one(cell, obj):
    root, _, _ = cell
    infer(root, root / "here" / "wts.h5.zip", "scored")
    arrays = open_npz(root / "scored.npz")
    lit = arrays["coverage"] > 1

    def phase_error(found):
        ratio = (found * obj.conj())[lit]
        return float(np.sqrt(np.mean(np.angle(ratio * np.conj(ratio.sum())) ** 2)))

    assert phase_error(arrays["reconstructed_object"]) < 0.65 * phase_error(np.ones(lit.shape))
