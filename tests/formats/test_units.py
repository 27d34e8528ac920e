"""Positions and pixels: the window that a position means is the same before and after."""

import numpy as np
import pytest

from fly64_assets.contract.metadata import build_metadata
from fly64_assets.formats import units
from fly64_assets.physics.optics import far_field_pixel, wavelength_of


@pytest.mark.parametrize("size", [64, 65])
@pytest.mark.parametrize("extent", [200, 201])
def test_a_window_about_the_middle_of_the_object_is_at_zero(size, extent):
    first = (extent - size) / 2  # as many pixels before it as after
    assert units.centred_metres(np.array([first + size // 2]), size, extent, 1e-8) == pytest.approx(0, abs=1e-20)


def test_window_centres_undo_centred_metres():
    x = np.random.RandomState(1).uniform(32, 168, 50)
    for size, extent in ((64, 200), (65, 201)):
        metres = units.centred_metres(x, size, extent, 7.3e-9)
        assert units.window_centres(metres, size, extent, 7.3e-9) == pytest.approx(x, rel=1e-14)
        assert np.diff(metres) == pytest.approx(7.3e-9 * np.diff(x), rel=1e-9)


def test_the_energy_may_stand_for_the_wavelength_and_gives_way_to_it():
    both = build_metadata(64, physics={"pixel_size_m": 1e-8, "wavelength_m": 1.5e-10, "energy_eV": 1.0})
    assert units.recorded_optics(both) == {"pixel_size_m": 1e-8, "wavelength_m": 1.5e-10}
    energy = build_metadata(64, physics={"energy_eV": 8047.8, "detector_distance_m": 2.0})
    assert units.recorded_optics(energy) == pytest.approx(
        {"wavelength_m": 1.5406e-10, "detector_distance_m": 2.0}, 1e-4
    )


def test_detector_and_object_pixel_belong_together():
    optics = units.Optics(62.5e-9, 1.5e-10, 2.0)
    assert optics.detector_pixel(64) == pytest.approx(75e-6)
    assert far_field_pixel(optics.detector_pixel(64), 64, 1.5e-10, 2.0) == pytest.approx(62.5e-9)
    assert wavelength_of(optics.energy_ev) == pytest.approx(1.5e-10)
