"""Golden selections and overlap metrics of spec 04, and their invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from fly64_assets.physics.overlap import compute_overlap_metrics, disc_overlap, select_spaced
from fly64_assets.physics.scan import split_indices, split_point, uniform_scan


@pytest.fixture(scope="module")
def halves():
    positions = uniform_scan(42, 10304, (464, 464), 128)
    x, y = positions.x, positions.y
    coords = np.c_[x, y]
    return {split: coords[index] for split, index in split_indices(y, split_point(y)).items()}


@pytest.mark.parametrize(
    ("split", "spacing", "kept", "bound"),
    [
        ("train", 38.4, 42, 0.009571268204822),
        ("test", 38.4, 41, 0.009339239536093632),
        ("train", 102.4, 9, 0.0013459595913030938),
        ("test", 102.4, 8, 0.001313330559763167),
    ],
)
def test_golden_selection(halves, split, spacing, kept, bound):
    selection = select_spaced(halves[split], spacing, 128)
    assert selection.strategy == "greedy"
    assert len(selection.kept) == kept
    assert selection.geometry_acceptance_bound == pytest.approx(bound, rel=1e-12)
    assert selection.effective_min_acceptance == pytest.approx(max(0.0005, 0.8 * bound), rel=1e-12)
    assert pdist(halves[split][selection.kept]).min() >= spacing - 1e-9 * 128


@pytest.mark.parametrize(
    ("object_shape", "n", "expected"),
    [
        ((227, 226), 1087, {"train": (33, 7), "test": (33, 7)}),
        ((448, 448), 2000, {"train": (145, 28), "test": (142, 28)}),
    ],
)
def test_orientation_figures(object_shape, n, expected):
    positions = uniform_scan(42, n, object_shape, 64)
    x, y = positions.x, positions.y
    for split, index in split_indices(y, split_point(y)).items():
        coords = np.c_[x, y][index]
        assert tuple(len(select_spaced(coords, s, 64).kept) for s in (19.2, 51.2)) == expected[split]


def test_direct_keeps_a_grid_at_exactly_the_spacing():
    axis = np.arange(8) * 19.2 + 40
    coords = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    selection = select_spaced(coords, 19.2, 64)
    assert selection.strategy == "direct"
    assert len(selection.kept) == 64


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(0, 2**31), st.floats(2.0, 60.0))
def test_selection_is_spaced_and_maximal(n, seed, spacing):
    coords = np.random.default_rng(seed).uniform(0, 200, (n, 2))
    selection = select_spaced(coords, spacing, 64)
    kept = coords[selection.kept]
    limit = spacing - 1e-9 * 64
    if len(kept) > 1:
        assert pdist(kept).min() >= limit
    if selection.strategy == "greedy":
        brute = []
        for i in sorted(range(n), key=lambda i: (coords[i, 1], coords[i, 0])):
            if all(np.hypot(*(coords[i] - coords[j])) >= limit for j in brute):
                brute.append(i)
        assert sorted(brute) == selection.kept.tolist()


def test_disc_overlap_golden_and_limits():
    assert float(disc_overlap(5, 10)) == pytest.approx(0.39100221895577053, rel=1e-12)
    assert float(disc_overlap(20, 38.4)) == pytest.approx(0.36819269537957344, rel=1e-12)
    assert disc_overlap(np.array([0.0, 38.4, 50.0]), 38.4).tolist() == [1.0, 0.0, 0.0]


def test_disc_overlap_agrees_with_counted_pixels():
    axis = (np.arange(-600, 600) + 0.5) / 20
    xx, yy = np.meshgrid(axis, axis)
    both = (np.hypot(xx + 4, yy) < 15) & (np.hypot(xx - 4, yy) < 15)
    assert float(disc_overlap(8.0, 30.0)) == pytest.approx(both.sum() / (np.hypot(xx, yy) < 15).sum(), rel=1e-3)


def test_golden_metrics_of_groups(halves):
    m = compute_overlap_metrics(halves["train"], 2, 0.8, 512, 6, 38.4, 456)
    assert m["n_images_subsampled"] == 4070
    assert m["metric_1_group_based_avg"] == pytest.approx(0.8908832219844647, rel=1e-12)
    assert m["metric_2_image_based_avg"] == pytest.approx(0.8777230238176428, rel=1e-12)
    assert m["metric_3_group_to_group_avg"] == pytest.approx(0.2706207501148672, rel=1e-12)


def test_golden_metrics_of_images(halves):
    m = compute_overlap_metrics(halves["train"], 1, 1.0, 512, 6, 38.4, 456)
    assert m["metric_2_image_based_avg"] == pytest.approx(0.8907604917927726, rel=1e-12)
    assert "metric_1_group_based_avg" not in m


def test_single_position_has_no_overlap():
    m = compute_overlap_metrics(np.array([[50.0, 60.0]]), 1, 1.0, 1, probe_diameter_px=30.0)
    assert (m["metric_2_image_based_avg"], m["metric_3_group_to_group_avg"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s_img": 0.0}, "s_img"),
        ({"s_img": 1.1}, "s_img"),
        ({"n_groups": 0}, "n_groups"),
        ({"gridsize": 3}, "gridsize"),
        ({"probe_diameter_px": 0.0}, "probe_diameter_px"),
        ({"coords": np.zeros((3, 2)), "gridsize": 2}, "at least 4 images"),
        ({"coords": np.array([[np.nan, 1.0]])}, "NaN"),
        ({"probe_diameter_px": None}, "probe diameter unknown"),
    ],
)
def test_bad_arguments_are_named(halves, change, message):
    arguments = {"coords": halves["train"], "gridsize": 1, "s_img": 1.0, "n_groups": 8, "probe_diameter_px": 38.4}
    with pytest.raises(ValueError, match=message):
        compute_overlap_metrics(**(arguments | change))


def test_a_hundred_thousand_positions():
    coords = np.random.default_rng(1).uniform(0, 3000, (100_000, 2))
    selection = select_spaced(coords, 19.2, 64)
    assert pdist(coords[selection.kept][:2000]).min() >= 19.2 - 1e-6
    m = compute_overlap_metrics(coords, 2, 1.0, 20_000, 6, 38.4, 1)
    assert 0 < m["metric_2_image_based_avg"] < 1
