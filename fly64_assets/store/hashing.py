"""SHA256 of files and of JSON documents, with a cache so that a process reads an unchanged file only once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from fly64_assets.errors import ArtifactError

SHA256: Final = re.compile(r"[0-9a-f]{64}")
"""How a digest is written. The contract, which imports nothing of the store, has its own."""

CLOCK_GRAIN_SECONDS: Final = 1.0
"""A file changed this recently is hashed anew each time: a second change within the clock's grain would not show."""

T = TypeVar("T")


class FileMemo(Generic[T]):
    """What was made of the content of files, remembered in this process while a file is unchanged.

    Unchanged means: same path, size, modification time, status-change time and inode. A file that changed within the
    clock's grain is read anew each time.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Identity, T]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path, make: Callable[[Path], T]) -> T:
        """What ``make`` returns for the file, or what it returned for the same content. Errors are not remembered."""
        place = str(path.absolute())
        before = _identity(place)
        with self._lock:
            known = self._known.get(place)
        if known is not None and known[0] == before:
            return known[1]
        value = make(path)
        older = time.time_ns() - max(before[1], before[2]) > CLOCK_GRAIN_SECONDS * 1e9
        if older and _identity(place) == before:
            with self._lock:
                self._known[place] = (before, value)
        return value


_digests: Final = FileMemo[str]()


def sha256_file(path: Path) -> str:
    """SHA256 of a file's bytes, read in blocks; remembered in this process while the file is unchanged."""
    return _digests.of(Path(path), _digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_Identity = tuple[int, int, int, int]


def _identity(place: str) -> _Identity:
    status = os.stat(place)  # noqa: PTH116 (called a hundred thousand times by a listing; a Path is slower)
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def json_bytes(document: Any, where: str) -> bytes:
    """UTF-8 JSON, two spaces of indent, one newline at the end; NaN and infinity are refused.

    NumPy scalars and mappings that are not ``dict`` are converted. ``where`` names the document in the
    :class:`ArtifactError` that reports a value without a JSON form.
    """
    try:
        return (json.dumps(document, indent=2, allow_nan=False, default=_plain) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"{where}: {_culprit(document, 'document')} has no JSON form ({error}); give finite numbers, text, lists "
            "and mappings, and null where there is no value"
        ) from error


def json_sha256(document: Any) -> str:
    """SHA256 of a JSON document in canonical form: sorted keys, no spaces."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _culprit(document: Any, name: str) -> str:
    """Dotted name of the first member that JSON cannot hold."""
    listed = isinstance(document, (list, tuple))
    members = document.items() if isinstance(document, Mapping) else enumerate(document) if listed else ()
    for key, value in members:
        try:
            json.dumps(value, allow_nan=False, default=_plain)
        except (TypeError, ValueError):
            return _culprit(value, f"{name}.{key}")
    return name
