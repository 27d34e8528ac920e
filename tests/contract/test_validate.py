"""Each code of DATA-001 is triggered alone by one change of a valid data set."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.validate import validate, validate_pair
from fly64_assets.errors import ContractError


def codes(report, severity=None):
    return sorted({f.code for f in report.findings if severity in (None, f.severity)})


def only(report, code, severity="error"):
    """The messages of the report, which must all have this code and severity."""
    assert {(f.code, f.severity) for f in report.findings} == {(code, severity)}, report.findings
    assert report.ok == (severity != "error")
    return " | ".join(f.message for f in report.findings)


def bright_probe(arrays, counts):
    """The probe in the unit of amplitudes whose squares are counts, with so many in a frame."""
    physics = json.loads(str(arrays["_metadata"]))["physics_parameters"]
    return arrays["probeGuess"] * np.float32(physics["intensity_scale"] * np.sqrt(counts / physics["nphotons"]))


def edited(arrays, **physics):
    """The arrays with other values in ``physics_parameters`` (None removes one)."""
    document = json.loads(str(arrays["_metadata"]))
    document["physics_parameters"].update(physics)
    return arrays | {"_metadata": encode_metadata(document)}


def without(arrays, *keys):
    return {key: value for key, value in arrays.items() if key not in keys}


def test_a_simulated_data_set_has_no_findings(arrays, halves):
    assert validate(arrays).findings == ()
    for half in halves:
        assert validate(half).findings == ()
    assert validate_pair(*halves).findings == ()


def test_the_report_as_json(arrays):
    report = validate(without(arrays, "probeGuess"))
    document = json.loads(json.dumps(report.to_dict()))
    assert document["ok"] is False
    assert set(document["findings"][0]) == {"code", "severity", "message"}
    with pytest.raises(ContractError, match=r"x\.npz breaks the data contract:\n  - DATA-001.keys: missing probeGuess"):
        report.raise_if_failed("x.npz")


def test_warnings_do_not_fail_a_report(arrays):
    report = validate(without(arrays, "scan_index"))
    only(report, "DATA-001.keys", "warning")
    report.raise_if_failed("x.npz")


# -- keys, dtype, shape, length, layout, unknown ------------------------------------------------------------------


def test_keys_names_all_that_are_missing(arrays):
    message = only(validate(without(arrays, "objectGuess", "probeGuess")), "DATA-001.keys")
    assert "missing objectGuess, probeGuess" in message


@pytest.mark.parametrize("key", ["objectGuess", "probeGuess", "Y"])
def test_dtype_double_precision_is_not_canonical(arrays, key):
    message = only(validate(arrays | {key: arrays[key].astype(np.complex128)}), "DATA-001.dtype")
    assert f"{key} has dtype complex128; expected complex64" in message


def test_dtype_float64_frames(arrays):
    only(validate(arrays | {"diffraction": arrays["diffraction"].astype(np.float64)}), "DATA-001.dtype")


@pytest.mark.parametrize("key", ["objectGuess", "probeGuess"])
def test_dtype_real_object_or_probe(arrays, key):
    assert "lost its phase" in only(validate(arrays | {key: np.abs(arrays[key])}), "DATA-001.dtype")


def test_dtype_complex_frames(arrays):
    message = only(validate(arrays | {"diffraction": arrays["diffraction"].astype(np.complex64)}), "DATA-001.dtype")
    assert "no phase" in message


def test_dtype_integer_frames_are_counts(arrays):
    scale = json.loads(str(arrays["_metadata"]))["physics_parameters"]["intensity_scale"]
    raw = np.rint((arrays["diffraction"] * scale) ** 2).astype(np.uint16)
    report = validate(arrays | {"diffraction": raw})
    assert "DATA-001.dtype" in codes(report, "error")
    assert any("photon counts" in f.message for f in report.findings)


def test_dtype_positions_as_integers(arrays):
    message = only(validate(arrays | {"scan_index": arrays["scan_index"].astype(np.int32)}), "DATA-001.dtype")
    assert "scan_index has dtype int32; expected int64" in message


def test_dtype_something_that_is_no_array(arrays):
    assert "'scan_index' is a list" in " ".join(f.message for f in validate(arrays | {"scan_index": [1]}).findings)


def test_shape_probe_of_another_size(arrays):
    message = only(validate(arrays | {"probeGuess": arrays["probeGuess"][1:-1, 1:-1]}), "DATA-001.shape")
    assert "probeGuess has shape (14, 14); expected (16, 16)" in message


def test_shape_object_no_larger_than_a_frame(arrays):
    report = validate(arrays | {"objectGuess": arrays["objectGuess"][:16, :16]})
    assert "DATA-001.shape" in codes(report, "error")


def test_shape_coordinates_with_two_axes(arrays):
    message = only(validate(arrays | {"ycoords_start": np.stack([arrays["ycoords"]] * 2)}), "DATA-001.shape")
    assert "ycoords_start has 2 axes" in message


def test_shape_patches_of_another_size(arrays):
    message = only(validate(arrays | {"Y": arrays["Y"][:, :8, :8]}), "DATA-001.shape")
    assert "Y has shape (60, 8, 8); expected (60, 16, 16)" in message


def test_shape_frames_that_are_not_square(arrays):
    report = validate(arrays | {"diffraction": arrays["diffraction"][:, :, :-1]})
    assert "DATA-001.shape" in codes(report, "error")
    assert "frames of 16 x 15 px" in " ".join(f.message for f in report.findings)


@pytest.mark.parametrize("key", ["xcoords_start", "scan_index"])
def test_length_of_per_frame_arrays(arrays, key):
    message = only(validate(arrays | {key: arrays[key][:-1]}), "DATA-001.length")
    assert f"{key} length 59 != 60 frames" in message


def test_length_of_the_coordinates(arrays):
    report = validate(arrays | {"xcoords": arrays["xcoords"][:9]})
    assert "DATA-001.length" in codes(report, "error")
    assert any(f.message == "xcoords length 9 != 60 frames" for f in report.findings)


def test_layout_frames_last(arrays):
    turned = np.ascontiguousarray(np.moveaxis(arrays["diffraction"], 0, -1))
    message = only(validate(arrays | {"diffraction": turned}), "DATA-001.layout")
    assert "(16, 16, 60)" in message
    assert "(n, N, N)" in message


def test_layout_is_decided_by_the_number_of_positions(arrays):
    """17 frames of 16 x 17 px are not a stack of 17 columns: nothing is turned that the positions contradict."""
    report = validate(
        {key: value[:16] if value.shape[:1] == (60,) else value for key, value in arrays.items()}
        | {"diffraction": arrays["diffraction"][:16, :, :9]}
    )
    assert "DATA-001.layout" not in codes(report)


def test_unknown_keys_and_spare_axes_are_information(arrays):
    message = only(validate(arrays | {"remark": np.array("from the beamline")}), "DATA-001.unknown", "info")
    assert "'remark'" in message
    report = validate(arrays | {"probeGuess": arrays["probeGuess"][None]})
    assert codes(report, "info") == ["DATA-001.unknown"]
    assert codes(report, "error") == ["DATA-001.shape"]


def test_legacy_frames_beside_the_canonical_ones(arrays):
    assert validate(arrays | {"diff3d": arrays["diffraction"]}).findings == ()
    only(validate(arrays | {"diff3d": arrays["diffraction"][:-1]}), "DATA-001.shape")


# -- finite, amplitude, centre ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "index", "value"),
    [
        ("probeGuess", (3, 4), np.nan),
        ("objectGuess", (0, 5), np.inf),
        ("Y", (59, 1, 2), np.nan),
        ("diffraction", (7, 0, 3), -np.inf),
    ],
)
def test_finite_names_key_number_and_first_index(arrays, key, index, value):
    broken = arrays[key].copy()
    broken[index] = value
    broken[tuple(-1 for _ in index)] = value
    report = validate(arrays | {key: broken})
    found = [f.message for f in report.findings if f.code == "DATA-001.finite"]
    assert len(found) == 1
    assert found[0].startswith(f"{key}: 2 values are NaN or infinite")
    assert found[0].endswith(f"at [{', '.join(map(str, index))}]")


def test_finite_alone(arrays):
    probe = arrays["probeGuess"].copy()
    probe[0, 0] = np.nan
    assert "1 value is" in only(validate(arrays | {"probeGuess": probe}), "DATA-001.finite")


def test_finite_first_index_beyond_the_first_block(arrays, monkeypatch):
    monkeypatch.setattr("fly64_assets.contract.archive.BLOCK_ELEMENTS", 3 * 16 * 16)
    broken = arrays["diffraction"].copy()
    broken[31, 2, 1] = np.nan
    report = validate(arrays | {"diffraction": broken})
    assert any("[31, 2, 1]" in f.message for f in report.findings)


def test_findings_do_not_depend_on_blocks(arrays, monkeypatch):
    broken = arrays | {"diffraction": -arrays["diffraction"]}
    whole = validate(broken)
    monkeypatch.setattr("fly64_assets.contract.archive.BLOCK_ELEMENTS", 1)
    assert [(f.code, f.severity) for f in validate(broken).findings] == [(f.code, f.severity) for f in whole.findings]


def test_amplitude_negative(arrays):
    frames = arrays["diffraction"].copy()
    frames[5, 0, 0] = -0.0 - 1e-3
    broken = edited(arrays | {"diffraction": frames}, intensity_scale=None, expected_mean_counts=None)
    report = validate(broken)
    assert codes(report, "error") == ["DATA-001.amplitude"]
    assert any("[5, 0, 0]" in f.message for f in report.findings)


def test_amplitude_integers_without_a_scale(arrays):
    raw = edited(arrays, intensity_scale=None, expected_mean_counts=None)
    raw["diffraction"] = np.rint(10 * raw["diffraction"])
    report = validate(raw)
    assert codes(report, "error") == ["DATA-001.amplitude"]
    assert any("raw counts or intensities" in f.message for f in report.findings)


def test_centre_in_the_corner(arrays):
    shifted = np.fft.ifftshift(arrays["diffraction"], axes=(1, 2))
    assert "fftshift" in only(validate(arrays | {"diffraction": shifted}), "DATA-001.centre")


def test_centre_is_ambiguous_for_a_probe_with_a_flat_far_field(arrays):
    point = np.zeros((16, 16), np.complex64)
    point[8, 8] = np.sqrt(9.0 * 256) / 7 / 0.8  # as bright as the frames, behind an object of 0.8
    flat = np.random.default_rng(1).poisson(9.0, arrays["diffraction"].shape)
    frames = (np.sqrt(flat) / 7).astype(np.float32)
    changed = edited(arrays, intensity_scale=7.0, expected_mean_counts=9.0 * 256, nphotons=9.0 * 256)
    only(validate(changed | {"diffraction": frames, "probeGuess": point}), "DATA-001.centre", "warning")


def test_centre_is_ambiguous_for_frames_without_structure(arrays):
    """Background light alone is in the centre as much as in the corners, whatever the probe."""
    flat = np.random.default_rng(1).poisson(4.0, arrays["diffraction"].shape)
    changed = edited(arrays, intensity_scale=1.0, expected_mean_counts=4.0 * 256, nphotons=4.0 * 256)
    frames = np.sqrt(flat).astype(np.float32)
    only(
        validate(changed | {"diffraction": frames, "probeGuess": bright_probe(arrays, 4.0 * 256)}),
        "DATA-001.centre",
        "warning",
    )


# -- coordinates --------------------------------------------------------------------------------------------------


def moved(arrays, key, frame, value):
    centres = arrays[key].copy()
    centres[frame] = value
    return arrays | {key: centres, f"{key}_start": centres}


@pytest.mark.parametrize(("key", "low", "high"), [("xcoords", 8.0, 58.0), ("ycoords", 8.0, 62.0)])
def test_coordinates_windows_may_touch_the_edge_but_not_leave(arrays, key, low, high):
    for value in (low, high):
        assert validate(moved(arrays, key, 4, value)).findings == ()
    for value in (low - 0.01, high + 0.01):
        message = only(validate(moved(arrays, key, 4, value)), "DATA-001.coordinates")
        assert "1 windows of 16 px leave the object" in message
        assert f"frame 4 at {value:g}" in message


def test_coordinates_duplicates_are_a_warning(arrays):
    twice = moved(moved(arrays, "xcoords", 4, 30.0), "ycoords", 4, 31.0)
    twice = moved(moved(twice, "xcoords", 9, 30.0), "ycoords", 9, 31.0)
    assert "1 of 60 positions repeat" in only(validate(twice), "DATA-001.coordinates", "warning")


def test_coordinates_other_start_positions_are_a_warning(arrays):
    other = arrays | {"xcoords_start": arrays["xcoords"] + 3}
    only(validate(other), "DATA-001.coordinates", "warning")


# -- counts -------------------------------------------------------------------------------------------------------


def test_counts_two_ulp_are_no_integer_and_one_is_rounding(arrays):
    frames = arrays["diffraction"].copy()
    index = np.unravel_index(np.argmax(frames), frames.shape)
    frames[index] = np.nextafter(frames[index], np.float32(np.inf))
    assert validate(arrays | {"diffraction": frames}).findings == ()
    frames[index] = np.nextafter(frames[index], np.float32(np.inf))
    message = only(validate(arrays | {"diffraction": frames}), "DATA-001.counts")
    assert f"[{', '.join(str(i) for i in index)}]" in message


def test_counts_wrong_scale(arrays):
    scale = json.loads(str(arrays["_metadata"]))["physics_parameters"]["intensity_scale"]
    assert "no square roots of integer counts" in only(
        validate(edited(arrays, intensity_scale=scale * 1.001)), "DATA-001.counts"
    )


def test_counts_mean_within_five_sigma_of_a_poisson_mean(arrays):
    scale = json.loads(str(arrays["_metadata"]))["physics_parameters"]["intensity_scale"]
    mean = np.rint((arrays["diffraction"].astype(float) * scale) ** 2).sum(axis=(1, 2)).mean()
    for sigmas, good in ((4.9, True), (5.1, False), (-4.9, True), (-5.1, False)):
        # Solve m = e + k sqrt(e / n) for the expectation e.
        expected = (np.sqrt(mean + sigmas**2 / (4 * 60)) - sigmas / (2 * np.sqrt(60))) ** 2
        report = validate(edited(arrays, expected_mean_counts=expected, nphotons=expected))
        assert report.ok is good
        assert codes(report) == ([] if good else ["DATA-001.counts"])


def test_counts_a_halfs_expectation_is_not_the_dose(halves):
    document = json.loads(str(halves[0]["_metadata"]))["physics_parameters"]
    assert document["expected_mean_counts"] != pytest.approx(document["nphotons"], rel=1e-3)
    assert validate(halves[0]).findings == ()


def test_counts_above_a_million_per_pixel_are_a_warning(arrays):
    frames = np.zeros_like(arrays["diffraction"])
    frames[:, 8, 8] = np.sqrt(2e6)
    bright = edited(arrays, intensity_scale=1.0, expected_mean_counts=2e6, nphotons=2e6)
    report = validate(bright | {"diffraction": frames, "probeGuess": bright_probe(arrays, 2e6)})
    assert codes(report, "error") == []
    assert codes(report, "warning") == ["DATA-001.counts", "DETECTOR-001.hot", "DETECTOR-001.saturated"]
