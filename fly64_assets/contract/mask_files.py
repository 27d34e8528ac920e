"""Masks of a detector as other programs store them: in NPY, NPZ and TIFF files, in bits, one for all frames or each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import open_archive, row_blocks
from fly64_assets.contract.array_files import read_npy, read_tiff
from fly64_assets.contract.frames import REAL_KINDS, squeezed
from fly64_assets.contract.kinds import NPY, TIFF, kind_of, what_else
from fly64_assets.errors import ContractError


def read_mask(path: Path, max_bytes: int | None = None) -> NDArray[np.bool_]:
    """A mask (M, N): True where the file is not 0.

    An NPZ file holds one array, or one named ``bad_pixels``. Raises :class:`ContractError`, one sentence, for anything
    that is no picture of numbers.
    """
    return as_marks(read_array(path, max_bytes), str(path))[0]


def read_array(path: Path, max_bytes: int | None = None) -> NDArray[Any]:
    """The array of a mask's file; :class:`ContractError`, one sentence, where there is none."""
    kind = kind_of(path)
    if kind == NPY:
        return read_npy(path, max_bytes)
    if kind == TIFF:
        return read_tiff(path, max_bytes)
    if other := what_else(path):
        raise ContractError(f"{path} {other}; a mask is an NPY, NPZ or TIFF file")
    return _read_npz(path, max_bytes)


def as_marks(
    array: NDArray[Any], name: str, *, frames: int | None = None, good: bool = False
) -> tuple[NDArray[np.bool_], int]:
    """The pixels (M, N) that a mask marks as bad, and how many of them it marks in some frames only.

    Bad are those where it is not 0, or, with ``good``, those where it is 0; of a mask of each of so many ``frames``
    (n, M, N), those that are bad in any. Raises :class:`ContractError` for what is no picture of finite numbers.

    Examples
    --------
    >>> as_marks(np.array([[[0, 8], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]]), "mask", frames=3)
    (array([[False,  True],
           [False, False]]), 1)
    """
    planes = squeezed(array, 2)
    if planes.dtype.kind not in REAL_KINDS or not planes.size or planes.ndim not in (2, 3):
        raise _no_mask(array, name, frames)
    if planes.ndim == 2:
        planes = planes[None]
    elif len(planes) != frames:
        raise _no_mask(array, name, frames)
    ever, always = np.zeros(planes.shape[1:], np.bool_), np.ones(planes.shape[1:], np.bool_)
    for _, block in row_blocks(planes):
        if not np.isfinite(block).all():
            raise _no_mask(array, name, frames)
        bad = (block == 0) if good else (block != 0)
        ever |= bad.any(axis=0)
        always &= bad.all(axis=0)
    return ever, int(np.count_nonzero(ever & ~always))


def _no_mask(array: NDArray[Any], name: str, frames: int | None) -> ContractError:
    each = "" if frames is None else f", or one for each of the {frames} frames"
    return ContractError(
        f"{name}: a mask of dtype {array.dtype} and shape {array.shape} is no picture of finite numbers; expected one "
        f"(N, N) for all frames{each}"
    )


def _read_npz(path: Path, max_bytes: int | None) -> NDArray[Any]:
    with open_archive(path, max_bytes) as archive:
        keys = archive.keys
        key = schema.BAD_PIXELS if schema.BAD_PIXELS in keys else keys[0] if len(keys) == 1 else None
        if key is None:
            raise ContractError(f"{path} holds {', '.join(keys)}; expected one array, or one named {schema.BAD_PIXELS}")
        return archive.read(key)
