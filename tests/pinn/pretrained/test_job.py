"""The job of the network that was trained once: its files, its facts, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.scan import gaps, masked, measure, soft_probe, write_data_set

import fly64_assets as fly64
from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import PICTURE, RESULT, Execution
from fly64_assets.engines.process import run_isolated
from fly64_assets.errors import ArtifactError, EngineError
from fly64_assets.measured.pairs import HALVES, PAIRS, pair_measurements
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.bundle import read_bundle, write_bundle
from fly64_assets.pinn.pretrained.job import reconstruct_job
from fly64_assets.pinn.pretrained.settings import GENERAL, bundle_file
from fly64_assets.store.hashing import sha256_file

OBJECT = 0.9 * np.exp(0.5j * (np.add.outer(np.arange(132), np.arange(132)) % 24 < 12))

IN_THE_PACKAGE = bundle_file(GENERAL)


def scan(dose: float = 1e4, size: int = 64) -> Measurement:
    return measure(OBJECT, soft_probe(size), 24, dose)


def request(measured: Measurement, folder: Path, network: Path = IN_THE_PACKAGE) -> dict:
    folder.mkdir()
    return {
        "measurement": str(write_data_set(folder.with_suffix(".npz"), measured, OBJECT)),
        "output_folder": str(folder),
        "network": str(network),
        "settings": {"network": sha256_file(network), "slow_phases": False},
        "execution": Execution().to_dict(),
        "metadata": {"dose": 10000, "view": "dense", "split": "test"},
    }


def done(*arguments, **more) -> tuple[dict, Path]:
    """Facts and result file of the job, in this process."""
    asked = request(*arguments) | more
    return reconstruct_job(asked, lambda *_: None), Path(asked["output_folder"]) / RESULT


def test_a_process_of_its_own_writes_the_object_of_the_python_interface(tmp_path):
    asked, log, steps = request(scan(), tmp_path / "out"), tmp_path / "log", []
    target = "fly64_assets.pinn.pretrained.job:reconstruct_job"
    facts = run_isolated(target, asked, execution=Execution(), log_path=log, progress=lambda *step: steps.append(step))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {RESULT, PICTURE}
    stored = open_npz(tmp_path / "out" / RESULT)
    expected = fly64.reconstruct(scan(), "pretrained", threads=1)
    assert stored["reconstructed_object"].tobytes() == expected.object.tobytes()
    np.testing.assert_array_equal(stored["coverage"], expected.coverage)
    assert stored["loss"].shape == (5,)
    assert (np.diff(stored["loss"]) < 0).all(), "every step explains the counts better"
    document = json.loads(str(stored["_metadata"]))
    assert (document["view"], document["algorithm"], document["outside_of_training"]) == ("dense", "PRETRAINED", [])
    assert document["options"]["sha256"] == sha256_file(IN_THE_PACKAGE)
    assert "seconds" not in str(document)
    assert facts["num_epochs"] == facts["epochs_run"] == facts["kept_epoch"] == 5
    assert (facts["frames"], facts["final_loss"]) == (24, stored["loss"][-1])
    assert steps == [(5, 5, {"loss": facts["final_loss"]})]
    assert log.read_text().splitlines()[0] == "PRETRAINED: 24 frames, CPU (no GPU is used), 1 thread(s)"


def test_slow_phases_are_in_the_result_and_said(tmp_path):
    asked = {"settings": {"network": sha256_file(IN_THE_PACKAGE), "slow_phases": True}}
    facts, path = done(scan(), tmp_path / "out", **asked)
    stored = open_npz(path)
    expected = fly64.reconstruct(scan(), "pretrained", threads=1, slow_phases=True)
    assert stored["reconstructed_object"].tobytes() == expected.object.tobytes()
    document = json.loads(str(stored["_metadata"]))
    gain = expected.facts["gain_of_slow_phases"]
    assert gain > 0
    assert f"{gain:.4g} nats per cosine (limit 0.25)" in document["stop_reason"]
    assert (facts["stop_reason"], document["options"]["slow_phases"]) == (document["stop_reason"], True)


def test_applying_a_network_imports_neither_lightning_nor_torchs_compiler():
    program = """
import sys
import fly64_assets.pinn.job, fly64_assets.pinn.pretrained.job
from fly64_assets.engines.execution import Execution, torch_settings
with torch_settings(Execution()):
    pass
assert not {"lightning", "torch._inductor"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_recorded_loss_is_that_of_the_object(tmp_path):
    measured = masked(scan(), gaps(64), 0.0)
    facts, result = done(measured, tmp_path / "out")
    found = open_npz(result)["reconstructed_object"]
    rates = patch_counts(found, measured.probe, measured.scan, measured.intensity_scale)
    good = ~measured.bad_pixels
    counts = measured.counts(slice(None))
    loss = np.mean([(r - c * np.log(np.maximum(r, 1e-8)))[good].sum() for r, c in zip(rates, counts, strict=True)])
    assert facts["final_loss"] == pytest.approx(loss, rel=1e-3)


def test_masked_pixels_and_the_truth_change_no_byte(tmp_path):
    first = done(masked(scan(), gaps(64), 0.0), tmp_path / "zeros")[1].read_bytes()
    assert done(masked(scan(), gaps(64), 1e3), tmp_path / "values")[1].read_bytes() == first
    assert done(scan(), tmp_path / "unmasked")[1].read_bytes() != first
    asked = request(masked(scan(), gaps(64), 0.0), tmp_path / "other")
    write_data_set(Path(asked["measurement"]), masked(scan(), gaps(64), 0.0), 0.3j * np.ones_like(OBJECT))
    reconstruct_job(asked, lambda *_: None)
    assert (tmp_path / "other" / RESULT).read_bytes() == first


def test_what_lies_outside_of_the_training_is_said_and_stops_nothing(tmp_path):
    facts, result = done(scan(20), tmp_path / "dark")
    (sentence,) = facts["outside_of_training"]
    assert sentence.startswith("mean photons per frame is")
    assert json.loads(str(open_npz(result)["_metadata"]))["outside_of_training"] == [sentence]
    # The size of the frames is none of the terms: the network works on the object.
    assert done(scan(size=32), tmp_path / "small")[0]["outside_of_training"] == []


def test_several_modes_another_network_and_another_content_are_refused_with_a_sentence(tmp_path):
    one = scan()
    two = replace(one, further_modes=0.3 * np.roll(one.probe, 5, axis=0)[None])
    with pytest.raises(EngineError, match="the probe has 2 incoherent modes"):
        done(two, tmp_path / "modes")
    bundle = read_bundle(IN_THE_PACKAGE)
    other = replace(bundle, params={**bundle.params, "network": {"architecture": "unrolled", "patch_size": 32}})
    write_bundle(tmp_path / "wts.h5.zip", other)
    with pytest.raises(ArtifactError, match=r"a network that was trained on one scan \(unrolled\), not one for new"):
        done(one, tmp_path / "net", tmp_path / "wts.h5.zip")
    with pytest.raises(EngineError, match="has changed since this stage began"):
        done(one, tmp_path / "changed", settings={"network": "0" * 64})
    assert not any(list((tmp_path / name).iterdir()) for name in ("modes", "net", "changed"))


def test_halves_are_reconstructed_as_the_whole(tmp_path):
    facts, result = done(scan(), tmp_path / "out", pairs=5)
    objects = open_npz(result.with_name(PAIRS))
    assert tuple(objects) == HALVES == tuple(facts["pairs"])
    half = dict(pair_measurements(scan(), 5))["frames_2"]
    found = open_npz(done(half, tmp_path / "half")[1])["reconstructed_object"]
    assert [(objects[name] == found).all() for name in HALVES] == [False, False, False, True]
