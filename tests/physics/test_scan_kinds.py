"""Scans that are drawn anew: inside the object, as many positions as asked for, evenly spread where they should be."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fly64_assets.physics.scan import SCANS, fermat_scan


@pytest.mark.parametrize("kind", list(SCANS))
@pytest.mark.parametrize(("shape", "n"), [((100, 100), 4), ((90, 240), 333), ((232, 226), 5000)])
def test_every_window_lies_inside_the_object(kind, shape, n):
    scan = SCANS[kind](3, n, shape, 64)
    assert len(scan) == n
    for coordinate, side in ((scan.x, shape[1]), (scan.y, shape[0])):
        assert coordinate.min() >= 32
        assert coordinate.max() <= side - 32
    again = SCANS[kind](3, n, shape, 64)
    np.testing.assert_array_equal(scan.x, again.x)
    assert (SCANS[kind](4, n, shape, 64).x != scan.x).any()
    with pytest.raises(ValueError, match="too small for windows of 64 px"):
        SCANS[kind](3, n, (64, 200), 64)


def test_a_fermat_spiral_has_the_same_area_everywhere():
    scan = fermat_scan(1, 3000, (400, 300), 64)
    coords = np.c_[scan.x, scan.y]
    distance = cKDTree(coords).query(coords, k=2)[0][:, 1]
    spacing = np.sqrt((400 - 65) * (300 - 65) / 3000)
    assert distance.mean() == pytest.approx(0.9 * spacing, rel=0.1)  # a random scan has 0.5
    assert distance.std() < 0.15 * distance.mean()
    middle = np.hypot(scan.x - 149.5, scan.y - 199.5)
    assert (np.diff(middle) > -1e-9).mean() == pytest.approx(1.0)  # from the middle outwards
    quarter = (np.abs(scan.x - 149.5) < 235 / 4) & (np.abs(scan.y - 199.5) < 335 / 4)
    assert quarter.mean() == pytest.approx(0.25, abs=0.01)
