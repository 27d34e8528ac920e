"""Golden positions and split (seed 42, n = 10304, 464 x 464 object, N = 128)."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from fly64_assets.physics.scan import split_indices, split_point, uniform_scan


@pytest.fixture(scope="module")
def golden():
    scan = uniform_scan(42, 10304, (464, 464), 128)
    return scan.x, scan.y


def test_golden_positions(golden):
    x, y = golden
    np.testing.assert_allclose(x[:3], [189.84547993, 383.44000695, 309.94996445], atol=5e-9)
    np.testing.assert_allclose(y[:3], [150.88429844, 307.3328507, 369.09971845], atol=5e-9)


def test_golden_split(golden):
    x, y = golden
    point = split_point(y)
    assert point == 232.01387199708716
    halves = split_indices(y, point)
    assert (len(halves["train"]), len(halves["test"])) == (5088, 5216)
    assert y[halves["train"]].max() < point <= y[halves["test"]].min()
    distances = pdist(np.c_[x, y][halves["train"]])
    assert distances.min() == pytest.approx(0.058764075201080145, rel=1e-12)
    assert distances.mean() == pytest.approx(134.48835953055539, rel=1e-12)


def test_windows_stay_inside(golden):
    x, y = golden
    for coordinate in (x, y):
        assert coordinate.min() >= 64
        assert coordinate.max() <= 464 - 64


def test_object_too_small_is_named():
    with pytest.raises(ValueError, match="65 x 200 px is too small for windows of 64 px: each side needs at least 66"):
        uniform_scan(42, 10, (65, 200), 64)
