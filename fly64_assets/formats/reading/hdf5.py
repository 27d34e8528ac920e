"""Safe access to HDF5 files from untrusted sources: links, sizes, filters and damage, between a file and an array.

What the members mean is for the modules of the formats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.archive import BLOCK_ELEMENTS, MAPPED_FROM_BYTES
from fly64_assets.contract.scratch import scratch, scratch_of_tiles
from fly64_assets.contract.size_limit import check_size
from fly64_assets.errors import ContractError

MAX_MEMBERS: Final = 20_000
MAX_LINKS: Final = 32
# What h5py raises for broken files, beside what it raises for missing members.
HDF5_ERRORS: Final = (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError, OverflowError, SystemError)
ARRAY_KINDS: Final = "biufcV"


class Tree:
    """An open HDF5 file: its members by path. Links to other files are refused, never followed.

    ``arrays_read`` and ``facts_read`` are the paths of the arrays, and of the single numbers and texts, read so far.
    """

    def __init__(self, file: h5py.File, path: Path, max_bytes: int | None) -> None:
        self.path = path
        self._file = file
        self._max_bytes = max_bytes
        self._taken = 0
        self.arrays_read: set[str] = set()
        self.facts_read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._found(name) is not None

    def error(self, message: str) -> ContractError:
        """An error that names the file."""
        return ContractError(f"{self.path}: {message}")

    def group(self, name: str) -> list[str]:
        """Names of what is directly under a group, in a fixed order; empty where there is no such group."""
        node = self._found(name)
        return sorted(node) if isinstance(node, h5py.Group) else []

    def datasets(self) -> dict[str, h5py.Dataset]:
        """Every data set that the file itself holds, by path."""
        found: dict[str, h5py.Dataset] = {}

        def keep(name: str, node: object) -> bool | None:
            if isinstance(node, h5py.Dataset):
                found[name] = node
            return True if len(found) > MAX_MEMBERS else None

        with self._reading("its members"):
            too_many = self._file.visititems(keep)
        if too_many:
            raise self.error(f"has more than {MAX_MEMBERS} members; no such file of this kind is known")
        return found

    def dataset(self, name: str) -> h5py.Dataset | None:
        """A data set by path, None where there is none."""
        node = self._found(name)
        return node if isinstance(node, h5py.Dataset) else None

    def attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a member; empty where there is none of that name."""
        node = self._found(name)
        with self._reading(name):
            return {} if node is None else dict(node.attrs)

    def read(self, name: str) -> NDArray[Any]:
        """A data set as a read-only array; large ones are memory-mapped, in the file itself where they lie unpacked."""
        dataset = self.dataset(name)
        if dataset is None:
            raise self.error(f"'{name}' is no array")
        self._check(name, dataset)
        self.arrays_read.add(_path(dataset))
        offset = dataset.id.get_offset()
        filters = dataset.id.get_create_plist().get_nfilters()
        with self._reading(name):
            if dataset.nbytes < MAPPED_FROM_BYTES:
                return np.asarray(dataset[()])
            if offset is not None and not filters and dataset.dtype.isnative:
                return np.memmap(self.path, dataset.dtype, "r", offset, dataset.shape)
            sides = _tile(dataset)
            tiles = ((place, dataset[place]) for place in _places(dataset.shape, sides))
            if sides[1:] == dataset.shape[1:]:
                return scratch((tile for _, tile in tiles), dataset.dtype, dataset.shape)
            return scratch_of_tiles(tiles, dataset.dtype, dataset.shape)

    def number(self, name: str) -> float | None:
        """A single number, None where there is none."""
        dataset = self.dataset(name)
        if dataset is None or dataset.size != 1 or dataset.dtype.kind not in "biuf":
            return None
        self.facts_read.add(_path(dataset))
        return float(self.read(name).reshape(-1)[0])

    def text(self, name: str) -> str | None:
        """A single text, None where there is none."""
        dataset = self.dataset(name)
        if dataset is None or dataset.size != 1 or h5py.check_string_dtype(dataset.dtype) is None:
            return None
        self.facts_read.add(_path(dataset))
        with self._reading(name):
            value = np.asarray(dataset[()]).reshape(-1)[0]
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def _check(self, name: str, dataset: h5py.Dataset) -> None:
        if dataset.shape is None or dataset.dtype.hasobject or dataset.dtype.kind not in ARRAY_KINDS:
            kind = "nothing" if dataset.shape is None else f"values of type {dataset.dtype}"
            raise self.error(f"'{name}' holds {kind}; expected numbers")
        others = [dataset.external[0][0]] if dataset.external else []
        if dataset.is_virtual:
            others += [part.file_name for part in dataset.virtual_sources() if part.file_name != "."]
        if others:
            raise self.error(
                f"the numbers of '{name}' are in another file, {others[0]}, which is not opened: copy them into one "
                "file, for example with h5copy or h5repack, or give that file"
            )
        self._taken += dataset.nbytes
        check_size(
            f"{self.path} declares",
            self._taken,
            self.path.stat().st_size,
            self._max_bytes,
            arrays=f"arrays up to '{name}'",
        )
        self._check_filters(name, dataset)

    def _check_filters(self, name: str, dataset: h5py.Dataset) -> None:
        pipeline = dataset.id.get_create_plist()
        used = [pipeline.get_filter(index) for index in range(pipeline.get_nfilters())]
        if all(h5py.h5z.filter_avail(code) for code, *_ in used):
            return
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401 (registers its filters)
        for code, _, _, label in used:
            if not h5py.h5z.filter_avail(code):
                raise self.error(
                    f"'{name}' is compressed with filter {code} ({label.decode(errors='replace')}), which needs the "
                    "package hdf5plugin: install the extra `hdf5`, or unpack the file with `h5repack -f NONE`"
                )

    def _found(self, name: str, depth: int = 0) -> Any:
        """The member of a path, None where there is none; every link on the way lies in this file."""
        if depth > MAX_LINKS:
            raise self.error(f"'{name}' is a loop of links")
        node: Any = self._file
        with self._reading(name):
            for part in name.strip("/").split("/"):
                if not part or not isinstance(node, h5py.Group):
                    return node if not part else None
                link = node.get(part, getlink=True)
                if link is None:
                    return None
                if isinstance(link, h5py.ExternalLink):
                    raise self.error(
                        f"'{name}' is a link to another file, {link.filename}, which is not opened: copy it into one "
                        "file, for example with h5copy, or give that file"
                    )
                if isinstance(link, h5py.SoftLink):
                    target = link.path if link.path.startswith("/") else f"{node.name}/{link.path}"
                    node = self._found(target, depth + 1)
                else:
                    node = node[part]
                if node is None:
                    return None
        return node

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except HDF5_ERRORS as problem:
            reason = " ".join(str(problem).split())[:200] or type(problem).__name__
            raise self.error(f"'{name}' cannot be read ({reason}); the file is damaged") from problem


@contextmanager
def open_tree(path: Path, max_bytes: int | None) -> Iterator[Tree]:
    """Open an HDF5 file, and see afterwards that it did not change meanwhile.

    Raises :class:`ContractError`, one sentence, for a truncated or damaged file, and for what is read of it: links to
    other files, text or references where numbers are expected, more bytes than ``max_bytes`` (by default 16 GiB or the
    size of the file), and compression that is not known here.
    """
    before = _identity(path)
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except HDF5_ERRORS as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ContractError(f"{path} is not a complete HDF5 file ({reason})") from problem
    with file:
        yield Tree(file, path, max_bytes)
    if _identity(path) != before:
        raise ContractError(f"{path} changed while it was read; wait until its writer is done and try again")


def _path(dataset: h5py.Dataset) -> str:
    return str(dataset.name).strip("/")


def _tile(dataset: h5py.Dataset) -> tuple[int, ...]:
    """Sides of the tiles in which a data set is read: whole chunks, along the last axes first, of about one block."""
    sides = list(dataset.chunks or (1,) * len(dataset.shape))
    for axis in reversed(range(len(sides))):
        others = math.prod(sides) // sides[axis]
        chunks = max(1, BLOCK_ELEMENTS // max(others * sides[axis], 1))
        sides[axis] = min(dataset.shape[axis], chunks * sides[axis])
        if sides[axis] < dataset.shape[axis]:
            break
    return tuple(sides)


def _places(shape: tuple[int, ...], sides: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Where the tiles of an array are, in the order of its values."""
    starts = itertools.product(*(range(0, whole, side) for whole, side in zip(shape, sides, strict=True)))
    for first in starts:
        yield tuple(
            slice(start, min(start + side, whole)) for start, side, whole in zip(first, sides, shape, strict=True)
        )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
