"""PtychoPINN's NPZ files: into the contract with a report of every key, and back with PtychoPINN's keys.

Belongs here: the import and export of one file. Does not belong here: conversions
(:mod:`fly64_assets.contract.canonical`), the judgement of the result (:mod:`fly64_assets.contract.validate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fly64_assets.contract import schema
from fly64_assets.contract.archive import open_archive
from fly64_assets.contract.canonical import canonicalize
from fly64_assets.contract.npz import load_dataset, write_npz
from fly64_assets.contract.validate import validate
from fly64_assets.ptychopinn.importing import IGNORED, REFUSED, UNDERSTOOD, Entry
from fly64_assets.store.atomic import write_atomically


def import_data_set(
    source: Path,
    target: Path,
    *,
    rename: Mapping[str, str],
    frames_last: bool | None = None,
    counts: bool = False,
    dc_corner: bool = False,
) -> tuple[Entry, ...]:
    """Turn a file in any known form into one that obeys DATA-001; every key of the source has an entry.

    Nothing is written where an entry is refused.

    Raises
    ------
    ContractError
        If the file cannot be read or needs a guess, which the message names.
    """
    arrays, done = canonicalize(source, rename=rename, frames_last=frames_last, counts=counts, dc_corner=dc_corner)
    report = validate(arrays)
    entries = [*_keys(source, rename, done), *_steps(done)]
    entries += [Entry("(contract)", finding.code, REFUSED, finding.message) for finding in report.errors]
    if report.ok:
        write_atomically(target, lambda file: write_npz(file, arrays))
    return tuple(entries)


def export_data_set(source: Path, target: Path) -> tuple[str, ...]:
    """Write a data set with PtychoPINN's keys beside its own (``diff3d``); returns the keys in the file.

    Raises
    ------
    ContractError
        If the source does not obey DATA-001.
    """
    arrays = schema.dataset_arrays(load_dataset(source), legacy_keys=True)
    write_atomically(target, lambda file: write_npz(file, arrays))
    return tuple(arrays)


def _keys(source: Path, rename: Mapping[str, str], done: list[dict[str, Any]]) -> Iterator[Entry]:
    """One entry for every key of the source."""
    dropped = {step["parameters"]["key"]: step["parameters"]["reason"] for step in done if _is(step, "drop_key")}
    with open_archive(source) as archive:
        shapes = {key: f"{archive.header(key).dtype} {archive.header(key).shape}" for key in archive.keys}
    for key, shape in shapes.items():
        name = rename.get(key, key)
        if name in dropped:
            yield Entry(key, shape, IGNORED, str(dropped[name]))
        elif name == schema.LEGACY_FRAMES:
            yield Entry(key, shape, UNDERSTOOD, f"read as {schema.FRAMES}")
        else:
            yield Entry(key, shape, UNDERSTOOD, f"read as {name}")


def _steps(done: list[dict[str, Any]]) -> Iterator[Entry]:
    """One entry for everything that was done to the arrays."""
    for step in done:
        if not _is(step, "drop_key"):
            parameters = step["parameters"]
            text = ", ".join(f"{name} = {value}" for name, value in parameters.items() if name != "key")
            yield Entry(str(parameters.get("key", "(file)")), step["operation"], UNDERSTOOD, text or "done")


def _is(step: Mapping[str, Any], operation: str) -> bool:
    return bool(step["operation"] == operation)
