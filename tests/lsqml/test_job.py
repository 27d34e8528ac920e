from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest

from fly64_assets.contract.npz import open_npz, write_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.preview import FILE
from fly64_assets.engines.process import run_isolated
from fly64_assets.errors import EngineError, Fly64Error
from fly64_assets.lsqml.job import reconstruct_job
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.measured.pairs import HALVES, PAIRS, pair_measurements

NAMES = {"ptychi_reconstruction.npz", "reconstruction.png"}


def request(measurement, folder, **settings):
    folder.mkdir()
    return {
        "measurement": str(measurement),
        "output_folder": str(folder),
        "settings": asdict(LsqmlSettings(**{"epochs": 6, "stopping": "epochs", **settings})),
        "seed": 123,
        "execution": Execution().to_dict(),
        "metadata": {"dose": 10000, "view": "dense", "split": "test"},
    }


def swapped_truth(root, s):
    """The cell's file with another object and other patches."""
    obj = 0.3j * np.ones_like(s.object)
    return s.write(root / "swapped.npz", obj=obj, patches=np.zeros((s.measurement.frames, 64, 64)))


def result_bytes(folder):
    return (folder / "ptychi_reconstruction.npz").read_bytes()


@pytest.fixture(scope="module")
def cell(tmp_path_factory, scanned):
    """One reconstructed cell: its folder, the scan, the job's facts and steps."""
    root = tmp_path_factory.mktemp("cell")
    s = scanned(n=30, dose=1e4)
    steps = []

    def step(*row):
        steps.append(row)
        assert (root / "here" / FILE).is_file()  # the object so far, while the job is at work

    facts = reconstruct_job(request(s.write(root / "test.npz"), root / "here"), step)
    return root, s, facts, steps


@pytest.mark.slow
def test_jobs_at_the_same_time_give_the_bytes_of_a_job_alone_and_quiet_logs(cell, tmp_path):
    root, s, *_ = cell
    jobs = {"one": root / "test.npz", "two": swapped_truth(tmp_path, s)}

    def run(name: str) -> None:
        run_isolated(
            "fly64_assets.lsqml.job:reconstruct_job",
            request(jobs[name], tmp_path / name),
            execution=Execution(),
            log_path=tmp_path / f"{name}.log",
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, jobs))
    for name in jobs:
        lines = (tmp_path / f"{name}.log").read_text().splitlines()
        assert len(lines) == 3
        assert lines[0] == "LSQML: 30 frames, CPU (no GPU is used), 1 thread(s)"
        assert lines[1].startswith("epoch 1/6: loss ")
        assert lines[2] == "done: all 6 epochs done"
        assert result_bytes(tmp_path / name) == result_bytes(root / "here")


def test_another_truth_in_the_file_gives_the_same_bytes(cell, tmp_path):
    root, s, *_ = cell
    file = swapped_truth(tmp_path, s)
    assert file.read_bytes() != (root / "test.npz").read_bytes()
    reconstruct_job(request(file, tmp_path / "out"), lambda *_: None)
    assert result_bytes(tmp_path / "out") == result_bytes(root / "here")


def test_another_frame_gives_other_bytes(cell):
    root, s, *_ = cell
    m = s.measurement
    other = replace(s, measurement=replace(m, amplitude=m.amplitude[::-1].copy())).write(root / "other.npz")
    reconstruct_job(request(other, root / "other", epochs=3), lambda *_: None)
    assert result_bytes(root / "other") != result_bytes(root / "here")


def test_the_result_holds_the_arrays_of_the_specification(cell):
    root, s, *_ = cell
    assert {path.name for path in (root / "here").iterdir()} == NAMES
    assert (root / "here" / "reconstruction.png").read_bytes()[:4] == b"\x89PNG"
    arrays = open_npz(root / "here" / "ptychi_reconstruction.npz")
    obj, coverage = arrays["reconstructed_object"], arrays["coverage"]
    assert (obj.dtype, obj.shape) == (np.complex64, s.object.shape)
    assert (coverage.dtype, coverage.shape) == (np.float32, s.object.shape)
    assert (obj[coverage == 0] == 1).all()
    np.testing.assert_allclose(arrays["reconstructed_probe"], s.measurement.probe, rtol=1e-6)
    series = ("loss", "deviance", "expected_deviance", "held_out_deviance")
    assert [len(arrays[name]) for name in series] == [6] * 4
    assert s.phase_error(obj) < 0.7 * s.phase_error(np.ones(obj.shape))


def test_the_metadata_say_how_the_result_was_made(cell):
    root, *_ = cell
    document = json.loads(str(open_npz(root / "here" / "ptychi_reconstruction.npz")["_metadata"]))
    assert document["algorithm"] == "LSQML"
    assert document["versions"]["ptychi"] == "2.2.0"
    assert set(document["versions"]) == {"ptychi", "torch", "numpy"}
    assert (document["epochs_run"], document["stop_reason"]) == (6, "all 6 epochs done")
    assert (document["dose"], document["view"], document["split"]) == (10000, "dense", "test")
    assert document["kept_epoch"] == 6
    (options,) = document["options"]
    assert options["first_epoch"] == 1
    assert options["reconstructor_options"]["momentum_acceleration_gain"] == LsqmlSettings().momentum
    assert options["reconstructor_options"]["batching_mode"] == "compact"
    assert options["probe_options"]["optimizable"] is False
    assert str(root) not in json.dumps(document)


def test_facts_and_steps(cell):
    root, _, facts, steps = cell
    arrays = open_npz(root / "here" / "ptychi_reconstruction.npz")
    assert facts["algorithm"] == "LSQML"
    assert (facts["num_epochs"], facts["epochs_run"], facts["frames"]) == (6, 6, 30)
    assert facts["final_loss"] == arrays["loss"][-1]
    assert facts["final_deviance"] == arrays["deviance"][-1]
    assert facts["expected_deviance"] == arrays["expected_deviance"][-1]
    assert (facts["kept_epoch"], facts["refit_epochs"]) == (6, 0)
    assert facts["engine_seconds"] > 0
    assert [done for done, _, _ in steps] == [1, 2, 3, 4, 5, 6]


def test_the_record_says_of_how_many_epochs_with_all_counts_the_object_is(cell, tmp_path):
    root, *_ = cell
    asked = request(root / "test.npz", tmp_path / "out", stopping="held_out")
    facts = reconstruct_job(asked, lambda *_: None)
    arrays = open_npz(tmp_path / "out" / "ptychi_reconstruction.npz")
    document = json.loads(str(arrays["_metadata"]))
    kept = facts["kept_epoch"]
    assert kept == facts["refit_epochs"] == document["refit_epochs"] == document["kept_epoch"]
    assert kept == np.argmin(arrays["held_out_deviance"]) + 1
    assert len(arrays["refit_loss"]) == kept
    assert facts["final_loss"] == arrays["refit_loss"][-1] != arrays["loss"][kept - 1]
    assert (facts["epochs_run"], len(arrays["loss"])) == (6, 6)


def spoiled(array, where, value):
    copy = array.copy()
    copy[where] = value
    return copy


@pytest.mark.parametrize(
    ("field", "where", "value", "sentence"),
    [
        ("amplitude", (5, 1, 2), np.nan, "frame 5 holds negative, NaN or infinite amplitudes"),
        ("amplitude", (2, 0, 0), -0.1, "frame 2 holds negative"),
        ("x", 3, 20.0, r"position x\[3\] = 20 puts a window"),
        ("amplitude", slice(None), 0.0, "all 7 frames are dark"),
        ("probe", slice(None), 0.0, "the probe is zero everywhere"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_file(scanned, tmp_path, field, where, value, sentence):
    s = scanned(n=7)
    m = replace(s.measurement, **{field: spoiled(getattr(s.measurement, field), where, value)})
    file = replace(s, measurement=m).write(tmp_path / "bad.npz")
    with pytest.raises(EngineError, match=sentence) as caught:
        reconstruct_job(request(file, tmp_path / "out"), lambda *_: None)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_frames_is_an_error_and_leaves_no_file(scanned, tmp_path):
    s = scanned(n=7)
    m = s.measurement
    none = replace(m, amplitude=m.amplitude[:0], x=m.x[:0], y=m.y[:0], scan_index=m.scan_index[:0])
    file = replace(s, measurement=none).write(tmp_path / "none.npz", patches=np.zeros((0, 64, 64)))
    with pytest.raises(Fly64Error, match="there is no frame in it"):
        reconstruct_job(request(file, tmp_path / "out"), lambda *_: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_halves_are_reconstructed_as_the_whole_beside_an_unchanged_result(cell, tmp_path):
    root, s, _, _ = cell
    steps = []
    reconstruct_job(request(root / "test.npz", tmp_path / "without", epochs=2), lambda *_: None)
    asked = request(swapped_truth(tmp_path, s), tmp_path / "out", epochs=2) | {"pairs": 5}
    facts = reconstruct_job(asked, lambda *row: steps.append(row))
    assert result_bytes(tmp_path / "out") == result_bytes(tmp_path / "without")
    objects = open_npz(tmp_path / "out" / PAIRS)
    assert tuple(objects) == HALVES == tuple(facts["pairs"])
    assert facts["pairs_left_out"] == {}
    assert facts["pairs_seconds"] > 0
    assert [name for _, _, values in steps[2:] for name in values if name.endswith("loss")] == [
        f"{name} loss" for name in HALVES for _ in range(2)
    ]
    # The same job on a file of one half gives the object of that half, and no other half gives it.
    alone = replace(s, measurement=dict(pair_measurements(s.measurement, 5))["photons_2"]).write(tmp_path / "half.npz")
    reconstruct_job(request(alone, tmp_path / "half", epochs=2), lambda *_: None)
    found = open_npz(tmp_path / "half" / "ptychi_reconstruction.npz")["reconstructed_object"]
    assert [(objects[name] == found).all() for name in HALVES] == [False, True, False, False]


def test_a_half_starts_from_the_object_of_the_same_half(cell, tmp_path):
    root, s, *_ = cell
    # The start of the whole was made of all counts: a half without a start of its own is left out.
    whole = root / "here" / "ptychi_reconstruction.npz"
    start = 1j * open_npz(whole)["reconstructed_object"]
    with (tmp_path / "starts.npz").open("wb") as target:
        write_npz(target, {"photons_1": start})
    starts = {"pairs": 5, "start": str(whole), "start_pairs": str(tmp_path / "starts.npz")}
    facts = reconstruct_job(request(root / "test.npz", tmp_path / "warm", epochs=1) | starts, lambda *_: None)
    assert facts["pairs"] == ["photons_1"]
    assert facts["pairs_left_out"]["frames_1"] == "there is no object of the half frames_1 to start from"
    warm = open_npz(tmp_path / "warm" / PAIRS)["photons_1"]
    assert abs(np.angle(np.vdot(start[s.lit()], warm[s.lit()]))) < 0.2
