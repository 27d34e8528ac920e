"""Where the files of a data root are kept: in its folder, or in an object store of which the folder is a copy.

All else works on local paths. What differs between the two is behind the interface :class:`Storage`: who may build,
when a result counts as published, which files there are, and having a file on the local disk before it is read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import (
    explained,
    is_temporary,
    sync_folder,
    temporary_name,
    visible_files,
    write_atomically,
)
from fly64_assets.store.file_system import examined
from fly64_assets.store.locks import LOCK_NAME, Announce, file_lock, held, stage_lock

CACHE_VARIABLE: Final = "FLY64_CACHE"
"""Folder of the local copies of data roots in object stores."""

CACHE_SIZE_VARIABLE: Final = "FLY64_CACHE_GB"
"""How many GB (1e9 bytes) of data the copy of one such data root may keep."""

DEFAULT_CACHE_GB: Final = 50.0
MARK: Final = ".object_store.json"
"""In a folder: it is the copy of the data root in an object store that this file names."""

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://|s3:).*", re.IGNORECASE)
"""Also s3:/BUCKET, which is a slip and no folder."""


class Storage(Protocol):
    """How the files of one data root are kept. Paths are local; ``folder`` is the data root or a folder in it.

    Methods raise :class:`ArtifactError` where a file system or a server refuses.
    """

    @property
    def name(self) -> str:
        """The URL of an object store; of a file system its name."""

    def refresh(self, folder: Path, *, anew: bool = False) -> Mapping[Path, str]:
        """Learn what others have published in and under a folder; ``anew`` reads also what has not changed.

        Returns what is damaged, with the reason.
        """

    def fetch(self, path: Path) -> None:
        """Have a file on the local disk, if it is kept at all."""

    def files(self, folder: Path, onerror: Callable[[OSError], object] | None = None) -> Iterator[Path]:
        """Every file that is not hidden, folder by folder, sorted, whether or not it is on the local disk."""

    def size(self, path: Path) -> int:
        """Bytes of a file, or of all files in a folder. Raises :class:`FileNotFoundError`."""

    def attested(self, path: Path, sha256: str, *, quick: bool) -> bool | None:
        """Whether an object is as it was published with this SHA256; None for a file of which there is no object.

        No byte of it is read if its size and tag agree; with ``quick`` the server is not asked at all.
        """

    def digest(self, path: Path) -> str | None:
        """SHA256 of an object, every byte of it read; None for a file of which there is no object."""

    def lock(self, folder: Path, label: str, announce: Announce | None) -> AbstractContextManager[bool]:
        """Be the only one that builds in a folder; yields whether another one did first. See :func:`stage_lock`."""

    def lock_now(self, folder: Path) -> AbstractContextManager[object]:
        """The same without waiting: raises :class:`HeldError` where somebody builds."""

    def held(self, folder: Path) -> bool:
        """Whether somebody builds in a folder now, or that cannot be determined."""

    def lockable(self, folder: Path) -> list[Path]:
        """Folders in and under a folder in which something was built at some time."""

    def publishing(self, written: Mapping[Path, Path], removed: Collection[Path]) -> AbstractContextManager[None]:
        """Publish finished files in one step; within the block the caller puts them into their places.

        ``written`` says for the place of each file where it is now; ``removed`` are places that will be empty.
        Nothing is published, and the block does not begin, if another process took over meanwhile.
        """

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all that is in it."""

    def examined(self, folder: Path) -> tuple[str, str]:
        """Whether file system or server can do what the store needs: ``good``, ``warning`` or ``bad``, and why."""

    def unused(self) -> list[tuple[Path, int]]:
        """Content that nothing published refers to, with its bytes: left by builds that were interrupted."""


class FileSystem:
    """A data root in a folder: what lies there is published."""

    @property
    def name(self) -> str:
        """The local file system, whatever the path."""
        return "the file system"

    def refresh(self, folder: Path, *, anew: bool = False) -> Mapping[Path, str]:  # noqa: ARG002
        """Nothing: there is no copy."""
        return {}

    def fetch(self, path: Path) -> None:
        """Nothing: a file that exists is there."""

    def files(self, folder: Path, onerror: Callable[[OSError], object] | None = None) -> Iterator[Path]:
        """The files that are there."""
        return visible_files(folder, onerror)

    def size(self, path: Path) -> int:
        """Bytes on the disk; links are not followed."""
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum((Path(root) / name).lstat().st_size for root, _, files in os.walk(path) for name in files)

    def attested(self, path: Path, sha256: str, *, quick: bool) -> bool | None:  # noqa: ARG002
        """None: the file itself is judged."""
        return None

    def digest(self, path: Path) -> str | None:  # noqa: ARG002
        """None: the file itself is hashed."""
        return None

    def lock(self, folder: Path, label: str, announce: Announce | None) -> AbstractContextManager[bool]:
        """The lock of the file system."""
        return stage_lock(folder, label, announce)

    def lock_now(self, folder: Path) -> AbstractContextManager[object]:
        """The lock of the file system."""
        return file_lock(folder / LOCK_NAME, "removal of what is of no use", wait=False)

    def held(self, folder: Path) -> bool:
        """Whether the lock is taken."""
        return held(folder)

    def lockable(self, folder: Path) -> list[Path]:
        """Folders that have a lock file."""
        return [path.parent for path in sorted(folder.rglob(LOCK_NAME))]

    @contextmanager
    def publishing(self, written: Mapping[Path, Path], removed: Collection[Path]) -> Iterator[None]:  # noqa: ARG002
        """Nothing more: files are published by being put into their places."""
        yield

    def remove(self, path: Path) -> None:
        """Remove durably; a folder is renamed first, so that no process finds half of it."""
        if path.is_dir() and not path.is_symlink():
            hidden = path if is_temporary(path.name) else path.rename(temporary_name(path))
            sync_folder(path.parent)
            with suppress(FileNotFoundError):  # another `fly64 clean` was quicker
                shutil.rmtree(hidden)
        else:
            path.unlink(missing_ok=True)
        sync_folder(path.parent)

    def examined(self, folder: Path) -> tuple[str, str]:
        """Tried on a small file."""
        return examined(folder)

    def unused(self) -> list[tuple[Path, int]]:
        """None: every file has its place."""
        return []


_HERE: Final = FileSystem()


def storage_of(path: Path) -> Storage:
    """How the data root in which a file lies keeps its files; the file need not exist."""
    return storage_in(path.parent)


def storage_in(folder: Path) -> Storage:
    """How the data root that a folder is or lies in keeps its files; the folder need not exist."""
    root = _copy_above(str(folder.absolute()))
    return _HERE if root is None else _mirror(root)


def fetched(path: Path) -> Path:
    """The path itself, when its file is on the local disk (if it is kept at all)."""
    storage_of(path).fetch(path)
    return path


def size_of(path: Path) -> int | None:
    """Bytes of a file, whether or not it is on the local disk; None where it does not exist."""
    try:
        return storage_of(path).size(path)
    except OSError:
        return None


def is_copy(folder: Path) -> bool:
    """Whether a folder is, or lies in, the local copy of a data root in an object store."""
    return storage_in(folder) is not _HERE


def is_url(text: object) -> bool:
    """Whether a data root is a URL and not a folder."""
    return isinstance(text, str) and _URL.fullmatch(text) is not None


def root_name(root: Path) -> str:
    """How users and other machines name a data root: its path, or the URL of which it is a copy."""
    return storage_in(root).name if is_copy(root) else str(root)


def root_folder(root: str | Path) -> Path:
    """The folder of a data root: the one that is named, or the local copy of the one that a URL names."""
    return local_root(root) if isinstance(root, str) and is_url(root) else Path(root).absolute()


def local_root(url: str) -> Path:
    """The folder that is the local copy of a data root in an object store; it is made if it does not exist.

    Raises :class:`ArtifactError` for a URL that names none, and where the folder cannot be made.
    """
    url = _checked_url(url)
    name = re.sub(r"[^a-z0-9]+", "_", url.partition("://")[2].lower()).strip("_")[:60]
    root = cache_folder() / f"{name}_{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    mark = root / MARK
    if not mark.is_file():
        text = json.dumps({"url": url}).encode() + b"\n"
        try:
            with explained(mark):
                write_atomically(mark, lambda file: file.write(text))
        except ArtifactError as error:
            raise ArtifactError(f"{error} (the folder of local copies: {CACHE_VARIABLE})") from error
        _copy_above.cache_clear()
    return root


def cache_folder() -> Path:
    """Folder of the local copies: ``FLY64_CACHE``, else ``fly64`` in the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given).resolve() if given else users / "fly64"


def cache_bytes() -> float:
    """How many bytes of data one local copy may keep. Raises :class:`ArtifactError` for what is no number."""
    text = os.environ.get(CACHE_SIZE_VARIABLE) or str(DEFAULT_CACHE_GB)
    with suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text) * 1e9
    raise ArtifactError(f"{CACHE_SIZE_VARIABLE} = {text!r}: expected the size of the local copy in GB, for example 50")


def _checked_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    bucket, *folders = rest.rstrip("/").split("/")
    wrong = "@" in rest or "?" in rest or "#" in rest or any(part in ("", ".", "..") for part in (bucket, *folders))
    if scheme.lower() != "s3" or wrong:
        shown = re.sub(r"//.*@", "//...@", url)
        raise ArtifactError(
            f"{shown} names no data root in an object store: expected s3://BUCKET/PREFIX; keys and the address of the "
            "server come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
        )
    return "/".join((f"s3://{bucket}", *folders))


@functools.lru_cache(maxsize=4096)
def _copy_above(folder: str) -> str | None:
    """The copy of a data root that a folder is or lies in; None for a folder that is in none."""
    if (Path(folder) / MARK).is_file():
        return folder
    above = os.path.dirname(folder)  # noqa: PTH120 (asked for every file that is read)
    return None if above == folder else _copy_above(above)


@functools.cache
def _mirror(root: str) -> Storage:
    from fly64_assets.store.mirror import Mirror
    from fly64_assets.store.objects import Objects

    url = json.loads((Path(root) / MARK).read_bytes())["url"]
    return Mirror(Path(root), Objects(url), cache_bytes())
