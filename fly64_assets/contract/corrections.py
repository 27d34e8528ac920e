"""What a user asks to be done to the arrays of a file before they are a data set or a base: options as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from fly64_assets.contract.orientation import Orientation

Unit = Literal["m", "um", "px", "px-centred"]
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
"""Units of positions: metres, micrometres, object pixels, and those about the object's centre."""

METRES: Final = {"m": 1.0, "um": 1e-6}

Mirror = Literal["x", "y", "xy"]
MIRRORS: Final[tuple[Mirror, ...]] = get_args(Mirror)
"""Coordinates that count against the columns (x) and rows (y) of the object; also the values of ``--mirror``."""


@dataclass(frozen=True)
class Corrections:
    """Steps that change the content of a file. Those up to ``scale_probe`` concern frames, which a base has none of.

    Attributes
    ----------
    mask : Path, optional
        NPY, NPZ or TIFF file of a frame's shape, not 0 at pixels that did not measure.
    good_pixels : str, optional
        A key of the file, or a file, of a mask that is not 0 at pixels that did measure.
    mask_values : tuple of str
        Values of pixels that did not measure: numbers, ``MAX`` for the largest of an integer type, ``nan``.
    clip_negative : bool
        Set negative counts to 0.
    gain : float, optional
        Units of the stored counts for one photon.
    drop_frames : tuple of int
        Frames to leave out, counted from 0.
    orientation : Orientation, optional
        How the frames are to be turned.
    centre : bool
        Move the frames so that their centre of mass is that of the probe's far field.
    scale_probe : bool
        Scale the probe so that it, with the object, lets expect the counts of the frames.
    pixel_size : float, optional
        Side of an object pixel [m].
    energy_ev, distance_m, detector_pixel_m : float, optional
        Photon energy [eV], sample to detector [m], side of a detector pixel [m]; together they give the object pixel.
    mirror : Mirror, optional
        Coordinates that count the other way, as those of a sample stage do.
    positions_unit : Unit, optional
        Unit of the positions.
    probe_mode, slice_number : int, optional
        Which of several incoherent modes of the probe, or slices of the object, to take.
    fill_border : bool
        Fill a border of the object that is not a number.
    crop, pad : int, optional
        New side N of the frames (of a data set) or of the probe's window (of a base) [px].
    """

    mask: Path | None = None
    good_pixels: str | None = None
    mask_values: tuple[str, ...] = ()
    clip_negative: bool = False
    gain: float | None = None
    drop_frames: tuple[int, ...] = ()
    orientation: Orientation | None = None
    centre: bool = False
    scale_probe: bool = False
    pixel_size: float | None = None
    energy_ev: float | None = None
    distance_m: float | None = None
    detector_pixel_m: float | None = None
    mirror: Mirror | None = None
    positions_unit: Unit | None = None
    probe_mode: int | None = None
    slice_number: int | None = None
    fill_border: bool = False
    crop: int | None = None
    pad: int | None = None


NONE: Final[Corrections] = Corrections()
