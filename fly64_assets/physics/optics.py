"""Energy and wavelength of photons, and the pixel of a far field."""

from __future__ import annotations

from typing import Final

import scipy.constants

PLANCK_TIMES_C: Final = scipy.constants.h * scipy.constants.c
"""Energy times wavelength of a photon [J m]."""
ELECTRON_VOLT: Final = scipy.constants.e
"""One electronvolt [J]."""


def wavelength_of(energy_ev: float) -> float:
    """Wavelength [m] of photons of an energy [eV].

    Examples
    --------
    >>> round(1e10 * wavelength_of(8047.8), 4)
    1.5406
    """
    return PLANCK_TIMES_C / (energy_ev * ELECTRON_VOLT)


def energy_of(wavelength_m: float) -> float:
    """Photon energy [eV] of a wavelength [m]."""
    return PLANCK_TIMES_C / (wavelength_m * ELECTRON_VOLT)


def far_field_pixel(pixel_m: float, size: int, wavelength_m: float, distance_m: float) -> float:
    """Object pixel [m] of a detector pixel [m], or the reverse: lambda z / (N p) for frames of N pixels a side.

    Examples
    --------
    >>> round(1e9 * far_field_pixel(75e-6, 64, 1.5e-10, 2.0), 3)
    62.5
    """
    return wavelength_m * distance_m / (size * pixel_m)
