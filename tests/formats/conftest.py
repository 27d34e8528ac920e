"""A measurement of a letter F: object, probe, shifted positions, counts by our forward model, geometry."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fly64_assets.formats import units
from fly64_assets.physics.forward import exit_wave_energies, expected_counts, intensity_scale
from fly64_assets.physics.windows import Scan, read

N, SHAPE, FRAMES = 64, (150, 130), 24


def model(obj, probe, x, y, dose=1e5):
    """Expected counts of a scan (n, N, N), DC in the centre."""
    scan = Scan(np.asarray(x), np.asarray(y), obj.shape, len(probe))
    return expected_counts(probe * read(obj, scan), intensity_scale(dose, exit_wave_energies(obj, probe, scan)))


def letter_f(shape):
    """Phases of an F, left of and above the middle, so that no turn and no mirror gives the same picture."""
    phase = np.zeros(shape)
    phase[40:105, 45:53] = 1.0
    phase[40:48, 45:85] = 1.0
    phase[66:73, 45:72] = 0.7
    return ((1 - 0.3 * (phase > 0)) * np.exp(1j * phase)).astype(np.complex64)


@pytest.fixture(scope="session")
def letter():
    random = np.random.RandomState(7)
    obj = letter_f(SHAPE)
    row, column = np.mgrid[:N, :N] - N / 2
    probe = np.exp(-((row + 3) ** 2 / 90 + column**2 / 160) + 1j * (0.004 * row**2 + 0.05 * column))
    probe = (probe * (1 + 0.3 * (column > 4))).astype(np.complex64)
    x = random.uniform(N // 2, SHAPE[1] - N // 2, FRAMES)
    y = random.uniform(N // 2, SHAPE[0] - N // 2, FRAMES)
    wavelength, distance, detector_pixel = units.wavelength_of(8000.0), 1.7, 55e-6
    pixel = units.far_field_pixel(detector_pixel, N, wavelength, distance)
    return SimpleNamespace(
        obj=obj,
        probe=probe,
        x=x,
        y=y,
        counts=random.poisson(model(obj, probe, x, y)),
        n=N,
        wavelength=wavelength,
        energy=8000.0,
        distance=distance,
        detector_pixel=detector_pixel,
        pixel=pixel,
        x_m=units.centred_metres(x, N, SHAPE[1], pixel),
        y_m=units.centred_metres(y, N, SHAPE[0], pixel),
    )
