"""Statistics over repeats: analytic values, calibration of the verdict, and what a single run cannot say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from fly64_assets.evaluation.scores.verdicts import (
    ALPHA,
    Difference,
    difference,
    mean,
    repeated_contests,
    split_samples,
)


def test_mean_and_standard_error_of_known_values():
    assert mean({1: 1.0, 2: 2.0, 3: 6.0}) == (3.0, pytest.approx(math.sqrt(7 / 3)))
    assert mean({2: 5.0}) == (5.0, None)
    assert mean({}) == (None, None)


def test_difference_is_the_paired_test_of_scipy():
    random = np.random.default_rng(1)
    first, second = random.normal(0, 1, (2, 6))
    found = difference(dict(enumerate(first)), dict(enumerate(second)))
    assert found == Difference(6, pytest.approx(scipy.stats.ttest_rel(first, second).pvalue))


def test_pairing_finds_a_small_difference_under_common_noise():
    common = np.random.default_rng(2).normal(1, 0.3, 5)
    small = np.random.default_rng(3).normal(0.02, 0.002, 5)
    a, b = dict(enumerate(common)), dict(enumerate(common + small))
    assert difference(a, b).significant is True
    assert scipy.stats.ttest_ind(common, common + small).pvalue > 0.5, "unpaired, nobody would see it"


def test_equal_methods_are_called_different_as_often_as_the_level_says():
    random = np.random.default_rng(4)
    calls = [difference(*(dict(enumerate(random.normal(size=3))) for _ in range(2))).significant for _ in range(1500)]
    assert np.mean(calls) == pytest.approx(ALPHA, abs=4 * math.sqrt(ALPHA * (1 - ALPHA) / 1500))


def test_pairs_over_repeats_tie_within_the_spread():
    wide = {"pinn": {1: 0.10, 2: 0.20, 3: 0.15}, "lsqml": {1: 0.16, 2: 0.13, 3: 0.19}, "absent": {}}
    (sentence,) = repeated_contests(wide, "phase")
    assert sentence.startswith("pinn and lsqml are not distinguishable (phase RMSE 0.15 against 0.16 rad; p = 0.8")
    close = {"lsqml": {1: 0.101, 2: 0.1512, 3: 0.1209}, "pinn": {1: 0.100, 2: 0.150, 3: 0.120}}
    (sentence,) = repeated_contests(close, "amplitude")
    assert sentence.startswith("pinn beats lsqml by 1 % (amplitude RMSE 0.123 against 0.124; p = 0.0")
    assert "too few repeats" in repeated_contests({"a": {1: 0.1}, "b": {2: 0.3}}, "phase")[0]


def test_what_one_run_or_equal_runs_can_say():
    assert difference({1: 0.1}, {1: 0.2}) == Difference(1, None)
    assert difference({1: 0.1}, {1: 0.2}).significant is None
    assert difference({1: 0.1, 2: 0.1}, {3: 0.2}) == Difference(0, None)
    assert difference({1: 0.5, 2: 0.5}, {1: 0.5, 2: 0.5}).significant is False
    assert difference({1: 0.5, 2: 0.25}, {1: 0.75, 2: 0.5}).significant is True


def test_only_repeats_with_a_value_count():
    def document(pinn):
        row = {"arm": "pinn", "part": "phase", "metric": "rmse", "value": pinn, "reason": None}
        return {"splits": {"test": {"rows": [row]}, "train": {"outcome": "skipped"}}}

    found = split_samples({1: document(0.1), 2: document(None), 3: document(0.3)}, "test")
    assert found == {"pinn": {"phase rmse": {1: 0.1, 3: 0.3}}}
    assert split_samples({1: document(0.1)}, "train") == {}


def test_repeats_of_one_measurement_are_called_different_as_rarely_as_independent_ones():
    """Two equal rates, counted once and thinned to a half five times: without what is shared every third is wrong."""
    rng, trials, wrong = np.random.default_rng(1), 400, {0.0: 0, 0.5: 0}
    for counts in rng.poisson(400, (trials, 2)):
        pair = [dict(enumerate(thinned.astype(float))) for thinned in rng.binomial(counts[:, None], 0.5, (2, 5))]
        for shared in wrong:
            wrong[shared] += difference(*pair, shared=shared).p < 0.05
    assert wrong[0.0] > 0.2 * trials
    assert wrong[0.5] < 0.08 * trials
