"""Files that several commands read: results of any method, and data sets that must have counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.cli.console import fail
from fly64_assets.cli.file_options import say_finding
from fly64_assets.contract.canonical import canonicalize
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.metadata import positive_parameter
from fly64_assets.contract.npz import dataset_of, load_dataset, open_npz, validate_file
from fly64_assets.contract.schema import Dataset
from fly64_assets.contract.validate import validate

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


def measured_dataset(file: Path, purpose: str) -> Dataset:
    """A data set with counts that obeys DATA-001, or whose form needs no guess; findings that stop nothing are printed.

    ``purpose`` is what the counts are needed for, in the sentence of a data set without.
    """
    report = validate_file(file)
    if report.ok:
        dataset = load_dataset(file)
    else:
        arrays = _converted(file)
        report = validate(arrays)
        report.raise_if_failed(str(file))
        dataset = dataset_of(arrays)
    for finding in report.findings:
        say_finding(finding, err=True)
    require_scale(file, dataset, purpose)
    return dataset


def _converted(file: Path) -> Mapping[str, NDArray[Any]]:
    try:
        return canonicalize(file)[0]
    except FormError as error:
        where = f" (an option of `fly64 import {file} NEW.npz`: use NEW.npz then)" * error.names_option
        raise FormError(error.code, f"{error}{where}") from error
