"""Large arrays that are made of others, block by block, in temporary files and not in memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fly64_assets.contract.archive import BLOCK_ELEMENTS, MAPPED_FROM_BYTES, row_blocks
from fly64_assets.errors import ContractError


def scratch(blocks: Iterator[NDArray[Any]], dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Blocks of the first axis as one read-only array in a temporary file that vanishes with it, not in memory.

    Raises :class:`ContractError` where the temporary folder has no room for it.
    """
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            _append(file, block, dtype, shape)
        return np.memmap(file, dtype, "r", 0, shape)


def scratch_of_tiles(
    tiles: Iterator[tuple[tuple[slice, ...], NDArray[Any]]], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """The same of tiles that cut the other axes, too: where each begins and ends along every axis, and its values."""
    step = max(1, BLOCK_ELEMENTS // max(math.prod(shape[1:]), 1))
    with tempfile.TemporaryFile() as file:
        for start in range(0, shape[0], step):  # all of the room is taken before anything is mapped into it
            _append(file, np.zeros((min(step, shape[0] - start), *shape[1:]), dtype), dtype, shape)
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        for place, tile in tiles:
            for start in range(0, len(tile), step):
                part = tile[start : start + step]
                window = np.memmap(file, dtype, "r+", (place[0].start + start) * row_bytes, (len(part), *shape[1:]))
                window[(slice(None), *place[1:])] = part
                del window  # what is mapped counts as memory
        return np.memmap(file, dtype, "r", 0, shape)


def _append(file: IO[bytes], block: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    data = np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data
    try:
        file.write(data)
        file.flush()
    except OSError as problem:
        size = math.prod(shape) * dtype.itemsize
        raise ContractError(
            f"{tempfile.gettempdir()}: {problem.strerror}, while {size} bytes were unpacked there: free some "
            "space, or name another folder with TMPDIR"
        ) from problem


def rows(array: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[Any]:
    """Some rows of an array; of a large one in a temporary file, not in memory."""
    step = max(1, BLOCK_ELEMENTS * len(array) // max(array.size, 1))
    parts = (array[chosen[start : start + step]] for start in range(0, len(chosen), step))
    if array.nbytes < MAPPED_FROM_BYTES or not len(chosen):
        return array[chosen]
    return scratch(parts, array.dtype, (len(chosen), *array.shape[1:]))


def mapped(
    array: NDArray[Any],
    function: Callable[[NDArray[Any]], NDArray[Any]],
    dtype: DTypeLike | None = None,
    shape: tuple[int, ...] | None = None,
) -> NDArray[Any]:
    """``function`` of each block of the first axis of an array; of a large one in a temporary file, not in memory.

    ``dtype`` and ``shape`` (of one element of the first axis) are those of the result, by default those of the array.
    Bytes are swapped to the order of this machine.
    """
    kind = (array.dtype if dtype is None else np.dtype(dtype)).newbyteorder("=")
    whole = (len(array), *(array.shape[1:] if shape is None else shape))
    blocks = (np.asarray(function(block)) for _, block in row_blocks(array))
    if math.prod(whole) * kind.itemsize >= MAPPED_FROM_BYTES and array.size:
        return scratch(blocks, kind, whole)
    made, start = np.empty(whole, kind), 0
    for block in blocks:
        made[start : start + len(block)] = block
        start += len(block)
    return made
