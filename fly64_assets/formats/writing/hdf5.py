"""HDF5 files whose bytes depend on their content alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from fly64_assets.formats.writing.content import Patterns


@contextmanager
def new_hdf5(file: BinaryIO) -> Iterator[h5py.File]:
    """A new HDF5 file in the place of ``file``, a new file on disk that is open for writing."""
    with h5py.File(file.name, "w") as target:
        yield target


def put(group: h5py.Group, name: str, values: NDArray[Any] | float | str) -> h5py.Dataset:
    """Write one array, number or text without the time; arrays of two axes and more are compressed."""
    packed = {"compression": "gzip", "shuffle": True} if np.ndim(values) >= 2 else {}
    return group.create_dataset(name, data=values, track_times=False, **packed)


def put_patterns(group: h5py.Group, name: str, patterns: Patterns) -> h5py.Dataset:
    """Write counts (n, N, N) block by block, compressed frame by frame."""
    target = group.create_dataset(
        name,
        patterns.shape,
        patterns.dtype,
        chunks=(1, *patterns.shape[1:]),
        compression="gzip",
        shuffle=True,
        track_times=False,
    )
    for part, counts in patterns.blocks():
        target[part] = counts
    return target
