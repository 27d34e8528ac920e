"""What a user says about files of other programs, and positions in pixels of the object, which need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.corrections import NONE, Corrections
from fly64_assets.contract.metadata import DISTANCE, ENERGY, PIXEL_SIZE, WAVELENGTH, transformation
from fly64_assets.contract.source import Source
from fly64_assets.physics.optics import energy_of, far_field_pixel, wavelength_of

Order = Literal["xy", "yx"]
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
"""Which coordinate is first where positions come as pairs; also the values of ``--pairs``."""

SQUARE: Final = 1e-3
"""By how much the sides of a pixel may differ, relative to their size."""


@dataclass(frozen=True)
class Said:
    """What a file of another program does not show.

    Attributes
    ----------
    beside : tuple of Path
        Further files that belong to it, as frames beside a reconstruction.
    pairs : mapping of str to ``xy`` or ``yx``
        Members that hold positions (n, 2), and which coordinate is first.
    max_bytes : int, optional
        Largest size that a file may declare.
    asked : Corrections
        What is asked of the canonical steps: geometry that a reader needs as well comes before what the file says, and
        positions whose unit is given are handed on as the file has them.
    """

    beside: tuple[Path, ...] = ()
    pairs: Mapping[str, Order] = field(default_factory=dict)
    max_bytes: int | None = None
    asked: Corrections = NONE


@dataclass(frozen=True)
class Geometry:
    """Wavelength, distance and detector pixel (row, column) of a measurement, all [m], where they are known."""

    wavelength_m: float | None = None
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None

    def corrected(self, said: Said) -> Geometry:
        """The same with what the user gives."""
        asked, pixel = said.asked, said.asked.detector_pixel_m
        return Geometry(
            wavelength_of(asked.energy_ev) if asked.energy_ev else self.wavelength_m,
            asked.distance_m or self.distance_m,
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


def leave_ones(source: Source, name: str) -> None:
    """Leave an object of ones, member ``name``: writers put it where the object is unknown."""
    obj = source.arrays.get(schema.OBJECT)
    if obj is not None and np.all(np.asarray(obj) == 1):
        del source.arrays[schema.OBJECT]
        source.members[name] = "ones, in place of an object that is not known: not read"


def put_metres(
    source: Source,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    pixel: tuple[float, float] | None,
    said: Said,
    lacking: str,
) -> bool:
    """Positions of a source from metres; True where they are pixels now, False where they stay metres.

    They stay metres where the object pixel is unknown, which ``lacking`` explains (:meth:`Geometry.lacking`), or where
    the user gives the unit of positions and with it the pixel. x counts along the columns, y along the rows of the
    object, of the beam on the object.
    """
    converted = pixel is not None and said.asked.positions_unit is None
    if pixel is not None and converted:
        x, y = x / pixel[1], y / pixel[0]
        source.grid = frame_shape(source)
        source.done.append(transformation("positions_from_metres", {"pixel_m": list(pixel)}))
        note_pixel(source, pixel)
    elif said.asked.positions_unit is None:
        source.lacking = lacking
    source.arrays |= {schema.XCOORDS: x, schema.YCOORDS: y}
    return converted


def first_of_varying(source: Source, probe: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """The first (M, N, N) of the modes (K, M, N, N) by which a probe varies along the scan.

    The history says how much of the power stored is in the others, which have weights of their own for each frame.
    """
    powers = (np.abs(np.asarray(probe, np.complex128)) ** 2).sum(axis=tuple(range(1, probe.ndim)))
    left_out = float(powers[1:].sum()) / (float(powers.sum()) or 1.0)
    said = {"key": schema.PROBE, "shape": list(probe.shape), "power_left_out": left_out}
    source.done.append(transformation("drop_varying_modes", said))
    first: NDArray[np.complexfloating] = probe[0]
    return first
