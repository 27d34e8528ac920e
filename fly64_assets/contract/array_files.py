"""Safe access to NPY and TIFF files from untrusted sources: sizes, headers and damage, between a file and an array."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.archive import HEADER_ERRORS, MAPPED_FROM_BYTES
from fly64_assets.contract.scratch import scratch
from fly64_assets.contract.size_limit import check_size
from fly64_assets.errors import ContractError


def read_npy(path: Path, max_bytes: int | None = None) -> NDArray[Any]:
    """The array of an NPY file, memory-mapped and read-only.

    Raises :class:`ContractError`, one sentence, for a damaged file, one of Python objects, and one that declares more
    than ``max_bytes`` (by default 16 GiB, or the size of the file itself where that is more).
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except HEADER_ERRORS as problem:
        raise ContractError(f"{path} is not a complete NPY file of numbers ({_text(problem)})") from problem
    check_size(f"{path} declares", array.nbytes, path.stat().st_size, max_bytes)
    return array


def read_tiff(path: Path, max_bytes: int | None = None) -> NDArray[Any]:
    """The pages of a TIFF file as one array, of a large file in a temporary file.

    Raises :class:`ContractError` for a damaged file, pages that are unlike, a compression that is not known here, and
    for more bytes than ``max_bytes``.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            shape = tuple(int(side) for side in series.shape)
            declared = _declared(shape, np.dtype(series.dtype))
            check_size(f"{path} declares", declared, path.stat().st_size, max_bytes)
            shapes = [tuple(one.shape) for one in file.series]
            array = _pages(series, shape) if len(shapes) == 1 else None
    except ContractError:
        raise
    except Exception as problem:  # tifffile raises anything for a damaged file
        raise ContractError(
            f"{path} cannot be read as TIFF ({_text(problem)}): it is damaged, or compressed in a way that is not "
            "known here; store it without compression"
        ) from problem
    if array is None:
        raise ContractError(f"{path} holds pictures of unlike form, {', '.join(map(str, shapes))}; expected one form")
    return array


def _declared(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    if min(shape, default=0) < 0 or dtype.hasobject:
        raise ValueError(f"declares shape {shape} and dtype {dtype}")
    return min(math.prod(shape) * dtype.itemsize, sys.maxsize)


def _pages(series: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    dtype = np.dtype(series.dtype)
    if series.nbytes < MAPPED_FROM_BYTES or len(series.pages) < 2:
        return np.asarray(series.asarray())

    def blocks() -> Iterator[NDArray[Any]]:
        for page in series.pages:
            yield np.asarray(page.asarray())

    return scratch(blocks(), dtype.newbyteorder("="), shape)


def _text(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__
