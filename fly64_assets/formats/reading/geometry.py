"""Geometry of files of other programs, and positions in pixels of the object, which need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.metadata import DISTANCE, ENERGY, PIXEL_SIZE, WAVELENGTH, transformation
from fly64_assets.contract.source import Source
from fly64_assets.physics.optics import energy_of, far_field_pixel, wavelength_of

SQUARE: Final = 1e-3
"""By how much the sides of a pixel may differ, relative to their size."""


@dataclass(frozen=True)
class Geometry:
    """Wavelength, distance and detector pixel (row, column) of a measurement, all [m], where they are known."""

    wavelength_m: float | None = None
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None

    def corrected(self, given: Corrections) -> Geometry:
        """The same with what the user gives."""
        pixel = given.detector_pixel_m
        return Geometry(
            wavelength_of(given.energy_ev) if given.energy_ev else self.wavelength_m,
            given.distance_m or self.distance_m,
            (pixel, pixel) if pixel else self.detector_pixel_m,
        )

    def lacking(self) -> str:
        """What is missing for an object pixel, with the options that give it; empty where all is known."""
        options = {
            "energy": ("--energy EV", self.wavelength_m),
            "distance": ("--distance M", self.distance_m),
            "detector pixel": ("--detector-pixel M", self.detector_pixel_m),
        }
        missing = {name: option for name, (option, value) in options.items() if not value}
        if not missing:
            return ""
        return f"the file has no {' and no '.join(missing)}: give {' and '.join(missing.values())}"

    def object_pixel(self, frame: tuple[int, int] | None) -> tuple[float, float] | None:
        """Object pixel (row, column) [m] of frames of so many rows and columns, None where something is unknown."""
        if frame is None or not (self.wavelength_m and self.distance_m and self.detector_pixel_m):
            return None
        rows, columns = (
            far_field_pixel(pixel, side, self.wavelength_m, self.distance_m)
            for pixel, side in zip(self.detector_pixel_m, frame, strict=True)
        )
        return rows, columns


def frame_shape(source: Source) -> tuple[int, int] | None:
    """Rows and columns of a frame, or of the probe where there are no frames."""
    for key in (schema.FRAMES, schema.PROBE):
        array = source.arrays.get(key)
        if array is not None and array.ndim >= 2:
            return int(array.shape[-2]), int(array.shape[-1])
    return None


def note_geometry(source: Source, geometry: Geometry) -> None:
    """Keep wavelength, energy and distance in the metadata of a source."""
    if geometry.wavelength_m:
        source.physics |= {WAVELENGTH: geometry.wavelength_m, ENERGY: energy_of(geometry.wavelength_m)}
    if geometry.distance_m:
        source.physics[DISTANCE] = geometry.distance_m


def note_pixel(source: Source, pixel: tuple[float, float]) -> None:
    """Keep the object pixel of a source, where it is a square, or will be one on square frames cut of oblong ones."""
    shape = frame_shape(source) or (1, 1)
    if abs(pixel[0] * shape[0] / shape[1] - pixel[1]) <= SQUARE * pixel[1]:
        source.physics[PIXEL_SIZE] = pixel[1]


def put_metres(
    source: Source,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    pixel: tuple[float, float] | None,
    given: Corrections,
    lacking: str,
) -> bool:
    """Positions of a source from metres; True where they are pixels now, False where they stay metres.

    They stay metres where the object pixel is unknown, which ``lacking`` explains (:meth:`Geometry.lacking`), or where
    the user gives the unit of positions and with it the pixel. x counts along the columns, y along the rows of the
    object, of the beam on the object.
    """
    converted = pixel is not None and given.positions_unit is None
    if pixel is not None and converted:
        x, y = x / pixel[1], y / pixel[0]
        source.grid = frame_shape(source)
        source.done.append(transformation("positions_from_metres", {"pixel_m": list(pixel)}))
        note_pixel(source, pixel)
    elif given.positions_unit is None:
        source.lacking = lacking
    source.arrays |= {schema.XCOORDS: x, schema.YCOORDS: y}
    return converted
