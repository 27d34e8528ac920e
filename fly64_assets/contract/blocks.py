"""Reading large arrays in blocks, so that memory does not grow with the number of frames.

Belongs here: the order in which rows are visited. Does not belong here: what is done with them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BLOCK_ELEMENTS: Final = 2**20


def row_blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Consecutive parts of the first axis with about a million elements each, and where each starts.

    An array of shape () is one part of shape (1,). Pages of a read-only memory map leave the process after their part,
    so that a large file does not fill its resident memory.
    """
    if array.ndim == 0:
        yield 0, array.reshape(1)
        return
    if array.size == 0:
        return
    mapped = _read_only_map(array)
    step = max(1, BLOCK_ELEMENTS * len(array) // array.size)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def _read_only_map(array: NDArray[Any]) -> mmap.mmap | None:
    """The memory map under an array or view. Only mode "r": giving up pages would undo writes to others."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and owner.mode != "r":
            return None
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) else None
