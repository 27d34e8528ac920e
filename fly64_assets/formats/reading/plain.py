"""Arrays without a known meaning: HDF5 by path, NPY and TIFF by the name of the file. `--rename` says what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from fly64_assets.contract.archive import DEFAULT_MAX_BYTES, HEADER_ERRORS, MAPPED_FROM_BYTES
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.hdf5 import Tree, scratch

FRAME_AXES: Final = 3
MANY: Final = 50
"""Members that a message lists at most."""


def read_tree(tree: Tree, *, frames: bool, named: frozenset[str]) -> Source:
    """Every array of numbers of an HDF5 file under its path; single numbers and texts are left."""
    source = Source(tree.path, "HDF5")
    for name, dataset in tree.datasets().items():
        shape = dataset.shape or ()
        if dataset.dtype.hasobject or dataset.dtype.kind not in "biufcV" or not shape:
            source.members[name] = f"not read: {dataset.dtype} of shape {shape}"
        elif not frames and name not in named and dataset.dtype.kind in "iuf" and len(shape) >= FRAME_AXES:
            source.members[name] = "not needed"
        else:
            source.arrays[name] = tree.read(name)
            source.members[name] = "read"
    if not source.arrays:
        held = ", ".join(list(source.members)[:MANY]) or "no member"
        raise tree.error(f"holds no array of numbers, but {held}")
    return source


def read_npy(path: Path, max_bytes: int | None) -> Source:
    """One NPY file, memory-mapped, under its own name without the suffix."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except HEADER_ERRORS as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ContractError(f"{path} is not a complete NPY file of numbers ({reason})") from problem
    _limited(path, array.nbytes, max_bytes)
    return Source(path, "NPY", arrays={path.stem: array}, members={path.stem: "read"})


def read_tiff(path: Path, max_bytes: int | None) -> Source:
    """The pages of a TIFF file as one array, under its own name without the suffix.

    Raises :class:`ContractError` for a damaged file, pages that are unlike, and a compression that is not known here.
    """
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            _limited(path, int(series.nbytes), max_bytes)
            shapes = [tuple(one.shape) for one in file.series]
            array = _pages(series) if len(shapes) == 1 else None
    except ContractError:
        raise
    except Exception as problem:  # tifffile raises anything for a damaged file
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise ContractError(
            f"{path} cannot be read as TIFF ({reason}): it is damaged, or compressed in a way that is not known here; "
            "store it without compression"
        ) from problem
    if array is None:
        raise ContractError(f"{path} holds pictures of unlike form, {', '.join(map(str, shapes))}; expected one form")
    return Source(path, "TIFF", arrays={path.stem: array}, members={path.stem: f"read, {len(array)} rows or pages"})


def _pages(series: Any) -> NDArray[Any]:
    dtype, shape = np.dtype(series.dtype), tuple(int(side) for side in series.shape)
    if series.nbytes < MAPPED_FROM_BYTES or len(series.pages) < 2:
        return np.asarray(series.asarray())

    def blocks() -> Iterator[NDArray[Any]]:
        for page in series.pages:
            yield np.asarray(page.asarray())

    return scratch(blocks(), dtype.newbyteorder("="), shape)


def _limited(path: Path, declared: int, max_bytes: int | None) -> None:
    limit = max(DEFAULT_MAX_BYTES, path.stat().st_size) if max_bytes is None else max_bytes
    if declared > limit:
        raise ContractError(
            f"{path} declares {declared} bytes of arrays; the limit is {limit}: if the file is trusted and the memory "
            "is there, raise it with --max-bytes"
        )
