"""One process at a time builds a stage: a file lock in the stage's folder, with a note that names the holder.

The kernel drops the lock of a dead process; from the note that it leaves the next holder knows of the takeover.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import explained, make_folder, process_alive, remove_leftovers, write_atomically
from fly64_assets.store.sidecars import now

LOCK_NAME: Final = ".build.lock"
NOTE_NAME: Final = ".build.lock.json"
POLL_SECONDS: Final = 0.1

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: machine, process number and since when (ISO 8601, UTC)."""

    host: str
    pid: int
    since: str

    @property
    def dead(self) -> bool:
        """Whether the holder ran on this machine and has ended; False where that cannot be known."""
        return self.host == socket.gethostname() and not process_alive(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


def holder(folder: Path) -> Holder | None:
    """The last process noted in the folder, still there if it never released the lock; None if none is noted."""
    try:
        document: Any = json.loads((folder / NOTE_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, Mapping) or not isinstance(document.get("pid"), int):
        return None
    return Holder(str(document.get("host")), document["pid"], str(document.get("since")))


@contextmanager
def stage_lock(folder: Path, label: str, announce: Announce | None = None) -> Iterator[bool]:
    """Hold the lock of a stage's folder, which is created; yields whether another process held it first.

    Waits for another holder as long as it lives. ``label`` is the stage for humans. ``announce`` receives one sentence
    when it waits for another process, and one when a dead process's lock is taken over.
    """
    with explained(folder / LOCK_NAME):
        make_folder(folder)
        lock, waited = lock_file(folder / LOCK_NAME), False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waited = True
            if announce:
                announce(f"{label}: waiting for {holder(folder) or 'another process'}, which is building it")
            lock.acquire(poll_interval=POLL_SECONDS)
    try:
        left_by = holder(folder)
        if left_by and announce:
            state = "has ended without releasing it" if left_by.dead else "is no longer holding it"
            announce(f"{label}: lock taken over from {left_by}, which {state}; the stage starts over")
        remove_leftovers(folder)
        note = {"host": socket.gethostname(), "pid": os.getpid(), "since": now(), "building": label}
        write_atomically(folder / NOTE_NAME, lambda file: file.write(json.dumps(note).encode()))
        try:
            yield waited
        finally:
            (folder / NOTE_NAME).unlink(missing_ok=True)
    finally:
        lock.release()


def lock_file(path: Path) -> FileLock:
    """The lock at ``path``. Raises :class:`ArtifactError` for a symbolic link: opening it would empty its target."""
    if path.is_symlink():
        raise ArtifactError(f"{path} is a symbolic link; a lock is a regular file: remove the link and try again")
    return FileLock(path, is_singleton=False)


def held(folder: Path) -> bool:
    """Whether a process is building in ``folder`` now, or that cannot be determined. Changes nothing."""
    path = folder / LOCK_NAME
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
