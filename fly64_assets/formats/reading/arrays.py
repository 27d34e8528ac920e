"""Arrays of tike and of pty-chi under the names of their functions, in NPZ, HDF5 or NPY files; and pairs of positions.

tike: ``data`` (…, n, W, H) intensities with the DC in the corner, ``probe`` (…, 1, 1, modes, W, H), ``psi`` (…, W, H)
and ``scan`` (…, n, 2), the first pixels of the windows along the two axes of ``psi``.
pty-chi: ``data`` (n, H, W) intensities, ``probe`` (opr, modes, H, W), ``object`` (slices, H, W),
``probe_position_y_px`` and ``probe_position_x_px`` about the object's centre, or ``positions_px`` (n, 2), order (y, x).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.members import first_of_varying
from fly64_assets.formats.reading.options import ReadingOptions

Arrays = Mapping[str, NDArray[Any]]

TIKE: Final = frozenset({"scan", "probe"})
TIKE_NAMES: Final = {"data": schema.FRAMES, "psi": schema.OBJECT, "probe": schema.PROBE}
PTYCHI_X, PTYCHI_Y, PTYCHI_PAIRS = "probe_position_x_px", "probe_position_y_px", "positions_px"
PTYCHI_NAMES: Final = {
    **dict.fromkeys(("data", "diffraction_data", "dp"), schema.FRAMES),
    **dict.fromkeys(("object", "object_data"), schema.OBJECT),
    **dict.fromkeys(("probe", "probe_data"), schema.PROBE),
}
VALID: Final = "valid_pixel_mask"


def is_tike(keys: frozenset[str]) -> bool:
    """Whether members are those of tike."""
    return keys >= TIKE and bool({"data", "psi"} & keys)


def is_ptychi(keys: frozenset[str]) -> bool:
    """Whether members are those of pty-chi."""
    return keys >= {PTYCHI_X, PTYCHI_Y} or PTYCHI_PAIRS in keys


def wanted(keys: frozenset[str]) -> frozenset[str]:
    """Members of tike's or pty-chi's arrays that are read."""
    if is_tike(keys):
        return keys & {*TIKE_NAMES, "scan"}
    return keys & {*PTYCHI_NAMES, PTYCHI_X, PTYCHI_Y, PTYCHI_PAIRS, VALID}


def tike(path: Path, arrays: Arrays) -> Source:
    """Arrays of tike; only one of several data sets along the leading axes can be read."""
    source = Source(path, "tike", says={"counts": True, "dc_corner": True})
    _name(source, arrays, TIKE_NAMES)
    pairs = as_pairs(path, "scan", arrays["scan"])
    _put_pairs(source, pairs, "yx")
    source.members["scan"] = "read as positions: first pixels of the windows, along the rows, then the columns"
    if schema.OBJECT in source.arrays:
        source.says["positions"] = "corners"
    return source


def ptychi(path: Path, arrays: Arrays) -> Source:
    """Arrays of pty-chi."""
    source = Source(path, "pty-chi", says={"counts": True})
    _name(source, arrays, PTYCHI_NAMES)
    if PTYCHI_PAIRS in arrays:
        _put_pairs(source, as_pairs(path, PTYCHI_PAIRS, arrays[PTYCHI_PAIRS]), "yx")
        source.members[PTYCHI_PAIRS] = "read as positions: about the object's centre, order y, x"
    else:
        x, y = (np.asarray(arrays[name], np.float64).reshape(-1) for name in (PTYCHI_X, PTYCHI_Y))
        source.arrays[schema.XCOORDS], source.arrays[schema.YCOORDS] = x, y
        source.members |= {PTYCHI_X: f"read as {schema.XCOORDS}", PTYCHI_Y: f"read as {schema.YCOORDS}"}
    if VALID in arrays:
        source.arrays[schema.BAD_PIXELS] = ~np.asarray(arrays[VALID], bool)
        source.members[VALID] = f"read as {schema.BAD_PIXELS}, inverted: valid pixels are true there"
    if schema.OBJECT in source.arrays:
        source.says["positions"] = "from-centre"
    return source


def split_pairs(source: Source, options: ReadingOptions) -> None:
    """Members that the user names as pairs of positions become x and y."""
    for name, order in options.pairs.items():
        if name not in source.arrays:
            found = ", ".join(sorted(source.arrays))
            raise ContractError(f"{source.path}: there is no '{name}' to be read as pairs; found {found}")
        pairs = as_pairs(source.path, name, source.arrays.pop(name))
        _put_pairs(source, pairs, order)
        source.lacking = ""
        source.members[name] = f"read as positions, order {order[0]}, {order[1]}"


def as_pairs(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float64]:
    """Positions (n, 2), of an array with axes of length 1 before, or with the axes exchanged."""
    pairs = array.reshape(array.shape[-2:]) if array.ndim > 2 and set(array.shape[:-2]) == {1} else array
    if pairs.ndim == 2 and pairs.shape[0] == 2 != pairs.shape[1]:
        pairs = pairs.T
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iuf":
        raise ContractError(
            f"{path}: '{name}' has shape {array.shape} and dtype {array.dtype}; expected (n, 2) numbers"
        )
    return np.asarray(pairs, np.float64)


def _name(source: Source, arrays: Arrays, names: Mapping[str, str]) -> None:
    for name, key in names.items():
        if name in arrays and key not in source.arrays:
            source.arrays[key] = arrays[name]
            source.members[name] = f"read as {key}"
    probe = source.arrays.get(schema.PROBE)
    if probe is not None and probe.ndim == 4 and probe.shape[0] > 1:
        source.arrays[schema.PROBE] = first_of_varying(source, probe)


def _put_pairs(source: Source, pairs: NDArray[np.float64], order: str) -> None:
    first, second = pairs[:, 0], pairs[:, 1]
    x, y = (first, second) if order == "xy" else (second, first)
    source.arrays[schema.XCOORDS], source.arrays[schema.YCOORDS] = x, y
