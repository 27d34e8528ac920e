"""A letter F in a file of each format comes out as an F at the right place, and its frames belong to it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
from fixtures import foreign_files as layouts

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.opening import opened
from fly64_assets.formats.reading.options import ReadingOptions


def data_set(path, options=None, **form):
    found, form = opened(path, {**form, "options": options or ReadingOptions()}, frames=True)
    arrays, done = canonicalize(found, **form)
    assert not validate(arrays).errors
    return arrays, [step["operation"] for step in done]


def base(path, options=None, **form):
    found, form = opened(path, {**form, "options": options or ReadingOptions()}, frames=False)
    arrays, _ = canonicalize_base(found, **form)
    assert not validate_base(arrays).errors
    return arrays


def facts(arrays):
    return json.loads(str(arrays["_metadata"]))["physics_parameters"]


def is_the_letter(arrays, letter):
    np.testing.assert_array_equal(arrays["objectGuess"], letter.obj)
    np.testing.assert_allclose(arrays["probeGuess"], letter.probe, rtol=1e-6)
    np.testing.assert_allclose(arrays["xcoords"], letter.x, atol=1e-4)
    np.testing.assert_allclose(arrays["ycoords"], letter.y, atol=1e-4)


def is_its_scan(arrays, letter):
    """Positions on another grid: all moved by the same whole pixels."""
    for key, true in (("xcoords", letter.x), ("ycoords", letter.y)):
        moved = arrays[key] - true
        np.testing.assert_allclose(moved, moved[0], atol=1e-4)


def has_its_frames(arrays, letter, chosen=slice(None), turn=lambda frames: frames):
    """Whole counts are the same; bad pixels hold zeros."""
    good = np.where(arrays.get("bad_pixels", False), 0, turn(letter.counts[chosen]))
    np.testing.assert_array_equal(np.rint(arrays["diffraction"].astype(float) ** 2), good)


def has_its_geometry(arrays, letter):
    found = facts(arrays)
    assert found["pixel_size_m"] == pytest.approx(letter.pixel, rel=1e-6)
    assert found["wavelength_m"] == pytest.approx(letter.wavelength, rel=1e-6)
    assert found["energy_eV"] == pytest.approx(letter.energy, rel=1e-6)
    assert found["detector_distance_m"] == pytest.approx(letter.distance, rel=1e-6)


def is_its_measurement(arrays, letter, mask=True):
    is_its_scan(arrays, letter)
    has_its_frames(arrays, letter)
    has_its_geometry(arrays, letter)
    np.testing.assert_allclose(arrays["probeGuess"], letter.probe, rtol=1e-6)
    if mask:
        np.testing.assert_array_equal(arrays["bad_pixels"], layouts.MASK)


def test_cxi(tmp_path, letter):
    layouts.cxi(tmp_path / "f.cxi", letter)
    arrays, done = data_set(tmp_path / "f.cxi")
    is_its_measurement(arrays, letter)
    assert "positions_from_metres" in done


@pytest.mark.parametrize(
    ("vectors", "turn"),
    [
        ([[0, -1, 0], [-1, 0, 0]], lambda frames: frames),
        ([[0, -1, 0], [1, 0, 0]], lambda frames: frames[:, :, ::-1]),
        ([[0, 1, 0], [-1, 0, 0]], lambda frames: frames[:, ::-1]),
        ([[-1, 0, 0], [0, -1, 0]], lambda frames: frames.transpose(0, 2, 1)),
    ],
)
def test_a_detector_of_cxi_that_is_turned_turns_the_positions(tmp_path, letter, vectors, turn):
    """Turned frames see a turned object: positions go along the rows and columns of the frames."""
    layouts.cxi(tmp_path / "f.cxi", letter, vectors=np.array(vectors, float).T * letter.detector_pixel, turn=turn)
    arrays, _ = data_set(tmp_path / "f.cxi")
    down, right = np.array(vectors)[:, :2]
    moves = np.c_[letter.x, letter.y]
    for key, direction in (("xcoords", right), ("ycoords", down)):
        moved = arrays[key] + moves @ direction
        np.testing.assert_allclose(moved, moved[0], atol=1e-4)
    has_its_frames(arrays, letter, turn=turn)
    np.testing.assert_array_equal(arrays["bad_pixels"], turn(layouts.MASK[None])[0])


def test_the_sample_moves_against_the_beam_where_the_user_says_so(tmp_path, letter):
    layouts.cxi(tmp_path / "f.cxi", letter)
    arrays, _ = data_set(tmp_path / "f.cxi", corrections=Corrections(mirror="xy"))
    for key, true in (("xcoords", letter.x), ("ycoords", letter.y)):
        moved = arrays[key] + true
        np.testing.assert_allclose(moved, moved[0], atol=1e-4)


@pytest.mark.parametrize("energy", [(8.0, "keV"), (8000.0, "eV"), (8000 * 1.602176634e-19, "J")])
def test_energies_of_nexus_have_their_unit_beside_them(tmp_path, letter, energy):
    layouts.cxi(tmp_path / "f.nxs", letter, energy=energy, nexus=True)
    is_its_measurement(data_set(tmp_path / "f.nxs")[0], letter)


def test_a_product_of_ptychodus(tmp_path, letter):
    layouts.product_h5(tmp_path / "f.h5", letter)
    layouts.product_npz(tmp_path / "f.npz", letter)
    for name in ("f.h5", "f.npz"):
        arrays = base(tmp_path / name)
        is_the_letter(arrays, letter)
        has_its_geometry(arrays, letter)


@pytest.mark.parametrize("name", ["f.h5", "f.npz"])
def test_frames_beside_a_product_find_their_positions_by_index(tmp_path, letter, name):
    write = layouts.product_h5 if name == "f.h5" else layouts.product_npz
    write(tmp_path / name, letter)
    order = np.array([7, 3, 20, 1, 15, 16])
    layouts.diffraction_npz(tmp_path / "frames.npz", letter, order)
    arrays, _ = data_set(tmp_path / name, ReadingOptions(beside=(tmp_path / "frames.npz",)))
    kept = np.sort(order)
    assert arrays["scan_index"].tolist() == kept.tolist()
    has_its_frames(arrays, letter, kept)
    np.testing.assert_allclose(arrays["ycoords"], letter.y[kept], atol=1e-4)
    np.testing.assert_array_equal(arrays["bad_pixels"], layouts.MASK)


def test_ptypy(tmp_path, letter):
    layouts.ptyd(tmp_path / "f.ptyd", letter)
    layouts.ptyr(tmp_path / "f.ptyr", letter)
    is_the_letter(base(tmp_path / "f.ptyr"), letter)
    np.save(tmp_path / "probe.npy", letter.probe)
    arrays, _ = data_set(
        tmp_path / "f.ptyd", ReadingOptions(beside=(tmp_path / "probe.npy",)), rename={"probe": "probeGuess"}
    )
    is_its_measurement(arrays, letter)


@pytest.mark.parametrize("orientation", range(8))
def test_ptylab_turns_frames_by_their_orientation(tmp_path, letter, orientation):
    """What the file holds gives the frames back when columns, rows and axes are exchanged as the code says."""

    def turn(frames):
        frames = frames[:, :: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]
        return frames.transpose(0, 2, 1) if orientation & 4 else frames

    layouts.ptylab(tmp_path / "f.hdf5", letter, orientation=orientation, turn=turn)
    np.save(tmp_path / "probe.npy", letter.probe)
    options = ReadingOptions(beside=(tmp_path / "probe.npy",))
    arrays, _ = data_set(tmp_path / "f.hdf5", options, rename={"probe": "probeGuess"})
    is_its_measurement(arrays, letter, mask=False)
    names = [None, "flip-x", "flip-y", "rotate-180", "transpose", "rotate-270", "rotate-90", "antitranspose"]
    steps = json.loads(str(arrays["_metadata"]))["data_transformations"]
    turns = [step["parameters"]["orientation"] for step in steps if step["operation"] == "turn_frames"]
    assert turns == ([names[orientation]] if orientation else [])


def test_a_result_of_ptylab(tmp_path, letter):
    layouts.ptylab(tmp_path / "f.hdf5", letter, result=True)
    is_the_letter(base(tmp_path / "f.hdf5"), letter)


@pytest.mark.parametrize("container", ["npz", "h5"])
def test_tike(tmp_path, letter, container):
    path = save(tmp_path / f"f.{container}", layouts.tike_arrays(letter))
    arrays, done = data_set(path)
    is_the_letter(arrays, letter)
    has_its_frames(arrays, letter)
    assert "shift_dc_to_centre" in done


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("container", ["npz", "h5"])
def test_ptychi(tmp_path, letter, container, pairs):
    path = save(tmp_path / f"f.{container}", layouts.ptychi_arrays(letter, pairs=pairs))
    arrays, _ = data_set(path)
    is_the_letter(arrays, letter)
    has_its_frames(arrays, letter)
    np.testing.assert_array_equal(arrays["bad_pixels"], layouts.MASK)


def test_the_power_of_modes_that_vary_along_the_scan_is_said(tmp_path, letter):
    """Of the first, a fifth of all is left out with the second, whose weights are another matter."""
    probe = np.stack([letter.probe, letter.probe / 2])[:, None]
    layouts.product_h5(tmp_path / "f.h5", letter)
    with h5py.File(tmp_path / "f.h5", "a") as file:
        attributes = dict(file["probe"].attrs)
        del file["probe"]
        file["probe"] = probe
        file["probe"].attrs.update(attributes)
    npz = save(tmp_path / "f.npz", layouts.ptychi_arrays(letter, pairs=True) | {"probe": probe})
    for path, convert in ((tmp_path / "f.h5", canonicalize_base), (npz, canonicalize)):
        found, form = opened(path, {"options": ReadingOptions()}, frames=path == npz)
        arrays, done = convert(found, **form)
        is_the_letter(arrays, letter)
        (step,) = (step["parameters"] for step in done if step["operation"] == "drop_varying_modes")
        assert step["power_left_out"] == pytest.approx(0.2)


NAMES = {"dp": "diffraction", "ob": "objectGuess", "probe": "probeGuess", "scan/x": "xcoords", "scan/y": "ycoords"}


@pytest.mark.parametrize("write", [layouts.matlab_5, layouts.matlab_73])
def test_matlab(tmp_path, letter, write):
    write(tmp_path / "f.mat", letter)
    arrays, _ = data_set(tmp_path / "f.mat", rename=NAMES, counts=True)
    is_the_letter(arrays, letter)
    has_its_frames(arrays, letter)
    is_the_letter(base(tmp_path / "f.mat", rename={name: NAMES[name] for name in NAMES if name != "dp"}), letter)


def test_plain_hdf5_npy_and_tiff_under_given_names(tmp_path, letter):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a/pictures"] = letter.counts
        file["a/where"] = np.c_[letter.y, letter.x]
        file["title"] = "F"
    np.save(tmp_path / "obj.npy", letter.obj)
    np.save(tmp_path / "p.npy", letter.probe)
    names = {"a/pictures": "diffraction", "obj": "objectGuess", "p": "probeGuess"}
    beside = (tmp_path / "obj.npy", tmp_path / "p.npy")
    arrays, _ = data_set(
        tmp_path / "f.h5", ReadingOptions(beside=beside, pairs={"a/where": "yx"}), rename=names, counts=True
    )
    is_the_letter(arrays, letter)
    has_its_frames(arrays, letter)
    tifffile.imwrite(tmp_path / "frames.tif", letter.counts.astype(np.float32), photometric="minisblack")
    np.save(tmp_path / "where.npy", np.c_[letter.x, letter.y])
    arrays, _ = data_set(
        tmp_path / "frames.tif",
        ReadingOptions(beside=(*beside, tmp_path / "where.npy"), pairs={"where": "xy"}),
        rename={"frames": "diffraction", "obj": "objectGuess", "p": "probeGuess"},
        counts=True,
    )
    is_the_letter(arrays, letter)
    has_its_frames(arrays, letter)


def test_what_the_user_knows_of_the_geometry_makes_pixels_of_metres(tmp_path, letter):
    layouts.ptylab(tmp_path / "f.hdf5", letter)
    with h5py.File(tmp_path / "f.hdf5", "a") as file:
        for name in ("wavelength", "zo", "dxd"):
            del file[name]
    np.save(tmp_path / "probe.npy", letter.probe)
    options = ReadingOptions(beside=(tmp_path / "probe.npy",))
    corrections = Corrections(
        energy_ev=letter.energy, distance_m=letter.distance, detector_pixel_m=letter.detector_pixel
    )
    names = {"probe": "probeGuess"}
    arrays, _ = data_set(tmp_path / "f.hdf5", options, rename=names, corrections=corrections)
    is_its_measurement(arrays, letter, mask=False)


def save(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


def test_a_probe_of_the_mean_frame(tmp_path, letter):
    """Of a flat object it is the probe itself, where that is a Gaussian in focus."""
    row, column = np.mgrid[:64, :64] - 32
    probe = np.exp(-(row**2 / 60 + column**2 / 90))
    frame = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"))) ** 2
    counts = np.rint(1e9 * frame / frame.sum())
    measured = {"diffraction": np.repeat(counts[None], 9, 0), "xcoords": letter.x[:9], "ycoords": letter.y[:9]}
    np.savez(tmp_path / "f.npz", **measured)
    arrays, done = data_set(tmp_path / "f.npz", counts=True, probe_from_frames=True)
    found = arrays["probeGuess"]
    np.testing.assert_allclose(np.abs(found) / np.abs(found).max(), probe, atol=2e-3)
    assert np.unravel_index(np.abs(found).argmax(), found.shape) == (32, 32)
    assert "probe_from_mean_frame" in done


def test_square_frames_cut_of_oblong_ones_have_square_pixels(tmp_path, letter):
    """A detector of 64 x 96 pixels: columns are sampled more finely until the frames are cut to 64 x 64."""
    wide = np.pad(letter.counts, ((0, 0), (0, 0), (16, 16)))
    shown = SimpleNamespace(**{**vars(letter), "counts": wide})
    layouts.cxi(tmp_path / "f.cxi", shown, turn=lambda frames: frames if frames.shape[-1] == 96 else wide[:1])
    with h5py.File(tmp_path / "f.cxi", "a") as file:
        file["entry_1/instrument_1/detector_1/mask"][...] = 0
    arrays, _ = data_set(tmp_path / "f.cxi", corrections=Corrections(crop=64))
    is_its_scan(arrays, letter)
    has_its_frames(arrays, letter)
    assert facts(arrays)["pixel_size_m"] == pytest.approx(letter.pixel, rel=1e-6)


def test_the_unit_that_the_user_gives_comes_before_the_file(tmp_path, letter):
    """Positions are handed on in metres, and converted once."""
    layouts.cxi(tmp_path / "f.cxi", letter)
    corrections = Corrections(positions_unit="m", pixel_size=letter.pixel)
    is_its_scan(data_set(tmp_path / "f.cxi", corrections=corrections)[0], letter)


@pytest.mark.parametrize("product_first", [True, False])
def test_a_product_of_smaller_windows_keeps_its_own_positions_and_pixels(tmp_path, letter, product_first):
    """Frames of 128 px cut to the 64 px of the probe: the pixel of the product is right for them already."""
    layouts.product_h5(tmp_path / "p.h5", letter)
    wide = SimpleNamespace(**{**vars(letter), "counts": np.pad(letter.counts, ((0, 0), (32, 32), (32, 32)))})
    layouts.cxi(tmp_path / "f.cxi", wide, turn=lambda frames: frames if frames.shape[-1] == 128 else wide.counts[:1])
    with h5py.File(tmp_path / "f.cxi", "a") as file:
        file["entry_1/instrument_1/detector_1/mask"][...] = 0
        del file["entry_1/instrument_1/source_1/illumination"]
    first, second = (tmp_path / name for name in (("p.h5", "f.cxi") if product_first else ("f.cxi", "p.h5")))
    arrays, _ = data_set(first, ReadingOptions(beside=(second,)), corrections=Corrections(crop=64))
    is_the_letter(arrays, letter)
    has_its_frames(arrays, letter)
    has_its_geometry(arrays, letter)


@pytest.mark.parametrize("kind", ["npz", "product", "ptyr", "ptylab", "tike", "ptychi", "matlab", "plain"])
def test_geometry_and_mirror_that_the_user_gives_hold_for_every_format(tmp_path, letter, kind):
    """The object pixel is that of the detector's; positions count from the other side of the object."""
    path, names = tmp_path / f"f.{kind}", {}
    plain = {"objectGuess": letter.obj, "probeGuess": letter.probe, "xcoords": letter.x, "ycoords": letter.y}
    if kind in ("npz", "tike", "ptychi"):
        arrays = {"tike": layouts.tike_arrays(letter), "ptychi": layouts.ptychi_arrays(letter, pairs=False)}
        path = save(tmp_path / "f.npz", arrays.get(kind, plain))
    elif kind == "plain":
        path = save(tmp_path / "f.h5", plain)
    elif kind == "matlab":
        layouts.matlab_5(path, letter)
        names = {"rename": {name: NAMES[name] for name in NAMES if name != "dp"}}
    elif kind == "product":
        layouts.product_h5(path, letter)
    elif kind == "ptyr":
        layouts.ptyr(path, letter)
    else:
        layouts.ptylab(path, letter, result=True)
    geometry = {"energy_ev": letter.energy, "distance_m": letter.distance, "detector_pixel_m": letter.detector_pixel}
    arrays = base(path, **names, corrections=Corrections(**geometry, mirror="xy"))
    has_its_geometry(arrays, letter)
    height, width = letter.obj.shape
    np.testing.assert_allclose(arrays["xcoords"], width - letter.x, atol=1e-4)
    np.testing.assert_allclose(arrays["ycoords"], height - letter.y, atol=1e-4)
    history = [step["operation"] for step in json.loads(str(arrays["_metadata"]))["data_transformations"]]
    assert {"note_geometry", "mirror_positions"} <= set(history)
    with pytest.raises(ContractError, match=r"give one of them|leave --pixel-size"):
        base(path, **names, corrections=Corrections(**geometry, pixel_size=2 * letter.pixel))


def test_an_object_pixel_against_that_of_the_file_is_refused(tmp_path, letter):
    layouts.product_h5(tmp_path / "f.h5", letter)
    with pytest.raises(ContractError, match="its positions were turned into object pixels of"):
        base(tmp_path / "f.h5", corrections=Corrections(pixel_size=2 * letter.pixel))
    assert facts(base(tmp_path / "f.h5", corrections=Corrections(pixel_size=letter.pixel)))["pixel_size_m"]


def test_a_detector_pixel_without_energy_or_distance_is_refused(tmp_path, letter):
    path = save(tmp_path / "f.npz", layouts.tike_arrays(letter))
    with pytest.raises(ContractError, match="give --energy and --distance too"):
        data_set(path, corrections=Corrections(detector_pixel_m=75e-6))


def test_bits_of_a_mask_of_cxi_that_are_no_faults(tmp_path, letter):
    """In the peak mask, out of resolution, corrected, with signal, and these together; all others are faults."""
    layouts.cxi(tmp_path / "f.cxi", letter)
    bits = np.zeros((64, 64), np.uint32)
    bits[0, :16] = 1 << np.arange(16)
    bits[1, :3] = 0x1000 | 0x20, 0x1900, 0x1000 | 0x1
    with h5py.File(tmp_path / "f.cxi", "a") as file:
        file["entry_1/instrument_1/detector_1/mask"][...] = bits
    arrays, _ = data_set(tmp_path / "f.cxi")
    assert np.flatnonzero(~arrays["bad_pixels"][0, :16]).tolist() == [5, 8, 11, 12]
    assert arrays["bad_pixels"][1, :4].tolist() == [False, False, True, False]


def test_a_tilted_detector_of_cxi_is_noted_and_one_along_the_beam_refused(tmp_path, letter):
    turn = np.radians(3)
    tilted = np.array([[0, -np.cos(turn), np.sin(turn)], [-1, 0, 0]])
    layouts.cxi(tmp_path / "f.cxi", letter, vectors=tilted.T * letter.detector_pixel)
    arrays, done = data_set(tmp_path / "f.cxi")
    is_its_measurement(arrays, letter)
    assert "tilted_detector_taken_for_flat" in done
    for wrong, says in (
        ([[0, 0, 1], [-1, 0, 0]], "90 degrees out of the plane"),
        ([[-1, -0.1, 0], [-1, 0, 0]], "not at right angles"),
    ):
        layouts.cxi(tmp_path / "f.cxi", letter, vectors=np.array(wrong, float).T * letter.detector_pixel)
        with pytest.raises(ContractError, match=says):
            data_set(tmp_path / "f.cxi")


def test_ptypy_data_with_positions_in_some_chunks_only_are_refused(tmp_path, letter):
    layouts.ptyd(tmp_path / "f.ptyd", letter)
    with h5py.File(tmp_path / "f.ptyd", "a") as file:
        del file["chunks/1/positions"]
    with pytest.raises(ContractError, match=r"1 of its 3 chunks hold no positions \(chunks/1\)"):
        data_set(tmp_path / "f.ptyd", probe_from_frames=True)
    np.save(tmp_path / "where.npy", np.c_[letter.x, letter.y])
    np.save(tmp_path / "probe.npy", letter.probe)
    options = ReadingOptions(beside=(tmp_path / "where.npy", tmp_path / "probe.npy"), pairs={"where": "xy"})
    arrays, _ = data_set(tmp_path / "f.ptyd", options, rename={"probe": "probeGuess"})
    is_its_scan(arrays, letter)


def test_a_weight_of_ptypy_that_is_no_number_is_bad(tmp_path, letter):
    layouts.ptyd(tmp_path / "f.ptyd", letter)
    with h5py.File(tmp_path / "f.ptyd", "a") as file:
        file["chunks/0/weights"][:, 50, 3] = np.nan
    np.save(tmp_path / "probe.npy", letter.probe)
    arrays, _ = data_set(
        tmp_path / "f.ptyd", ReadingOptions(beside=(tmp_path / "probe.npy",)), rename={"probe": "probeGuess"}
    )
    expected = layouts.MASK.copy()
    expected[50, 3] = True
    np.testing.assert_array_equal(arrays["bad_pixels"], expected)


@pytest.mark.parametrize("value", ["3e-6", np.nan])
def test_a_centre_of_a_product_that_is_no_number_is_refused(tmp_path, letter, value):
    layouts.product_h5(tmp_path / "f.h5", letter)
    with h5py.File(tmp_path / "f.h5", "a") as file:
        file["object"].attrs["center_x_m"] = value
    with pytest.raises(ContractError, match=r"object_center_x_m is .* expected where the object's middle is"):
        base(tmp_path / "f.h5")


def test_sides_of_oblong_frames_are_not_exchanged_before_they_are_squares(tmp_path, letter):
    """Each axis of the positions has the pixel of its side of the frames, until both are the same."""
    wide = np.pad(letter.counts.transpose(0, 2, 1), ((0, 0), (0, 0), (16, 16)))
    shown = SimpleNamespace(**{**vars(letter), "counts": wide})
    layouts.cxi(tmp_path / "f.cxi", shown, turn=lambda frames: frames if frames.shape[-1] == 96 else wide[:1])
    with h5py.File(tmp_path / "f.cxi", "a") as file:
        file["entry_1/instrument_1/detector_1/mask"][...] = 0
    with pytest.raises(ContractError, match=r"exchanges rows and columns of frames of 64 x 96 px.*\(--crop 64\)"):
        data_set(tmp_path / "f.cxi", corrections=Corrections(orientation="transpose", crop=64))
    squares, _ = data_set(tmp_path / "f.cxi", corrections=Corrections(crop=64))
    save(tmp_path / "squares.npz", squares)
    arrays, _ = data_set(tmp_path / "squares.npz", corrections=Corrections(orientation="transpose"))
    is_its_scan(arrays, letter)
    has_its_frames(arrays, letter)
    assert facts(arrays)["pixel_size_m"] == pytest.approx(letter.pixel, rel=1e-6)
