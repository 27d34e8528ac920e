"""The evaluation region: analytic coverage, trained pixels, and the largest rectangle against brute force."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fly64_assets.evaluation.scores.region import (
    LEAST_RECTANGLE_PX,
    Rectangle,
    ScanBox,
    evaluation_region,
    largest_rectangle,
    scan_box,
)
from fly64_assets.physics.windows import Scan


def scan(x, y, size=32):
    return Scan(np.array(x), np.array(y), (96, 96), size)


def brute_force_area(mask, least_side):
    """Area of the largest full block by trying every block."""
    rows, columns = mask.shape
    best = 0
    for top, bottom in combinations(range(rows + 1), 2):
        for left, right in combinations(range(columns + 1), 2):
            sides = min(bottom - top, right - left)
            if sides >= least_side and mask[top:bottom, left:right].all():
                best = max(best, (bottom - top) * (right - left))
    return best


@settings(max_examples=120, deadline=None, derandomize=True)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)), st.integers(1, 3))
def test_largest_rectangle_is_full_and_as_large_as_brute_force_finds(mask, least_side):
    found = largest_rectangle(mask, least_side)
    if found is None:
        assert brute_force_area(mask, least_side) == 0
        return
    inside = mask[found.top : found.top + found.height, found.left : found.left + found.width]
    assert inside.all()
    assert inside.shape == (found.height, found.width)
    assert min(found.height, found.width) >= least_side
    assert found.height * found.width == brute_force_area(mask, least_side)


def test_a_long_thin_block_does_not_count_as_rectangle_when_its_side_is_too_short():
    mask = np.zeros((20, 40), dtype=bool)
    mask[0, :] = True  # area 40, but one row
    mask[10:15, 3:8] = True
    assert largest_rectangle(mask) == Rectangle(0, 0, 1, 40)
    assert largest_rectangle(mask, 5) == Rectangle(10, 3, 5, 5)
    assert largest_rectangle(mask, 6) is None


def test_one_gaussian_frame_counts_on_the_disc_of_the_closed_form():
    """With intensity exp(-r^2 / 2 s^2): D^2 = 8 ln 2 s^2, threshold t / ln 2, radius^2 = 2 s^2 ln(ln 2 / t)."""
    sigma, threshold = 6.0, 0.1
    rows, columns = np.indices((64, 64)) - 32
    probe = np.exp(-(rows**2 + columns**2) / (4 * sigma**2)).astype(np.complex64)
    region = evaluation_region(probe, scan([50.0], [40.0], 64), threshold=threshold, scan_box=ScanBox(50, 50, 40, 40))
    assert region.probe_diameter_px == pytest.approx(sigma * np.sqrt(8 * np.log(2)), rel=0.01)
    assert region.threshold_value == pytest.approx(threshold / np.log(2), rel=0.02)
    radius = np.sqrt(2 * sigma**2 * np.log(np.log(2) / threshold))
    distance = np.hypot(np.arange(96)[:, None] - 40, np.arange(96)[None, :] - 50)
    np.testing.assert_array_equal(region.mask[distance < radius - 0.3], True)
    np.testing.assert_array_equal(region.mask[distance > radius + 0.3], False)
    assert region.covered_fraction == 1.0
    assert region.rectangle is not None
    # The largest rectangle in a disc is a square of side sqrt 2 times the radius.
    assert abs(region.rectangle.height - np.sqrt(2) * radius) < 2


def test_the_threshold_refers_to_the_probe_and_not_to_the_number_of_frames(probe):
    once = evaluation_region(probe, scan([48.0], [48.0]), threshold=0.1, scan_box=ScanBox(48, 48, 48, 48))
    many = evaluation_region(probe, scan([48.0] * 9, [48.0] * 9), threshold=0.9, scan_box=ScanBox(48, 48, 48, 48))
    np.testing.assert_array_equal(once.mask, many.mask)
    assert many.threshold_value == pytest.approx(9 * once.threshold_value)


def test_covered_fraction_counts_pixels_of_the_baseline_box(probe, grid):
    x, y = grid(30, 60, 30, 60, 3)
    box = scan_box(scan(x, y))
    assert box == ScanBox(30, 60, 30, 60)
    dense = evaluation_region(probe, scan(x, y), threshold=0.1, scan_box=box)
    sparse = evaluation_region(probe, scan(x[:1], y[:1]), threshold=0.1, scan_box=box)
    assert dense.covered_fraction == 1.0
    assert sparse.covered_fraction == np.count_nonzero(sparse.mask[30:61, 30:61]) / 31**2
    assert 0 < sparse.covered_fraction < 0.5


def test_a_box_without_a_pixel_centre_has_nothing_covered(probe):
    x, y = np.array([40.4]), np.array([40.6])
    region = evaluation_region(probe, scan(x, y), threshold=0.1, scan_box=scan_box(scan(x, y)))
    assert region.covered_fraction == 0.0
    assert region.pixels > 0


def test_trained_pixels_leave_the_test_region(probe, grid):
    train, test = scan(*grid(20, 44, 20, 76, 4)), scan(*grid(52, 76, 20, 76, 4))
    box = scan_box(test)
    whole = evaluation_region(probe, test, threshold=0.1, scan_box=box)
    trained = evaluation_region(probe, train, threshold=0.1, scan_box=box).mask
    kept = evaluation_region(probe, test, threshold=0.1, scan_box=box, train_scan=train)
    assert np.any(whole.mask & trained), "the two halves overlap, or this test shows nothing"
    np.testing.assert_array_equal(kept.mask, whole.mask & ~trained)
    assert kept.trained_pixels == np.count_nonzero(whole.mask & trained)
    assert whole.trained_pixels == 0
    assert kept.covered_fraction < whole.covered_fraction


def test_a_split_that_was_trained_everywhere_is_empty_and_says_why_it_has_no_rectangle(probe, grid):
    positions = scan(*grid(30, 60, 30, 60, 4))
    region = evaluation_region(probe, positions, threshold=0.1, scan_box=scan_box(positions), train_scan=positions)
    assert region.pixels == 0
    document = json.loads(json.dumps(region.to_dict(), allow_nan=False))
    assert document["rectangle"] is None
    assert f"{LEAST_RECTANGLE_PX} x {LEAST_RECTANGLE_PX}" in document["rectangle_reason"]
    assert document["covered_fraction"] == 0.0
