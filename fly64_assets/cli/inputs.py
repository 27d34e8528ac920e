"""Files that several commands read: results of any method, and data sets that must have counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.cli.console import fail
from fly64_assets.contract.metadata import positive_parameter
from fly64_assets.contract.npz import open_npz
from fly64_assets.contract.schema import Dataset

OBJECT: Final = "reconstructed_object"
"""Key of the object in a reconstruction's file."""


def result_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a reconstruction's file; leave if it holds no object."""
    arrays = open_npz(path)
    if OBJECT not in arrays:
        fail(f"{path} holds no '{OBJECT}' but {', '.join(sorted(arrays))}")
    return arrays


def require_scale(file: Path, dataset: Dataset, purpose: str) -> None:
    """Leave if the amplitudes of a data set have no photon scale."""
    if positive_parameter(dataset.metadata, "intensity_scale") is None:
        fail(
            f"{file}: its amplitudes have no photon scale (intensity_scale in _metadata), without which there are no "
            f"counts to {purpose}: give the counts themselves (`fly64 import {file} NEW.npz --counts`, if these "
            "are counts as floating-point numbers)"
        )
