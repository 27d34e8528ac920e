"""MATLAB files: level 5 by scipy, 7.3 as HDF5, whose axes come in the reverse order of MATLAB's.

Fields of structures have names with a slash: ``p/dx_spec``. Complex numbers that MATLAB 7.3 stores as records (real,
imag) are joined by the canonical steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.contract.size_limit import check_size
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.hdf5 import Tree
from fly64_assets.formats.reading.members import may_be_frames

MARK: Final = "MATLAB_class"
NUMBERS: Final = frozenset(
    {"double", "single", "logical", *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64))}
)
BYTES: Final = {"double": 16, "single": 8, "logical": 1, "char": 4, "cell": 8, "struct": 8, "sparse": 16}
BYTES_OF_OTHERS: Final = 8


def is_tree(tree: Tree) -> bool:
    """Whether MATLAB has written an HDF5 file."""
    return any(MARK in tree.attributes(name) for name in tree.group("/"))


def read_tree(tree: Tree, *, frames: bool, named: frozenset[str]) -> Source:
    """Every array of numbers in a file of MATLAB 7.3, with MATLAB's order of axes."""
    source = Source(tree.path, "MATLAB 7.3")
    for name, dataset in tree.datasets().items():
        attributes = tree.attributes(name)
        kind = attributes.get(MARK, b"")
        kind = kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)
        if name.startswith("#") or kind not in NUMBERS or "MATLAB_empty" in attributes:
            source.members[name] = f"not read: {kind or 'no'} array of numbers"
        elif not frames and name not in named and may_be_frames(dataset):
            source.members[name] = "not needed"
        else:
            array = tree.read(name).T
            source.arrays[name] = array.astype(bool) if kind == "logical" else array
            source.members[name] = f"read, axes {array.shape} as in MATLAB"
    return source


def read_level_5(path: Path, max_bytes: int | None) -> Source:
    """Every array of numbers in a file of MATLAB 5 to 7.

    Raises :class:`ContractError` for a damaged file, and for one that declares more than ``max_bytes``.
    """
    source = Source(path, "MATLAB 5")
    with _reading(path):
        declared = sum(math.prod(shape) * BYTES.get(kind, BYTES_OF_OTHERS) for _, shape, kind in scipy.io.whosmat(path))
    check_size(f"{path} declares up to", declared, path.stat().st_size, max_bytes)
    with _reading(path):
        content = scipy.io.loadmat(path, simplify_cells=True)
    _flatten(source, "", content)
    return source


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as problem:  # scipy's reader raises anything for a damaged file
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise ContractError(f"{path} is not a complete MATLAB file ({reason})") from problem


def _flatten(source: Source, prefix: str, content: dict[str, Any]) -> None:
    for name, value in content.items():
        if not prefix and name.startswith("__"):
            continue
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            _flatten(source, f"{path}/", value)
            continue
        array: NDArray[Any] = np.asarray(value)
        if array.dtype.kind in "biufc" and not array.dtype.hasobject:
            source.arrays[path] = array
            source.members[path] = f"read, axes {array.shape} as in MATLAB"
        else:
            source.members[path] = f"not read: {array.dtype} holds no numbers"
