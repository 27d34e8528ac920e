"""A detector mask from a file of its own: NPY, NPZ or TIFF, told apart by their content and not by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import HEADER_ERRORS
from fly64_assets.contract.frames import REAL_KINDS, squeezed
from fly64_assets.contract.npz import open_npz
from fly64_assets.errors import ContractError

LARGEST_MASK_BYTES: Final = 2**30
"""Far more than the mask of any detector; the limit of what one file makes this program hold."""

NPY_MAGIC: Final = b"\x93NUMPY"
ZIP_MAGIC: Final = b"PK"
TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The mask (N, M) in a file, True where the detector did not measure.

    The array is bool, or holds 0 at good pixels and one other number (1, 255) at bad ones. An NPZ file has it as
    ``bad_pixels``, so that a data set will do, or as its only array. Raises :class:`ContractError`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(NPY_MAGIC))
    except OSError as problem:
        raise ContractError(f"the mask {path} cannot be read: {problem.strerror or problem}") from problem
    if not start.startswith(ZIP_MAGIC) and size > LARGEST_MASK_BYTES:
        raise ContractError(f"the mask {path} has {size} bytes; a mask is one picture of at most {LARGEST_MASK_BYTES}")
    if start.startswith(ZIP_MAGIC):
        array = _of_archive(path)
    elif start == NPY_MAGIC:
        try:
            array = np.load(path, allow_pickle=False)
        except HEADER_ERRORS as problem:
            raise ContractError(f"the mask {path} is no array that can be read ({problem})") from problem
    elif start.startswith(TIFF_MAGIC):
        array = _of_tiff(path)
    else:
        raise ContractError(f"the mask {path} is no NPY, NPZ or TIFF file; expected one of these, with one picture")
    return _mask(path, array)


def _of_archive(path: Path) -> NDArray[Any]:
    arrays = open_npz(path)
    if schema.BAD_PIXELS not in arrays and len(arrays) != 1:
        raise ContractError(
            f"the mask {path} has no array '{schema.BAD_PIXELS}' but {', '.join(sorted(arrays)) or 'none at all'}; "
            f"store the mask under that name, True where the detector did not measure"
        )
    return arrays.get(schema.BAD_PIXELS, next(iter(arrays.values())))


def _of_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        return np.asarray(tifffile.imread(path))
    except (*HEADER_ERRORS, tifffile.TiffFileError) as problem:
        raise ContractError(f"the mask {path} is no TIFF picture that can be read ({problem})") from problem


def _mask(path: Path, array: NDArray[Any]) -> NDArray[np.bool_]:
    picture = squeezed(array, 2)
    if picture.ndim != 2 or not picture.size or picture.dtype.kind not in REAL_KINDS:
        raise ContractError(
            f"the mask {path} has shape {array.shape} and dtype {array.dtype}; expected one picture of bool, True "
            "where the detector did not measure"
        )
    values = np.unique(picture)
    if len(values) > 2 or not np.isfinite(values).all() or (len(values) == 2 and values[0] != 0):
        listed = ", ".join(f"{value:g}" for value in values[:4])
        raise ContractError(
            f"the mask {path} holds {len(values)} different values ({listed}{', ...' * (len(values) > 4)}); expected "
            "0 at good pixels and one other value at bad ones"
        )
    return np.asarray(picture != 0)
