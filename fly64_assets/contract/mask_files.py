"""Masks of a detector from files of their own: NPY, NPZ or TIFF, told apart by their content and not by their name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import HEADER_ERRORS, open_archive
from fly64_assets.contract.frames import REAL_KINDS, squeezed
from fly64_assets.contract.kinds import NPY, TIFF, kind_of
from fly64_assets.errors import ContractError


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask (M, N): True where the file is not 0.

    An NPZ file holds one array, or one named ``bad_pixels``, so that a data set will do. Whole numbers may differ, as
    the bits of a mask that say why a pixel is bad; numbers with fractions may not. Raises :class:`ContractError`, one
    sentence, for anything else.
    """
    kind = kind_of(path)
    try:
        array = _read_npy(path) if kind == NPY else _read_tiff(path) if kind == TIFF else _read_npz(path)
    except HEADER_ERRORS as problem:
        said = f"{path}: the mask cannot be read ({problem}); expected an NPY, NPZ or TIFF file"
        raise ContractError(said) from problem
    marks = as_marks(array, str(path))
    if array.dtype.kind == "f" and len(np.unique(array)) > 2:
        raise ContractError(
            f"{path}: a mask of dtype {array.dtype} holds {len(np.unique(array))} different values, as a picture does; "
            "expected 0 at the pixels that are not marked, and one other value"
        )
    return marks


def as_marks(array: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """True where an array is not 0; :class:`ContractError` where it is no picture of numbers."""
    plane = squeezed(array, 2)
    if plane.ndim != 2 or not plane.size or plane.dtype.kind not in REAL_KINDS or not np.isfinite(plane).all():
        raise ContractError(
            f"{name}: a mask of dtype {array.dtype} and shape {array.shape} is no picture of finite numbers; expected "
            "one (N, N) for all frames"
        )
    return np.asarray(plane != 0)


def _read_npy(path: Path) -> NDArray[Any]:
    return np.asarray(np.load(path, allow_pickle=False))


def _read_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        return np.asarray(tifffile.imread(path))
    except tifffile.TiffFileError as problem:
        raise ContractError(f"{path}: the mask cannot be read ({problem}); expected a sound TIFF file") from problem


def _read_npz(path: Path) -> NDArray[Any]:
    with open_archive(path) as archive:
        keys = archive.keys
        key = schema.BAD_PIXELS if schema.BAD_PIXELS in keys else keys[0] if len(keys) == 1 else None
        if key is None:
            raise ContractError(f"{path} holds {', '.join(keys)}; expected one array, or one named {schema.BAD_PIXELS}")
        return archive.read(key)
