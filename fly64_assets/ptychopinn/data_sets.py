"""PtychoPINN's NPZ files: into the contract with a report of every key, and back with PtychoPINN's keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import open_archive
from fly64_assets.contract.canonical import canonicalize
from fly64_assets.contract.findings import ContractReport
from fly64_assets.contract.npz import load_dataset, validate_file, write_npz
from fly64_assets.contract.source import Source
from fly64_assets.contract.validate import validate
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.opening import opened
from fly64_assets.physics.measurement_check import one_mode_problem
from fly64_assets.ptychopinn.importing import IGNORED, REFUSED, UNDERSTOOD, Entry
from fly64_assets.store.atomic import write_atomically

DROP: Final = "drop_key"
READ_AS: Final = "read as "
"""How readers of other formats begin what they say of a member that became a key."""


def import_data_set(source: Path, target: Path, form: Mapping[str, Any], *, strict: bool = False) -> tuple[Entry, ...]:
    """Turn a file in any known form into one that obeys DATA-001; every key and every finding has an entry.

    ``form`` is what the user says about the file, arguments of :func:`canonicalize`. Nothing is written where an
    entry is refused, with ``strict`` by a warning too. Raises :class:`ContractError` if the file cannot be read or
    needs a guess, which the message names.
    """
    arrays, entries = read_data_set(source, form, strict=strict)
    if all(entry.verdict != REFUSED for entry in entries):
        write_atomically(target, lambda file: write_npz(file, arrays))
    return entries


def read_data_set(
    source: Path, form: Mapping[str, Any], *, strict: bool = False
) -> tuple[dict[str, NDArray[Any]], tuple[Entry, ...]]:
    """The same without writing: the arrays, and an entry for every key and every finding, which may refuse them."""
    found, form = opened(source, form, frames=True)
    arrays, done = canonicalize(found, **form)
    warned = tuple(found.findings) if isinstance(found, Source) else ()
    report = ContractReport((*warned, *validate(arrays).findings))
    report = report.strict() if strict else report
    entries = [
        *(_members(found, form, done) if isinstance(found, Source) else _keys(source, form, done)),
        *_steps(done, REFUSED if strict else "warning"),
    ]
    verdicts = {"error": REFUSED}
    entries += [Entry("(contract)", f.code, verdicts.get(f.severity, f.severity), f.message) for f in report.findings]
    return arrays, tuple(entries)


def export_data_set(source: Path, target: Path) -> tuple[str, ...]:
    """Write a data set with PtychoPINN's keys beside its own (``diff3d``); returns the keys in the file.

    Raises :class:`ContractError` if the source does not obey DATA-001: it may come from anywhere, so that its values
    are judged as well; and if its probe has several modes, of which PtychoPINN knows one.
    """
    validate_file(source).raise_if_failed(str(source))
    dataset = load_dataset(source)
    if problem := one_mode_problem(dataset.modes, "PtychoPINN"):
        raise ContractError(f"{source}: {problem}")
    arrays = schema.dataset_arrays(dataset, legacy_keys=True)
    write_atomically(target, lambda file: write_npz(file, arrays))
    return tuple(arrays)


def _keys(source: Path, form: Mapping[str, Any], done: list[dict[str, Any]]) -> Iterator[Entry]:
    """One entry for every key of the source."""
    dropped = _dropped(done)
    rename = form.get("rename") or {}
    with open_archive(source, form.get("max_bytes")) as archive:
        headers = {key: archive.header(key) for key in archive.keys}
    for key, header in headers.items():
        name = rename.get(key, key)
        read = f"read as {schema.FRAMES if name == schema.LEGACY_FRAMES else name}"
        verdict, text = (IGNORED, dropped[name]) if name in dropped else (UNDERSTOOD, read)
        yield Entry(key, f"{header.dtype} {header.shape}", verdict, text)


def _members(source: Source, form: Mapping[str, Any], done: list[dict[str, Any]]) -> Iterator[Entry]:
    """One entry for every member of a file of another program; those that the steps dropped are not read."""
    dropped = _dropped(done)
    rename = form.get("rename") or {}
    for name, text in source.members.items():
        member = name.rpartition(": ")[2]
        key = text.removeprefix(READ_AS).split(",")[0].split(":")[0] if text.startswith(READ_AS) else member
        reason = dropped.get(rename.get(key, key))
        read = text.startswith("read") and reason is None
        yield Entry(name, source.kind, UNDERSTOOD if read else IGNORED, text if reason is None else reason)


def _dropped(done: list[dict[str, Any]]) -> dict[str, str]:
    """The keys that the steps dropped, and why."""
    steps = (step["parameters"] for step in done if step["operation"] == DROP)
    return {str(parameters["key"]): str(parameters["reason"]) for parameters in steps}


def _steps(done: list[dict[str, Any]], warned: str) -> Iterator[Entry]:
    """One entry for everything that was done to the arrays; ``warned`` is the verdict where a step warns of itself."""
    for step in done:
        if step["operation"] != DROP:
            parameters = step["parameters"]
            text = ", ".join(f"{name} = {value}" for name, value in parameters.items() if name != "key")
            yield Entry(
                str(parameters.get("key", "(file)")),
                step["operation"],
                warned if "warning" in parameters else UNDERSTOOD,
                text or "done",
            )
