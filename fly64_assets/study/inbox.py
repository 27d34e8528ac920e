"""New base files in a watched folder: which have come to rest, which are good, and whose turn it is.

Belongs here: decisions from a folder's listing and from what earlier looks remember. Does not belong here: Dagster
(``sensors``), the import itself (``intake``).

A look costs one listing. A file is read once it has kept its size and modification time from one look to the next, and
never again while they stay; what is read in one look is bounded. Renamed and touched files are known by their content.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE, Dose
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.stages import keys_of
from fly64_assets.study.table import STAGES

NEW: Final = "new"
"""Seen, and not read yet."""
GOOD: Final = "good"
"""Can become a base, and stands in line."""
DONE: Final = "done"
"""Dealt with, well or badly: nothing more to do until the content changes."""
UNREADABLE: Final = "unreadable"
"""The system refuses to read it; told once, and tried again at every look."""

TEMPORARY: Final = (".part", ".partial", ".tmp", ".temp", ".swp", ".crdownload", ".filepart", "~")
"""Endings of files that a program is still writing."""

FILES_PER_LOOK: Final = 64
BYTES_PER_LOOK: Final = 2 * 1024**3
"""How much is read in one look; the first file is read whatever its size."""

CONTENT_DIGITS: Final = 16
VERSION: Final = 1

Judge = Callable[[Path], str]
"""Why a file cannot become a base, in words; empty if it can."""


@dataclass(frozen=True)
class Sighting:
    """One file as it was last seen.

    Attributes
    ----------
    size, mtime_ns : int
        As the folder says.
    content : str
        The first digits of its SHA256; empty while it is unread.
    state : str
        ``new``, ``good``, ``done`` or ``unreadable``.
    note : str
        What a person has yet to be told about it.
    """

    size: int
    mtime_ns: int
    content: str = ""
    state: str = NEW
    note: str = ""

    def same_stamp(self, other: Sighting) -> bool:
        """Whether size and modification time agree."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True)
class Memory:
    """What is remembered from one look to the next.

    Attributes
    ----------
    purpose : str
        For what the files were judged (a study and its window); for another purpose all are judged anew.
    files : mapping of str to Sighting
        The files in the folder.
    gone : mapping of str to str
        States of contents that a file had before it was renamed or touched; kept while any file is unread.
    """

    purpose: str
    files: Mapping[str, Sighting] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)

    def dumps(self) -> str:
        """The memory as a short text; :meth:`loads` is the inverse."""
        rows = {n: [s.size, s.mtime_ns, s.content, s.state, s.note] for n, s in sorted(self.files.items())}
        document = {"version": VERSION, "purpose": self.purpose, "files": rows, "gone": dict(self.gone)}
        return base64.b64encode(zlib.compress(json.dumps(document, separators=(",", ":")).encode())).decode()

    @classmethod
    def loads(cls, text: str | None, purpose: str) -> Memory:
        """The memory behind a text; empty for none, for another version's or purpose's, and for a damaged one."""
        try:
            document = json.loads(zlib.decompress(base64.b64decode(text or "", validate=True)))
            if (document["version"], document["purpose"]) != (VERSION, purpose):
                return cls(purpose)
            files = {name: _sighting(*row) for name, row in document["files"].items()}
            return cls(purpose, files, {str(content): _state(state) for content, state in document["gone"].items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error):
            return cls(purpose)

    def line(self) -> tuple[str, ...]:
        """Names of the files that stand in line, oldest first, equally old ones by name."""
        waiting = [name for name, sighting in self.files.items() if sighting.state == GOOD]
        return tuple(sorted(waiting, key=lambda name: (self.files[name].mtime_ns, name)))

    def settled(self, name: str, note: str = "") -> Memory:
        """The same with one file dealt with, and perhaps something to tell about it."""
        return replace(self, files={**self.files, name: replace(self.files[name], state=DONE, note=note)})

    def news(self) -> tuple[str, ...]:
        """What a person has yet to be told."""
        return tuple(sighting.note for _, sighting in sorted(self.files.items()) if sighting.note)

    def told(self) -> Memory:
        """The same with nothing left to tell."""
        return replace(self, files={name: replace(sighting, note="") for name, sighting in self.files.items()})


def look(memory: Memory, folder: Path, judge: Judge) -> Memory:
    """Look at the folder once, and read what has come to rest.

    Raises
    ------
    ArtifactError
        If the folder cannot be listed; what was remembered stays true.
    """
    files = {name: _recalled(memory, name, now) for name, now in listing(folder).items()}
    unread = [
        name
        for name, s in files.items()
        if s.state in (NEW, UNREADABLE) and name in memory.files and s is memory.files[name]
    ]
    known = {**memory.gone, **{s.content: s.state for s in memory.files.values() if s.content}}
    budget = BYTES_PER_LOOK
    for name in sorted(unread, key=lambda name: (files[name].mtime_ns, name))[:FILES_PER_LOOK]:
        if files[name].size > budget and budget < BYTES_PER_LOOK:
            break
        budget -= files[name].size
        files[name] = read(folder / name, files[name], known, judge)
        if files[name].content:
            known[files[name].content] = files[name].state
    there = {s.content for s in files.values()}
    unread = [name for name, s in files.items() if s.state in (NEW, UNREADABLE)]
    return replace(memory, files=files, gone={c: s for c, s in known.items() if unread and c not in there})


def listing(folder: Path) -> dict[str, Sighting]:
    """The files of a folder by name; links, folders, hidden and temporary files are none of them.

    Raises :class:`ArtifactError` if the folder cannot be listed.
    """
    found: dict[str, Sighting] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(TEMPORARY) or not _utf8(entry.name):
                    continue
                try:
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found[entry.name] = Sighting(status.st_size, status.st_mtime_ns)
                except FileNotFoundError:
                    continue  # it went while we looked
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be listed ({error.strerror or error}); make the folder, or mount it again, and put base "
            "files into it"
        ) from error
    return found


def read(path: Path, seen: Sighting, known: Mapping[str, str], judge: Judge) -> Sighting:
    """Read a file that has come to rest: known content keeps its state, other content is judged."""
    try:
        content = sha256_file(path)[:CONTENT_DIGITS]
        problem = "" if content in known else judge(path)
        status = path.lstat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) or seen.state == UNREADABLE:
            return seen
        return replace(seen, state=UNREADABLE, note=f"{path.name!r} cannot be read: {error.strerror or error}")
    now = Sighting(status.st_size, status.st_mtime_ns)
    if not now.same_stamp(seen):
        return now  # it was changed while it was read
    if content in known:
        return replace(seen, content=content, state=known[content])
    if problem:
        return replace(seen, content=content, state=DONE, note=f"{path.name!r} cannot become a base: {problem}")
    return replace(seen, content=content, state=GOOD)


@lru_cache(maxsize=8)
def content(path: Path, _size: int, _mtime_ns: int) -> str:
    """SHA256 of a file that stands in line: hashed once while its size and modification time stay."""
    return sha256_file(path)


def unfinished_simulations(store: ArtifactStore, design: StudyDesign) -> str:
    """What of the active base's simulated data does not exist yet, in words; empty if all does, or without a base."""
    active = store.active_base()
    if active is None:
        return ""
    layout = store.layout(active.base_id)
    missing = []
    for dose in design.doses:
        records = [store.record(layout, key) for key in keys_of(design, STAGES["simulated_dataset"], Dose(dose))]
        if any(record is None or record.outcome != "succeeded" for record in records):
            failed = next((record.reason for record in records if record and record.outcome == "failed"), "")
            missing.append(f"dose_{dose} ({failed})" if failed else f"dose_{dose}")
    if not missing:
        return ""
    return f"the simulated data of the active base {active.base_id} do not exist yet: {', '.join(missing)}"


def imported(store: ArtifactStore, sha256: str) -> str:
    """The base that was imported from this content already; empty for none."""
    for base in store.bases():
        record = store.record(store.layout(base), BASE)
        if record is not None and sha256 in record.inputs.values():
            return base
    return ""


def _recalled(memory: Memory, name: str, now: Sighting) -> Sighting:
    before = memory.files.get(name)
    return before if before is not None and before.same_stamp(now) else now


def _sighting(size: int, mtime_ns: int, content: str, state: str, note: str) -> Sighting:
    texts = all(isinstance(text, str) for text in (content, note))
    if not (isinstance(size, int) and isinstance(mtime_ns, int) and texts):
        raise TypeError("not a sighting")
    return Sighting(size, mtime_ns, content, _state(state), note)


def _state(state: str) -> str:
    if state not in (NEW, GOOD, DONE, UNREADABLE):
        raise ValueError(f"{state!r} is not a state")
    return state


def _utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
