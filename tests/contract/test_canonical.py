"""Every accepted form becomes the same canonical data set, with a record; what needs a guess is refused."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

from fly64_assets.cli.main import main
from fly64_assets.contract import canonical, conversion, positions
from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.metadata import decode_metadata, encode_metadata, transformation
from fly64_assets.contract.npz import load_base, load_dataset, open_npz, write_npz
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ContractError
from fly64_assets.physics.illumination import probe_diameter_px


def operations(transformations):
    assert all(set(entry) == {"tool", "operation", "parameters"} for entry in transformations)
    return [entry["operation"] for entry in transformations]


def same(found, expected, keys=("diffraction", "objectGuess", "probeGuess", "xcoords", "ycoords", "Y", "scan_index")):
    for key in keys:
        assert found[key].dtype == expected[key].dtype, key
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def counts_of(arrays):
    scale = json.loads(str(arrays["_metadata"]))["physics_parameters"]["intensity_scale"]
    return np.rint((arrays["diffraction"].astype(float) * scale) ** 2)


def without(arrays, *keys):
    return {key: value for key, value in arrays.items() if key not in keys}


def test_a_canonical_file_passes_untouched(save, arrays):
    found, done = canonicalize(save(arrays))
    assert done == []
    assert found.keys() == arrays.keys()
    same(found, arrays)
    assert json.loads(str(found["_metadata"])) == json.loads(str(arrays["_metadata"]))


def test_history_survives_and_grows(save, arrays):
    found, done = canonicalize(save(without(arrays, "scan_index")))
    document = json.loads(str(found["_metadata"]))
    assert operations(done) == ["add_scan_index"]
    assert operations(document["data_transformations"]) == ["simulate", "add_scan_index"]
    assert validate(found).findings == ()


def test_legacy_key(save, arrays):
    wild = without(arrays, "diffraction") | {"diff3d": arrays["diffraction"]}
    found, done = canonicalize(save(wild))
    same(found, arrays)
    assert "diff3d" not in found
    assert done == [transformation("rename_key", {"old": "diff3d", "new": "diffraction"})]


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.uint8])
def test_integer_counts_do_not_wrap(save, arrays, dtype):
    raw = counts_of(arrays).astype(dtype)
    raw[3, 8, 8] = np.iinfo(dtype).max if dtype != np.int64 else 10**6
    found, done = canonicalize(save(without(arrays, "_metadata") | {"diffraction": raw}))
    assert found["diffraction"].dtype == np.float32
    np.testing.assert_array_equal(np.rint(found["diffraction"].astype(float) ** 2), raw)
    assert operations(done) == ["square_root_of_counts"]
    assert json.loads(str(found["_metadata"]))["physics_parameters"]["intensity_scale"] == 1.0
    assert validate(found).ok


def test_counts_as_floats_need_a_word(save, arrays):
    raw = without(arrays, "_metadata") | {"diffraction": counts_of(arrays).astype(np.float32)}
    path = save(raw)
    with pytest.raises(ContractError, match="confirm with --counts"):
        canonicalize(path)
    found, done = canonicalize(path, counts=True)
    np.testing.assert_array_equal(found["diffraction"], np.sqrt(counts_of(arrays)).astype(np.float32))
    assert operations(done) == ["square_root_of_counts"]


def test_counts_that_contradict_the_metadata(save, arrays):
    with pytest.raises(ContractError, match="one of the two is wrong"):
        canonicalize(save(arrays | {"diffraction": counts_of(arrays).astype(np.int32)}))
    with pytest.raises(ContractError, match="negative"):
        canonicalize(save(without(arrays, "_metadata") | {"diffraction": -counts_of(arrays).astype(np.int32)}))


def test_layout_by_the_number_of_positions(save, arrays):
    turned = {key: np.moveaxis(arrays[key], 0, -1) for key in ("diffraction", "Y")}
    found, done = canonicalize(save(arrays | turned))
    same(found, arrays)
    assert operations(done) == ["move_frame_axis_first"] * 2
    assert validate(found).findings == ()


def test_layout_of_patches_alone_is_left_to_the_validator(save, arrays):
    found, done = canonicalize(save(arrays | {"Y": np.moveaxis(arrays["Y"], 0, -1)}))
    assert done == []
    assert not validate(found).ok


def test_ambiguous_layout_is_refused_with_the_guess(save, part):
    cube = part(slice(0, 16))
    same(canonicalize(save(cube))[0], cube)  # this package writes frames on the first axis, and the file says its name
    document = decode_metadata(cube["_metadata"]) | {"creation_info": {"tool": "another"}}
    cube |= {"_metadata": encode_metadata(document)}
    with pytest.raises(ContractError, match=r"\(16, 16, 16\).*--frames-first"):
        canonicalize(save(cube))
    same(canonicalize(save(cube), frames_last=False)[0], cube)
    turned = {key: np.moveaxis(cube[key], 0, -1) for key in ("diffraction", "Y")}
    same(canonicalize(save(cube | turned), frames_last=True)[0], cube)


def test_layout_that_the_positions_contradict(save, arrays):
    turned = np.moveaxis(arrays["diffraction"], 0, -1)
    few = {key: arrays[key][:40] for key in ("xcoords", "ycoords", "xcoords_start", "ycoords_start")}
    with pytest.raises(ContractError, match="but there are 40 positions"):
        canonicalize(save(arrays | few | {"diffraction": turned}))


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("Y", lambda a: a[..., None]),
        ("probeGuess", lambda a: a[..., None]),
        ("probeGuess", lambda a: a[None]),
        ("probeGuess", lambda a: a[None, None, :, :, None]),
        ("diffraction", lambda a: a[None]),
        ("xcoords", lambda a: a[:, None]),
    ],
)
def test_spare_axes(save, arrays, key, form):
    found, done = canonicalize(save(arrays | {key: form(arrays[key])}))
    same(found, arrays)
    assert done == [transformation("drop_axes", {"key": key, "shape": list(form(arrays[key]).shape)})]


def test_too_few_axes_are_refused(save, arrays):
    for key in ("probeGuess", "diffraction", "xcoords"):
        with pytest.raises(ContractError, match=f"{key} has shape"):
            canonicalize(save(arrays | {key: arrays[key][0]}))


def test_missing_and_other_start_coordinates(save, arrays):
    found, done = canonicalize(save(without(arrays, "xcoords_start") | {"ycoords_start": arrays["ycoords"] + 4}))
    assert operations(done) == ["add_start_coordinates", "replace_start_coordinates"]
    same(found, arrays, ("xcoords_start", "ycoords_start"))


def test_other_precisions(save, arrays):
    wide = {key: arrays[key].astype(np.complex128) for key in ("objectGuess", "probeGuess", "Y")}
    wide["diffraction"] = arrays["diffraction"].astype(">f8")
    wide["scan_index"] = arrays["scan_index"].astype(np.uint16)
    found, done = canonicalize(save(arrays | wide))
    same(found, arrays)
    assert sorted(entry["parameters"]["key"] for entry in done) == sorted(wide)
    assert validate(found).findings == ()


def test_pickled_metadata_is_left_unread(save, arrays, tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "exploded"),)

    wild = arrays | {"_metadata": np.array(Bomb(), dtype=object)}
    found, done = canonicalize(save(wild))
    assert not (tmp_path / "exploded").exists()
    assert operations(done) == ["drop_key"]
    assert done[0]["parameters"]["key"] == "_metadata"
    assert "pickled" in done[0]["parameters"]["reason"]
    same(found, arrays)
    assert json.loads(str(found["_metadata"]))["data_transformations"] == done


def test_other_pickled_keys_are_refused(save, arrays):
    with pytest.raises(ContractError, match="'remark' is an array of Python objects"):
        canonicalize(save(arrays | {"remark": np.array([{}], dtype=object)}))


def test_unreadable_metadata_and_unknown_keys_are_dropped_and_named(save, arrays):
    found, done = canonicalize(save(arrays | {"_metadata": np.array("{"), "remark": np.arange(3)}))
    assert [entry["parameters"]["key"] for entry in done] == ["_metadata", "remark"]
    assert "remark" not in found


@pytest.mark.parametrize("axes", [(1, 2), (1,), (2,)])
def test_dc_at_the_edges_needs_a_word(save, arrays, axes):
    path = save(arrays | {"diffraction": np.fft.ifftshift(arrays["diffraction"], axes=axes)})
    with pytest.raises(ContractError, match="confirm with --dc-corner"):
        canonicalize(path)
    assert "DATA-001.centre" in {finding.code for finding in validate(open_npz(path)).errors}
    found, done = canonicalize(path, dc_corner=True)
    same(found, arrays)
    assert operations(done) == ["shift_dc_to_centre"]


def test_other_names_need_a_word(save, arrays):
    wild = without(arrays, "diffraction", "probeGuess") | {"data": arrays["diffraction"], "probe": arrays["probeGuess"]}
    path = save(wild)
    with pytest.raises(
        ContractError, match=r"lacks diffraction, probeGuess.*--rename data=diffraction.*--rename probe=probeGuess"
    ):
        canonicalize(path)
    found, done = canonicalize(path, rename={"data": "diffraction", "probe": "probeGuess"})
    same(found, arrays)
    assert operations(done) == ["rename_key"] * 2
    for wrong in ({"nothing": "diffraction"}, {"data": "frames"}, {"data": "xcoords"}):
        with pytest.raises(ContractError, match="rename"):
            canonicalize(path, rename=wrong)


def test_complex_frames_are_refused(save, arrays):
    with pytest.raises(ContractError, match="real amplitudes or counts"):
        canonicalize(save(arrays | {"diffraction": arrays["diffraction"].astype(complex)}))


def test_canonical_arrays_can_be_written_and_loaded(save, arrays, tmp_path):
    raw = without(arrays, "_metadata", "scan_index", "xcoords_start", "ycoords_start", "Y")
    found, _ = canonicalize(save(raw | {"diffraction": counts_of(arrays).astype(np.uint32)}))
    path = tmp_path / "canonical.npz"
    with path.open("wb") as file:
        write_npz(file, found)
    np.testing.assert_array_equal(load_dataset(path).measurement().counts(), counts_of(arrays))


def test_base(save, arrays, tmp_path):
    wild = {
        "objectGuess": arrays["objectGuess"].astype(complex)[None],
        "probeGuess": arrays["probeGuess"][..., None],
        "xcoords": arrays["xcoords"].astype(np.float32),
        "ycoords": arrays["ycoords"],
        "xcoords_start": arrays["xcoords"] + 1,
        "diffraction": np.array([{}], dtype=object),
        "remark": np.arange(3),
    }
    found, done = canonicalize_base(save(wild))
    assert operations(done) == [
        "drop_key", "drop_axes", "drop_axes", "convert_dtype", "convert_dtype",
        "replace_start_coordinates", "add_start_coordinates", "drop_key",
    ]  # fmt: skip
    assert validate_base(found).findings == ()
    path = tmp_path / "base.npz"
    with path.open("wb") as file:
        write_npz(file, found)
    base = load_base(path)
    np.testing.assert_array_equal(base.object, arrays["objectGuess"])
    assert base.metadata["data_transformations"] == done
    assert base.metadata["physics_parameters"]["N"] == 16


def test_base_with_other_names(save, arrays):
    wild = {
        "obj": arrays["objectGuess"],
        "probe": arrays["probeGuess"],
        "xcoords": arrays["xcoords"],
        "ycoords": arrays["ycoords"],
    }
    with pytest.raises(ContractError, match="--rename obj=objectGuess"):
        canonicalize_base(save(wild))
    found, _ = canonicalize_base(save(wild), rename={"obj": "objectGuess", "probe": "probeGuess"})
    assert validate_base(found).findings == ()


def test_a_base_in_place_of_a_data_set_is_told_where_to_go(tmp_path):
    path = tmp_path / "base.npz"
    obj, probe = np.ones((9, 9), complex), np.ones((4, 4), complex)
    np.savez(path, objectGuess=obj, probeGuess=probe, xcoords=[3.0], ycoords=[3.0])
    with pytest.raises(ContractError, match=r"lacks diffraction; .*`fly64 base import` takes it"):
        canonicalize(path)


@pytest.mark.parametrize("axes", [(0, 1), (0,), (1,)])
def test_a_probe_in_fft_order_needs_a_word(save, arrays, axes):
    """Its centroid is dark, so that its diameter would be that of the window."""
    path = save(arrays | {"probeGuess": np.fft.ifftshift(arrays["probeGuess"], axes=axes)})
    for read in (canonicalize, canonicalize_base):
        with pytest.raises(FormError, match=r"FFT order.*confirm with --probe-corner"):
            read(path)
        found, done = read(path, probe_corner=True)
        np.testing.assert_array_equal(found["probeGuess"], arrays["probeGuess"])
        assert "shift_probe_to_centre" in operations(done)
        with pytest.raises(FormError, match="leave --probe-corner out"):
            read(save(arrays), probe_corner=True)
        save(arrays | {"probeGuess": np.fft.ifftshift(arrays["probeGuess"], axes=axes)})
    assert "DATA-001.centre" in {finding.code for finding in validate(open_npz(path)).errors}
    with pytest.raises(ValueError, match="FFT order"):
        probe_diameter_px(open_npz(path)["probeGuess"])


def test_wide_dark_and_displaced_probes_are_no_probes_in_fft_order(save, arrays):
    rows, columns = np.mgrid[:64, :64] - 32
    radius = np.hypot(rows, columns)
    for probe in (radius < 30, abs(radius - 26) < 3, np.hypot(rows - 12, columns) < 8, np.ones((64, 64))):
        wide = {"objectGuess": np.ones((100, 100)) + 0j, "probeGuess": probe + 0j, "xcoords": [40, 50.0]}
        assert validate_base(canonicalize_base(save(wide | {"ycoords": [40, 50.0]}))[0]).errors == ()


def conventions(arrays):
    height, width = arrays["objectGuess"].shape
    x, y, n = arrays["xcoords"], arrays["ycoords"], len(arrays["probeGuess"])
    return {
        "from-centre": ({"xcoords": x - width // 2, "ycoords": y - height // 2}, {"positions": "from-centre"}),
        "corners": ({"xcoords": x - n // 2, "ycoords": y - n // 2}, {"positions": "corners"}),
        "exchanged": ({"xcoords": y, "ycoords": x}, {"rename": {"xcoords": "ycoords", "ycoords": "xcoords"}}),
        "exchanged from-centre": (
            {"xcoords": y - height // 2, "ycoords": x - width // 2},
            {"positions": "from-centre", "rename": {"xcoords": "ycoords", "ycoords": "xcoords"}},
        ),
    }


@pytest.mark.parametrize("name", ["from-centre", "corners", "exchanged", "exchanged from-centre"])
def test_other_conventions_of_positions_are_guessed_and_confirmed(save, arrays, name):
    """The guess names the option, and the option gives the positions that were meant."""
    obj = np.pad(arrays["objectGuess"], ((0, 0), (0, 60)), mode="wrap")
    wide = arrays | {"objectGuess": obj, "xcoords": arrays["xcoords"] * 2 - 6}
    del wide["xcoords_start"], wide["ycoords_start"]
    stored, said = conventions(wide)[name]
    path = save(wide | stored)
    for read in (canonicalize, canonicalize_base):
        with pytest.raises(FormError, match=r"windows of 16 px leave the object.*confirm with") as caught:
            read(path)
        assert caught.value.code == "DATA-001.coordinates"
        assert all(f"--positions {origin}" in str(caught.value) for origin in [said.get("positions")] if origin)
        assert ("--rename xcoords=ycoords --rename ycoords=xcoords" in str(caught.value)) == ("rename" in said)
        found, _ = read(path, **said)
        np.testing.assert_allclose(found["xcoords"], wide["xcoords"])
        np.testing.assert_allclose(found["ycoords"], wide["ycoords"])


def test_positions_that_nothing_explains_are_left_to_the_validator(save, arrays):
    found, _ = canonicalize(save(arrays | {"xcoords": arrays["xcoords"] + 1000}))
    assert "DATA-001.coordinates" in {finding.code for finding in validate(found).errors}


def records(array, names=("real", "imag"), kind="<f8"):
    out = np.empty(array.shape, [(name, kind) for name in names])
    out[names[0]], out[names[1]] = (array.imag, array.real) if names[0].startswith("i") else (array.real, array.imag)
    return out


@pytest.mark.parametrize("names", [("real", "imag"), ("r", "i"), ("Re", "Im"), ("imag", "real")])
def test_complex_numbers_as_records(save, arrays, names):
    found, done = canonicalize(
        save(arrays | {key: records(arrays[key], names, "<f4") for key in ("objectGuess", "probeGuess", "Y")})
    )
    same(found, arrays)
    assert operations(done) == ["join_records"] * 3


def test_records_of_anything_else_are_called_so(save, arrays):
    with pytest.raises(FormError, match="probeGuess is made of records with the fields amplitude, phase"):
        canonicalize(save(arrays | {"probeGuess": records(arrays["probeGuess"], ("amplitude", "phase"))}))


def test_a_last_axis_of_two_is_read_where_it_cannot_be_an_amplitude(save, arrays):
    def stacked(array):
        return np.stack([array.real, array.imag], -1)

    probe = {"probeGuess": stacked(arrays["probeGuess"])}
    assert (probe["probeGuess"][..., 0] < 0).any()
    same(canonicalize(save(arrays | probe))[0], arrays)
    # What one array of a file shows says nothing about another.
    obj = stacked(np.abs(arrays["objectGuess"].real) + 1j * arrays["objectGuess"].imag)
    positive = arrays | probe | {"objectGuess": obj}
    path = save(positive)
    with pytest.raises(FormError, match=r"objectGuess of shape \(70, 66, 2\).*amplitude and phase.*--real-imaginary"):
        canonicalize(path)
    found, _ = canonicalize_base(path, real_imaginary=True)
    np.testing.assert_array_equal(found["objectGuess"].imag, arrays["objectGuess"].imag)


def test_a_raster_of_frames(save, arrays):
    raster = arrays | {key: arrays[key].reshape(6, 10, 16, 16) for key in ("diffraction", "Y")}
    found, done = canonicalize(save(raster))
    same(found, arrays)
    assert operations(done) == ["flatten_raster"] * 2
    places = {key: arrays[key].reshape(6, 10) for key in ("xcoords", "ycoords", "xcoords_start", "ycoords_start")}
    same(canonicalize(save(raster | places))[0], arrays)
    same(canonicalize_base(save(arrays | places))[0], arrays, ("xcoords", "ycoords"))
    same(canonicalize(save(arrays | places))[0], arrays)
    last = {key: np.moveaxis(arrays[key], 0, -1) for key in ("diffraction", "Y")}
    same(canonicalize(save(arrays | places | last))[0], arrays)
    with pytest.raises(FormError, match=r"xcoords has shape \(6, 10\); expected 1 axes"):
        canonicalize(save(arrays | places | {"diffraction": arrays["diffraction"][:50]}))
    with pytest.raises(FormError, match=r"\(5, 10, 16, 16\).*rows x columns positions.*\(60,\)"):
        canonicalize(save(arrays | {"diffraction": arrays["diffraction"][:50].reshape(5, 10, 16, 16)}))


@pytest.mark.parametrize(("factor", "said"), [(1e45, "holds at most 3.4e.38: divide"), (1e-50, "loses digits below")])
def test_numbers_beyond_single_precision_are_no_infinities_and_no_zeros(save, arrays, factor, said):
    for key in ("probeGuess", "objectGuess", "diffraction"):
        with pytest.raises(FormError, match=f"{key}: its .*{said}"):
            canonicalize(save(arrays | {key: arrays[key].astype(np.result_type(arrays[key], np.float64)) * factor}))
    found, _ = canonicalize(save(arrays | {"probeGuess": arrays["probeGuess"].astype(complex) * 1e-25}))
    np.testing.assert_allclose(found["probeGuess"], arrays["probeGuess"] * np.float32(1e-25), rtol=1e-6)


def test_whole_numbers_beyond_their_type_do_not_wrap(save, arrays):
    with pytest.raises(FormError, match="scan_index: its numbers reach"):
        canonicalize(save(arrays | {"scan_index": np.arange(60, dtype=np.uint64) + np.uint64(2**63)}))


def test_a_measurement_needs_no_object(save, arrays):
    """Ones stand in for it on a grid that holds every window; nobody simulates frames of them."""
    measured = without(arrays, "objectGuess", "Y", "_metadata", "xcoords_start", "ycoords_start")
    measured["diffraction"] = counts_of(arrays).astype(np.uint16)
    for shift in (0, -200.0, 1e6):
        places = {key: arrays[key] + shift for key in ("xcoords", "ycoords")}
        found, done = canonicalize(save(measured | places))
        assert validate(found).errors == ()
        assert max(found["objectGuess"].shape) < 110
        for key, stored in places.items():
            np.testing.assert_allclose(np.diff(found[key]), np.diff(stored), atol=1e-9)
        assert "stand_in_object" in operations(done)
        assert "stand_in_object" in str(found["_metadata"])
    with pytest.raises(FormError, match="put a reconstruction into its place"):
        canonicalize_base(save(found))
    with pytest.raises(FormError, match=r"no object pixels \(metres"):
        canonicalize(save(measured | {key: measured[key] * 1e-8 for key in ("xcoords", "ycoords")}))
    with pytest.raises(FormError, match="hardly object pixels"):
        canonicalize(save(measured | {key: measured[key] * 1e6 for key in ("xcoords", "ycoords")}))


def test_two_keys_can_be_exchanged(save, arrays):
    path = save(arrays | {"xcoords": arrays["ycoords"], "ycoords": arrays["xcoords"]})
    same(canonicalize(path, rename={"xcoords": "ycoords", "ycoords": "xcoords"})[0], arrays, ("xcoords", "ycoords"))
    with pytest.raises(FormError, match="has that key already"):
        canonicalize(path, rename={"xcoords": "ycoords"})


def test_every_option_that_a_message_names_is_one_of_the_commands():
    """A sentence that names an option is printed by `fly64 import` or `fly64 base import`, which have it."""
    sources = [Path(inspect.getfile(module)).read_text() for module in (canonical, conversion, positions)]
    named = set(re.findall(r"--[a-z][a-z-]+", "".join(sources)))
    assert {"--dc-corner", "--counts", "--frames-last", "--rename"} <= named
    legacy, base = main.commands["legacy"].commands["import"], main.commands["base"].commands["import"]
    common = set(re.findall(r"--[a-z][a-z-]+", "".join(sources[1:])))
    for command, wanted in ((legacy, named), (base, common)):
        params = (*main.params, *command.params)
        assert wanted <= {option for each in params for option in (*each.opts, *each.secondary_opts)}
    assert not re.search(r"\w = (True|False)", " ".join(re.findall(r'"[^"\n]*"', "".join(sources))))


def test_coordinates_under_other_names_are_guessed(save, arrays):
    wild = without(arrays, "xcoords", "ycoords") | {"x": arrays["xcoords"], "pos_y": arrays["ycoords"]}
    with pytest.raises(FormError, match=r"--rename pos_y=ycoords.*--rename x=xcoords"):
        canonicalize_base(save(wild))
    same(canonicalize_base(save(wild), rename={"x": "xcoords", "pos_y": "ycoords"})[0], arrays, ("xcoords", "ycoords"))


def test_floats_too_large_to_have_fractions_are_no_counts(save, arrays):
    with pytest.raises(FormError, match="diffraction: its numbers reach"):
        canonicalize(save(without(arrays, "_metadata") | {"diffraction": arrays["diffraction"].astype(float) * 1e45}))


def test_the_exchange_names_the_keys_of_the_file(save, arrays):
    wide = np.pad(arrays["objectGuess"], ((0, 0), (0, 60)), mode="wrap")
    wild = without(arrays, "xcoords", "ycoords") | {
        "objectGuess": wide,
        "a": arrays["ycoords"],
        "b": arrays["xcoords"] * 2,
    }
    with pytest.raises(FormError, match="--rename a=ycoords --rename b=xcoords"):
        canonicalize_base(save(wild), rename={"a": "xcoords", "b": "ycoords"})
    canonicalize_base(save(wild), rename={"a": "ycoords", "b": "xcoords"})
