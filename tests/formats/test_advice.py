"""What is said about files that a user is likely to bring, and that what is advised works."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from fixtures import foreign_files as layouts

from fly64_assets.cli.main import main

TRANSLATION = "entry_1/data_1/translation"


@pytest.fixture
def fly64():
    return lambda *arguments: CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def imports(fly64, tmp_path):
    """`fly64 import` of a file; every answer is written, or refused without a file."""

    def imported(path, *options):
        out = tmp_path / "out.npz"
        answer = fly64("legacy", "import", path, out, *options, "--force")
        assert (answer.exit_code == 0) == (f"{out}: written" in answer.output)
        assert "Traceback" not in answer.output
        return answer

    return imported


@pytest.fixture
def cxi(tmp_path, letter):
    """A CXI file of the letter, changed by a function of the open file."""

    def made(change=lambda file: None, name="f.cxi"):
        path = tmp_path / name
        layouts.cxi(path, letter)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return made


def stored(name, change):
    """A change of one member: a function of its array gives the new one."""

    def of(file):
        array = file[name][:]
        del file[name]
        file[name] = change(array)

    return of


def with_nan(array):
    array[[4, 5, 9], 0] = np.nan
    return array


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("entry_1/data_1/data", np.zeros_like, "every value is zero, so nothing was measured"),
        ("entry_1/data_1/data", lambda array: array[:0], "0 frames"),
        (TRANSLATION, with_nan, "positions of frames 4-5,9 are NaN or infinite.*--drop-frames 4-5,9"),
        (TRANSLATION, lambda array: array * 0, r"all 24 positions are the same \(0, 0\)"),
        (TRANSLATION, lambda array: array * 1e6, "--positions-unit um .or m. --pixel-size P.* 7\\.[0-9]+e-08 by"),
    ],
)
def test_what_is_wrong_with_frames_and_positions_is_said(imports, cxi, name, change, says):
    answer = imports(cxi(stored(name, change)))
    assert answer.exit_code == 1
    assert re.search(says, answer.output), answer.output


def test_frames_of_unknown_positions_are_left_out_as_advised(imports, cxi, tmp_path):
    assert imports(cxi(stored(TRANSLATION, with_nan)), "--drop-frames", "4-5,9").exit_code == 0
    assert len(np.load(tmp_path / "out.npz")["xcoords"]) == 21
    answer = imports(cxi(stored(TRANSLATION, with_nan)), "--drop-frames", "4")
    assert "frames 5,9 are" in answer.output  # as they are numbered in the file


def test_micrometres_in_the_place_of_metres_are_read_as_advised(imports, cxi, letter, tmp_path):
    path = cxi(stored(TRANSLATION, lambda array: array * 1e6))
    assert imports(path, "--positions-unit", "um", "--pixel-size", letter.pixel).exit_code == 0
    moved = np.load(tmp_path / "out.npz")["xcoords"] - letter.x
    np.testing.assert_allclose(moved, moved[0], atol=1e-3)


@pytest.mark.parametrize(("gain", "warned"), [(2, True), (2.5, True), (1, False), (0.5, False)])
def test_a_gain_that_rounds_much_is_warned_of(imports, cxi, gain, warned):
    path = cxi()
    answer = imports(path, "--gain", gain)
    assert answer.exit_code == 0
    assert ("DETECTOR-001.gain: diffraction: division by the gain" in answer.output) == warned
    assert (imports(path, "--gain", gain, "--scale-probe", "--strict").exit_code == 1) == warned


@pytest.mark.parametrize("order", ["xy", "yx"])
def test_pairs_are_read_as_advised(fly64, imports, letter, tmp_path, order):
    """Also under names that say nothing, where there are as many as frames."""
    np.save(tmp_path / "stack.npy", letter.counts)
    np.save(tmp_path / "table.npy", np.stack([letter.x, letter.y] if order == "xy" else [letter.y, letter.x], 1))
    given = [tmp_path / "stack.npy", "--with", tmp_path / "table.npy", "--probe-from-frames"]
    answer = imports(*given)
    assert "confirm with --pairs table=xy (columns first) or --pairs table=yx (rows first)" in answer.output
    answer = imports(*given, "--rename", "stack=diffraction", "--pairs", f"table={order}")
    assert answer.exit_code == 0, answer.output
    moved = np.load(tmp_path / "out.npz")["ycoords"] - letter.y
    np.testing.assert_allclose(moved, moved[0], atol=1e-6)
    assert json.loads(str(np.load(tmp_path / "out.npz")["_metadata"]))["data_transformations"]


def without(*names):
    def of(file):
        for name in names:
            del file[name]

    return of


ENERGY, DETECTOR = "entry_1/instrument_1/source_1/energy", "entry_1/instrument_1/detector_1"


@pytest.mark.parametrize("options", [(), ("--positions", "from-centre")])
def test_what_is_missing_of_the_geometry_is_named_with_its_options(imports, cxi, letter, options):
    lacking = cxi(without(ENERGY))
    answer = imports(lacking, *options)
    assert "positions are in metres, and the file has no energy: give --energy EV" in answer.output
    geometry = [f"{DETECTOR}/{name}" for name in ("distance", "x_pixel_size", "y_pixel_size")]
    answer = imports(cxi(without(ENERGY, *geometry), "g.cxi"), *options)
    assert "no energy and no distance and no detector pixel" in answer.output
    assert "--energy EV and --distance M and --detector-pixel M, or the object pixel" in answer.output
    for advised in (("--energy", letter.energy), ("--positions-unit", "m", "--pixel-size", letter.pixel)):
        assert imports(lacking, *advised).exit_code == 0


def test_an_energy_in_kev_is_doubted_and_a_distance_replaced_is_said(imports, cxi, letter):
    answer = imports(cxi(without(ENERGY)), "--energy", letter.energy / 1000)
    assert "the photon energy is 8 eV: keV meant? The unit of --energy is eV" in answer.output
    answer = imports(cxi(), "--distance", 2 * letter.distance)
    assert answer.exit_code == 0
    assert f"detector_distance_m = {2 * letter.distance}, detector_distance_m_of_the_file = 1.7" in answer.output


def test_files_of_scans_of_unlike_lengths_are_warned_of(imports, cxi, letter, tmp_path):
    layouts.product_h5(tmp_path / "p.h5", letter)
    given = [tmp_path / "p.h5", "--with", cxi(stored(TRANSLATION, lambda array: array[:-3]))]
    answer = imports(*given)
    assert "DATA-001.length: f.cxi holds 21 positions and p.h5 24, of which those of p.h5 are taken" in answer.output
    assert answer.exit_code == 0
    assert imports(*given, "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty (0 bytes)"), (b"hello\n", "is of no known kind"), (None, "of the kind HDF5")]
)
def test_a_file_or_mask_of_no_known_kind_is_named_so(imports, cxi, tmp_path, content, says):
    other = tmp_path / "other.cxi"
    if content is not None:
        other.write_bytes(content)
        answer = imports(other)
        assert answer.exit_code == 1
        assert f"{other} {says}; expected an NPZ, HDF5, MATLAB, NPY or TIFF file" in answer.output
    answer = imports(cxi(), "--mask", other if content is not None else cxi(name="g.cxi"))
    assert answer.exit_code == 1
    assert says in answer.output
    assert answer.output.strip().endswith("a mask is an NPY, NPZ or TIFF file")


def test_errors_name_the_cause_alone(imports, fly64, cxi, letter, tmp_path):
    path = cxi(stored("entry_1/data_1/data", lambda array: np.where(array == array.max(), np.nan, array)), "nan.cxi")
    with h5py.File(path, "r+") as file:
        del file["entry_1/instrument_1/source_1/illumination"]
    answer = imports(path, "--probe-from-frames")
    assert "DATA-001.finite" in answer.output
    assert "--mask-value nan" in answer.output
    assert "probeGuess" not in answer.output
    assert imports(path, "--probe-from-frames", "--mask-value", "nan").exit_code == 0
    answer = imports(cxi(), "--frames-last")
    assert "24 positions, so the last axis does not count the frames: leave --frames-last out" in answer.output
    layouts.product_h5(tmp_path / "p.h5", letter)
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        file["object"].attrs["pixel_width_m"] = -1e-8
    assert "object_pixel_width_m = -1e-08" in imports(tmp_path / "p.h5").output
    measurement = cxi(name="m.cxi")
    answer = fly64("--data-root", tmp_path, "base", "check", measurement)
    assert answer.exit_code == 1
    assert "frames without one are a measurement: `fly64 import` makes a data set" in answer.output
    assert "a study with scan: measured (`fly64 --study measured base check`) takes them" in answer.output


def test_what_is_read_is_not_called_ignored(imports, fly64, letter, tmp_path):
    """Geometry of a product is used; what no measurement knows is no news; messages name a command."""
    layouts.product_npz(tmp_path / "p.npz", letter)
    layouts.diffraction_npz(tmp_path / "d.npz", letter)
    answer = imports(tmp_path / "p.npz", "--with", tmp_path / "d.npz")
    assert answer.exit_code == 0, answer.output
    for name in ("probe_energy_eV", "detector_object_distance_m", "object_pixel_width_m", "object_center_x_m"):
        assert f"understood {name} = ptychodus product: read: geometry of the measurement" in answer.output
    assert "lacks nphotons" not in answer.output
    last = np.moveaxis(np.sqrt(letter.counts), 0, -1).astype(np.float32)
    np.savez(tmp_path / "last.npz", diffraction=last, xcoords=letter.x, ycoords=letter.y)
    answer = fly64("contract", "check", tmp_path / "last.npz")
    assert "(FORMAT-001; `fly64 import` turns it)" in answer.output


def test_a_reconstruction_without_its_frames_is_told_where_they_may_be(imports, letter, tmp_path):
    layouts.product_h5(tmp_path / "product.h5", letter)
    with h5py.File(tmp_path / "product.h5", "r+") as file:
        file["object"][...] = 1.0
    answer = imports(tmp_path / "product.h5")
    assert answer.exit_code == 1
    assert "frames in another file: --with FILE" in answer.output
