"""Connected components of frames and pixels, of two groups of frames with and without frames in between."""

from __future__ import annotations

import numpy as np
import pytest

from fly64_assets.evaluation.bound.information import connected_components
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.windows import Scan

SHAPE, N = (28, 40), 16


@pytest.fixture
def probe():
    """A disc of 4 px radius."""
    rows, columns = np.indices((N, N)) - N // 2
    return (rows**2 + columns**2 <= 16).astype(complex)


def scan(*between):
    """Twelve frames around x = 13 and twelve around x = 27, and frames at other places."""
    random = np.random.default_rng(9)
    x = np.concatenate([random.uniform(12, 14, 12), random.uniform(26, 28, 12), between])
    return Scan(x, random.uniform(13, 15, len(x)), SHAPE, N)


def components_within(mask, pixel):
    return len(set(pixel[mask]) - {-1})


def test_groups_that_share_no_pixel_are_two_components(probe):
    illuminated = illumination(probe, scan()) > 0.1
    frame, pixel = connected_components(probe, scan(), illuminated, 0.1)
    assert len(set(frame[:12])) == len(set(frame[12:])) == 1
    assert frame[0] != frame[12]
    assert components_within(np.ones(SHAPE, bool), pixel) == 2
    assert components_within(np.arange(40) < np.full(SHAPE, 20), pixel) == 1
    np.testing.assert_array_equal(pixel >= 0, illuminated)
    assert set(pixel[:, :20][illuminated[:, :20]]) == {frame[0]}


def test_frames_in_between_make_one_component(probe):
    bridge = np.arange(14.3, 26, 1.7)
    frame, _ = connected_components(probe, scan(*bridge), np.ones(SHAPE, bool), 0.1)
    assert len(set(frame)) == 1


def test_known_pixels_connect_nothing(probe):
    bridge = np.arange(14.3, 26, 1.7)
    unknown = np.abs(np.arange(40) - np.full(SHAPE, 20)) > 6
    _, pixel = connected_components(probe, scan(*bridge), unknown, 0.1)
    assert components_within(unknown, pixel) == 2
    assert (pixel[~unknown] == -1).all()


def test_whole_pixels_touch_no_neighbour():
    one = Scan(np.array([8.0]), np.array([8.0]), (16, 16), 4)
    _, pixel = connected_components(np.ones((4, 4)), one, np.ones((16, 16), bool), 0.5)
    assert np.count_nonzero(pixel >= 0) == 16
