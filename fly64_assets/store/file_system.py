"""What the file system of a folder can do for the store, tried on a small file; for ``fly64 doctor``."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path

from fly64_assets.store.atomic import no_flush, sync_folder, write_atomically
from fly64_assets.store.locks import HELD, NO_LOCKS, no_locks


def examined(folder: Path) -> tuple[str, str]:
    """Write, flush, rename and lock a small file as the store does: ``good``, ``warning`` or ``bad``, and why.

    Raises :class:`ArtifactError` where the folder cannot be written to.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor.") as scratch:
        path = Path(scratch) / "file"
        write_atomically(path, lambda file: file.write(b"fly64"))
        level, lock = _locks(path, folder)
        if sync_folder(path.parent):
            return level, lock or f"{folder} can be written, flushed and locked"
        flush = no_flush(folder)
        return level if level == "bad" else "warning", f"{lock}. Also, {flush}" if lock else flush


def _locks(path: Path, folder: Path) -> tuple[str, str]:
    with path.open("r+b") as first, path.open("r+b") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in HELD:
                return "good", ""
            if error.errno in NO_LOCKS:
                return "warning", no_locks(folder / path.name, error.strerror or str(error))
            raise
    return "bad", f"the file system of {folder} ignores locks: let only one process at a time work on a study there"
