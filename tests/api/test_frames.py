"""Frames simulated from plain arrays, and counts that are kept aside."""

import numpy as np
import pytest
from fixtures.scan import gaps, soft_probe

import fly64_assets as fly64
from fly64_assets.errors import ContractError
from fly64_assets.simulation import frames as study_frames
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe


@pytest.fixture(scope="module")
def base():
    return make_base(BaseRecipe("coins", "grass", object_size=100, positions=30), patch_size=64)


def test_frames_are_those_of_a_study(base):
    whole = study_frames.simulate(base, dose=2000, scan="base", axis="y", seed=7)
    mine = fly64.simulate(base.object, base.probe, base.x, base.y, 2000, seed=7)
    assert mine.intensity_scale == whole.scale
    for split, index in whole.halves.items():
        np.testing.assert_array_equal(mine.amplitude[index], np.concatenate(list(whole.amplitude_blocks(split))))


def test_frames_do_not_hold_the_object(base):
    frames = fly64.simulate(base.object, base.probe, base.x, base.y, 2000)
    assert all(np.shape(value) != base.object.shape for value in vars(frames).values())
    assert frames.object_shape == base.object.shape


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": [50.0]}, "as many x as y"),
        ({"probe": np.ones((8, 9))}, "probe .8, 9."),
        ({"x": [10.0, 50.0], "y": [50.0, 50.0]}, "1 of 2 positions leave the object"),
        ({"dose": 0}, "cannot be simulated"),
        ({"dose": 1e30}, "dose = 1e.30: .* above 0, at most 1e.15"),
        ({"probe": np.zeros((64, 64))}, "cannot be simulated"),
        ({"probe": np.full((64, 64), np.nan)}, "probe: 4096 of 4096 values are NaN or infinite"),
        ({"x": [np.nan, 50.0], "y": [50.0, 50.0]}, "x: 1 of 2 values are NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(base, change, sentence):
    given = {"obj": base.object, "probe": base.probe, "x": base.x, "y": base.y, "dose": 1000} | change
    with pytest.raises(ContractError, match=sentence):
        fly64.simulate(**given)


def test_counts_kept_aside_are_independent_poisson_counts():
    obj, probe = np.ones((80, 80), complex), soft_probe(32)
    x = y = np.full(400, 40.0)
    frames = fly64.simulate(obj, probe, x, y, 3000, seed=1)
    fitted, kept_aside = fly64.split_counts(frames, 0.25, seed=2)
    own, other = fitted.counts().reshape(400, -1), kept_aside.counts().reshape(400, -1)
    np.testing.assert_array_equal(own + other, frames.counts().reshape(400, -1))
    bright = own.mean(axis=0) > 1
    for counts in (own, other):  # Poisson: variance over mean is 1, with a standard error of sqrt(2 / 399) per pixel
        ratio = counts[:, bright].var(axis=0, ddof=1) / counts[:, bright].mean(axis=0)
        assert abs(ratio.mean() - 1) < 5 * np.sqrt(2 / 399 / bright.sum())
    correlation = [np.corrcoef(own[:, i], other[:, i])[0, 1] for i in np.flatnonzero(bright)]
    assert abs(np.mean(correlation)) < 5 / np.sqrt(400 * bright.sum())
    assert other.sum() / frames.counts().sum() == pytest.approx(0.25, abs=0.01)


def test_the_rates_of_both_parts_are_those_of_their_scale(base):
    frames = fly64.simulate(base.object, base.probe, base.x, base.y, 50_000)
    for part, share in zip(fly64.split_counts(frames, 0.1), (0.9, 0.1), strict=True):
        assert part.counts().sum() / frames.counts().sum() == pytest.approx(share, abs=0.002)
        assert (part.intensity_scale / frames.intensity_scale) ** 2 == pytest.approx(share)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_part_is_above_none_and_below_all(base, fraction):
    frames = fly64.simulate(base.object, base.probe, base.x, base.y, 1000)
    with pytest.raises(ContractError, match="fraction"):
        fly64.split_counts(frames, fraction)


def test_bad_pixels_stay_bad(base):
    bad = gaps(64)
    frames = fly64.simulate(base.object, base.probe, base.x, base.y, 1000, bad_pixels=bad)
    fitted, kept_aside = fly64.split_counts(frames)
    assert not frames.counts()[:, bad].any()
    assert fitted.bad_pixels is kept_aside.bad_pixels is bad
