"""The twin of a study of measured frames: its frames and design, and what of it is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures.measured import FRAMES, PHOTONS, SEED, gap_and_beamstop, measured_truth

from fly64_assets.contract.npz import load_dataset, write_npz
from fly64_assets.contract.schema import base_arrays
from fly64_assets.errors import ArtifactError
from fly64_assets.measured.twin import simulated_measurement
from fly64_assets.store.artifacts import IMPORTED, ArtifactStore, State
from fly64_assets.store.garbage import find_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, Cell, StageKey
from fly64_assets.store.sidecars import verified
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.twin import make_twin, measured_layout, require_compared, twin_design, write_twin_report

BASE_ID = "scan_0123abcd"
KNOWN = {"inputs": {}, "parameters": {}, "design_sha256": "", "code_version": "1", "seeds": {}}


@pytest.fixture
def design():
    return StudyDesign(name="scan", scan="measured", patch_size_pixels=64, dose_list=(1e3, 1e4))


@pytest.fixture
def measured_store(tmp_path, design):
    """A store whose active base has frames, masked and numbered from 7, and the true object as reference."""
    return filled(ArtifactStore(tmp_path / "data", design.name), measured_truth())


def filled(store, reference, frames=True):
    layout = store.layout(BASE_ID)
    arrays = simulated_measurement(measured_truth(), PHOTONS, SEED, gap_and_beamstop(), np.arange(FRAMES) + 7)
    with store.build(layout, BASE, **KNOWN) as build:
        build.write(layout.base, lambda file: write_npz(file, base_arrays(reference)))
        if frames:
            build.write(layout.measured_frames, lambda file: write_npz(file, arrays))
        build.write_json(layout.calibration, {"deviance": 1.4, "expected_deviance": 0.9}, data=False)
        build.succeed({"origin": IMPORTED})
    store.set_active_base(BASE_ID, IMPORTED)
    return store


def test_twin_has_the_dose_mask_and_numbers_of_the_measured_frames(measured_store, design):
    layout = measured_layout(measured_store, design)
    made = make_twin(layout, design)
    twin, measured = load_dataset(made.frames), load_dataset(layout.measured_frames)
    truth = measured_truth()
    assert np.array_equal(twin.object, truth.object)
    assert np.array_equal(twin.scan_index, measured.scan_index)
    assert np.array_equal(twin.bad_pixels, measured.bad_pixels)
    assert np.array_equal(twin.probe, truth.probe)
    counts = [each.measurement().counts().sum(axis=(1, 2)).mean() for each in (twin, measured)]
    assert abs(counts[0] - counts[1]) < 5 * np.sqrt(2 * PHOTONS / FRAMES)
    # Another seed, other noise.
    assert not np.array_equal(twin.diffraction, measured.diffraction)


def test_design_of_the_twin_is_that_of_the_study_without_a_calibration(measured_store, design):
    made = make_twin(measured_layout(measured_store, design), design)
    read = load_design(made.path)
    assert read.base_path == made.frames.resolve()
    expected = design.to_dict() | {"name": "scan_twin", "base": "twin_frames.npz"}
    expected["measured"] = expected["measured"] | {"calibrate": False}
    assert read.to_dict() == expected


def test_what_is_up_to_date_is_left_alone(measured_store, design):
    layout = measured_layout(measured_store, design)
    made = make_twin(layout, design)
    written, content = made.frames.stat().st_mtime_ns, verified(made.frames).sha256
    assert make_twin(layout, design).frames.stat().st_mtime_ns == written
    seeds = {"simulation": 43, "grouping": 123, "subsampling": 456}
    make_twin(layout, replace(design, rng_seeds=seeds))
    assert verified(made.frames).sha256 != content
    make_twin(layout, design)
    assert verified(made.frames).sha256 == content
    made.frames.write_bytes(b"damaged")
    make_twin(layout, design)
    assert verified(made.frames).sha256 == content


def test_files_of_the_twin_are_sound_and_in_use(measured_store, design):
    layout = measured_layout(measured_store, design)
    make_twin(layout, design)
    assert verify_folder(layout.folder).ok
    assert find_garbage(measured_store) == []


def compared(store, layout, view, scores):
    """A comparison of measured frames, as its stage leaves it."""
    arms = {name: {"outcome": "compared", "reason": None, "verdict": None} for name in scores}
    rows = [
        {"arm": name, "part": "counts", "metric": metric, "value": value / scale, "reason": None}
        for name, value in scores.items()
        for metric, scale in (("complement", 1), ("complement_relative", 100))
    ]
    winner, loser = sorted(scores, key=scores.get)
    contests = [{"score": "complement", "winner": winner, "loser": loser, "sentence": ""}]
    split = {"outcome": "compared", "reason": None, "arms": arms, "rows": rows, "contests": contests}
    key = StageKey("comparison", Cell(1000, view))
    with store.build(layout, key, **KNOWN) as build:
        build.write_json(layout.output(key, "comparison.json"), {"version": 2, "splits": {"test": split}})
        build.succeed({})
    return key


def test_report_puts_both_studies_side_by_side(tmp_path, measured_store, design):
    layout = measured_layout(measured_store, design)
    made = make_twin(layout, design)
    other = filled(ArtifactStore(tmp_path / "data", made.design.name), measured_truth())
    keys = [compared(measured_store, layout, view, {"pinn": 20.0, "lsqml": 40.0}) for view in ("baseline", "dense")]
    compared(other, other.layout(BASE_ID), "baseline", {"pinn": 10.0, "lsqml": 20.0})
    page = write_twin_report(measured_store, design, other, made, keys)
    assert page == layout.folder / "twin" / "twin.html"
    found = json.loads(page.with_name("twin.json").read_text())
    (cell, missing) = found["cells"]
    assert (cell["pairs"][0]["agreement"], cell["pairs"][0]["ratio"]) == ("same", 0.5)
    assert missing["reason"] == "twin: dose_1000/dense: comparison has not run"
    assert "1.4000 per pixel, and 0.9000" in page.read_text()
    assert "scan_twin" in page.with_name("twin.md").read_text()
    assert verify_folder(layout.folder).ok
    assert find_garbage(measured_store) == []
    assert "../twin/twin.html" in layout.checksums.read_text()


def test_a_study_that_simulates_its_frames_is_refused(measured_store, design):
    with pytest.raises(ArtifactError, match=r"study scan simulates its frames \(scan: uniform\)"):
        measured_layout(measured_store, replace(design, scan="uniform"))


def test_a_study_without_a_base_or_without_frames_is_refused(tmp_path, design):
    with pytest.raises(ArtifactError, match="has no base yet"):
        measured_layout(ArtifactStore(tmp_path / "empty", "scan"), design)
    store = filled(ArtifactStore(tmp_path / "other", "scan"), measured_truth(), frames=False)
    with pytest.raises(ArtifactError, match="has no measured frames: import them with `fly64 --study scan base"):
        measured_layout(store, design)


def test_a_twin_of_a_twin_is_refused(tmp_path, measured_store, design):
    made = make_twin(measured_layout(measured_store, design), design)
    store = ArtifactStore(tmp_path / "data", made.design.name)
    layout = store.layout(BASE_ID)
    content = made.frames.read_bytes()
    with store.build(layout, BASE, **KNOWN) as build:
        build.write(layout.base, lambda file: write_npz(file, base_arrays(measured_truth())))
        build.write_bytes(layout.measured_frames, content)
        build.succeed({"origin": IMPORTED})
    store.set_active_base(BASE_ID, IMPORTED)
    with pytest.raises(ArtifactError, match="study scan_twin is itself the twin"):
        measured_layout(store, made.design)


def test_a_name_that_would_be_too_long_is_refused(tmp_path, design):
    with pytest.raises(ArtifactError, match="at most 63 characters: give the study a shorter name"):
        twin_design(replace(design, name="a" * 60), tmp_path / "twin_frames.npz")


def test_cells_that_have_no_comparison_are_named(design):
    keys = [StageKey("comparison", Cell(1000, view)) for view in ("baseline", "dense")]
    states = {keys[0]: State("fresh", "", None), keys[1]: State("missing", "waits for pinn", None)}
    with pytest.raises(ArtifactError, match=r"1 of 2 cells of study scan .*\n  .*dense.*waits for pinn"):
        require_compared(design, states)
    require_compared(design, {keys[0]: states[keys[0]], keys[1]: State("skipped", "too few", None)})
    with pytest.raises(ArtifactError, match="every cell of study scan that was asked for is skipped"):
        require_compared(design, {key: State("skipped", "too few", None) for key in keys})
