"""Bad pixels: what a mask may be, and that no value under it is judged, kept or written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from fly64_assets.contract import schema
from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.npz import load_dataset, load_measurement, validate_file, write_npz
from fly64_assets.contract.validate import validate, validate_base, validate_pair
from fly64_assets.errors import ContractError
from fly64_assets.ptychopinn.data_sets import export_data_set, import_data_set

N = 16
GAPS = np.zeros((N, N), bool)
GAPS[6] = GAPS[:, 9:11] = True


def masked(arrays, bad=GAPS, **values):
    """The data set with a mask, its expected counts those of the good pixels, and other values under the mask."""
    document = json.loads(str(arrays["_metadata"]))
    scale = document["physics_parameters"]["intensity_scale"]
    counts = np.rint((scale * arrays["diffraction"].astype(float)) ** 2)[:, ~bad]
    document["physics_parameters"]["expected_mean_counts"] = min(float(counts.sum(axis=1).mean()), 1000.0)
    document["physics_parameters"] |= values.pop("physics", {})
    frames = arrays["diffraction"].copy()
    frames[:, bad] = values.pop("under", 0)
    return arrays | {"diffraction": frames, "bad_pixels": bad, "_metadata": encode_metadata(document), **values}


def saved(path, arrays):
    """A file that holds the arrays as they are, as another program writes it."""
    np.savez(path, **arrays)
    return path


def found(report, severity):
    return {f.code: f.message for f in report.findings if f.severity == severity}


@pytest.mark.parametrize("under", [0, np.nan, -1, np.inf, 3.3, 65535, 1e30])
def test_no_rule_judges_values_under_the_mask(arrays, under):
    report = validate(masked(arrays, under=under))
    assert found(report, "error") == {}
    assert found(report, "warning") == {}
    assert found(report, "info") == {
        "DATA-001.mask": "bad_pixels: 46 of 256 pixels (0.18 of the detector) are bad: no value there is judged or used"
    }


def test_values_beside_the_mask_are_judged_as_ever(arrays):
    for value, code in ((np.nan, "finite"), (-1, "amplitude"), (3.3, "counts")):
        broken = masked(arrays)
        broken["diffraction"][3, 0, 0] = value
        assert f"DATA-001.{code}" in found(validate(broken), "error")
    twice = masked(arrays) | {"diff3d": masked(arrays, under=np.nan)["diffraction"]}
    assert validate(twice).ok
    twice["diff3d"][0, 0, 0] = np.nan
    assert "1 value is NaN" in found(validate(twice), "error")["DATA-001.finite"]


def test_expected_counts_are_those_of_the_good_pixels(arrays):
    plain_mean = json.loads(str(arrays["_metadata"]))["physics_parameters"]["expected_mean_counts"]
    assert plain_mean == pytest.approx(1000)
    report = validate(masked(arrays, physics={"expected_mean_counts": plain_mean}))
    assert "sigma from" in found(report, "error")["DATA-001.counts"]


def test_a_beamstop_takes_most_photons_and_is_no_wrong_dose_and_no_dc_in_the_corner(arrays):
    rows, columns = np.mgrid[:N, :N] - N // 2
    stop = np.hypot(rows, columns) < 3
    report = validate(masked(arrays, stop))
    assert report.ok, report.errors
    assert not report.warnings


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        (~GAPS, "mask", r"210 of 256 .* did not measure; probably the mask is inverted: store numpy.logical_not"),
        (np.ones((N, N), bool), "mask", "256 of 256 .* none is left; probably the mask is inverted"),
        (
            np.zeros((N, N), np.uint8),
            "dtype",
            r"bad_pixels has dtype uint8; expected bool, True at pixels that did not",
        ),
        (np.zeros((N, N + 1), bool), "shape", r"bad_pixels has shape \(16, 17\); expected \(16, 16\), one for all"),
        (np.zeros((60, N, N), bool), "shape", "bad_pixels has 3 axes"),
    ],
)
def test_masks_that_are_none(arrays, tmp_path, bad, code, said):
    broken = arrays | {"bad_pixels": bad}
    messages = found(validate(broken), "error")
    assert messages.keys() == {f"DATA-001.{code}"}
    with pytest.raises(ContractError, match=said):
        validate(broken).raise_if_failed("x.npz")
    if code in ("dtype", "shape"):
        for load in (load_dataset, load_measurement):
            with pytest.raises(ContractError, match=said):
                load(saved(tmp_path / "x.npz", broken))


def test_no_bad_pixel_is_no_finding(arrays):
    assert validate(masked(arrays, np.zeros((N, N), bool))).findings == ()


def test_halves_have_one_mask(halves):
    train, test = halves
    assert validate_pair(masked(train), masked(test)).ok
    assert "train has bad_pixels, test has none" in found(validate_pair(masked(train), test), "error")["DATA-001.mask"]
    other = masked(test, np.roll(GAPS, 1, axis=0))
    assert "train and test differ" in found(validate_pair(masked(train), other), "error")["DATA-001.mask"]


def test_reading_adds_variance_and_counts(arrays):
    document = json.loads(str(arrays["_metadata"]))["physics_parameters"]
    scale, rng = document["intensity_scale"], np.random.default_rng(1)
    counts = np.rint((scale * arrays["diffraction"].astype(float)) ** 2)
    read = np.maximum(np.rint(counts + rng.normal(0, 30, counts.shape)), 0)
    mean = read.sum(axis=(1, 2)).mean()
    assert mean > 3000
    frames = (np.sqrt(read) / scale).astype(np.float32)
    off = float(mean) + 6 * np.sqrt(mean / len(read))
    noisy = masked(arrays, np.zeros((N, N), bool), diffraction=frames, physics={"expected_mean_counts": off})
    assert {"DATA-001.counts", "DATA-001.metadata"} == found(validate(noisy), "error").keys()
    document = json.loads(str(noisy["_metadata"]))
    document["physics_parameters"]["read_noise_counts"] = 30.0
    assert validate(noisy | {"_metadata": encode_metadata(document)}).ok


# -- conversion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [2**32 - 1, 65535, -1])
def test_counts_of_a_gap_are_blanked_before_anything_looks_at_them(arrays, tmp_path, gap):
    scale = json.loads(str(arrays["_metadata"]))["physics_parameters"]["intensity_scale"]
    counts = np.rint((scale * arrays["diffraction"].astype(float)) ** 2).astype(np.int64)
    measured = {key: value for key, value in arrays.items() if key != "_metadata"}
    measured |= {"diffraction": counts, "bad_pixels": GAPS.astype(np.uint8)}
    measured["diffraction"][:, GAPS] = gap
    canonical, done = canonicalize(saved(tmp_path / "x.npz", measured))
    assert canonical["bad_pixels"].dtype == np.bool_
    assert not canonical["diffraction"][:, GAPS].any()
    np.testing.assert_array_equal(np.rint(canonical["diffraction"].astype(float) ** 2)[:, ~GAPS], counts[:, ~GAPS])
    assert [step["operation"] for step in done][:3] == ["convert_dtype", "blank_bad_pixels", "square_root_of_counts"]
    assert done[1]["parameters"] == {"key": "diffraction", "value": 0, "pixels": 46}
    assert validate(canonical).ok


def test_other_forms_carry_the_mask(arrays, tmp_path):
    last = masked(arrays, under=np.nan) | {"diffraction": np.moveaxis(masked(arrays)["diffraction"], 0, -1)}
    canonical, _ = canonicalize(saved(tmp_path / "last.npz", last | {"bad_pixels": GAPS[None]}))
    np.testing.assert_array_equal(canonical["bad_pixels"], GAPS)
    np.testing.assert_array_equal(canonical["diffraction"], masked(arrays)["diffraction"])
    corner = masked(arrays)
    for key, axes in (("diffraction", (1, 2)), ("bad_pixels", (0, 1))):
        corner[key] = np.fft.fftshift(corner[key], axes=axes)
    path = saved(tmp_path / "corner.npz", corner)
    with pytest.raises(FormError, match="--dc-corner"):
        canonicalize(path)
    canonical, _ = canonicalize(path, dc_corner=True)
    np.testing.assert_array_equal(canonical["bad_pixels"], GAPS)
    assert validate(canonical).ok
    base, done = canonicalize_base(path)
    assert "bad_pixels" not in base
    assert {"key": "bad_pixels", "reason": "not needed"} in [step["parameters"] for step in done]
    assert validate_base(base).ok


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (~GAPS, "DATA-001|probably the mask is inverted"),
        (np.where(GAPS, np.nan, 0), r"bad_pixels: a mask of dtype float64 .* is no picture of finite numbers"),
        (GAPS[:8], r"bad_pixels has shape \(8, 16\); expected \(16, 16\), one mask for all frames"),
        (np.repeat(GAPS[None], 59, axis=0), r"shape \(59, 16, 16\) is no .* or one for each of the 60 frames"),
        (GAPS.astype(str), "bad_pixels: a mask of dtype <U5"),
    ],
)
def test_masks_of_unclear_meaning_are_refused(arrays, tmp_path, bad, said):
    with pytest.raises(FormError, match=said):
        canonicalize(saved(tmp_path / "x.npz", arrays | {"bad_pixels": bad}))


BITS = np.where(GAPS, 8, 0).astype(np.uint32)


@pytest.mark.parametrize("key", ["bad_pixels", "pixel_mask"])
@pytest.mark.parametrize("each", [False, True])
def test_masks_of_bits_and_of_each_frame(arrays, tmp_path, key, each):
    mask, ever = BITS, GAPS.copy()
    if each:
        mask = np.repeat(BITS[None], 60, axis=0)
        mask[7, 0, 0] = 1
        ever[0, 0] = True
    path = saved(tmp_path / "x.npz", arrays | {key: mask})
    rename = {} if key == "bad_pixels" else {key: "bad_pixels"}
    made, done = canonicalize(path, rename=rename)
    np.testing.assert_array_equal(made["bad_pixels"], ever)
    steps = {step["operation"]: step["parameters"] for step in done}
    assert steps["convert_dtype"] == {"key": "bad_pixels", "old": "uint32", "new": "bool", "bad": "not 0"}
    assert steps.get("mask_of_any_frame", {}).get("pixels_bad_in_some_frames") == (1 if each else None)
    made, _ = canonicalize(path, rename=rename, corrections=Corrections(drop_frames=(7,)))
    np.testing.assert_array_equal(made["bad_pixels"], GAPS)
    path = saved(path, arrays | {"mask": mask == 0})
    made, _ = canonicalize(path, corrections=Corrections(good_pixels="mask"))
    np.testing.assert_array_equal(made["bad_pixels"], ever)


def test_a_further_mask_is_neither_lost_nor_guessed(arrays, tmp_path):
    """Beside bad_pixels, and beside a file's mask; what says nothing new is let go."""
    hot = np.zeros((N, N), bool)
    hot[0, 0] = True
    np.save(tmp_path / "gaps.npy", GAPS)
    path, file = tmp_path / "x.npz", Corrections(mask=tmp_path / "gaps.npy")
    for arrays_of_file, corrections in ((masked(arrays), Corrections()), (arrays, file)):
        both = saved(path, arrays_of_file | {"mask": hot.astype(np.int8)})
        with pytest.raises(FormError, match=r"'mask' looks like a further mask beside bad_pixels, .* --rename mask="):
            canonicalize(both, corrections=corrections)
        made, _ = canonicalize(both, rename={"mask": "bad_pixels"}, corrections=corrections)
        np.testing.assert_array_equal(made["bad_pixels"], GAPS | hot)
        good = saved(path, arrays_of_file | {"mask": ~hot})
        made, _ = canonicalize(good, corrections=replace(corrections, good_pixels="mask"))
        np.testing.assert_array_equal(made["bad_pixels"], GAPS | hot)
        for known in (GAPS, ~GAPS, np.repeat(~GAPS[None], 60, axis=0)):
            made, done = canonicalize(saved(path, arrays_of_file | {"mask": known}), corrections=corrections)
            np.testing.assert_array_equal(made["bad_pixels"], GAPS)
            reasons = [step["parameters"]["reason"] for step in done if step["parameters"].get("key") == "mask"]
            assert reasons == ["a mask that marks no pixel that bad_pixels does not"]
    assert "further mask" in found(validate(masked(arrays) | {"mask": hot}), "error")["DATA-001.mask"]


def test_a_canonical_file_with_a_mask_passes_untouched(arrays, tmp_path):
    first, done = canonicalize(saved(tmp_path / "x.npz", masked(arrays)))
    assert [step["operation"] for step in done] == ["blank_bad_pixels"]
    again, done = canonicalize(saved(tmp_path / "y.npz", first))
    assert done == []
    assert first.keys() == again.keys()
    for key, array in first.items():
        np.testing.assert_array_equal(again[key], array)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(under=any_array(np.float32, (60, 46), elements=st.floats(width=32)))
def test_values_under_the_mask_change_no_byte_of_a_file(part, tmp_path_factory, under):
    folder = tmp_path_factory.mktemp("masked")
    results = []
    for name, values in (("zero", 0), ("any", under)):
        arrays = masked(part(), under=values)
        source = saved(folder / f"{name}.npz", arrays)
        written = folder / f"{name}_written.npz"
        with written.open("wb") as file:
            write_npz(file, arrays)
        imported, exported = folder / f"{name}_imported.npz", folder / f"{name}_exported.npz"
        entries = import_data_set(source, imported, {})
        assert [entry.text for entry in entries if entry.key == "bad_pixels"] == ["read as bad_pixels"]
        assert schema.BAD_PIXELS in export_data_set(source, exported)
        report = validate_file(source).to_dict()
        counts = load_measurement(source).counts().tobytes()
        results.append([path.read_bytes() for path in (written, imported, exported)] + [report, counts])
    assert results[0] == results[1]
    exported = load_dataset(folder / "any_exported.npz")
    np.testing.assert_array_equal(exported.bad_pixels, GAPS)


# -- what else is known of the experiment ---------------------------------------------------------------------------

GEOMETRY = {"pixel_size_m": 5e-8, "wavelength_m": 1.24e-10, "detector_distance_m": 2.1, "energy_eV": 10e3}


def test_geometry_is_judged_and_carried(arrays, tmp_path):
    known = masked(arrays, physics=GEOMETRY)
    assert validate(known).ok
    canonical, _ = canonicalize(saved(tmp_path / "x.npz", known))
    assert GEOMETRY.items() <= json.loads(str(canonical["_metadata"]))["physics_parameters"].items()
    base, _ = canonicalize_base(tmp_path / "x.npz")
    assert GEOMETRY.items() <= json.loads(str(base["_metadata"]))["physics_parameters"].items()
    for value in (0, -1.0, "10 nm"):
        wrong = masked(arrays, physics={"pixel_size_m": value})
        for judge in (validate, validate_base):
            message = found(judge(wrong), "error")["DATA-001.metadata"]
            assert f"pixel_size_m = {value!r}; expected a positive number" in message
