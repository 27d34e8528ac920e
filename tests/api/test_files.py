"""Frames and objects into files and back."""

import numpy as np
import pytest
import tifffile
from fixtures.scan import gaps

import fly64_assets as fly64
from fly64_assets.errors import ContractError
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe

OPTICS = {"pixel_size_m": 1e-8, "wavelength_m": 1.5e-10, "detector_distance_m": 2.0}


@pytest.fixture(scope="module")
def base():
    return make_base(BaseRecipe("coins", "grass", object_size=100, positions=20), patch_size=64)


@pytest.fixture(scope="module")
def frames(base):
    return fly64.simulate(base.object, base.probe, base.x, base.y, 1000, bad_pixels=gaps(64))


@pytest.mark.parametrize(("name", "optics"), [("a.npz", {}), ("a.npz", {"pixel_size_m": 1e-8}), ("a.cxi", OPTICS)])
def test_frames_come_back(frames, tmp_path, name, optics):
    back = fly64.read(fly64.write(tmp_path / name, frames, **optics)).measurement()
    np.testing.assert_array_equal(back.counts(), frames.counts())
    np.testing.assert_array_equal(back.bad_pixels, frames.bad_pixels)
    # Files with metres lay the grid about the positions anew.
    np.testing.assert_allclose(back.x - back.x[0], frames.x - frames.x[0], atol=1e-6)
    np.testing.assert_allclose(back.y - back.y[0], frames.y - frames.y[0], atol=1e-6)
    scales = [abs(m.probe).max() * m.intensity_scale for m in (back, frames)]
    assert scales[0] == pytest.approx(scales[1], rel=1e-5)


def test_frames_on_another_unit_of_the_probe_are_the_same(frames, tmp_path):
    back = fly64.read(fly64.write(tmp_path / "a.npz", frames.normalised())).measurement()
    np.testing.assert_array_equal(back.counts(), frames.counts())


def test_as_many_frames_as_pixels_are_no_riddle_in_our_own_file(base, tmp_path):
    x = y = np.linspace(32, 67, 64)
    frames = fly64.simulate(base.object, base.probe, x, y, 1000)
    back = fly64.read(fly64.write(tmp_path / "a.npz", frames)).measurement()
    np.testing.assert_array_equal(back.counts(), frames.counts())


def test_an_object_comes_back_as_a_base(base, frames, tmp_path):
    back = fly64.read_base(fly64.write(tmp_path / "a.h5", frames, base.object, **OPTICS))
    np.testing.assert_allclose(back.object, base.object, atol=1e-6)
    np.testing.assert_allclose(back.x, base.x, atol=1e-6)
    fly64.write(tmp_path / "a.tif", frames, base.object)
    np.testing.assert_allclose(tifffile.imread(tmp_path / "a.tif")[0], np.abs(base.object), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "optics", "sentence"),
    [
        ("a.mat", {}, "the ending '.mat' is unknown"),
        ("a.cxi", {"pixel_size_m": 1e-8}, "give wavelength_m, detector_distance_m"),
        ("a.npz", {"pixel": 1.0}, "pixel: unknown"),
        ("a.h5", OPTICS, "give the object"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_written(frames, tmp_path, name, optics, sentence):
    with pytest.raises(ContractError, match=sentence):
        fly64.write(tmp_path / name, frames, **optics)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_needs_a_word_says_which(frames, tmp_path):
    np.savez(tmp_path / "a.npz", diffraction=frames.counts().astype(np.float32), probeGuess=frames.probe)
    with pytest.raises(ContractError, match="xcoords"):
        fly64.read(tmp_path / "a.npz")
