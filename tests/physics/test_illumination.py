"""The diameter of a probe against closed forms; where its illumination lies is pinned in ``test_windows``."""

import numpy as np
import pytest

from fly64_assets.errors import Fly64Error
from fly64_assets.physics.illumination import illumination, illumination_picture, probe_diameter_px
from fly64_assets.physics.windows import Scan


def test_probe_diameter_of_a_gaussian_is_its_fwhm():
    axis = np.arange(128) - 60.3
    probe = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (4 * 8.0**2)).astype(complex)
    assert probe_diameter_px(probe) == pytest.approx(2.3548 * 8.0, rel=1e-3)


def test_probe_diameter_of_a_disc():
    axis = np.arange(200) - 100.0
    probe = (np.hypot(axis[:, None], axis[None, :]) < 60).astype(complex)
    assert probe_diameter_px(probe) == pytest.approx(120 / np.sqrt(2), rel=2e-3)


def test_a_probe_in_fft_order_is_refused_with_what_to_do():
    axis = np.arange(64) - 32
    probe = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 300).astype(complex)
    for kind in (Fly64Error, ValueError):
        with pytest.raises(kind, match=r"as in FFT order.*`fly64 base import FILE --probe-corner`"):
            probe_diameter_px(np.fft.fftshift(probe))


@pytest.mark.parametrize(("most", "size"), [(400, 32), (100, 32), (57, 31)])
def test_a_picture_of_the_illumination_is_its_mean_over_squares(most, size):
    random = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size] - size // 2
    probe = np.exp(-((x - 2) ** 2 + y**2) / 60) * np.exp(0.3j * x)
    scan = Scan(random.uniform(60, 300, 3000), random.uniform(50, 150, 3000), (200, 350), size)
    picture, side = illumination_picture(probe, scan, most)
    assert picture.shape == (-(-200 // side), -(-350 // side))
    assert max(picture.shape) <= most
    exact = illumination(probe, scan)
    padded = np.pad(exact, ((0, -200 % side), (0, -350 % side)))
    means = padded.reshape(picture.shape[0], side, picture.shape[1], side).mean(axis=(1, 3))
    assert picture.sum() == pytest.approx(means.sum(), rel=1e-9)
    # Positions are moved by up to half a square.
    assert np.abs(picture - means).mean() < 0.1 * means.mean()
    for axis in (0, 1):
        for step in (-1, 1):
            moved = np.roll(picture, step, axis)
            assert np.abs(picture - means).mean() < np.abs(moved - means).mean()


def test_a_picture_of_the_illumination_leaves_out_positions_beside_the_grid():
    scan = Scan(np.array([-3.0, 20.0, 90.0]), np.array([10.0, 20.0, 10.0]), (40, 50), 8)
    picture, _ = illumination_picture(np.ones((8, 8)), scan)
    np.testing.assert_allclose(picture, illumination(np.ones((8, 8)), scan[1:2]), atol=1e-12)
