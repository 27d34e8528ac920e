"""HDF5 files whose bytes depend on their content alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from fly64_assets.formats.writing.content import Patterns


class _Disk:
    """A file on disk as HDF5 reads and writes it; ``refusal`` is the first error of the system in writing.

    HDF5 ends the process where a part of a file that it closes cannot be written, as on a full disk. It is told of
    no error therefore, and who makes the file raises the refusal.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR)
        self._place = self._size = 0
        self.refusal: OSError | None = None

    def close(self) -> None:
        """Give the file back to the system."""
        os.close(self._descriptor)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the first or the last byte."""
        self._place = offset + (self._size if whence == os.SEEK_END else 0)
        return self._place

    def tell(self) -> int:
        """Where it is."""
        return self._place

    def readinto(self, target: Any) -> int:
        """Fill ``target`` with the bytes from here on, with zeros where nothing was written; how many they are."""
        view = memoryview(target).cast("B")
        view[:] = os.pread(self._descriptor, len(view), self._place).ljust(len(view), b"\0")
        return len(view)

    def read(self, size: int) -> bytes:
        """Bytes from here on."""
        return os.pread(self._descriptor, size, self._place)

    def write(self, data: Any) -> int:
        """Write all bytes here, none after a refusal; how many they are."""
        rest = memoryview(data).cast("B")
        count, end = len(rest), self._place + len(rest)
        try:
            while self.refusal is None and len(rest):
                rest = rest[os.pwrite(self._descriptor, rest, end - len(rest)) :]
        except OSError as error:
            self.refusal = error
        self._size = max(self._size, end)
        return count

    def truncate(self, size: int) -> None:
        """Let the file end there."""
        self._size = size
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.refusal = self.refusal or error

    def flush(self) -> None:
        """Keep nothing back, as always."""


@contextmanager
def new_hdf5(file: BinaryIO) -> Iterator[h5py.File]:
    """A new HDF5 file in the place of ``file``, a new file on disk that is open for writing.

    Raises ``OSError`` where the system refuses to write, as on a full disk.
    """
    disk = _Disk(file.name)
    try:
        with h5py.File(disk, "w") as target:
            yield target
    finally:
        disk.close()
        if disk.refusal is not None:
            raise disk.refusal


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
