"""Unused files in a study's folder: leftovers of killed processes, superseded bases, orphans.

Never listed: what a sidecar of a live artifact names, what an intact record lists, and what is in a folder in which
a process is building. A stale result is no garbage: a rebuild replaces it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.atomic import explained, is_temporary, left_behind
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import SUFFIX, Layout, sidecar_path
from fly64_assets.store.locks import HeldError
from fly64_assets.store.records import StageRecord, find_records, record_paths
from fly64_assets.store.sidecars import EXTERNAL, read_sidecar
from fly64_assets.store.storage import storage_in, storage_of

KINDS: Final = ("temporary", "superseded", "orphan")
TEMPORARY, SUPERSEDED, ORPHAN = KINDS
MANIFESTS: Final = ("training", "reconstruction", "skip_summary", "run", "overlap")
OWN_ORIGINS: Final = ("recipe", "design_file")
"""Origins of bases that the design itself made; a base that a user imported is never superseded."""


@dataclass(frozen=True)
class Garbage:
    """A file or folder without use: which ``kind`` (one of ``KINDS``), its size, and why it is unused."""

    path: Path
    kind: str
    bytes: int
    why: str

    @property
    def place(self) -> Path:
        """The folder that has to be locked to remove it."""
        return self.path if self.kind == SUPERSEDED else self.path.parent


def find_garbage(store: ArtifactStore, locked: Collection[Path] = ()) -> list[Garbage]:
    """Everything without use in the folder of a study, in the order of kinds and paths. Reads only.

    ``locked`` are folders whose build lock the caller holds; folders in which another process builds are left out.
    """
    if not store.folder.is_dir():
        return []
    garbage = [_temporary(path) for path in sorted(store.folder.iterdir()) if _unfinished(path)]
    active = store.active_base()
    for layout in store.layouts():
        if layout.folder.is_symlink():
            continue
        superseded = _superseded(store, layout, active.base_id if active else None, locked)
        if superseded:
            garbage.append(superseded)
            continue
        garbage += _temporaries(layout.folder, locked)
        garbage += _orphans(layout, locked)
    if not locked:
        contents = storage_in(store.folder).unused()
        garbage += [
            Garbage(path, TEMPORARY, size, "uploaded by a build that was interrupted") for path, size in contents
        ]
    return sorted(garbage, key=lambda item: (KINDS.index(item.kind), item.path))


def remove_garbage(store: ArtifactStore, kinds: Collection[str]) -> list[Garbage]:
    """Remove what is of these ``kinds``, and return it.

    Each folder is locked while something is removed from it, and examined again under its lock: files that have come
    into use or under construction meanwhile are left alone.
    """
    removed: list[Garbage] = []
    wanted = [item for item in find_garbage(store) if item.kind in kinds]
    for place, group in groupby(sorted(wanted, key=lambda item: item.place), key=lambda item: item.place):
        with ExitStack() as locks, explained(place / "garbage"):
            folders = _lock_all(place, locks)
            found = find_garbage(store, folders) if folders is not None else []
            still = {(item.path, item.kind) for item in found}
            for item in group:
                if (item.path, item.kind) in still:
                    storage_of(item.path).remove(item.path)
                    removed.append(item)
    return removed


def _temporaries(folder: Path, locked: Collection[Path]) -> Iterator[Garbage]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        unfinished = [here / name for name in (*folders, *files) if _unfinished(here / name)]
        folders[:] = [name for name in folders if not is_temporary(name)]
        if unfinished and (here in locked or not storage_in(here).held(here)):
            yield from map(_temporary, unfinished)


def _unfinished(path: Path) -> bool:
    return is_temporary(path.name) and left_behind(path)


def _temporary(path: Path) -> Garbage:
    return Garbage(path, TEMPORARY, _size(path), "left by a process that has ended")


def _superseded(store: ArtifactStore, layout: Layout, active: str | None, locked: Collection[Path]) -> Garbage | None:
    """The base as garbage, if the design made it and has another one now."""
    record = store.record(layout, BASE)
    if active in (None, layout.base_id) or record is None or record.values.get("origin") not in OWN_ORIGINS:
        return None
    storage = storage_in(layout.folder)
    if any(folder not in locked and storage.held(folder) for folder in storage.lockable(layout.folder)):
        return None
    why = f"the design made it and works on {active} now; `fly64 base use {layout.base_id}` would go back to it"
    return Garbage(layout.folder, SUPERSEDED, _size(layout.folder), why)


def _orphans(layout: Layout, locked: Collection[Path]) -> Iterator[Garbage]:
    records = find_records(layout)
    known = _known(layout, records)
    # Beside a damaged record it is unknown which files are in use: the next build of the stage replaces them.
    unclear = {path.parent for path in record_paths(layout.folder)} - {layout.folder_of(r.key) for r in records}
    storage = storage_in(layout.folder)
    for here, files in groupby(storage.files(layout.folder), key=lambda path: path.parent):
        strays = [path for path in files if path not in known]
        if strays and here not in unclear and (here in locked or not storage.held(here)):
            yield from (Garbage(path, ORPHAN, _size(path), _why_orphan(path)) for path in strays)


def _known(layout: Layout, records: Collection[StageRecord]) -> set[Path]:
    """Files that records, manifests or sidecars of live artifacts speak of, each with its sidecar.

    Damaged ones are among them: what needs them names them, and a rebuild replaces them.
    """
    live = [layout.manifest(name) for name in MANIFESTS]
    live += [layout.checksums, *layout.twin, *(layout.record(record.key) for record in records)]
    live += [layout.folder / name for record in records for name in record.outputs]
    named = {source for path in live for source in _inputs_of(path)}
    named |= {layout.folder / name for record in records for name in record.inputs if not name.startswith(EXTERNAL)}
    for folder, key in ((layout.folder_of(record.key), record.key) for record in records):
        named |= {layout.failure(key), *(layout.failed_log(key, log) for log in folder.glob("*.log"))}
    # The record of a base is never an orphan: without it an imported base would look unused.
    files = {*live, *named, layout.base, layout.record(BASE)}
    return files | {sidecar_path(path) for path in files}


def _inputs_of(path: Path) -> Iterator[Path]:
    """Files that the sidecar of an artifact names as its inputs."""
    with suppress(ArtifactError):
        names = [name for name in read_sidecar(path)["inputs"] if not name.startswith(EXTERNAL)]
        yield from (Path(os.path.normpath(path.parent / name)) for name in names)


def _why_orphan(path: Path) -> str:
    if path.name.endswith(SUFFIX):
        return "a sidecar of nothing that a record lists"
    if not os.path.lexists(sidecar_path(path)):
        return "no sidecar and in no record"
    return "in no record: its stage was interrupted, or makes it no longer"


def _lock_all(place: Path, locks: ExitStack) -> list[Path] | None:
    """Take every build lock in and under a folder and return the folders; None if another process holds one."""
    storage = storage_in(place)
    folders = storage.lockable(place)
    for folder in folders:
        try:
            locks.enter_context(storage.lock_now(folder))
        except HeldError:
            return None
    return folders


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links are not followed."""
    return storage_of(path).size(path)
