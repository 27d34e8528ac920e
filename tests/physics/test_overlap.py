"""Golden selections and overlap metrics of spec 04, and their invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from fly64_assets.physics.overlap import compute_overlap_metrics, disc_overlap, select_spaced
from fly64_assets.physics.scan import raster_scan, split_indices, split_point, uniform_scan


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
    assert selection.to_dict()["selection_strategy"] == "greedy"
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


def test_a_grid_at_exactly_the_spacing_is_kept():
    axis = np.arange(8) * 19.2 + 40
    coords = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert len(select_spaced(coords, 19.2, 64).kept) == 64


SPACINGS = st.floats(2.0, 60.0)


@st.composite
def scans(draw):
    """Positions of many kinds of scans: drawn, rasters with a jitter, lines, spirals, repeated exposures."""
    n, rng = draw(st.integers(1, 200)), np.random.default_rng(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["uniform", "raster", "line", "spiral", "repeated"]))
    if kind == "uniform":
        return rng.uniform(0, 200, (n, 2))
    if kind == "line":
        return np.c_[np.linspace(0, 200, n), np.full(n, 50.0)]
    if kind == "spiral":
        angle = np.sqrt(np.arange(n) * 30.0)
        return np.c_[angle * np.cos(angle), angle * np.sin(angle)]
    side = int(np.ceil(np.sqrt(n)))
    raster = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:n] * (200 / side)
    return np.repeat(raster, 2, axis=0) if kind == "repeated" else raster + rng.uniform(-50, 50, (n, 2)) / side


@settings(max_examples=150, deadline=None)
@given(scans(), SPACINGS)
def test_selection_is_spaced_and_maximal(coords, spacing):
    """No dropped position could be added, and the kept ones are those of a plain search."""
    kept = select_spaced(coords, spacing, 64).kept
    limit = spacing - 1e-9 * 64
    brute = []
    for i in np.lexsort((coords[:, 0], coords[:, 1])):
        if all(np.hypot(*(coords[i] - coords[j])) >= limit for j in brute):
            brute.append(int(i))
    assert sorted(brute) == kept.tolist()
    if len(kept) > 1:
        assert pdist(coords[kept]).min() >= limit
    assert cdist(coords, coords[kept]).min(axis=1).max() < limit or len(kept) == len(coords)


@settings(max_examples=100, deadline=None)
@given(scans(), scans(), SPACINGS)
def test_more_positions_shrink_a_view_by_no_more_than_packing_explains(some, more, spacing):
    """A kept position of the larger scan can take the place of five of the smaller one, no more fit within S of it."""
    for smaller in (some, some[select_spaced(some, spacing, 64).kept]):
        before = len(select_spaced(smaller, spacing, 64).kept)
        for larger in (np.r_[smaller, more], some):
            assert 5 * len(select_spaced(larger, spacing, 64).kept) >= before


@pytest.mark.parametrize("positions", [350, 400])
def test_a_raster_of_which_no_position_stands_alone_keeps_what_fits(positions):
    """Of 350 positions an earlier rule kept only the isolated ones: 18 of 175 in this half."""
    scan = raster_scan(42, positions, (448, 448), 64)
    half = split_indices(scan.y, split_point(scan.y))["train"]
    assert len(select_spaced(np.c_[scan.x, scan.y][half], 19.2, 64).kept) > 100


def test_a_spacing_below_its_own_rounding_keeps_everything():
    coords = np.array([[10.0, 10.0], [10.0, 10.0], [10.5, 10.0]])
    assert select_spaced(coords, 64e-9, 64).kept.tolist() == [0, 1, 2]


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


@pytest.mark.parametrize("exposures", [1, 3])
@pytest.mark.parametrize("n_groups", [1, 9, 10, 512])
def test_frames_that_do_not_touch_have_no_groups_that_overlap(exposures, n_groups):
    """However many groups are asked for, and however often a position is measured: a copy is no neighbour."""
    coords = np.stack(np.meshgrid(np.arange(5) * 100.0, np.arange(2) * 100.0), -1).reshape(-1, 2)
    m = compute_overlap_metrics(np.repeat(coords, exposures, axis=0), 1, 1.0, n_groups, probe_diameter_px=12.0)
    assert m["metric_2_image_based_avg"] == m["metric_3_group_to_group_avg"] == 0.0
    assert m["n_groups_actual"] <= min(10, n_groups)


def test_more_groups_than_positions_are_those_of_every_position(halves):
    few = halves["train"][:60]
    every = compute_overlap_metrics(few, 2, 1.0, 60, probe_diameter_px=38.4)
    more = compute_overlap_metrics(few, 2, 1.0, 1000, probe_diameter_px=38.4)
    assert every | {"n_groups": 0} == more | {"n_groups": 0}
    assert 0 < more["metric_3_group_to_group_avg"] < 1


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
