"""The record of a stage: its outcome, its inputs and its files.

Does not belong here: deciding whether a record is still fresh (``store.artifacts``) and making one (``store.builds``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.atomic import visible_files
from fly64_assets.store.hashing import SHA256, FileMemo, json_sha256
from fly64_assets.store.keys import KINDS, Coordinates, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import intact, verified

OUTCOMES: Final = ("succeeded", "failed", "skipped")
_FIELDS: Final = (
    "outcome", "reason", "inputs", "parameters", "parameters_sha256", "code_version", "outputs", "diagnostics",
    "values", "seconds", "start", "end",
)  # fmt: skip


@dataclass(frozen=True)
class StageRecord:
    """The outcome of one stage: ``outcome`` is one of ``OUTCOMES``, ``reason`` says why it failed or was skipped.

    ``inputs`` and ``outputs`` are SHA256 by name: a POSIX path relative to the layout's folder, or ``external:NAME``
    for an input from outside it. ``diagnostics`` names outputs that may differ between identical builds (logs,
    pictures, timings); ``values`` are JSON facts (losses, frame counts, outcomes per split); ``start`` and ``end`` are
    ISO 8601 in UTC.
    """

    key: StageKey[Coordinates]
    outcome: str
    reason: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    parameters_sha256: str
    code_version: str
    seconds: float
    start: str
    end: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    diagnostics: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_sha256(self) -> str:
        """Hash over the data outputs: equal for identical builds. Without success: over outcome, reason and inputs."""
        if self.outcome == "succeeded":
            data = {name: sha256 for name, sha256 in self.outputs.items() if name not in self.diagnostics}
            return json_sha256({"outcome": self.outcome, "data": data})
        return json_sha256({"outcome": self.outcome, "reason": self.reason, "inputs": dict(self.inputs)})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; :meth:`from_dict` is the inverse."""
        document: dict[str, Any] = self.key.to_dict()
        for name in _FIELDS:
            value = getattr(self, name)
            document[name] = list(value) if isinstance(value, tuple) else value
        document["data_sha256"] = self.data_sha256
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StageRecord:
        """Read a document back. Raises :class:`ArtifactError` if it is not a record."""
        try:
            key = StageKey.from_dict(document)
            fields = {name: document[name] for name in _FIELDS}
            fields["diagnostics"] = tuple(fields["diagnostics"])
            record = cls(key=key, **fields)
        except (KeyError, TypeError, Fly64Error) as error:
            raise ArtifactError(f"not a stage record ({error})") from error
        problem = _problem(record)
        if problem:
            raise ArtifactError(f"not a stage record ({problem})")
        return record


def _problem(record: StageRecord) -> str:
    """What in a record is not of the form that its readers rely on; empty if nothing is."""
    texts = (record.reason, record.parameters_sha256, record.code_version, record.start, record.end)
    if record.outcome not in OUTCOMES or not all(isinstance(text, str) for text in texts):
        return "an unknown outcome, or no text where text belongs"
    if isinstance(record.seconds, bool) or not isinstance(record.seconds, int | float):
        return "seconds is no number"
    if not isinstance(record.values, dict) or not isinstance(record.parameters, dict):
        return "values or parameters are no mappings"
    for files in (record.inputs, record.outputs):
        if not isinstance(files, dict) or not all(SHA256.fullmatch(str(sha256)) for sha256 in files.values()):
            return "inputs or outputs are no mappings of names to SHA256"
    names = [PurePosixPath(str(name)) for name in (*record.outputs, *record.diagnostics)]
    if any(name.is_absolute() or ".." in name.parts or "\0" in str(name) for name in names):
        return "an output outside the data folder"
    if record.key.stage == "view" and record.outcome == "succeeded":
        splits = record.values.get("splits")
        facts = [splits.get(split) for split in SPLITS] if isinstance(splits, dict) else []
        if not facts or not all(isinstance(one, dict) and {"outcome", "reason"} <= one.keys() for one in facts):
            return "a view without an outcome and a reason for each split"
    return ""


def read_record(layout: Layout, key: StageKey[Coordinates]) -> StageRecord:
    """The verified record of ``key``. Raises :class:`ArtifactError` if it is missing or damaged."""
    path = layout.record(key)
    record = _parsed(path)
    if record.key != key:
        raise ArtifactError(f"{path}: holds the record of '{record.key.label}', not of '{key.label}'; run it again")
    return record


def damage(layout: Layout, record: StageRecord, *, quick: bool) -> str:
    """What is wrong with the outputs of a record; empty if nothing is. For ``quick`` see :func:`verified`."""
    for name, expected in record.outputs.items():
        path = layout.folder / name
        try:
            current = intact(path, quick=quick).sha256
        except ArtifactError as error:
            return str(error)
        if current != expected:
            return f"{path}: has SHA256 {current}; the record of '{record.key.label}' says {expected}; run it again"
    return ""


def failed_rebuild(layout: Layout, key: StageKey[Coordinates]) -> str:
    """Why a later build of a stage failed that left the result where it was, as a sentence; empty for none."""
    path = layout.failure(key)
    if not os.path.lexists(path):
        return ""
    try:
        verified(path)
        document: Any = json.loads(path.read_bytes())
        return f"building it again failed on {document['end']}: {document['reason']}"
    except (ArtifactError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def find_records(layout: Layout) -> list[StageRecord]:
    """Every intact record of a layout, in the order of their keys. Damaged ones count as absent."""
    records = []
    for path in record_paths(layout.folder):
        with suppress(ArtifactError):
            record = _parsed(path)
            if layout.record(record.key) == path:
                records.append(record)
    return sorted(records, key=lambda record: record.key)


def record_paths(folder: Path) -> Iterator[Path]:
    """Paths under ``folder`` that carry the name of a record; hidden folders are left out."""
    names = {kind.record for kind in KINDS.values()}
    return (path for path in visible_files(folder) if path.name in names)


def expected_outputs(path: Path) -> dict[Path, str]:
    """SHA256 by path of every output that the record at ``path`` lists; empty for a damaged record.

    The layout's folder follows from the record's own path in it, so a copied folder needs nothing else.
    """
    try:
        record = _parsed(path)
    except ArtifactError:
        return {}
    anywhere = Layout(Path(), "study", "base")
    place = anywhere.record(record.key).relative_to(anywhere.folder).parts
    if path.absolute().parts[-len(place) :] != place:
        return {}
    return {path.parents[len(place) - 1] / name: sha256 for name, sha256 in record.outputs.items()}


_records: Final = FileMemo[StageRecord]()


def _parsed(path: Path) -> StageRecord:
    verified(path)
    try:
        return _records.of(path, _read)
    except OSError as error:
        raise ArtifactError(f"{path}: {error}; run its stage again") from error


def _read(path: Path) -> StageRecord:
    try:
        return StageRecord.from_dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, AttributeError, RecursionError, ArtifactError) as error:
        raise ArtifactError(f"{path}: {error}; run its stage again") from error
