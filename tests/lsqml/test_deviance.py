from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fly64_assets.lsqml.deviance import LARGE_RATE, deviance, expected_deviance
from fly64_assets.physics.counts import RATE_FLOOR


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
