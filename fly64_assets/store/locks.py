"""One process at a time: a lock that the kernel keeps, and beside it a note that names the owner.

The kernel drops the lock of a dead process; from the note that it leaves the next owner knows of the takeover. Some
network file systems keep no locks. There the note itself is the lock: the first process makes it, and it is void once
its owner is found dead. That is a process of this machine that has ended, or one anywhere that has been silent: an
owner touches its note every few seconds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import (
    UNABLE,
    explained,
    make_folder,
    no_flush,
    process_alive,
    remove_leftovers,
    sync_folder,
    temporary_name,
)
from fly64_assets.store.machine import now

LOCK_NAME: Final = ".build.lock"
NOTE_NAME: Final = ".build.lock.json"
POLL_SECONDS: Final = 0.1
TOUCH_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 60.0
"""An owner on another machine whose note was not touched for so long is dead."""
NO_LOCKS: Final = UNABLE | {errno.ENOLCK}
"""What a file system without locks answers."""
HELD: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})

Announce = Callable[[str], None]
Glimpse = tuple[bytes, int]
"""A note as it was seen: its bytes, and when it was last touched [ns]."""


class HeldError(ArtifactError):
    """Another process holds a lock."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: machine, process number, since when (ISO 8601, UTC); whether the kernel keeps the lock too."""

    host: str
    pid: int
    since: str
    kernel: bool = True

    @property
    def dead(self) -> bool:
        """Whether the holder ran on this machine and has ended; False where that cannot be known."""
        return self.host == socket.gethostname() and not process_alive(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


def holder(folder: Path) -> Holder | None:
    """The last process noted in the folder, still there if it never released the lock; None if none is noted."""
    try:
        return _owner(_glimpse(folder / NOTE_NAME))
    except OSError:
        return None


def no_locks(path: Path, why: str) -> str:
    """What it means that the file system of ``path`` keeps no locks, and what to do."""
    return (
        f"the file system of {path.parent} keeps no locks ({why}): processes take turns by notes with their owner's "
        "name, and wait a minute for one of another machine that has ended; have it mounted with locks (Lustre: option "
        "flock; NFS: with its lock service), or choose a data root on another disk"
    )


@contextmanager
def file_lock(path: Path, label: str, announce: Announce | None = None, *, wait: bool = True) -> Iterator[Lock]:
    """Hold the lock at ``path``, in a folder that exists; ``label`` is what it is for, in the note for humans.

    Waits for another holder as long as it lives, or raises :class:`HeldError` without ``wait``; then a note of another
    machine is void by the time at which it was last touched. ``announce`` receives a sentence when it waits, when it
    takes the lock of a dead process over, and where the file system keeps no locks.
    Raises :class:`ArtifactError` for a symbolic link, and for a file system that refuses.
    """
    lock = Lock(path, label, once=not wait)
    try:
        with explained(path):
            while not lock.attempt():
                if not wait:
                    raise HeldError(f"{path}: held by {_owner(_glimpse(lock.note)) or 'another process'}")
                if announce and not lock.waited:
                    who = _owner(_glimpse(lock.note)) or "another process"
                    announce(f"{label}: waiting for {who}, which is building it")
                lock.waited = True
                time.sleep(POLL_SECONDS)
        if announce:
            for sentence in lock.announcements():
                announce(f"{label}: {sentence}")
        with lock.touching():
            yield lock
    finally:
        lock.release()


@contextmanager
def stage_lock(folder: Path, label: str, announce: Announce | None = None) -> Iterator[bool]:
    """Hold the lock of a stage's folder, which is created; yields whether another process held it first.

    ``label`` is the stage for humans; see :func:`file_lock`.
    """
    with explained(folder / LOCK_NAME):
        make_folder(folder)
    with file_lock(folder / LOCK_NAME, label, announce) as lock:
        if not sync_folder(folder) and announce:
            announce(f"{label}: {no_flush(folder)}")
        remove_leftovers(folder)
        yield lock.waited


def held(folder: Path) -> bool:
    """Whether a process is building in ``folder`` now, or that cannot be determined. Leaves all as it was."""
    path = folder / LOCK_NAME
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            return True
        try:
            note = _glimpse(folder / NOTE_NAME)
        except OSError:
            return False
        owner = _owner(note)
        return note is not None and owner is not None and not owner.dead and not _left_elsewhere(folder, note)
    return False


class Lock:
    """A lock that a process tries to get; see :func:`file_lock`."""

    def __init__(self, path: Path, label: str, *, once: bool = False) -> None:
        self.path, self.label, self.once = path, label, once
        self.note = path.with_name(path.name + ".json")
        self.waited = False
        self.left_by: Holder | None = None
        self._descriptor: int | None = None
        self._refusal = ""
        self._seen: tuple[Glimpse, float] | None = None
        self._signed = b""

    def attempt(self) -> bool:
        """Take the lock if it is free now."""
        if self._descriptor is None and not self._open():
            return False
        left = _glimpse(self.note)
        if left is not None:
            if not self._void(left):
                return False
            self.left_by = _owner(left) or self.left_by
            self._remove(left)
        return self._sign()

    def announcements(self) -> Iterator[str]:
        """What the user should know about the lock that was taken."""
        if self._refusal:
            yield no_locks(self.path, self._refusal)
        if self.left_by is not None:
            state = "has ended without releasing it" if self.left_by.dead else "is no longer holding it"
            yield f"lock taken over from {self.left_by}, which {state}; the stage starts over"

    @contextmanager
    def touching(self) -> Iterator[None]:
        """Touch the note every few seconds, so that processes elsewhere see that its owner lives."""
        ended = threading.Event()

        def touch() -> None:
            while not ended.wait(TOUCH_SECONDS):
                with suppress(OSError):
                    os.utime(self.note)

        thread = threading.Thread(target=touch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def release(self) -> None:
        """Give the lock back, if it was taken and is still this one's."""
        with suppress(OSError):
            seen = _glimpse(self.note) if self._signed else None
            if seen is not None and seen[0] == self._signed:
                self.note.unlink()
        self._close()

    def _open(self) -> bool:
        """Take the kernel's lock; False if another process holds it. Without such locks the note alone decides."""
        if self.path.is_symlink():
            raise ArtifactError(
                f"{self.path} is a symbolic link; a lock is a regular file: remove the link and try again"
            )
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                self._close()
                return False
            if error.errno not in NO_LOCKS:
                raise
            self._refusal = error.strerror or str(error)
        if os.fstat(self._descriptor).st_nlink == 0:  # removed while this process waited for it
            self._close()
            return False
        return True

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _void(self, note: Glimpse) -> bool:
        """Whether the owner of a note is dead, now that this process has the kernel's lock, if there is one."""
        owner = _owner(note)
        by_kernel = not self._refusal and (owner is None or owner.kernel)
        if by_kernel or (owner is not None and owner.dead):
            return True
        if self.once:
            return _left_elsewhere(self.path.parent, note)
        if self._seen is None or self._seen[0] != note:
            self._seen = note, time.monotonic()
        return time.monotonic() - self._seen[1] > SILENT_SECONDS

    def _remove(self, note: Glimpse) -> None:
        """Remove the note of a dead owner, unless another process was quicker and has put its own there."""
        if not self._refusal:
            self.note.unlink(missing_ok=True)
            return
        guard = self.note.with_name(self.note.name + ".taken")  # one process at a time compares and removes
        with suppress(FileNotFoundError):
            if time.time() - guard.stat().st_mtime > SILENT_SECONDS:
                guard.unlink()
        try:
            os.close(os.open(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            return
        try:
            if _glimpse(self.note) == note:
                self.note.unlink()
        finally:
            guard.unlink(missing_ok=True)

    def _sign(self) -> bool:
        """Put this process's note there; False if another process was quicker."""
        owner = Holder(socket.gethostname(), os.getpid(), now(), not self._refusal)
        signed = json.dumps({**asdict(owner), "building": self.label}).encode()
        try:
            descriptor = os.open(self.note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        except FileExistsError:
            return False
        self._signed = signed
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(signed)
        except OSError:
            self.note.unlink(missing_ok=True)
            raise
        return True


def _glimpse(note: Path) -> Glimpse | None:
    try:
        with note.open("rb") as file:  # a network file system looks for changes when a file is opened
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _left_elsewhere(folder: Path, note: Glimpse) -> bool:
    """Whether a note is not of this machine and was not touched for long; False where that cannot be determined.

    Its time is compared with that of a file just made beside it: clocks of machines may differ.
    """
    owner = _owner(note)
    if owner is not None and owner.host == socket.gethostname():
        return False
    probe = temporary_name(folder / NOTE_NAME)
    try:
        with probe.open("xb") as file:
            os.utime(file.fileno())  # as an owner touches its note
            return os.fstat(file.fileno()).st_mtime_ns - note[1] > SILENT_SECONDS * 1e9
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()


def _owner(note: Glimpse | None) -> Holder | None:
    """The owner that a note names; None for a damaged one, and for none."""
    try:
        document: Any = json.loads(note[0]) if note else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, Mapping) or not isinstance(document.get("pid"), int):
        return None
    kernel = document.get("kernel") is not False
    return Holder(str(document.get("host")), document["pid"], str(document.get("since")), kernel)
