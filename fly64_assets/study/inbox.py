"""New base files in a watched folder: which are complete, which are good, and which is next.

Belongs here: decisions from a folder's listing and the cursor of the previous poll. Does not belong here: Dagster
(``automation.sensors``), the import itself (``study.intake``).

A poll costs one listing. A file is read once it has kept its size and modification time from one poll to the next, and
never again while they stay; what is read in one poll is bounded. Renamed and touched files are known by their content.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
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

NEW: Final = "new"  # not read yet
GOOD: Final = "good"  # can become a base, and is in the queue
DONE: Final = "done"  # imported or refused: nothing more to do until the content changes
UNREADABLE: Final = "unreadable"  # the system refuses to read it: reported once, and tried again at every poll

TEMPORARY: Final = (".part", ".partial", ".tmp", ".temp", ".swp", ".crdownload", ".filepart", "~")
"""Endings of files that a program is still writing."""

FILES_PER_POLL: Final = 64
BYTES_PER_POLL: Final = 2 * 1024**3
"""How much is read in one poll; the first file is read at any size."""

CONTENT_DIGITS: Final = 16
VERSION: Final = 1

Judge = Callable[[Path], str]
"""Why a file cannot become a base; empty if it can."""


@dataclass(frozen=True)
class WatchedFile:
    """One file at the last poll; ``content`` is the beginning of its SHA256, ``message`` has not been shown yet."""

    size: int
    mtime_ns: int
    content: str = ""
    state: str = NEW
    message: str = ""

    def same_stamp(self, other: WatchedFile) -> bool:
        """Whether size and modification time agree."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True)
class Cursor:
    """What one poll hands to the next.

    ``purpose`` (a study and its window) is what the ``files`` were judged for: for another one all are judged anew.
    ``gone`` holds the states of contents that a file had before it was renamed or touched, while any file is unread.
    """

    purpose: str
    files: Mapping[str, WatchedFile] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)

    def dumps(self) -> str:
        """The cursor as a short text; :meth:`loads` is the inverse."""
        rows = {n: [f.size, f.mtime_ns, f.content, f.state, f.message] for n, f in sorted(self.files.items())}
        document = {"version": VERSION, "purpose": self.purpose, "files": rows, "gone": dict(self.gone)}
        return base64.b64encode(zlib.compress(json.dumps(document, separators=(",", ":")).encode())).decode()

    @classmethod
    def loads(cls, text: str | None, purpose: str) -> Cursor:
        """The cursor of a text; empty for none, for another version's or purpose's, and for a damaged one."""
        try:
            document = json.loads(zlib.decompress(base64.b64decode(text or "", validate=True)))
            if (document["version"], document["purpose"]) != (VERSION, purpose):
                return cls(purpose)
            files = {name: _watched_file(*row) for name, row in document["files"].items()}
            return cls(purpose, files, {str(content): _state(state) for content, state in document["gone"].items()})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error):
            return cls(purpose)

    def queue(self) -> tuple[str, ...]:
        """Names of the files to import, oldest first, equally old ones by name."""
        waiting = [name for name, file in self.files.items() if file.state == GOOD]
        return tuple(sorted(waiting, key=lambda name: (self.files[name].mtime_ns, name)))

    def done(self, name: str, message: str = "") -> Cursor:
        """The same with one file imported or refused, and perhaps a message about it."""
        file = replace(self.files[name], state=DONE, message=message)
        return replace(self, files={**self.files, name: file})

    def messages(self) -> tuple[str, ...]:
        """Messages that have not been shown yet."""
        return tuple(file.message for _, file in sorted(self.files.items()) if file.message)

    def acknowledged(self) -> Cursor:
        """The same without messages."""
        return replace(self, files={name: replace(file, message="") for name, file in self.files.items()})


def poll(cursor: Cursor, folder: Path, judge: Judge) -> Cursor:
    """List the folder once, and read the files that have not changed since the previous poll.

    Raises :class:`ArtifactError` if the folder cannot be listed; the previous cursor then stays valid.
    """
    files, unread = listing(folder), []
    for name, current in files.items():
        before = cursor.files.get(name)
        if before is not None and before.same_stamp(current):
            files[name] = before
            if before.state in (NEW, UNREADABLE):
                unread.append(name)
    known = {**cursor.gone, **{f.content: f.state for f in cursor.files.values() if f.content}}
    budget = BYTES_PER_POLL
    for name in sorted(unread, key=lambda name: (files[name].mtime_ns, name))[:FILES_PER_POLL]:
        if files[name].size > budget and budget < BYTES_PER_POLL:
            break
        budget -= files[name].size
        files[name] = read(folder / name, files[name], known, judge)
        if files[name].content:
            known[files[name].content] = files[name].state
    contents = {file.content for file in files.values()}
    waiting = any(file.state in (NEW, UNREADABLE) for file in files.values())
    return replace(cursor, files=files, gone={c: s for c, s in known.items() if waiting and c not in contents})


def listing(folder: Path) -> dict[str, WatchedFile]:
    """The files of a folder by name, without links, folders, hidden and temporary files.

    Raises :class:`ArtifactError` if the folder cannot be listed.
    """
    files: dict[str, WatchedFile] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(TEMPORARY):
                    continue
                with suppress(FileNotFoundError):  # removed since it was listed
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        files[entry.name] = _listed(entry.name, status)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: cannot be listed ({error.strerror or error}); make the folder, or mount it again, and put base "
            "files into it"
        ) from error
    return files


def read(path: Path, before: WatchedFile, known: Mapping[str, str], judge: Judge) -> WatchedFile:
    """Read a file that has not changed since the previous poll: known content keeps its state, other is judged."""
    try:
        content = sha256_file(path)[:CONTENT_DIGITS]
        problem = "" if content in known else judge(path)
        status = path.lstat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) or before.state == UNREADABLE:
            return before
        message = f"{path.name!r} cannot be read: {error.strerror or error}"
        return replace(before, state=UNREADABLE, message=message)
    current = WatchedFile(status.st_size, status.st_mtime_ns)
    if not current.same_stamp(before):
        return current  # it was changed while it was read
    if content in known:
        return replace(before, content=content, state=known[content])
    if problem:
        message = f"{path.name!r} cannot become a base: {problem}"
        return replace(before, content=content, state=DONE, message=message)
    return replace(before, content=content, state=GOOD)


@lru_cache(maxsize=8)
def queued_sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    """SHA256 of a file in the queue: hashed once while its size and modification time stay."""
    return sha256_file(path)


def unfinished_simulations(store: ArtifactStore, design: StudyDesign) -> tuple[int, ...]:
    """Doses at which the active base was not simulated yet; a simulation that failed is none to wait for."""
    active = store.active_base()
    if active is None:
        return ()
    layout = store.layout(active.base_id)
    stage = STAGES["simulated_dataset"]
    return tuple(
        dose
        for dose in design.doses
        if any(store.record(layout, key) is None for key in keys_of(design, stage, Dose(dose)))
    )


def imported(store: ArtifactStore, sha256: str) -> str:
    """The base that was imported from this content already; empty for none."""
    records = ((base, store.record(store.layout(base), BASE)) for base in store.bases())
    return next((base for base, record in records if record and sha256 in record.inputs.values()), "")


def _listed(name: str, status: os.stat_result) -> WatchedFile:
    file = WatchedFile(status.st_size, status.st_mtime_ns)
    if name.encode(errors="ignore").decode() == name:
        return file
    # Neither a record nor a page could show such a name.
    shown = os.fsencode(name).decode(errors="replace")
    return replace(file, state=DONE, message=f"{shown!r} is left alone: its name is not UTF-8; rename the file")


def _watched_file(size: int, mtime_ns: int, content: str, state: str, message: str) -> WatchedFile:
    texts = all(isinstance(text, str) for text in (content, message))
    if not (isinstance(size, int) and isinstance(mtime_ns, int) and texts):
        raise TypeError("not a watched file")
    return WatchedFile(size, mtime_ns, content, _state(state), message)


def _state(state: str) -> str:
    if state not in (NEW, GOOD, DONE, UNREADABLE):
        raise ValueError(f"{state!r} is not a state")
    return state
