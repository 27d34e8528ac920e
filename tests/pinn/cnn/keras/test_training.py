"""Training and inference in TensorFlow, through sessions only; bundles of either backend in both."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
from fixtures.cnn import validation_losses
from fixtures.scan import gaps, masked, measure, write_data_set

from fly64_assets.contract.npz import load_measurement, open_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.measured.pairs import HALVES, PAIRS, pair_measurements
from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.bundle import Bundle, read_bundle, write_bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.ptychopinn.dictionary import DEFAULTS
from fly64_assets.ptychopinn.training_config import disagreements, training_config, training_values
from fly64_assets.resources.legacy_config import training_job
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study.design import StudyDesign

FRAMES = 8
DESIGN = replace(
    StudyDesign(), dose_list=(1e5,), pinn=CnnSettings(n_filters_scale=1, epochs=3, learning_rate=1e-2)
).validate()
JOB = training_job(DESIGN, 100000, "dense", 1, FRAMES)


def write_frames(path):
    base = make_base(BaseRecipe("coins", "grass", 96, FRAMES), 64)
    return write_data_set(path, measure(base.object, base.probe, FRAMES, 1e5), base.object)


def untrained_bundle(path, measurement):
    """A bundle as PyTorch writes it, with its initial weights."""
    spec = NetworkSpec.of_cnn(measurement, DESIGN.pinn, 2)
    weights = {k: v.numpy() for k, v in build_network(spec, measurement.probe, 7).state_dict().items()}
    write_bundle(path, Bundle({"backend": "pytorch"}, {"network": spec.to_dict(), "gridsize": 2}, weights, []))
    return path


def train_request(file):
    config, others = training_config(JOB, train_data_file="a/dense_train.npz", test_data_file=None, output_dir="out")
    return {
        "measurement": str(file),
        "arm": "legacy_pinn",
        "settings": DESIGN.pinn.parameters(),
        "training_config": asdict(config),
        "others": others,
        "wait_seconds": 0.0,
        "execution": Execution().to_dict(),
        "provenance": {"design_sha256": "d" * 64},
    }


@pytest.fixture(scope="module")
def cell(in_child, tmp_path_factory):
    root = tmp_path_factory.mktemp("cell")
    file = write_frames(root / "dense_train.npz")
    measurement = load_measurement(file)
    folders = [root / "one", root / "two"]
    for folder in folders:
        folder.mkdir()
    bundles = {"tensorflow": folders[0] / "wts.h5.zip", "pytorch": untrained_bundle(root / "torch.zip", measurement)}
    paths = [
        {"bundle": str(bundle), "output": str(root / f"{name}.npz"), "figure": str(root / f"{name}.png")}
        for name, bundle in bundles.items()
    ]
    paths[0]["pairs"] = 5
    request = {
        "train": train_request(file),
        "folders": [str(folder) for folder in folders],
        "infer": {"measurement": str(file), "execution": Execution().to_dict()},
        "inferences": paths,
    }
    return root, measurement, bundles, in_child("course", request)


@pytest.mark.slow
def test_trainings_repeat_byte_by_byte_and_leave_no_trace(cell):
    root, _, _, answer = cell
    assert (root / "one" / "wts.h5.zip").read_bytes() == (root / "two" / "wts.h5.zip").read_bytes()
    assert answer["left"] == {}
    assert answer["torch"] is False
    noise = [line for line in answer["log"].splitlines() if not line.startswith(("legacy_pinn: ", "epoch ", "done: "))]
    assert [line for line in noise if not line.startswith(("8 frames", "PINN.", "half "))] == [
        line for line in noise if line.startswith("halves: photons_1, photons_2")
    ]


@pytest.mark.slow
def test_training_lowers_the_loss_and_says_what_it_did(cell):
    root, measurement, _, answer = cell
    facts = answer["facts"][0]
    bundle = read_bundle(root / "one" / "wts.h5.zip")
    losses = [row["validation_loss"] for row in bundle.history]
    assert [list(row) for row in bundle.history] == [["epoch", "train_loss", "validation_loss", "learning_rate"]] * 3
    assert losses[2] < losses[1] < losses[0] - 5
    assert facts["best_val_loss"] == min(losses)
    assert facts["epochs_completed"] == 3
    assert bundle.manifest["backend"] == "tensorflow"
    assert bundle.params["intensity_scale"] == measurement.intensity_scale
    rows = list(csv.DictReader(io.StringIO((root / "one" / "history.csv").read_text())))
    assert [float(row["validation_loss"]) for row in rows] == losses
    assert str(root) not in str(bundle.params) + str(bundle.manifest)


@pytest.mark.slow
def test_the_snapshot_is_whole_and_agrees_with_the_design(cell):
    root, *_ = cell
    params = read_bundle(root / "one" / "wts.h5.zip").params
    snapshot = params["legacy"]
    assert set(DEFAULTS) | {"intensity_scale"} == set(snapshot)
    assert list(disagreements(params, JOB)) == []
    assert snapshot["train_data_file_path"] == "a/dense_train.npz"
    for key, value in training_values(JOB).items():
        wrong = params | {"legacy": snapshot | {key: None if value is not None else 1}}
        assert any(f" {key} = " in text for text in disagreements(wrong, JOB)), key
    lacking = params | {"legacy": {k: v for k, v in snapshot.items() if k != "offset"}}
    assert any("lacks offset" in text for text in disagreements(lacking, JOB))
    other = replace(JOB, neighbor_count=9)
    assert any("neighbor_count = 7" in text for text in disagreements(params, other))
    really = params | {"neighbor_count": 4}
    assert any("trained with neighbor_count = 4" in text for text in disagreements(really, JOB))
    assert any("no legacy snapshot" in text for text in disagreements({}, JOB))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "pytorch"])
def test_a_bundle_of_one_backend_runs_in_the_other(cell, backend, tmp_path):
    root, measurement, bundles, _ = cell
    expected = reconstruct(read_bundle(bundles[backend]), measurement, "cpu", tmp_path, lambda *_: None)
    found = open_npz(root / f"{backend}.npz")
    assert np.abs(found["reconstructed_object"] - expected.object).max() < 1e-4
    assert np.allclose(found["coverage"], expected.coverage, rtol=1e-6)
    assert (root / f"{backend}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_halves_are_those_of_the_other_backend(cell, tmp_path):
    root, measurement, bundles, answer = cell
    assert answer["infer"][0]["pairs"][:2] == list(HALVES[:2])
    assert "pairs" not in answer["infer"][1]
    half = dict(pair_measurements(measurement, 5))["photons_2"]
    expected = reconstruct(read_bundle(bundles["tensorflow"]), half, "cpu", tmp_path, lambda *_: None)
    assert np.abs(open_npz(root / PAIRS)["photons_2"] - expected.object).max() < 1e-4


@pytest.mark.slow
def test_without_a_fitting_session_there_is_no_training(cell):
    refused = cell[3]["refused"]
    words = ("found NoneType", "found dict", "has ended", "N = 128", "amp_activation = 'swish'")
    for word, text in zip(words, refused, strict=True):
        assert word in text
    assert all("CONFIG-001" in text for text in refused[:4])
    assert "intensity_scale.trainable = True" in refused[4], "all problems at once"


@pytest.mark.slow
def test_bad_pixels_reach_neither_the_input_nor_the_losses(cell, in_child, tmp_path):
    """Whatever is stored in them, bundle and object are the same bytes; without the mask they are others."""
    root, measurement, bundles, _ = cell
    obj, cases = np.ones(measurement.object_shape, np.complex64), []
    for name, value in (("nan", np.nan), ("bright", 65535.0)):
        folder = tmp_path / name
        folder.mkdir()
        file = str(write_data_set(folder / "frames.npz", masked(measurement, gaps(64), value), obj))
        # Our own writer stores 0 at bad pixels; others leave what they found.
        arrays = {key: np.array(array) for key, array in open_npz(Path(file)).items()}
        arrays["diffraction"][:, gaps(64)] = value
        np.savez(file, **arrays)
        result = {"output": str(folder / "object.npz"), "figure": str(folder / "object.png")}
        cases.append(
            {
                "train": {"measurement": file, "output_folder": str(folder)},
                "infer": {"measurement": file, "bundle": str(folder / "wts.h5.zip"), **result},
            }
        )
    counts = measurement.counts()
    rates, good = counts * 1.1 + 0.2, ~gaps(64)
    np.savez(tmp_path / "loss.npz", rates=rates, counts=counts, bad_pixels=~good)
    request = {"train": train_request(""), "cases": cases, "file": str(tmp_path / "loss.npz")}
    facts = in_child("masked", request)
    for file, whole in (("wts.h5.zip", bundles["tensorflow"]), ("object.npz", root / "tensorflow.npz")):
        one, other = ((tmp_path / name / file).read_bytes() for name in ("nan", "bright"))
        assert one == other != whole.read_bytes()
    terms = rates[:, good] - counts[:, good] * np.log(rates[:, good])
    assert facts["loss"] == pytest.approx(terms.sum(axis=1).mean(), rel=1e-12)
    assert facts["under"] == 0.0
    bundle = read_bundle(tmp_path / "nan" / "wts.h5.zip")
    seed = bundle.params["seed"]
    losses = validation_losses(
        bundle.spec(), bundle.weights, masked(measurement, gaps(64), 0.0), DESIGN.pinn, JOB.neighbor_count, seed
    )
    assert losses == pytest.approx((facts["best_val_loss"], facts["flat_val_loss"]), rel=1e-5)


CALLS = """
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.ptychopinn.session import LegacySession
from fly64_assets.pinn.cnn.keras.training import train
from fly64_assets.physics.measurement import Measurement

def good(session: LegacySession, measurement: Measurement, settings: CnnSettings) -> None:
    train(session, measurement, settings, lambda *_: None)

def bad(parameters: dict[str, object], measurement: Measurement, settings: CnnSettings) -> None:
    train(measurement, settings, lambda *_: None)  # type: ignore[call-arg]
    train(parameters, measurement, settings, lambda *_: None)  # type: ignore[arg-type]
"""


@pytest.mark.slow
def test_calling_the_trainer_without_a_session_is_a_type_error(tmp_path):
    """Unused ignores are errors in strict mode, so this passes only if both calls are wrong, and the first right."""
    (tmp_path / "calls.py").write_text(CALLS)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", str(tmp_path / "calls.py")],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
