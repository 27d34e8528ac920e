"""Corrections of frames, masks, probes and positions, against the physics that they must keep."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.orientation import ORIENTATIONS, turned
from fly64_assets.contract.resampling import resized
from fly64_assets.contract.validate import validate
from fly64_assets.errors import ContractError
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.windows import Scan
from fly64_assets.ptychopinn.data_sets import import_data_set
from fly64_assets.simulation.detector import make_detector
from fly64_assets.simulation.recipe import DetectorSettings

SIDE = 96


@pytest.fixture(scope="module")
def smooth():
    """Expected counts (n, 96, 96) of a smooth object at whole positions, and all that belongs to them."""
    rows, columns = np.mgrid[:180, :192]
    obj = (0.8 + 0.1 * np.cos(columns / 14) * np.cos(rows / 11)) * np.exp(0.5j * np.sin(columns / 17 + rows / 29))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    probe = 90 * np.exp(-((x + 3) ** 2 + 1.5 * y**2) / 260 + 1j * (x**2 + y**2) / 900)
    rng = np.random.default_rng(3)
    scan = Scan(rng.integers(50, 140, 12) * 1.0, rng.integers(50, 130, 12) * 1.0, obj.shape, SIDE)
    return {
        "diffraction": np.rint(patch_counts(obj, probe, scan, 1.0)).astype(np.int64),
        "objectGuess": obj,
        "probeGuess": probe,
        "xcoords": scan.x,
        "ycoords": scan.y,
    }


def model(arrays):
    """Counts (n, N, N) that object, probe and positions let expect."""
    obj, probe = arrays["objectGuess"].astype(complex), arrays["probeGuess"].astype(complex)
    return patch_counts(obj, probe, Scan(arrays["xcoords"], arrays["ycoords"], obj.shape, len(probe)), 1.0)


def physics(arrays):
    return json.loads(str(arrays["_metadata"]))["physics_parameters"]


@pytest.mark.parametrize(("side", "option"), [(64, "crop"), (128, "pad")])
def test_frames_of_another_side_fit_the_model_on_its_own_pixels(save, smooth, side, option):
    """Object, probe and positions on the new pixels predict the frames as well as the old ones did."""
    metadata = {"_metadata": np.array(json.dumps({"physics_parameters": {"pixel_size_m": 1e-8}}))}
    made, done = canonicalize(save(smooth | metadata), corrections=Corrections(**{option: side}))
    assert made["diffraction"].shape[1:] == made["probeGuess"].shape == (side, side)
    good = ~made.get("bad_pixels", np.zeros((side, side), bool))
    assert np.count_nonzero(good) == min(side, SIDE) ** 2
    counts, expected = made["diffraction"].astype(float) ** 2, model(made)
    error = np.abs(counts - expected)[:, good].sum() / counts.sum()
    assert error < 0.02
    np.testing.assert_allclose(made["xcoords"], smooth["xcoords"] * side / SIDE)
    assert physics(made)["N"] == side
    assert physics(made)["pixel_size_m"] == pytest.approx(1e-8 * SIDE / side)
    (step,) = (step["parameters"] for step in done if step["operation"] == "resize_frames")
    assert (step["old"], step["new"]) == ([SIDE, SIDE], side)
    assert step["light_left_out"] < 0.01


def test_frames_may_be_padded_to_any_larger_side(save, smooth):
    """Most pixels of a padded frame are bad; the mask of the old frame in its middle is judged as before."""
    side = 2 * SIDE
    moved = np.roll(smooth["diffraction"], (6, -4), (1, 2))
    made, _ = canonicalize(save(smooth | {"diffraction": moved}), corrections=Corrections(pad=side, centre=True))
    report = validate(made)
    assert not report.errors
    (said,) = (finding.message for finding in report.findings if finding.code == "DATA-001.mask")
    assert f"most of them around the middle {SIDE} x {SIDE}: no value" in said
    again, _ = canonicalize(save(made))
    np.testing.assert_array_equal(again["bad_pixels"], made["bad_pixels"])
    gap = np.zeros((side, side), bool)
    gap[side // 2 - 20] = True
    np.save(save(made).parent / "gap.npy", gap)
    more, _ = canonicalize(save(made), corrections=Corrections(mask=save(made).parent / "gap.npy"))
    np.testing.assert_array_equal(more["bad_pixels"], made["bad_pixels"] | gap)
    assert not validate(more).errors


def test_a_padded_mask_may_be_that_of_a_design_and_an_inverted_one_not(smooth):
    padded = resized(np.zeros((32, 32), bool), 64, True)
    detector = make_detector(DetectorSettings(mask="m.npy"), 64, padded)
    np.testing.assert_array_equal(detector.bad, padded)
    rows, columns = np.mgrid[:64, :64] - 32
    for stop in (np.hypot(rows, columns) < 12, np.hypot(rows - 3, columns) < 20, np.hypot(rows, columns) < 1):
        with pytest.raises(ContractError, match="perhaps the file has the opposite convention"):
            make_detector(DetectorSettings(mask="m.npy"), 64, ~stop)


def test_a_probe_of_the_new_side_stays(save, smooth):
    probe = smooth["probeGuess"][16:80, 16:80]
    made, _ = canonicalize(save(smooth | {"probeGuess": probe}), corrections=Corrections(crop=64))
    np.testing.assert_array_equal(made["probeGuess"], probe.astype(np.complex64))
    np.testing.assert_array_equal(made["xcoords"], smooth["xcoords"])
    with pytest.raises(FormError, match="expected that of the frames"):
        canonicalize(save(smooth | {"probeGuess": probe[:40, :40]}), corrections=Corrections(crop=64))
    with pytest.raises(FormError, match="--crop makes them smaller"):
        canonicalize(save(smooth), corrections=Corrections(crop=128))


def test_frames_that_are_no_squares_are_cropped(save, smooth):
    wide = np.pad(smooth["diffraction"], ((0, 0), (0, 0), (8, 8)))
    probe = smooth["probeGuess"][16:80, 16:80]
    made, _ = canonicalize(save(smooth | {"diffraction": wide, "probeGuess": probe}), corrections=Corrections(crop=64))
    np.testing.assert_allclose(made["diffraction"] ** 2, smooth["diffraction"][:, 16:80, 16:80], rtol=1e-6)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_orientation_is_found_and_undone(save, smooth, name):
    """Frames turned by any of the eight are recognised by the likelihood, and the option named turns them back."""
    inverse = {"rotate-90": "rotate-270", "rotate-270": "rotate-90"}.get(name, name)
    wrong, _ = canonicalize(save(smooth | {"diffraction": turned(smooth["diffraction"], inverse)}))
    found = [finding.message for finding in validate(wrong).findings if finding.code == "DETECTOR-001.orientation"]
    assert len(found) == 1
    assert f"`--orientation {name}`" in found[0]
    path = save(smooth | {"diffraction": turned(smooth["diffraction"], inverse)})
    right, _ = canonicalize(path, corrections=Corrections(orientation=name))
    np.testing.assert_allclose(right["diffraction"] ** 2, smooth["diffraction"], rtol=1e-6)
    assert not [finding for finding in validate(right).findings if finding.code == "DETECTOR-001.orientation"]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_turning_moves_frequencies_and_keeps_the_dc(name):
    """A frame is the spectrum of a plane wave of frequency (2, 5); turning changes the frequency, not the DC."""
    row, column = {
        "transpose": (5, 2),
        "flip-x": (2, -5),
        "flip-y": (-2, 5),
        "rotate-180": (-2, -5),
        "rotate-90": (-5, 2),
        "rotate-270": (5, -2),
        "antitranspose": (-5, -2),
    }[name]
    frame = np.zeros((16, 16), int)
    frame[8, 8], frame[8 + 2, 8 + 5] = 7, 3
    expected = np.zeros_like(frame)
    expected[8, 8], expected[8 + row, 8 + column] = 7, 3
    np.testing.assert_array_equal(turned(frame, name), expected)


def test_a_mask_turns_and_moves_with_the_frames(save, smooth):
    bad = np.zeros((SIDE, SIDE), bool)
    bad[5, 9] = True
    frames = np.where(bad, 77, smooth["diffraction"])
    path = save(smooth | {"diffraction": frames, "bad_pixels": bad})
    made, _ = canonicalize(path, corrections=Corrections(orientation="transpose"))
    assert np.argwhere(made["bad_pixels"]).tolist() == [[9, 5]]
    frames = np.roll(frames, (6, -4), (1, 2))
    path = save(smooth | {"diffraction": frames, "bad_pixels": np.roll(bad, (6, -4), (0, 1))})
    made, done = canonicalize(path, corrections=Corrections(centre=True))
    (step,) = (step["parameters"] for step in done if step["operation"] == "centre_beam")
    assert (step["rows"], step["columns"]) == (-6, 4)
    outside = np.zeros((SIDE, SIDE), bool)
    outside[-6:], outside[:, :4] = True, True
    np.testing.assert_array_equal(made["bad_pixels"], outside | bad)
    kept = smooth["diffraction"][:, ~made["bad_pixels"]]
    np.testing.assert_allclose(made["diffraction"][:, ~made["bad_pixels"]] ** 2, kept, rtol=1e-6)


def test_steps_that_find_nothing_say_so(save, smooth):
    path = save(smooth)
    _, done = canonicalize(path, corrections=Corrections(clip_negative=True, centre=True, fill_border=True))
    steps = [step["parameters"] for step in done if step["operation"] == "nothing_to_do"]
    assert [step["option"] for step in steps] == ["--clip-negative", "--centre", "--fill-border"]
    assert all(step["reason"] for step in steps)
    _, done = canonicalize(path)
    assert "nothing_to_do" not in [step["operation"] for step in done]


def test_light_that_is_not_left_out_is_zero(save, smooth):
    """No noise of rounding, whether frames or a probe's window are cut beside all light, or extended."""
    dark = np.zeros((SIDE, SIDE), bool)
    dark[16:80, 16:80] = True
    frames = {"diffraction": np.where(dark, smooth["diffraction"], 0) * 7}
    probe = {"probeGuess": np.where(dark, smooth["probeGuess"], 0)}
    base = {key: value for key, value in smooth.items() if key != "diffraction"}
    for made in (
        canonicalize(save(smooth | frames), corrections=Corrections(crop=64)),
        canonicalize(save(smooth | frames), corrections=Corrections(pad=128)),
        canonicalize_base(save(base | probe), corrections=Corrections(crop=64)),
    ):
        (lost,) = (value for step in made[1] for name, value in step["parameters"].items() if name.endswith("left_out"))
        assert lost == 0


def test_a_frame_that_masks_the_beam_of_all_others_is_warned_of(save, smooth):
    """One saturated frame; the same value at a pixel of every frame needs no word."""
    frames = smooth["diffraction"].copy()
    frames[5, 44:53, 40:50] = 400000000
    made, _ = canonicalize(save(smooth | {"diffraction": frames}))
    (found,) = (finding.message for finding in validate(made).findings if finding.code == "DETECTOR-001.saturated")
    assert "`--drop-frames` leaves out frames 5; `--mask-value 20000` marks them as bad in all frames" in found
    _, done = canonicalize(save(smooth | {"diffraction": frames}), corrections=Corrections(mask_values=("400000000",)))
    (step,) = (step["parameters"] for step in done if step["operation"] == "mark_bad_pixels")
    assert step["warning"].startswith("90 of the 90 pixels hold it in no frames but 5, and are now bad in all 12")
    form, out = {"corrections": Corrections(mask_values=("400000000",))}, save(smooth).parent / "out.npz"
    path = save(smooth | {"diffraction": frames})
    assert [entry.key for entry in import_data_set(path, out, form, strict=True) if entry.verdict == "refused"]
    assert not out.exists()
    said = [entry.text for entry in import_data_set(path, out, form) if entry.verdict == "warning"]
    assert step["warning"] in said[0]
    assert out.exists()
    frames[:, 44:53, 40:52] = 400000000
    _, done = canonicalize(save(smooth | {"diffraction": frames}), corrections=Corrections(mask_values=("400000000",)))
    assert not [step for step in done if "warning" in step["parameters"]]


def test_negative_marks_in_some_frames_are_masked_before_they_are_taken_for_noise(save, smooth):
    """-1 in all frames at one pixel and in one frame at another; noise about zero may still be clipped."""
    marked = smooth["diffraction"].copy()
    marked[:, 3, 4] = marked[2, 7, 8] = -1
    for dtype in (np.int64, np.float64):
        path = save(smooth | {"diffraction": marked.astype(dtype)})
        for clip in (False, True):
            with pytest.raises(FormError, match=r"\(3, 4\).*\(7, 8\).* --mask-value -1 marks them as bad") as said:
                canonicalize(path, counts=dtype == np.float64, corrections=Corrections(clip_negative=clip))
            assert "--clip-negative" not in str(said.value)
        made, _ = canonicalize(path, counts=dtype == np.float64, corrections=Corrections(mask_values=("-1",)))
        assert np.argwhere(made["bad_pixels"]).tolist() == [[3, 4], [7, 8]]
    noise = smooth["diffraction"].copy()
    noise[2, 7, 8], noise[4, 1, 1] = -1, -2
    path = save(smooth | {"diffraction": noise})
    with pytest.raises(FormError, match=r"--mask-value -2 --mask-value -1 .*noise .*--clip-negative sets them to 0"):
        canonicalize(path)
    made, _ = canonicalize(path, corrections=Corrections(clip_negative=True))
    assert "bad_pixels" not in made
    assert made["diffraction"].min() == 0


def test_corrections_hold_few_frames_in_memory(save, smooth):
    """Every step works in blocks: all together take less than the frames themselves, which their float64 are twice."""
    n = 4096
    rng = np.random.default_rng(1)
    arrays = {key: smooth[key] for key in ("objectGuess", "probeGuess")} | {
        "diffraction": np.resize(smooth["diffraction"][:, 16:80, 16:80], (n, 64, 64)).astype(np.int32),
        "probeGuess": smooth["probeGuess"][16:80, 16:80],
        "xcoords": rng.uniform(50, 140, n),
        "ycoords": rng.uniform(50, 130, n),
        "bad_pixels": np.eye(64, dtype=np.int8),
    }
    arrays["diffraction"][::3, 5, 7:9] = [-1, -5]
    arrays["diffraction"][1, 5, 9] = -3
    path, bytes_of_frames = save(arrays), arrays["diffraction"].nbytes
    del arrays
    wanted = Corrections(
        clip_negative=True, gain=2.0, drop_frames=(3, 4), orientation="transpose", centre=True, crop=48, pixel_size=1e-8
    )
    tracemalloc.start()
    made, done = canonicalize(path, corrections=wanted)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made["diffraction"].shape == (n - 2, 48, 48)
    assert {"clip_negative", "divide_by_gain", "turn_frames", "resize_frames"} <= {step["operation"] for step in done}
    assert peak < bytes_of_frames


def test_a_gain_gives_whole_photons(save, smooth):
    stored = (smooth["diffraction"] * 2.5 + 0.4).astype(np.float32)
    made, done = canonicalize(save(smooth | {"diffraction": stored}), corrections=Corrections(gain=2.5))
    np.testing.assert_allclose(made["diffraction"] ** 2, smooth["diffraction"], rtol=1e-6)
    assert physics(made)["intensity_scale"] == 1.0
    (step,) = (step["parameters"] for step in done if step["operation"] == "divide_by_gain")
    assert step["units_per_photon"] == 2.5
    assert 0.15 < step["largest_rounding"] < 0.17


def test_what_a_file_does_not_hold_is_refused(save, smooth, tmp_path):
    text, small, deep = tmp_path / "text.npy", tmp_path / "small.npy", tmp_path / "deep.npy"
    np.save(text, np.array(["x"]))
    np.save(small, np.zeros((8, 8)))
    np.save(deep, np.zeros((2, SIDE, SIDE)))
    path = save(smooth)
    for corrections, says in (
        (Corrections(drop_frames=(99,)), "there is no frame 99"),
        (Corrections(drop_frames=tuple(range(12))), "nothing would be left"),
        (Corrections(mask_values=("MAX",)), "no pixel of int64 holds"),
        (Corrections(mask_values=("0.5",)), "can hold that"),
        (Corrections(mask_values=("0",)), "marks .* pixels as bad"),
        (Corrections(mask=text), "no picture of finite numbers"),
        (Corrections(mask=small), r"has shape \(8, 8\); expected that of a frame"),
        (Corrections(mask=deep), "no picture of finite numbers"),
        (Corrections(mask=path), "expected one array, or one named bad_pixels"),
        (Corrections(good_pixels="nothing"), "neither a key of the file"),
        (Corrections(probe_mode=1), "there is no mode 1"),
        (Corrections(slice_number=3), "--slice 3 takes one of"),
        (Corrections(positions_unit="m"), "give --pixel-size"),
    ):
        with pytest.raises(ContractError, match=says):
            canonicalize(path, corrections=corrections)


def test_a_window_of_another_side_for_a_base(save, smooth):
    base = {key: value for key, value in smooth.items() if key != "diffraction"}
    made, done = canonicalize_base(save(base), corrections=Corrections(crop=64))
    np.testing.assert_array_equal(made["probeGuess"], smooth["probeGuess"][16:80, 16:80].astype(np.complex64))
    np.testing.assert_array_equal(made["xcoords"], smooth["xcoords"])
    (step,) = (step["parameters"] for step in done if step["operation"] == "resize_window")
    assert 0 < step["power_left_out"] < 0.05


def test_positions_in_metres_use_the_recorded_pixel(save, smooth):
    base = {key: value for key, value in smooth.items() if key != "diffraction"}
    base |= {"xcoords": base["xcoords"] * 2e-8, "ycoords": base["ycoords"] * 2e-8}
    base["_metadata"] = np.array(json.dumps({"physics_parameters": {"pixel_size_m": 2e-8}}))
    made, _ = canonicalize_base(save(base), corrections=Corrections(positions_unit="m"))
    np.testing.assert_allclose(made["xcoords"], smooth["xcoords"])
    base["xcoords"], base["ycoords"] = base["xcoords"] * 1e6, base["ycoords"] * 1e6
    made, _ = canonicalize_base(save(base), corrections=Corrections(positions_unit="um"))
    np.testing.assert_allclose(made["ycoords"], smooth["ycoords"])
