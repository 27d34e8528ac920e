"""Rules on metadata, oversampling, designs, pairs and bases, each triggered alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.validate import validate, validate_base, validate_pair
from fly64_assets.study.design import StudyDesign


def codes(report, severity=None):
    return sorted({f.code for f in report.findings if severity in (None, f.severity)})


def only(report, code, severity="error"):
    """The messages of the report, which must all have this code and severity."""
    assert {(f.code, f.severity) for f in report.findings} == {(code, severity)}, report.findings
    assert report.ok == (severity != "error")
    return " | ".join(f.message for f in report.findings)


def edited(arrays, **physics):
    """The arrays with other values in ``physics_parameters`` (None removes one)."""
    document = json.loads(str(arrays["_metadata"]))
    document["physics_parameters"].update(physics)
    return arrays | {"_metadata": encode_metadata(document)}


def with_document(arrays, **fields):
    return arrays | {"_metadata": encode_metadata(json.loads(str(arrays["_metadata"])) | fields)}


def without(arrays, *keys):
    return {key: value for key, value in arrays.items() if key not in keys}


def moved(arrays, key, frame, value):
    centres = arrays[key].copy()
    centres[frame] = value
    return arrays | {key: centres, f"{key}_start": centres}


# -- metadata -----------------------------------------------------------------------------------------------------


def test_metadata_missing(arrays):
    report = validate(without(arrays, "_metadata"))
    assert "_metadata is missing" in only(report, "DATA-001.metadata")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array("{"), "not JSON"),
        (np.array('{"a": NaN}'), "not JSON"),
        (np.array('{"a": 1e999}'), "not JSON"),
        (np.array("[" * 100000), "not JSON"),
        (np.array("[1]"), "JSON list"),
        (np.array(b"{}"), "dtype |S2"),
        (np.array(["{}"]), "shape (1,)"),
        (np.array({"a": 1}, dtype=object), "pickled Python object"),
        (np.array(3.0), "float64"),
    ],
)
def test_metadata_that_is_no_json_document(arrays, value, said):
    assert said in only(validate(arrays | {"_metadata": value}), "DATA-001.metadata")


@pytest.mark.parametrize(
    "physics",
    [
        {"N": 64},
        {"N": "x"},
        {"nphotons": 2000.0},
        {"nphotons": -1},
        {"expected_mean_counts": "many"},
        {"gridsize": 0.5},
    ],
)
def test_metadata_contradicting_the_arrays(arrays, physics):
    report = validate(edited(arrays, **physics))
    only(report, "DATA-001.metadata")


@pytest.mark.parametrize("dose", [1e2, 1e4])
def test_metadata_with_another_dose_than_the_frames_of_a_half(halves, dose):
    assert "nphotons" in only(validate(edited(halves[0], nphotons=dose)), "DATA-001.metadata")


def test_metadata_a_dark_part_of_the_object_explains_few_counts(part):
    """A half of a scan over an object with a dark corner has fewer counts than the dose: known, not wrong."""
    reached = np.flatnonzero(part(slice(None))["ycoords"] >= 40)
    arrays = part(reached, split="train", split_point=30.0)
    scale = json.loads(str(arrays["_metadata"]))["physics_parameters"]["intensity_scale"]
    obj = arrays["objectGuess"].copy()
    obj[:30] *= 4  # bright rows, which no window of this part reaches
    only(
        validate(edited(arrays | {"objectGuess": obj}, nphotons=12000.0, intensity_scale=scale)),
        "DATA-001.metadata",
        "warning",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"schema_version": "7.0"},
        {"base": "made.npz"},
        {"base": {"name": "made.npz", "sha256": "xyz"}},
        {"split": "both"},
        {"data_transformations": [{"tool": "x"}]},
        {"physics_parameters": [1]},
    ],
)
def test_metadata_of_another_form(arrays, fields):
    report = validate(with_document(arrays, **fields))
    assert codes(report, "error") == ["DATA-001.metadata"]


def test_metadata_that_lacks_fields_is_a_warning(arrays):
    message = only(validate(edited(arrays, expected_mean_counts=None)), "DATA-001.metadata", "warning")
    assert "expected_mean_counts" in message


# -- oversampling, design -----------------------------------------------------------------------------------------


def test_oversampling(part):
    assert validate(part(gridsize=2, neighbor_count=7)).findings == ()
    assert validate(part(gridsize=2, neighbor_count=4)).findings == ()
    assert "neighbor_count = 3 < g^2 = 4" in only(validate(part(gridsize=2, neighbor_count=3)), "OVERSAMPLING-001")
    assert "no neighbor_count" in only(validate(part(gridsize=2)), "OVERSAMPLING-001")
    few = part(slice(0, 3), gridsize=2, neighbor_count=7, view="sparse")
    assert "3 frames < g^2 = 4" in only(validate(few), "OVERSAMPLING-001")


@pytest.fixture
def design():
    return dataclasses.replace(StudyDesign(), patch_size_pixels=16)


def test_design_that_fits(arrays, part, design):
    assert validate(arrays, expected=design.expectations()).findings == ()
    assert validate(part(gridsize=2, view="dense"), expected=design.expectations()).findings == ()


def test_design_with_another_patch_size(arrays):
    message = only(validate(arrays, expected=StudyDesign().expectations()), "DATA-001.shape")
    assert "patch_size_pixels = 64" in message


def test_design_without_this_dose(arrays, design):
    other = dataclasses.replace(design, dose_list=(1e4, 1e5))
    assert "10000, 100000" in only(validate(arrays, expected=other.expectations()), "DATA-001.metadata")


def test_design_that_asks_for_patches(arrays, design):
    assert "Y (design" in only(validate(without(arrays, "Y"), expected=design.expectations()), "DATA-001.keys")
    assert (
        validate(without(arrays, "Y"), expected=dataclasses.replace(design, patches=False).expectations()).findings
        == ()
    )
    assert validate(without(arrays, "Y")).findings == ()


def test_design_with_too_few_neighbours(part, design):
    few = dataclasses.replace(design, neighbor_count=3)
    only(validate(part(gridsize=2, view="dense"), expected=few.expectations()), "OVERSAMPLING-001")


def test_design_with_other_views(part, design):
    only(validate(part(view="medium"), expected=design.expectations()), "DATA-001.metadata")
    assert "gridsize = 1 for dense" in only(
        validate(part(view="dense"), expected=design.expectations()), "DATA-001.metadata"
    )


# -- pairs --------------------------------------------------------------------------------------------------------


def test_pair_that_shares_frames(halves):
    train, test = halves
    shared = test["scan_index"].copy()
    shared[2] = train["scan_index"][0]
    message = only(validate_pair(train, test | {"scan_index": shared}), "DATA-001.split")
    assert "share 1 frames" in message


def test_pair_across_the_split_point(halves):
    train, test = halves
    point = json.loads(str(train["_metadata"]))["split_point"]
    message = only(validate_pair(moved(train, "ycoords", 3, point), test), "DATA-001.split")
    assert "train: 1 positions" in message
    only(validate_pair(train, moved(test, "ycoords", 0, point - 1e-9)), "DATA-001.split")
    assert validate_pair(train, moved(test, "ycoords", 0, point)).findings == ()


def test_pair_in_the_wrong_order(halves):
    only(validate_pair(*reversed(halves)), "DATA-001.split")


def test_pair_of_the_other_axis_is_judged_by_that_axis(halves):
    train, test = (with_document(half, split_axis="x") for half in halves)
    assert "xcoords" in only(validate_pair(train, test), "DATA-001.split")


def test_pair_without_proof(halves):
    train, test = halves
    only(validate_pair(without(train, "scan_index"), test), "DATA-001.split")
    only(validate_pair(with_document(train, split_point=None), with_document(test, split_point=None)), "DATA-001.split")
    only(validate_pair(with_document(train, split_point=1.0), test), "DATA-001.split")
    assert codes(validate_pair(without(train, "_metadata"), test)) == ["DATA-001.metadata", "DATA-001.split"]


def test_pair_of_two_bases(halves):
    train, test = halves
    other = with_document(test, base={"name": "other.npz", "sha256": "ef" * 32})
    only(validate_pair(train, other), "DATA-001.metadata")


# -- bases --------------------------------------------------------------------------------------------------------


@pytest.fixture
def base(arrays):
    return {key: arrays[key] for key in ("objectGuess", "probeGuess", "xcoords", "ycoords")}


def test_base(base):
    assert validate_base(base).findings == ()
    only(validate_base(without(base, "probeGuess")), "DATA-001.keys")
    assert "DATA-001.shape" in codes(validate_base(base, patch_size=64), "error")
    only(validate_base(base | {"objectGuess": base["objectGuess"].astype(complex)}), "DATA-001.dtype", "info")
    only(validate_base(base | {"probeGuess": base["probeGuess"][None]}), "DATA-001.unknown", "info")
    only(validate_base(base | {"objectGuess": np.abs(base["objectGuess"])}), "DATA-001.dtype")
    only(validate_base(base | {"probeGuess": base["probeGuess"] * 0}), "DATA-001.amplitude")
    only(validate_base(base | {"xcoords": base["xcoords"] + 30}), "DATA-001.coordinates")
    only(validate_base(base | {"_metadata": np.array("?")}), "DATA-001.metadata")


def test_base_with_idle_frames(base, arrays):
    corner = np.fft.ifftshift(arrays["diffraction"], axes=(1, 2))
    only(validate_base(base | {"diffraction": corner}), "DATA-001.centre", "info")


def test_base_length(base):
    assert "ycoords length 5 != 60 xcoords" in only(
        validate_base(base | {"ycoords": base["ycoords"][:5]}), "DATA-001.length"
    )
