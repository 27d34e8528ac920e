"""Files that appear under their final name whole or not at all.

Temporary names, fsync, rename, what a full disk or a read-only folder means, and cleaning up after a killed process.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.hashing import sha256_file

Writer = Callable[[BinaryIO], object]

_LOADED: Final = time.time() - 1.0  # the clock of a file system may lag a little
_TEMPORARY: Final = re.compile(r"\..+\.(\d+)\.[0-9a-f]{16}\.tmp")
_EXPLANATIONS: Final = {
    errno.ENOSPC: "the disk is full: free some space, then run the stage again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the stage again",
    errno.EFBIG: "the file is larger than the limit of this process or file system: raise it, then run again",
    errno.EROFS: "the file system is read-only: choose another data root or make it writable",
    errno.EACCES: "the folder is not writable: choose another data root or change its permissions",
    errno.EPERM: "the folder is not writable: choose another data root or change its permissions",
    errno.EISDIR: "a folder has taken its place: move it away, then run the stage again",
    errno.ENOTDIR: "a file has taken the place of its folder: move it away, then run the stage again",
    errno.ELOOP: "its path is a loop of symbolic links: remove them, then run the stage again",
    errno.EIO: "the disk reports an input/output error: check it before running the stage again",
    errno.ENAMETOOLONG: "its path is longer than the file system takes: choose a data root with a shorter path",
    errno.ESTALE: "the network file system has lost it (its server was restarted?): run the stage again",
    errno.ENOENT: "its folder is gone, or cannot be made there: choose another data root, or run the stage again",
}
_OTHERWISE: Final = "see whether its disk or network file system works, or choose another data root; then run again"
UNABLE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What a file system answers to a request that it does not know."""


def temporary_name(path: Path) -> Path:
    """A fresh, recognisable name in the folder of ``path``: ``.NAME.<pid>.<random>.tmp``."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}.tmp")


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is an unfinished write or a scratch folder."""
    return _TEMPORARY.fullmatch(name) is not None


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably; an existing one is fine."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> bool:
    """Flush a folder's entries to the disk; False where the file system cannot do that, and keeps its own order."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _flushed(descriptor)
    finally:
        os.close(descriptor)


def no_flush(folder: Path) -> str:
    """What it means that the file system of a folder cannot flush folders, and what to do."""
    return (
        f"the file system of {folder} cannot flush a folder: after a power cut the last results may be missing, and "
        "are built again; to rule that out choose a data root on another disk"
    )


def _flushed(descriptor: int) -> bool:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        return False
    return True


def write_atomically(path: Path, writer: Writer) -> tuple[str, int]:
    """Let ``writer`` fill a temporary file, flush it, hash what the disk gives back, and rename it to ``path``.

    Returns the SHA256 and the number of bytes. On any failure nothing changes under ``path`` and the temporary
    file is gone; a full disk or a read-only folder raises :class:`ArtifactError`.
    """
    with explained(path):
        make_folder(path.parent)
        temporary = temporary_name(path)
        try:
            with temporary.open("xb") as file:
                writer(file)
            return commit(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def commit(finished: Path, path: Path) -> tuple[str, int]:
    """Flush and hash a closed file of the same file system, then rename it to ``path``; SHA256 and size."""
    found = flush(finished)
    sync_folder(finished.parent)
    finished.replace(path)
    sync_folder(path.parent)
    return found


def flush(finished: Path) -> tuple[str, int]:
    """Flush a closed file, and hash what the disk gives back: SHA256 and size."""
    with finished.open("rb") as file:
        _flushed(file.fileno())
        size = os.fstat(file.fileno()).st_size
    return sha256_file(finished), size


def remove_durably(path: Path) -> None:
    """Remove a file if it exists, and flush the folder so that it stays removed after a power cut."""
    if os.path.lexists(path):
        with explained(path):
            path.unlink(missing_ok=True)
            sync_folder(path.parent)


@contextmanager
def explained(path: Path, place: Path | None = None) -> Iterator[None]:
    """Turn the system's error about ``path`` or its folders into an :class:`ArtifactError` that says what to do.

    ``place`` is where the file is made, if not there.
    """
    place = place or path
    try:
        yield
    except OSError as error:
        named = Path(error.filename) if isinstance(error.filename, str) else place
        elsewhere = named not in place.parents and named.parent != place.parent
        if error.errno is None or elsewhere:
            raise
        advice = _EXPLANATIONS.get(error.errno, _OTHERWISE)
        raise ArtifactError(f"{path} could not be written ({error.strerror}); {advice}") from error


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove scratch folders and unfinished files of ended processes directly in ``folder``, and return them.

    For the holder of the folder's build lock only: every scratch folder counts, because only builds make them.
    """
    entries = sorted(entry for entry in folder.iterdir() if is_temporary(entry.name) and left_behind(entry))
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return entries


def visible_files(folder: Path, onerror: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """Every file under ``folder`` that is not hidden, folder by folder, sorted; see :func:`os.walk` for ``onerror``."""
    for root, folders, files in os.walk(folder, onerror=onerror):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root) / name for name in sorted(files) if not name.startswith("."))


def process_alive(pid: int) -> bool:
    """Whether a process of this machine has the number ``pid``."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def left_behind(entry: Path) -> bool:
    """Whether a scratch folder or an unfinished file belongs to a process of this machine that has ended."""
    if entry.is_dir():  # only builds make scratch folders, under the lock of their folder: ask for that lock first
        return True
    match = _TEMPORARY.fullmatch(entry.name)
    owner = int(match.group(1)) if match else 0
    if owner == os.getpid():  # containers reuse process numbers: older than this process means not of this process
        return entry.lstat().st_mtime < _LOADED
    return not process_alive(owner)
