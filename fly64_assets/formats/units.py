"""Units of measured data: energy and wavelength, pixels of detector and object, positions in metres and in pixels.

Belongs here: what readers and writers of every format compute alike. Does not belong here: where a format keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import DISTANCE, ENERGY, PIXEL_SIZE, WAVELENGTH, positive_parameter
from fly64_assets.physics.optics import energy_of, far_field_pixel, wavelength_of


def centred_metres(positions: NDArray[np.floating], size: int, extent: int, pixel_size_m: float) -> NDArray[np.float64]:
    """Positions about the object's centre [m] of window centres [px] along one axis.

    A window of N pixels begins at pixel x - N // 2 (DATA-001); its middle is x - N // 2 + N / 2 from the first edge of
    an object of ``extent`` pixels, whose middle is at ``extent`` / 2. For even N the position is (x - extent / 2) p.

    Examples
    --------
    >>> centred_metres(np.array([50.0, 60.5]), 64, 100, 1e-8).tolist()
    [0.0, 1.05e-07]
    """
    return (np.asarray(positions, np.float64) - size // 2 + size / 2 - extent / 2) * pixel_size_m


def window_centres(metres: NDArray[np.floating], size: int, extent: int, pixel_size_m: float) -> NDArray[np.float64]:
    """Window centres [px] of positions about the object's centre [m]: the inverse of :func:`centred_metres`."""
    return np.asarray(metres, np.float64) / pixel_size_m + size // 2 - size / 2 + extent / 2


@dataclass(frozen=True)
class Optics:
    """Geometry of a far-field measurement: object pixel, wavelength, distance from sample to detector, all [m]."""

    pixel_size_m: float
    wavelength_m: float
    distance_m: float

    @property
    def energy_ev(self) -> float:
        """Photon energy [eV]."""
        return energy_of(self.wavelength_m)

    def detector_pixel(self, size: int) -> float:
        """Detector pixel [m] of frames of ``size`` pixels a side."""
        return far_field_pixel(self.pixel_size_m, size, self.wavelength_m, self.distance_m)


def recorded_optics(metadata: Mapping[str, Any]) -> dict[str, float]:
    """What a document records of ``pixel_size_m``, ``wavelength_m`` (or ``energy_eV``) and ``detector_distance_m``."""
    found = {name: positive_parameter(metadata, name) for name in (PIXEL_SIZE, WAVELENGTH, DISTANCE)}
    energy = positive_parameter(metadata, ENERGY)
    if found[WAVELENGTH] is None and energy is not None:
        found[WAVELENGTH] = wavelength_of(energy)
    return {name: value for name, value in found.items() if value is not None}
