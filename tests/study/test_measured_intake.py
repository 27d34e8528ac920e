"""A file of measured frames becomes a base: converted, calibrated, kept, found again, and out of date."""

from __future__ import annotations

import dataclasses
import json
import resource

import numpy as np
import pytest
from fixtures.measured import measured_truth, write_measured

from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.metadata import has_stand_in_object
from fly64_assets.contract.npz import load_base, load_dataset, open_npz, validate_file
from fly64_assets.contract.orientation import turned
from fly64_assets.errors import ArtifactError, ContractError, Fly64Error
from fly64_assets.measured.settings import MeasuredSettings
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import BASE
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.intake import base_name, base_problem, intake_file, intake_from_design
from fly64_assets.study.states import base_state

TRUTH = MeasuredSettings(calibrate=False)


def design_of(measured, **fields):
    given = {"name": "small", "patch_size_pixels": 64, "scan": "measured", "dose_list": (1e3, 1e4)}
    return StudyDesign(**given | fields, measured=measured)


@pytest.fixture
def own(tmp_path):
    return ArtifactStore(tmp_path / "data", "small")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A base of masked frames without an object in their file, calibrated in a few epochs: store, design, record."""
    folder = tmp_path_factory.mktemp("calibrated")
    path = write_measured(folder / "frames.npz", masked=True, with_object=False).path
    store, design = ArtifactStore(folder / "data", "small"), design_of(MeasuredSettings(epochs=6))
    return store, design, path, intake_file(store, design, path)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A base of frames whose file has the true object, which is the reference: store, file, record."""
    folder = tmp_path_factory.mktemp("taken")
    path = write_measured(folder / "frames.npz").path
    store = ArtifactStore(folder / "data", "small")
    return store, path, intake_file(store, design_of(TRUTH), path)


def test_a_calibrated_base_holds_all_that_a_study_reads(calibrated):
    store, _, path, record = calibrated
    layout = store.layout(store.active_base().base_id)
    frames, base = load_dataset(layout.measured_frames), load_base(layout.base)
    source = load_dataset(path) if "objectGuess" in open_npz(path) else None
    assert source is None
    assert validate_file(layout.measured_frames).ok
    # The counts are those of the file, and every file has the calibrated probe and positions.
    stored = open_npz(path)
    scale = json.loads(str(stored["_metadata"]))["physics_parameters"]["intensity_scale"]
    counts = np.rint((scale * stored["diffraction"].astype(np.float64)) ** 2)
    assert np.array_equal(frames.measurement().counts(), np.where(stored["bad_pixels"], 0, counts))
    assert np.array_equal(frames.bad_pixels, stored["bad_pixels"])
    assert np.array_equal(frames.probe, base.probe)
    assert np.array_equal(frames.x, base.x)
    # No method sees an object: ones stand in for it, and their history says so. The base holds the reference.
    assert has_stand_in_object(frames.metadata)
    assert (frames.object == 1).all()
    assert not has_stand_in_object(base.metadata)
    assert np.abs(base.object - 1).max() > 0.1
    physics = frames.metadata["physics_parameters"]
    mean = frames.measurement().counts().sum() / frames.frames
    assert physics["nphotons"] == pytest.approx(mean)
    assert record.values["measured_photons"] == pytest.approx(mean)
    assert record.values["origin"] == "imported"
    assert {"frames", "calibration_seconds", "stop_reason", "probe_diameter_px"} <= record.values.keys()
    # Everything about the calibration stands in its document.
    document = json.loads(layout.calibration.read_bytes())
    assert document["settings"] == {"calibrate": True, "refine_positions": False, "epochs": 6}
    assert set(document["deviations"]) == {"constant", "smooth", "mode"}
    assert all(one["sentence"] for one in document["deviations"].values())
    assert len(document["orientations"]["held_out_deviance_per_pixel"]) == 8
    assert document["halves"]["frames"] == [30, 30]
    assert document["deviance"] < 2 * document["expected_deviance"]


def test_a_calibrated_file_is_not_calibrated_again(calibrated):
    store, design, path, record = calibrated
    written = store.layout(store.active_base().base_id).measured_frames.stat().st_mtime_ns
    assert intake_file(store, design, path) == record
    assert store.layout(store.active_base().base_id).measured_frames.stat().st_mtime_ns == written
    assert base_state(store, design).name == "fresh"


def test_other_settings_make_it_out_of_date_with_what_to_do(calibrated):
    store, design, *_ = calibrated
    other = dataclasses.replace(design, measured=MeasuredSettings(epochs=7, refine_positions=True, pairs=False))
    state = base_state(store, other)
    assert state.name == "stale"
    assert "measured.refine_positions (False then, True now), measured.epochs (6 then, 7 now)" in state.reason
    assert state.reason.endswith("import them again with `fly64 base import FRAMES`")
    # What the calibration does not depend on leaves it fresh.
    assert base_state(store, dataclasses.replace(design, measured=MeasuredSettings(epochs=6, pairs=False))).done


def test_a_base_with_frames_serves_a_simulated_study(calibrated):
    store, design, *_ = calibrated
    assert base_state(store, dataclasses.replace(design, scan="base", measured=MeasuredSettings())).done


def test_a_base_without_frames_does_not_serve_a_study_of_measured_frames(own, tmp_path):
    simulated = StudyDesign(name="small", base=BaseRecipe("coins", "grass", 132, 60))
    intake_from_design(own, simulated)
    own.set_active_base(own.active_base().base_id, "chosen")
    reason = base_state(own, design_of(TRUTH)).reason
    assert "holds no measured frames" in reason
    assert "`fly64 base import FRAMES`" in reason


def test_a_study_of_measured_frames_without_any_names_the_command(own):
    with pytest.raises(ArtifactError, match=r"none were imported: bring them with `fly64 base import FRAMES`"):
        intake_from_design(own, design_of(TRUTH))


def test_without_a_calibration_object_probe_and_positions_are_those_of_the_file(taken):
    store, _, record = taken
    layout, truth = store.layout(record.values["base_id"]), measured_truth()
    base, frames = load_base(layout.base), load_dataset(layout.measured_frames)
    factor = np.vdot(truth.object, base.object) / np.vdot(truth.object, truth.object)
    assert np.allclose(base.object, factor * truth.object, rtol=1e-5)
    # One scale is shared: what the counts depend on is the same, but for the noise of their sum (1.2e6 photons).
    assert np.allclose(base.probe * factor, truth.probe, atol=3e-3 * np.abs(truth.probe).max())
    assert np.array_equal(base.x, truth.x)
    assert (frames.object == 1).all()
    assert has_stand_in_object(frames.metadata)
    photons = frames.intensity_scale**2 * (np.abs(frames.probe.astype(np.complex128)) ** 2).sum()
    assert photons == pytest.approx(record.values["measured_photons"], rel=0.01)
    assert record.values["deviance"] == pytest.approx(record.values["expected_deviance"], rel=0.03)


@pytest.mark.slow
def test_the_design_may_name_the_file_and_follows_its_settings(own, tmp_path):
    write_measured(tmp_path / "frames.npz")
    design = design_of(TRUTH, base="frames.npz", folder=tmp_path)
    assert intake_from_design(own, design).values["origin"] == "design_file"
    assert base_state(own, design).done
    state = base_state(own, dataclasses.replace(design, measured=MeasuredSettings()))
    assert state.name == "stale"
    assert "import them again" not in state.reason


@pytest.mark.slow
def test_what_a_user_says_of_a_file_belongs_to_its_base(own, tmp_path):
    """The same file with other options is another calibration, although its content gives the base its name."""
    path = write_measured(tmp_path / "frames.npz").path
    design = design_of(TRUTH)
    plain = intake_file(own, design, path)
    fewer = intake_file(own, design, path, form={"corrections": Corrections(drop_frames=(3,))})
    assert (plain.values["frames"], fewer.values["frames"]) == (60, 59)
    assert fewer.parameters["form"] == {"corrections": {"drop_frames": [3]}}
    assert base_state(own, design).done


def test_the_object_of_the_file_changes_nothing_that_a_method_reads(taken, own, tmp_path):
    store, path, record = taken
    arrays, other = open_npz(path), tmp_path / "other.npz"
    np.savez(other, **arrays | {"objectGuess": (0.7j * arrays["objectGuess"] ** 2).astype(np.complex64)})
    another = intake_file(own, design_of(TRUTH), other)
    files = (store.layout(record.values["base_id"]), own.layout(another.values["base_id"]))
    first, second = (open_npz(layout.measured_frames) for layout in files)
    assert all(np.array_equal(first[key], second[key]) for key in first if key != "_metadata")
    assert not np.array_equal(load_base(files[0].base).object, load_base(files[1].base).object)


@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        ({}, {"patch_size_pixels": 128}, r"64 px wide, and the study has patch_size_pixels = 128: .* give --pad 128"),
        ({}, {"dose_list": (1e5, 1e6)}, r"no dose of the study \(100000, 1e\+06\) is below the measured 2\.\d+e\+04"),
        ({"xcoords": 0}, {"train_test_split_axis": "x"}, r"one half of the scan is empty"),
        ({"bad_pixels": 1}, {}, r"and none is left; probably the mask is inverted"),
        ({"diffraction": "amplitudes"}, {}, r"--gain UNITS .*; of amplitudes store the squares"),
        ({"scan_index": 7}, {}, r"scan_index 7 .* occurs 60 time\(s\); expected every index once .*; a file without"),
        ({"scan_index": -1}, {}, r"scan_index -1 of the measured frames .* none below 0"),
        ({"objectGuess": None}, {}, r"the file has no object, and measured\.calibrate: false"),
    ],
)
def test_what_cannot_carry_a_study_is_refused_before_anything_is_calibrated(own, tmp_path, change, fields, said):
    path = write_measured(tmp_path / "frames.npz").path
    arrays = open_npz(path)
    for key, value in change.items():
        if value is None:
            del arrays[key]
        elif value == "amplitudes":
            arrays[key] = np.sqrt(np.asarray(arrays[key], float) ** 2 + 0.3).astype(np.float32)
            del arrays["_metadata"]
        elif key == "bad_pixels":
            arrays[key] = np.ones((64, 64), bool)
        else:
            arrays[key] = np.full_like(arrays[key], value or 66.0)
    np.savez(path, **arrays)
    design = design_of(TRUTH, **fields)
    with pytest.raises(ContractError, match=said):
        intake_file(own, design, path)
    assert own.bases() == ()
    assert not list(own.folder.glob("*")) if own.folder.exists() else True
    assert base_problem(design, path)


def test_a_full_disk_before_the_calibration_is_one_sentence(own, tmp_path):
    path = write_measured(tmp_path / "frames.npz").path
    design, limits = design_of(TRUTH), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(ArtifactError, match=r"measured_frames\.npz could not be written \(File too large\)"):
            intake_file(own, design, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert own.active_base() is None


def test_a_good_file_has_no_problem_and_its_name_is_known_before(own, tmp_path):
    path = write_measured(tmp_path / "frames.npz").path
    found = []
    assert base_problem(design_of(TRUTH), path) == ""
    assert base_name(design_of(TRUTH), path, found.append).startswith("frames_")
    messages = "\n".join(finding.message for finding in found)
    assert "60 frames of 64 px with 2.0" in messages
    assert "all doses can be made of the measured counts: 1000, 10000 photons per frame" in messages
    assert "view sparse: 2 train and 2 test frames; it will be skipped" in messages
    assert "a linear overlap of" in messages


@pytest.mark.slow
def test_turned_frames_are_refused_with_the_option_that_turns_them_and_the_log_is_kept(own, tmp_path):
    path = write_measured(tmp_path / "frames.npz", with_object=False).path
    arrays = open_npz(path)
    np.savez(path, **arrays | {"diffraction": turned(arrays["diffraction"], "transpose")})
    design = design_of(MeasuredSettings(epochs=3))
    with pytest.raises(Fly64Error, match="--orientation transpose"):
        intake_file(own, design, path)
    assert own.active_base() is None
    (name,) = own.bases()
    assert own.record(own.layout(name), BASE).outcome == "failed"
    assert (own.layout(name).folder / "calibration.log").exists()
