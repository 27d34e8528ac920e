from __future__ import annotations

import numpy as np
import pytest

from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.physics.windows import Scan, read
from fly64_assets.pinn.cnn.stitching import stitch

M = 16


def positions(n=120, whole=True, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(8, 80, n), rng.uniform(8, 40, n)
    return (np.floor(x), np.floor(y)) if whole else (x, y)


def weights():
    rows, columns = np.mgrid[:M, :M] - 7.5
    return np.exp(-(rows**2 + columns**2) / 50)


def test_true_patches_give_the_object_and_ones_elsewhere(obj):
    x, y = positions()
    stitched, coverage = stitch(read(obj, Scan(x, y, obj.shape, M)), weights(), Scan(x, y, obj.shape, M))
    measured = coverage >= LEAST_COVERAGE
    assert 0.3 < measured.mean() < 0.9
    np.testing.assert_allclose(stitched[measured], obj[measured], atol=1e-12)
    assert (stitched[~measured] == 1).all()


def test_coverage_is_the_sum_of_weights_inside_the_object(obj):
    x, y = positions(whole=False)
    _, coverage = stitch(np.ones((len(x), M, M)), weights(), Scan(x, y, obj.shape, M))
    assert coverage.sum() == pytest.approx(len(x) * weights().sum(), rel=1e-9)


def test_free_phases_of_the_patches_are_found(obj):
    x, y = positions(n=300)
    rng = np.random.default_rng(1)
    turned = read(obj, Scan(x, y, obj.shape, M)) * np.exp(1j * rng.normal(0, 0.3, 300))[:, None, None]

    def error(alignments):
        stitched, coverage = stitch(turned, weights(), Scan(x, y, obj.shape, M), alignments=alignments)
        ratio = (stitched * obj.conj())[coverage > 1]
        return np.std(np.angle(ratio * np.conj(ratio.sum())))

    assert error(20) < 0.5 * error(0)
    assert error(4) < 0.8 * error(0)


def test_a_correction_undoes_blur_between_pixels(obj):
    x, y = positions(n=300, whole=False)
    patches = read(obj, Scan(x, y, obj.shape, M))
    errors = []
    for corrections in (0, 1, 4):
        stitched, coverage = stitch(patches, weights(), Scan(x, y, obj.shape, M), corrections=corrections)
        errors.append(np.abs(stitched - obj)[coverage > 1].max())
    assert errors[2] < errors[1] < 0.6 * errors[0]


def test_the_order_of_the_frames_does_not_matter(obj):
    x, y = positions(whole=False)
    patches, order = read(obj, Scan(x, y, obj.shape, M)), np.random.default_rng(2).permutation(len(x))
    plain, _ = stitch(patches, weights(), Scan(x, y, obj.shape, M))
    shuffled, _ = stitch(patches[order], weights(), Scan(x[order], y[order], obj.shape, M))
    np.testing.assert_allclose(shuffled, plain, atol=1e-10)


def test_windows_may_leave_the_object(obj):
    x, y = np.array([0.0, -500.0, 87.0, 40.0]), np.array([0.0, 40.0, 79.0, 900.0])
    stitched, coverage = stitch(np.full((4, M, M), 2.0), weights(), Scan(x, y, obj.shape, M))
    assert stitched[0, 0] == pytest.approx(2.0)
    assert stitched[40, 40] == 1
    assert coverage[:, 20:60].sum() == 0
