"""Arrays without a known meaning: HDF5 by path, NPY and TIFF by the name of the file. `--rename` says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fly64_assets.contract import array_files
from fly64_assets.contract.source import Source
from fly64_assets.formats.reading.hdf5 import Tree
from fly64_assets.formats.reading.members import may_be_frames

MANY: Final = 50
"""Members that a message lists at most."""


def read_tree(tree: Tree, *, frames: bool, named: frozenset[str]) -> Source:
    """Every array of numbers of an HDF5 file under its path; single numbers and texts are left."""
    source = Source(tree.path, "HDF5")
    for name, dataset in tree.datasets().items():
        shape = dataset.shape or ()
        if dataset.dtype.hasobject or dataset.dtype.kind not in "biufcV" or not shape:
            source.members[name] = f"not read: {dataset.dtype} of shape {shape}"
        elif not frames and name not in named and may_be_frames(dataset):
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
    array = array_files.read_npy(path, max_bytes)
    return Source(path, "NPY", arrays={path.stem: array}, members={path.stem: "read"})


def read_tiff(path: Path, max_bytes: int | None) -> Source:
    """The pages of a TIFF file as one array, under its own name without the suffix."""
    array = array_files.read_tiff(path, max_bytes)
    return Source(path, "TIFF", arrays={path.stem: array}, members={path.stem: f"read, {len(array)} rows or pages"})
