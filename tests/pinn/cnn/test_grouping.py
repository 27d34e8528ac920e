from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fly64_assets.errors import EngineError
from fly64_assets.pinn.cnn.grouping import Grouping, mean_offsets, nearest_others


@given(st.integers(5, 40), st.integers(0, 1000), st.booleans())
@settings(max_examples=25, deadline=None)
def test_neighbours_are_the_nearest_others(n, seed, coinciding):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 50, (2, n))
    if coinciding:
        x[1:4], y[1:4] = x[0], y[0]
    found = nearest_others(x, y, 4)
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(distance, np.inf)
    assert not (found == np.arange(n)[:, None]).any()
    np.testing.assert_allclose(np.take_along_axis(distance, found, 1), np.sort(distance, axis=1)[:, :4])


def test_samples_are_seeds_and_members_of_their_neighbourhood():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 100, (2, 50))
    grouping = Grouping.of(x, y, 2, 7)
    groups = grouping.draw(100, 7, np.random.default_rng(1))
    assert groups.shape == (100, 4)
    assert np.array_equal(np.bincount(groups[:, 0]), np.full(50, 2))
    for seed, *members in groups:
        assert len({seed, *members}) == 4
        assert set(members) <= set(grouping.neighbours[seed])
    assert len({tuple(sorted(group)) for group in groups}) > 90, "K-choose-C gives many different groups"
    assert np.array_equal(groups, grouping.draw(100, 7, np.random.default_rng(1)))
    np.testing.assert_allclose(mean_offsets(x, y, groups).mean(axis=1), 0.0, atol=1e-12)


def test_neighbour_count_is_limited_by_the_positions():
    x = np.arange(4.0)
    assert Grouping.of(x, x, 2, 7).neighbours.shape == (4, 3)


@pytest.mark.parametrize(
    ("n", "gridsize", "neighbor_count", "samples", "words"),
    [
        (3, 2, 7, 1, "3 positions cannot fill groups of 4"),
        (10, 2, 2, 1, "draw 3 neighbours"),
        (10, 1, 7, 11, "11 samples from 10 positions"),
        (10, 2, 3, 11, "neighbor_count >= frames per group"),
    ],
)
def test_impossible_requests_name_the_rule(n, gridsize, neighbor_count, samples, words):
    x = np.arange(float(n))
    with pytest.raises(EngineError, match=r"OVERSAMPLING-001") as caught:
        Grouping.of(x, x, gridsize, neighbor_count).draw(samples, neighbor_count, np.random.default_rng(0))
    assert words in str(caught.value)
