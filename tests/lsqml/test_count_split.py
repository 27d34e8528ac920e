from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import xlogy

from fly64_assets.lsqml import count_split
from fly64_assets.lsqml.count_split import LARGE_RATE, HeldOutCounts, deviance, expected_deviance
from fly64_assets.physics.counts import RATE_FLOOR
from fly64_assets.physics.forward import patch_counts


def counts_of(split: HeldOutCounts) -> np.ndarray:
    return np.fft.fftshift(split.fitted, axes=(-2, -1))


def test_without_held_out_counts_all_counts_are_fitted(scanned):
    m = scanned(dose=1e4, n=70).measurement
    split = HeldOutCounts(m, 0, 1)
    assert split.fitted.dtype == np.float32
    np.testing.assert_array_equal(counts_of(split), m.counts())
    assert split.scale == m.intensity_scale
    assert math.isnan(split.deviances(np.ones(m.object_shape), m.probe).held_out)


def test_held_out_counts_are_part_of_the_counts_in_the_right_share(scanned):
    m = scanned(dose=1e4, n=70).measurement
    split = HeldOutCounts(m, 0.2, 1)
    kept, whole = counts_of(split), m.counts()
    assert (kept >= 0).all()
    assert (kept <= whole).all()
    share = 1 - kept.sum() / whole.sum()
    assert abs(share - 0.2) < 5 * math.sqrt(0.2 * 0.8 / whole.sum())
    assert split.scale**2 == pytest.approx(0.8 * m.intensity_scale**2)


def test_the_division_depends_on_seed_and_place_of_the_frame_alone(scanned, monkeypatch):
    m = scanned(dose=1e4, n=70).measurement
    one = HeldOutCounts(m, 0.2, 1).fitted
    monkeypatch.setattr(count_split, "blocks", lambda n: (slice(j, min(j + 7, n)) for j in range(0, n, 7)))
    np.testing.assert_array_equal(HeldOutCounts(m, 0.2, 1).fitted, one)
    assert (HeldOutCounts(m, 0.2, 2).fitted != one).any()


@pytest.mark.parametrize("part", [0.0, 0.2])
def test_the_truth_has_the_expected_deviance_and_a_uniform_object_has_more(scanned, part):
    s = scanned(dose=1e4, n=40)
    m = s.measurement
    split = HeldOutCounts(m, part, 1)
    truth, uniform = split.deviances(s.object, m.probe), split.deviances(np.ones_like(s.object), m.probe)
    pixels = 40 * 64**2
    assert abs(truth.fitted - truth.expected) < 4 * np.sqrt(2 / pixels)
    assert uniform.fitted > truth.expected + 0.1
    if part:
        assert uniform.held_out > truth.held_out + 0.02


def test_only_some_frames_are_judged_where_there_are_many(scanned, monkeypatch):
    monkeypatch.setattr(count_split, "FITTED_FRAMES", 20)
    s = scanned(dose=1e4, n=39)
    m = s.measurement
    broken = m.amplitude.copy()
    broken[1::2] = 9
    even = np.arange(0, 39, 2)
    some = replace(m, amplitude=m.amplitude[even], x=m.x[even], y=m.y[even], scan_index=even)
    found = HeldOutCounts(replace(m, amplitude=broken), 0, 1).deviances(s.object, m.probe)
    expected = HeldOutCounts(some, 0, 1).deviances(s.object, m.probe)
    assert (found.fitted, found.expected) == pytest.approx((expected.fitted, expected.expected), rel=1e-12)


def test_held_out_counts_are_evaluated_in_all_frames_though_few_are_for_the_fit(scanned, monkeypatch):
    monkeypatch.setattr(count_split, "FITTED_FRAMES", 20)
    s = scanned(dose=1e4, n=39)
    m = s.measurement
    split = HeldOutCounts(m, 0.2, 1)
    held_out = m.counts() - counts_of(split)
    rates = 0.2 * np.maximum(patch_counts(s.object, m.probe, m.scan, m.intensity_scale), 1e-12)
    expected = 2 * (xlogy(held_out, held_out / rates) - held_out + rates).mean()
    assert split.deviances(s.object, m.probe).held_out == pytest.approx(expected, rel=1e-9)


def test_the_deviance_is_zero_where_counts_equal_rates():
    counts = np.array([0.0, 1.0, 2.0, 17.0, 1e6])
    np.testing.assert_allclose(deviance(counts, counts), 0, atol=1e-7)


def test_the_deviance_is_twice_the_log_likelihood_ratio():
    counts = np.array([0, 1, 3, 10, 250])
    rates = np.array([0.5, 2.0, 0.1, 14.0, 240.0])
    best = stats.poisson.logpmf(counts, counts.astype(float))
    here = stats.poisson.logpmf(counts, rates)
    np.testing.assert_allclose(deviance(counts.astype(float), rates), 2 * (best - here), rtol=1e-10)


def test_the_deviance_is_finite_where_the_model_is_dark():
    found = deviance(np.array([0.0, 5.0]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(found, [2 * RATE_FLOOR, 2 * (5 * np.log(5 / RATE_FLOOR) - 5)], rtol=1e-7)


@pytest.mark.parametrize("rate", [1e-3, 0.03, 0.3, 1.0, 2.5, 10.0, 60.0, 99.0, 101.0, 1e3, 1e5])
def test_the_expectation_agrees_with_drawn_counts(rate):
    draws = deviance(np.random.default_rng(7).poisson(rate, 400_000).astype(float), np.full(1, rate))
    error = draws.std() / np.sqrt(len(draws))
    assert abs(expected_deviance(np.array([rate]))[0] - draws.mean()) < 4 * error


def test_the_expectation_tends_to_one_for_many_photons_and_to_zero_for_none():
    assert expected_deviance(np.array([1e8]))[0] == pytest.approx(1, abs=1e-8)
    # At so low a rate counts are 0 or, rarely, 1: exp(-r) 2r + r 2(-log r - 1 + r) = -2 r log r + O(r^2).
    rate = 1e-6
    assert expected_deviance(np.array([rate]))[0] == pytest.approx(-2 * rate * np.log(rate), rel=1e-4)
    assert expected_deviance(np.array([0.0]))[0] < 1e-6


def test_table_and_series_meet():
    below, above = expected_deviance(LARGE_RATE * np.array([1 - 1e-9, 1 + 1e-9]))
    assert below == pytest.approx(above, abs=1e-6)


def test_the_expectation_keeps_the_shape():
    rates = np.random.default_rng(1).uniform(0, 300, (2, 3, 4))
    one_by_one = [expected_deviance(np.array([rate]))[0] for rate in rates.ravel()]
    np.testing.assert_array_equal(expected_deviance(rates).ravel(), one_by_one)
