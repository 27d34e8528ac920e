"""The test over frames that share light: its error where theory knows it, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fly64_assets.evaluation.counts.paired import SharedLight, holm
from fly64_assets.physics.windows import Scan

PROBE = np.ones((8, 8), complex)


def scan(y, x):
    return Scan(np.asarray(x, float), np.asarray(y, float), (4096, 4096), 8)


def far_apart(n):
    return scan(np.full(n, 100.0), 40.0 * np.arange(1, n + 1))


def test_frames_that_share_nothing_are_students():
    values = np.random.default_rng(1).normal(0.3, 1, 40)
    found = SharedLight(PROBE, far_apart(40)).test(values)
    expected = scipy.stats.ttest_1samp(values, 0)
    assert (found.mean, found.p) == pytest.approx((values.mean(), expected.pvalue))
    assert found.error == pytest.approx(scipy.stats.sem(values))
    assert found.independent == pytest.approx(40)


def test_frames_at_one_place_count_once():
    """Each value three times in the same place: the test is that of the values once."""
    values, places = np.random.default_rng(2).normal(0.4, 1, 30), far_apart(30)
    whole = scan(np.repeat(places.y, 3), np.repeat(places.x, 3))
    found, once = SharedLight(PROBE, whole).test(np.repeat(values, 3)), SharedLight(PROBE, places).test(values)
    assert (found.mean, found.error, found.p) == pytest.approx((once.mean, once.error, once.p))
    assert found.independent == pytest.approx(30, rel=0.05)


def test_shared_light_is_the_overlap_of_the_probes():
    """Two frames of a square probe that overlap by half count as 1 / (1 + 1/2) of two."""
    places = far_apart(20)
    light = SharedLight(PROBE, scan(np.tile(places.y, 2), np.r_[places.x, places.x + 4]))
    assert light.areas == pytest.approx(40 / 1.5)


def test_equal_objects_are_seldom_called_different():
    """Differences that vary over a few windows: every frame for itself is wrong far too often, the test hardly."""
    y, x = (c.ravel() for c in np.meshgrid(100 + 3.0 * np.arange(24), 100 + 3.0 * np.arange(24), indexing="ij"))
    light, rng, wrong = SharedLight(PROBE, scan(y, x)), np.random.default_rng(3), []
    for _ in range(200):
        # Noise on the pixels, of which every frame sees the mean over its window, and noise of its own.
        field = rng.normal(size=(90, 90)).cumsum(0).cumsum(1)
        rows, columns = (y - 100).astype(int), (x - 100).astype(int)
        means = (
            field[rows + 8, columns + 8] - field[rows, columns + 8] - field[rows + 8, columns] + field[rows, columns]
        )
        values = means / 8 + 0.3 * rng.normal(size=len(x))
        wrong.append((scipy.stats.ttest_1samp(values, 0).pvalue < 0.05, light.test(values).p < 0.05))
    alone, together = np.mean(wrong, axis=0)
    assert alone > 0.25
    assert together < 0.1


def test_the_order_of_frames_does_not_matter():
    rng = np.random.default_rng(4)
    places, values = scan(*rng.uniform(100, 200, (2, 300))), rng.normal(size=300)
    order = rng.permutation(300)
    one, two = SharedLight(PROBE, places).test(values), SharedLight(PROBE, places[order]).test(values[order])
    assert (one.mean, one.error, one.p) == pytest.approx((two.mean, two.error, two.p))


def test_there_is_no_test_of_frames_that_all_share_their_light():
    light = SharedLight(PROBE, scan(100 + np.arange(9) / 9, 100 + np.arange(9) / 9))
    found = light.test(np.arange(9.0))
    assert (found.mean, found.error, found.p) == (4.0, None, None)
    assert "independent areas" in found.reason


def test_one_difference_in_every_frame_is_certain():
    light = SharedLight(PROBE, far_apart(5))
    assert [light.test(np.full(5, value)).p for value in (0.0, 2.0)] == [1.0, 0.0]


def test_holm_is_between_one_test_and_bonferroni():
    assert holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    chances = np.random.default_rng(5).uniform(size=12).tolist()
    adjusted = holm(chances)
    assert all(p <= q <= min(1, 12 * p) for p, q in zip(chances, adjusted, strict=True))
    assert adjusted[int(np.argmin(chances))] == pytest.approx(12 * min(chances))
