"""Memory of arrays that are mapped from files: pages are given back when a block of frames has been used."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def release_pages(array: NDArray[Any]) -> None:
    """Give back the pages of a file that is mapped read-only under an array or view; any other array stays as it is.

    Reading a mapped file fills the resident memory of the process with it, page by page. The system reads pages again,
    mostly from its own cache, when they are needed, so that no value depends on this.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     _ = file.write(np.arange(1000.0).tobytes()), file.flush()
    ...     stored = np.memmap(file, np.float64, "r")
    ...     before = float(stored.sum())
    ...     release_pages(stored[::2])
    ...     before == float(stored.sum())
    True
    """
    mapped = _read_only_map(array)
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
