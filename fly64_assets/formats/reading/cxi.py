"""CXI files and NeXus files of the definition NXcxi_ptycho: frames, mask, geometry and positions of a measurement.

Positions are translations of the sample in metres, along x (horizontal), y (up) and z (of the beam); looking along the
beam, x points to the left. Rows and columns of a frame point along ``basis_vectors``, or down and to the right where
there are none. The beam moves on the object against the sample. So the two signs cancel for an ordinary detector: a
position has the column +x / p and the row +y / p.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import (
    decode_metadata,
    encode_metadata,
    is_stand_in,
    physics_parameters,
    transformation,
)
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading import masks
from fly64_assets.formats.reading.geometry import Geometry, frame_shape, note_geometry, note_pixel, put_metres
from fly64_assets.formats.reading.hdf5 import Tree
from fly64_assets.formats.reading.members import leave_ones
from fly64_assets.formats.reading.options import ReadingOptions
from fly64_assets.formats.units import window_centres
from fly64_assets.physics.optics import ELECTRON_VOLT, wavelength_of

ENTRY: Final = "entry_1"
DETECTOR: Final = f"{ENTRY}/instrument_1/detector_1"
SOURCE: Final = f"{ENTRY}/instrument_1/source_1"
FRAMES: Final = (f"{ENTRY}/data_1/data", f"{DETECTOR}/data")
TRANSLATIONS: Final = (
    f"{ENTRY}/data_1/translation",
    f"{ENTRY}/sample_1/geometry_1/translation",
    f"{DETECTOR}/translation",
)
PROBES: Final = (f"{SOURCE}/illumination", f"{SOURCE}/data_illumination", f"{ENTRY}/probe/data")
OBJECTS: Final = (f"{ENTRY}/object/data", f"{ENTRY}/image_1/data")
PTYCHODUS: Final = f"{ENTRY}/ptychodus"
OBJECT_IMAGE: Final = f"{ENTRY}/image_2/data"
ENERGIES: Final = (f"{SOURCE}/energy", f"{ENTRY}/instrument_1/beam_1/energy")
MASK: Final = f"{DETECTOR}/mask"
NO_FAULTS: Final = 0x0020 | 0x0100 | 0x0800 | 0x1000
"""Bits of the mask that do not make a pixel bad: in the peak mask, out of the resolution limits, artefact corrected,
with signal. Every other one does: invalid, saturated, hot, dead, shadowed, to be ignored, bad, missing, noisy."""
OWN: Final = f"{ENTRY}/fly64_assets"
"""What this package keeps beside CXI's own."""
LEAST_TILT_DEGREES: Final = 0.1
LARGEST_TILT_DEGREES: Final = 30.0
"""Tilts of the detector against the beam that are noted, and above which its frames are no flat far field."""
SKEW: Final = 0.1
"""Largest cosine of the angle between rows and columns of a frame."""

LARGEST_ENERGY_J: Final = 1e-10
METRES: Final = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "micron": 1e-6, "microns": 1e-6, "nm": 1e-9}
JOULES: Final = {"j": 1.0, "joule": 1.0, "ev": ELECTRON_VOLT, "kev": 1e3 * ELECTRON_VOLT}


def recognises(tree: Tree) -> bool:
    """Whether a file is laid out as CXI says."""
    return any(name in tree for name in (*FRAMES, *OBJECTS, *PROBES)) and ENTRY in tree


def read(tree: Tree, options: ReadingOptions, *, frames: bool) -> Source:
    """A CXI file as arrays of DATA-001.

    Raises :class:`ContractError` where an energy has no known unit, a mask does not fit, or positions are missing.
    """
    nexus = tree.text(f"{ENTRY}/definition") == "NXcxi_ptycho"
    source = Source(tree.path, "NeXus NXcxi_ptycho" if nexus else "CXI", says={"counts": True})
    names = {
        schema.FRAMES: _first(tree, FRAMES) if frames else None,
        schema.PROBE: _first(tree, PROBES),
        schema.OBJECT: OBJECT_IMAGE if _of_ptychodus(tree) else _first(tree, OBJECTS),
    }
    for key, name in names.items():
        if name is not None:
            source.arrays[key] = tree.read(name)
            source.members[name] = f"read as {key}"
    if frames and MASK in tree:
        source.members[MASK] = f"read as {schema.BAD_PIXELS}: any bit but those of {NO_FAULTS:#x} is a fault"
        source.arrays[schema.BAD_PIXELS] = masks.one_for_all(source, _faults(tree), MASK)
    geometry = _geometry(tree, options)
    note_geometry(source, geometry)
    _read_positions(tree, source, geometry.corrected(options.corrections), options)
    if _of_ptychodus(tree):
        leave_ones(source, OBJECT_IMAGE)
    _read_own(tree, source, frames=frames)
    return source


def _of_ptychodus(tree: Tree) -> bool:
    """Whether the file holds what ptychodus, and this package, add to CXI: the object is the second image then."""
    return PTYCHODUS in tree and tree.dataset(OBJECT_IMAGE) is not None


def _first(tree: Tree, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if tree.dataset(name) is not None), None)


def _faults(tree: Tree) -> NDArray[Any]:
    """The mask with 0 where a pixel is good."""
    stored = tree.read(MASK)
    if stored.dtype.kind not in "biu":
        raise tree.error(f"'{MASK}' has dtype {stored.dtype}; expected whole numbers, 0 where a pixel is good")
    if stored.dtype.kind == "b":
        return stored
    faults: NDArray[Any] = stored & np.invert(stored.dtype.type(NO_FAULTS & np.iinfo(stored.dtype).max))
    return faults


def _read_own(tree: Tree, source: Source, *, frames: bool) -> None:
    """The numbers of the frames and the metadata that this package has written."""
    index, metadata = f"{OWN}/scan_index", f"{OWN}/metadata"
    if frames and tree.dataset(index) is not None:
        source.arrays[schema.SCAN_INDEX] = tree.read(index)
        source.members[index] = f"read as {schema.SCAN_INDEX}"
    text = tree.text(metadata)
    if text is not None:
        source.arrays[schema.METADATA] = _metadata(text, stands_in=schema.OBJECT not in source.arrays)
        source.members[metadata] = (
            f"read as {schema.METADATA}: the scale of amplitudes is left, as frames are counts here"
        )


def _metadata(text: str, *, stands_in: bool) -> NDArray[Any]:
    """The document of a data set whose frames are counts now, and whose object may be known now."""
    stored = np.array(text, np.str_)
    try:
        document = decode_metadata(stored)
    except ContractError:  # the conversion says why it leaves it
        return stored
    scaled = physics_parameters(document)
    document["physics_parameters"] = {name: value for name, value in scaled.items() if name != "intensity_scale"}
    history = document.get("data_transformations")
    if isinstance(history, list) and not stands_in:
        document["data_transformations"] = [step for step in history if not is_stand_in(step)]
    return encode_metadata(document)


def _unit(tree: Tree, name: str) -> str:
    unit = tree.attributes(name).get("units", "")
    return (unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)).strip()


def _metres(tree: Tree, name: str) -> float | None:
    """A length [m], in the unit that stands beside it."""
    value = tree.number(name)
    return None if value is None or value == 0 else abs(value) * _factor(tree, name)


def _factor(tree: Tree, name: str) -> float:
    unit = _unit(tree, name)
    factor = METRES.get(unit.lower() or "m")
    if factor is None:
        raise tree.error(f"'{name}' has the unit '{unit}'; expected one of {', '.join(METRES)}")
    return factor


def _centre(tree: Tree, name: str) -> float | None:
    """Where the object's middle is [m], None where the file does not say."""
    number = tree.number(name)
    if name in tree and (number is None or not np.isfinite(number)):
        raise tree.error(f"'{name}' is no number; expected where the object's middle is, in metres")
    return number


def _geometry(tree: Tree, options: ReadingOptions) -> Geometry:
    sides = [_metres(tree, f"{DETECTOR}/{axis}_pixel_size") for axis in ("y", "x")]
    vectors = _basis_vectors(tree)
    if vectors is not None:
        sides = [float(np.linalg.norm(vector)) for vector in vectors]
    rows, columns = sides[0] or sides[1], sides[1] or sides[0]
    pixel = (rows, columns) if rows and columns else None
    return Geometry(_wavelength(tree, options), _metres(tree, f"{DETECTOR}/distance"), pixel)


def _wavelength(tree: Tree, options: ReadingOptions) -> float | None:
    """Wavelength [m]; energies are in joules in CXI, and in NeXus in what stands beside them."""
    found = _metres(tree, f"{SOURCE}/wavelength") or _metres(tree, f"{ENTRY}/instrument_1/beam_1/wavelength")
    for name in ENERGIES:
        energy = tree.number(name)
        if found is not None or energy is None or energy <= 0:
            continue
        unit = JOULES.get(_unit(tree, name).lower() or "j")
        if unit is None or energy * unit > LARGEST_ENERGY_J:
            if options.corrections.energy_ev:
                return None
            raise tree.error(
                f"'{name}' is {energy:g} {_unit(tree, name) or 'without a unit'}; CXI wants joules (8 keV is "
                "1.28e-15), NeXus a unit beside it (eV, keV, J): give --energy in eV"
            )
        found = wavelength_of(energy * unit / ELECTRON_VOLT)
    return found


def _basis_vectors(tree: Tree) -> NDArray[np.float64] | None:
    """Directions of the rows, then of the columns of a frame, (2, 3) [m]; None where there are none."""
    name = f"{DETECTOR}/basis_vectors"
    if tree.dataset(name) is None:
        return None
    stored = np.asarray(tree.read(name), np.float64)
    stored = stored[0] if stored.ndim == 3 else stored
    vectors = stored.T if stored.shape == (3, 2) else stored
    if vectors.shape != (2, 3) or not np.isfinite(vectors).all() or not (np.linalg.norm(vectors, axis=1) > 0).all():
        raise tree.error(f"'{name}' has shape {stored.shape}; expected two directions in space, (3, 2) or (2, 3)")
    return vectors


def _across_the_beam(tree: Tree, source: Source, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (2, 2) of rows and columns in the plane across the beam; a tilt against it is noted or refused."""
    name = f"{DETECTOR}/basis_vectors"
    lengths = np.linalg.norm(vectors[:, :2], axis=1)
    tilt = float(np.degrees(np.arctan2(np.abs(vectors[:, 2]), lengths)).max())
    if tilt > LARGEST_TILT_DEGREES:
        raise tree.error(
            f"'{name}' points {tilt:.3g} degrees out of the plane across the beam; expected at most "
            f"{LARGEST_TILT_DEGREES:g}: correct the vectors, or project the frames on that plane first"
        )
    directions: NDArray[np.float64] = vectors[:, :2] / lengths[:, None]
    if abs(float(directions[0] @ directions[1])) > SKEW:
        raise tree.error(
            f"'{name}' has rows and columns that are not at right angles; expected two directions that are"
        )
    if tilt > LEAST_TILT_DEGREES:
        source.done.append(transformation("tilted_detector_taken_for_flat", {"degrees": round(tilt, 3)}))
    return directions


def _read_positions(tree: Tree, source: Source, geometry: Geometry, options: ReadingOptions) -> None:
    name = _first(tree, TRANSLATIONS)
    if name is None:
        raise tree.error(
            f"holds no positions: none of {', '.join(TRANSLATIONS)} is there. NXcxi_ptycho leaves their place open "
            "(motors, `transformations`); put them beside with --with FILE, or write them to the first of these places "
            "as (n, 3) in metres, order x, y, z"
            if schema.OBJECT not in source.arrays
            else f"holds no positions: none of {', '.join(TRANSLATIONS)} is there"
        )
    moves = np.asarray(tree.read(name), np.float64) * _factor(tree, name)
    if moves.ndim < 2 or moves.shape[-1] not in (2, 3):
        raise tree.error(f"'{name}' has shape {moves.shape}; expected (n, 3) with the order x, y, z")
    moves = moves.reshape(-1, moves.shape[-1])[:, :2]
    vectors = _basis_vectors(tree)
    down, right = np.array([[0.0, -1.0], [-1.0, 0.0]])
    if vectors is not None:
        down, right = _across_the_beam(tree, source, vectors)
    source.members[name] = "read as positions: of the sample, in metres"
    pixel = geometry.object_pixel(frame_shape(source))
    x, y = -moves @ right, -moves @ down
    centre = [_centre(tree, f"{PTYCHODUS}/object_center_{axis}_m") for axis in "xy"]
    size = frame_shape(source)
    known = _of_ptychodus(tree) and None not in centre
    if known:
        x, y = x - float(centre[0] or 0), y - float(centre[1] or 0)
    if put_metres(source, x, y, pixel, options.corrections, geometry.lacking()) and pixel is not None:
        note_pixel(source, pixel)
        if known and size is not None:  # of window centres about the middle of the object, to its first pixel
            for key, side, axis in ((schema.YCOORDS, size[0], -2), (schema.XCOORDS, size[1], -1)):
                extent = int(source.arrays[schema.OBJECT].shape[axis])
                source.arrays[key] = window_centres(source.arrays[key], side, extent, 1.0)
    source.done.append(transformation("beam_against_sample", {"rows": down.tolist(), "columns": right.tolist()}))
