"""The diameter of a probe against closed forms; where its illumination lies is pinned in ``test_windows``."""

import numpy as np
import pytest

from fly64_assets.errors import Fly64Error
from fly64_assets.physics.illumination import probe_diameter_px


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
