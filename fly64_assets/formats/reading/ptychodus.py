"""Files of ptychodus: products (object, probe, positions; HDF5 and NPZ) and diffraction files (NPZ, HDF5).

Positions are of the beam, in metres, in a plane of which the object's middle has the coordinates ``center_x_m`` and
``center_y_m``: column = (x - centre) / p + W / 2 and row = (y - centre) / p + H / 2, y down. The frame of a position is
the one with the same index.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import PIXEL_SIZE, transformation
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.geometry import SQUARE, Geometry, note_geometry
from fly64_assets.formats.reading.hdf5 import Tree
from fly64_assets.formats.reading.members import first_of_varying, leave_ones
from fly64_assets.formats.units import window_centres
from fly64_assets.physics.optics import wavelength_of

X, Y, INDEX = "probe_position_x_m", "probe_position_y_m", "probe_position_indexes"
PRODUCT: Final = frozenset({"object", "probe", X, Y})
ENERGIES: Final = ("photon_energy_eV", "probe_energy_eV")
"""The first is that of newer versions."""
USED: Final = frozenset(
    {
        *ENERGIES,
        "detector_object_distance_m",
        "far_field",
        *(f"{of}_pixel_{side}_m" for of in ("object", "probe") for side in ("width", "height")),
        *(f"object_center_{axis}_m" for axis in "xy"),
    }
)
"""Facts of a product that are used, beside its arrays."""
PATTERNS: Final = "patterns"
INDEXES: Final = "indexes"
MODES: Final = 4
"""Axes of a probe with varying modes (opr, mode, row, column)."""


def is_product(keys: frozenset[str]) -> bool:
    """Whether members of a file are those of a product."""
    return keys >= PRODUCT


def is_diffraction(keys: frozenset[str]) -> bool:
    """Whether members of a file are those of a diffraction file."""
    return PATTERNS in keys and (INDEXES in keys or keys <= {PATTERNS, schema.BAD_PIXELS})


def product_of_tree(tree: Tree) -> Source:
    """A product in HDF5."""
    attributes = {**tree.attributes("/")}
    for name in ("object", "probe"):
        attributes |= {f"{name}_{key}": value for key, value in tree.attributes(name).items()}
    arrays = {name: tree.read(name) for name in (*sorted(PRODUCT), INDEX) if name in tree}
    others = dict.fromkeys((name for name in tree.group("/") if name not in arrays), "not needed")
    return product(tree.path, arrays, attributes, others)


def product(
    path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], others: Mapping[str, str]
) -> Source:
    """A product of its arrays and facts, which have the names of the NPZ form.

    Raises :class:`ContractError` for a missing pixel size, pixels that are no squares, and pixels of the probe that are
    not those of the object.
    """
    source = Source(path, "ptychodus product", members=dict(others))
    source.members |= {name: "read: geometry of the measurement" for name in others if name in USED}
    obj, probe = arrays["object"], arrays["probe"]
    if probe.ndim == MODES and probe.shape[0] > 1:
        probe = first_of_varying(source, probe)
    source.arrays |= {schema.OBJECT: obj, schema.PROBE: probe}
    pixel = _pixel(path, facts, "object", required=True)
    of_probe = _pixel(path, facts, "probe", required=False)
    if pixel is None or (of_probe is not None and abs(of_probe - pixel) > SQUARE * pixel):
        raise ContractError(f"{path}: the probe has pixels of {of_probe} m and the object of {pixel} m; expected equal")
    source.physics[PIXEL_SIZE] = pixel
    if "far_field" in facts and not np.asarray(facts["far_field"]).all():
        raise ContractError(f"{path} is a product of near-field propagation; here every frame is a far field: not read")
    energy = next((value for name in ENERGIES if (value := _number(facts, name))), None)
    distance = _number(facts, "detector_object_distance_m")
    note_geometry(source, Geometry(wavelength_of(energy) if energy else None, distance, None))
    x, y = (_coordinates(path, arrays, name) for name in (X, Y))
    x, y = x - _centre(path, facts, "x"), y - _centre(path, facts, "y")
    if obj.ndim < 2 or probe.ndim < 2:
        raise ContractError(f"{path}: object and probe have shapes {obj.shape} and {probe.shape}; expected pictures")
    size = int(probe.shape[-1])
    source.arrays[schema.XCOORDS] = window_centres(x, size, int(obj.shape[-1]), pixel)
    source.arrays[schema.YCOORDS] = window_centres(y, size, int(obj.shape[-2]), pixel)
    source.done.append(transformation("positions_from_metres", {"pixel_m": [pixel, pixel]}))
    names = {"object": schema.OBJECT, "probe": schema.PROBE, X: schema.XCOORDS, Y: schema.YCOORDS}
    if INDEX in arrays:
        source.arrays[schema.SCAN_INDEX] = np.asarray(arrays[INDEX])
        names[INDEX] = schema.SCAN_INDEX
    source.members |= {name: f"read as {key}" for name, key in names.items()}
    leave_ones(source, "object")
    return source


def diffraction(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Source:
    """Frames, their indices and bad pixels (True where a pixel is bad)."""
    source = Source(path, "ptychodus diffraction", says={"counts": True})
    names = {PATTERNS: schema.FRAMES, INDEXES: schema.SCAN_INDEX, schema.BAD_PIXELS: schema.BAD_PIXELS}
    for name, key in names.items():
        if name in arrays:
            source.arrays[key] = arrays[name]
            source.members[name] = f"read as {key}"
    return source


def _coordinates(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    array = arrays[name]
    if array.dtype.kind not in "iuf":
        raise ContractError(f"{path}: '{name}' has dtype {array.dtype}; expected metres")
    return np.asarray(array, np.float64).reshape(-1)


def _number(facts: Mapping[str, Any], name: str) -> float | None:
    """A positive number among the facts, None where there is none."""
    value = np.asarray(facts.get(name, np.nan))
    number = float(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind in "iuf" else np.nan
    return number if np.isfinite(number) and number > 0 else None


def _centre(path: Path, facts: Mapping[str, Any], axis: str) -> float:
    """Where the object's middle is [m], 0 where the file does not say."""
    name = f"object_center_{axis}_m"
    value = np.asarray(facts.get(name, 0.0))
    number = float(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind in "iuf" else np.nan
    if not np.isfinite(number):
        raise ContractError(f"{path}: {name} is {str(value)[:50]!r}; expected where the object's middle is, in metres")
    return number


def _pixel(path: Path, facts: Mapping[str, Any], of: str, *, required: bool) -> float | None:
    width, height = (_number(facts, f"{of}_pixel_{side}_m") for side in ("width", "height"))
    if width is None or height is None:
        stored = {name: facts[name] for side in ("width", "height") if (name := f"{of}_pixel_{side}_m") in facts}
        if required and stored:
            sides = " and ".join(f"{name} = {str(value)[:30]}" for name, value in stored.items())
            raise ContractError(f"{path}: the {of} has {sides}; expected both sides of a pixel, positive, in metres")
        if required:
            raise ContractError(f"{path}: the {of} has no pixel size; a product of ptychodus has pixel_width_m there")
        return None
    if abs(width - height) > SQUARE * width:
        raise ContractError(
            f"{path}: pixels of the {of} are {width:g} m wide and {height:g} m high; DATA-001 knows squares only: "
            "resample the object, or reconstruct on square pixels"
        )
    return width
