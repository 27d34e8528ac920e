"""Halves of a measurement: what they share and what not, and what becomes of a half without an object."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from fly64_assets.contract.npz import open_npz
from fly64_assets.errors import EngineError
from fly64_assets.measured.pairs import HALVES, PAIRS, pair_measurements, reconstruct_pairs
from fly64_assets.physics.measurement import Measurement

RATE, FRAMES, N = 9.0, 21, 32


@pytest.fixture(scope="module")
def measurement():
    counts = np.random.default_rng(5).poisson(RATE, (FRAMES, N, N))
    x, y = np.linspace(20, 40, FRAMES), np.linspace(20, 50, FRAMES)
    amplitude = (np.sqrt(counts) / 0.5).astype(np.float32)
    return Measurement(amplitude, 0.5, np.ones((N, N), np.complex64), x, y, (80, 80), 3 * np.arange(FRAMES))


def halves_of(measurement, seed=7, scratch=None):
    return dict(pair_measurements(measurement, seed, scratch))


def test_halves_of_the_photons_add_up_and_are_independent_at_half_the_dose(measurement):
    halves = halves_of(measurement)
    one, two = (halves[name] for name in HALVES[:2])
    assert (one.counts() + two.counts() == measurement.counts()).all()
    assert one.intensity_scale == two.intensity_scale == pytest.approx(0.5 / math.sqrt(2))
    assert (one.x == measurement.x).all()
    assert (one.scan_index == measurement.scan_index).all()
    assert stats.pearsonr(one.counts().ravel(), two.counts().ravel()).pvalue > 1e-3
    for half in (one, two):
        # Index of dispersion: variance over mean of Poisson counts, a chi-square variable.
        counts = half.counts().ravel()
        dispersion = ((counts - RATE / 2) ** 2).sum() / (RATE / 2)
        assert 1e-3 < stats.chi2.cdf(dispersion, counts.size) < 1 - 1e-3


def test_halves_of_the_frames_hold_every_frame_once_with_all_its_photons(measurement):
    halves = halves_of(measurement)
    one, two = (halves[name] for name in HALVES[2:])
    assert sorted([*one.scan_index, *two.scan_index]) == measurement.scan_index.tolist()
    assert (one.counts() == measurement.counts(slice(0, None, 2))).all()
    assert (two.counts() == measurement.counts(slice(1, None, 2))).all()
    assert (two.x == measurement.x[1::2]).all()
    assert two.intensity_scale == measurement.intensity_scale


def test_seed_and_index_of_a_frame_alone_decide_its_halves(measurement, tmp_path):
    whole = halves_of(measurement)["photons_1"]
    rows = np.array([8, 2, 13])
    some = dataclasses.replace(
        measurement,
        amplitude=measurement.amplitude[rows],
        x=measurement.x[rows],
        y=measurement.y[rows],
        scan_index=measurement.scan_index[rows],
    )
    assert (halves_of(some)["photons_1"].counts() == whole.counts(rows)).all()
    assert (halves_of(measurement, scratch=tmp_path)["photons_1"].counts() == whole.counts()).all()
    assert not list(tmp_path.iterdir())
    assert (halves_of(measurement, seed=8)["photons_1"].counts() != whole.counts()).any()


def test_bad_pixels_and_units_are_carried(measurement):
    bad = np.zeros((N, N), bool)
    bad[5] = True
    masked = dataclasses.replace(measurement, bad_pixels=bad).normalised()
    halves = halves_of(masked)
    assert (halves["photons_1"].counts() + halves["photons_2"].counts() == masked.counts()).all()
    assert not halves["photons_1"].counts()[:, bad].any()
    assert all((half.bad_pixels == bad).all() for half in halves.values())


def test_a_half_without_an_object_is_named_with_its_reason(measurement, tmp_path, capsys):
    steps = []

    def reconstruct(name, half, progress):
        progress(1, 2, {"loss": 3.0} if name == "photons_1" else {})
        if name == "frames_2":
            raise EngineError("too few frames")
        return np.full((2, 2), half.frames, np.complex128)

    facts = reconstruct_pairs(measurement, 7, tmp_path, lambda *step: steps.append(step), reconstruct)
    objects = open_npz(tmp_path / PAIRS)
    assert {name: (array.dtype, array[0, 0].real) for name, array in objects.items()} == {
        "photons_1": (np.complex64, FRAMES), "photons_2": (np.complex64, FRAMES), "frames_1": (np.complex64, 11),
    }  # fmt: skip
    assert facts["pairs"] == list(objects)
    assert facts["pairs_left_out"] == {"frames_2": "too few frames"}
    assert steps[:2] == [(1, 2, {"photons_1 loss": 3.0}), (1, 2, {"photons_2": 0.5})]
    assert "half frames_2 is left out: too few frames" in capsys.readouterr().out


def test_no_file_is_left_where_no_half_has_an_object(measurement, tmp_path):
    def refuse(*_):
        raise EngineError("no photons")

    one = dataclasses.replace(
        measurement, amplitude=measurement.amplitude[:1], x=np.ones(1), y=np.ones(1), scan_index=np.zeros(1, int)
    )
    facts = reconstruct_pairs(one, 7, tmp_path, lambda *_: None, refuse)
    assert facts["pairs"] == []
    assert facts["pairs_left_out"] == dict.fromkeys(HALVES[:3], "no photons") | {"frames_2": "there is one frame"}
    assert not list(tmp_path.iterdir())
