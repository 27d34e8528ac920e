"""A data root in an object store, with a folder that is its local copy.

The copy has the sidecars and records of everything that is published, and of the data what was read or built here, each
file verified when it came. What is published is decided by the indices alone; the copy follows them when it is
refreshed, and a copy that was interrupted is put right then.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import explained, is_temporary, left_behind, make_folder, write_atomically
from fly64_assets.store.claims import Claims
from fly64_assets.store.file_system import examined
from fly64_assets.store.hashing import FileMemo, sha256_file
from fly64_assets.store.index import Entry, Index, by_folder, folder_of, is_text, key_of, prefix_of
from fly64_assets.store.layout import sidecar_path
from fly64_assets.store.locks import LOCK_NAME, Announce, file_lock, held, stage_lock
from fly64_assets.store.objects import GRACE_SECONDS, Objects, content_key

COPIED: Final = ".index.json"
"""In each folder of the copy: the index that the folder agrees with, and its tag. None: it agrees with none."""

_COPY_LOCK: Final = ".index.lock"
KEEP_SECONDS: Final = 600.0
"""What was used within this time stays in the copy, also beyond its size."""


class Mirror:
    """The storage of a data root in an object store; see :class:`fly64_assets.store.storage.Storage`."""

    def __init__(self, root: Path, objects: Objects, most_bytes: float) -> None:
        self._root = root
        self._most_bytes = most_bytes
        self._objects = objects
        self._claims = Claims(objects)
        self._known = FileMemo[Index]()
        self._in_use: set[Path] = set()
        self._arrived = float("inf")
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The URL."""
        return self._objects.url

    # -- reading ------------------------------------------------------------------------------------------------------

    def refresh(self, folder: Path, *, anew: bool = False) -> Mapping[Path, str]:
        """Bring the copy of a folder and of those under it to what is published now."""
        damaged: dict[Path, str] = {}
        published: set[Path] = set()
        for key, etag in self._objects.tags(prefix_of(self._root, folder)).items():
            place = folder_of(self._root, key)
            if place is None:
                continue
            published.add(place)
            if anew or self._copied_tag(place) != etag:
                why = self._follow(place)
                if why:
                    damaged[place] = why
        for place in self._copies(folder):
            if place not in published:
                self._follow(place)
        return damaged

    def fetch(self, path: Path) -> None:
        """Have a file in the copy, with the bytes that were published."""
        entry = self._entry(path)
        if entry is None:
            return
        if not self._is_copy(path, entry):
            with self._exclusive(path.parent):
                if not self._is_copy(path, entry):
                    self._remove_parts(path.parent)
                    path.unlink(missing_ok=True)
                    self._objects.download(entry.sha256, path)
                    # A file that is not younger than its sidecar was not written to after it.
                    with suppress(OSError):
                        stamp = sidecar_path(path).stat().st_mtime_ns
                        os.utime(path, ns=(time.time_ns(), stamp))
            self._make_room(entry.bytes)
        with self._lock:
            self._in_use.add(path)
        self._touch([path])

    def files(self, folder: Path, onerror: Callable[[OSError], object] | None = None) -> Iterator[Path]:
        """The files of the copy, and those that are published and not in it."""
        for root, folders, names in os.walk(folder, onerror=onerror):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            here = {name for name in names if not name.startswith(".")}
            yield from (Path(root) / name for name in sorted(here | self._index(Path(root)).names))

    def size(self, path: Path) -> int:
        """Bytes that are published; of a file that is in the copy alone, its own."""
        if path.is_dir() and not path.is_symlink():
            return sum(self.size(file) for file in self.files(path))
        entry = self._entry(path)
        return entry.bytes if entry else path.lstat().st_size

    def attested(self, path: Path, sha256: str, *, quick: bool) -> bool | None:
        """Whether the object has the size and the tag with which it was published."""
        entry = self._entry(path)
        if entry is None:
            return None
        if quick or entry.sha256 != sha256:
            return entry.sha256 == sha256
        stored = self._objects.stored(sha256)
        if stored is None:
            return False
        if (stored.bytes, stored.etag) != (entry.bytes, entry.etag):  # written anew: by the same content?
            return self._objects.digest(sha256) == sha256
        return True

    def digest(self, path: Path) -> str | None:
        """SHA256 of the object, every byte of it read; None for sidecars and records, which an index has itself."""
        entry = self._entry(path)
        return self._objects.digest(entry.sha256) if entry else None

    # -- building -----------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, folder: Path, label: str, announce: Announce | None) -> Iterator[bool]:
        """The local lock, for processes of this machine, and the claim in the index, for all others."""
        key = key_of(self._root, folder)
        with (
            stage_lock(folder, label, announce) as here,
            self._claims.held(key, label, announce, self._still_in_use) as elsewhere,
        ):
            self._follow(folder)
            yield here or elsewhere

    @contextmanager
    def lock_now(self, folder: Path) -> Iterator[object]:
        """Both locks, without waiting."""
        label = "removal of what is of no use"
        key = key_of(self._root, folder)
        with (
            file_lock(folder / LOCK_NAME, label, wait=False),
            self._claims.held(key, label, None, self._still_in_use, wait=False),
        ):
            yield None

    def held(self, folder: Path) -> bool:
        """Whether a process of this machine builds there, or a claim holds."""
        key = key_of(self._root, folder)
        return held(folder) or self._claims.alive(key, self._claims.read(key)[0].claim)

    def lockable(self, folder: Path) -> list[Path]:
        """Folders that have an index or a local lock."""
        return self._copies(folder)

    @contextmanager
    def publishing(self, written: Mapping[Path, Path], removed: Collection[Path]) -> Iterator[None]:
        """Upload contents, replace the index, then let the caller fill the copy.

        A crash before the index is replaced publishes nothing, and one after it leaves a copy that the next refresh
        puts right.
        """
        groups = list(by_folder({*written, *removed}))
        uploaded = {
            place: self._uploaded(place, source) for place, source in written.items() if not is_text(place.name)
        }
        with ExitStack() as locks:
            for folder, _ in groups:
                locks.enter_context(self._exclusive(folder))
                (folder / COPIED).unlink(missing_ok=True)
            made = {}
            for folder, places in groups:
                files = {place.name: uploaded[place] for place in places if place in uploaded}
                texts = {
                    place.name: written[place].read_text(encoding="utf-8")
                    for place in places
                    if place in written and is_text(place.name)
                }
                gone = {place.name for place in places if place not in written}
                made[folder] = self._claims.replace(
                    key_of(self._root, folder),
                    lambda index, files=files, texts=texts, gone=gone: index.changed(files, texts, gone),  # type: ignore[misc]
                )
            yield
            for folder, (index, etag) in made.items():
                self._note(folder, index, etag)
        self._make_room(sum(entry.bytes for entry in uploaded.values()))

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with its indices; its contents stay until unused ones are removed."""
        if path.is_dir() and not path.is_symlink():
            if not is_temporary(path.name):
                self._objects.delete(self._objects.tags(prefix_of(self._root, path)))
            shutil.rmtree(path, ignore_errors=True)
        elif path.parent == self._unused_folder:
            stored = self._objects.stored(path.name)
            if stored is not None and time.time() - stored.written > GRACE_SECONDS:  # not uploaded again meanwhile
                self._objects.delete([content_key(path.name)])
        elif not is_temporary(path.name) and path.name in self._index(path.parent).names:
            with self.publishing({}, [path]):
                path.unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)

    def examined(self, folder: Path) -> tuple[str, str]:
        """Whether the server keeps to the conditions of puts, and the file system of the copy to what that needs."""
        level, sentence = examined(folder)
        why = self._claims.no_conditions()
        if why:
            return "bad", why
        said = f"{self.name} keeps to conditional puts; the local copy is {self._root}"
        return (level, said) if level == "good" else (level, f"{said}. {sentence}")

    def unused(self) -> list[tuple[Path, int]]:
        """Contents that no index of the whole data root names and that are old enough.

        None while somebody builds, and none beside a damaged index, or one of another version: what that names is
        unknown.
        """
        contents = self._objects.contents()
        named: set[str] = set()
        for key in self._objects.tags("folders"):
            found = self._objects.get(key)
            if found is None:
                continue
            try:
                index = Index.from_bytes(found.content, key)
            except ArtifactError:
                return []
            if self._claims.alive(key, index.claim):
                return []
            named |= {entry.sha256 for entry in index.files.values()}
        newest = time.time() - GRACE_SECONDS
        return [
            (self._unused_folder / sha256, size)
            for sha256, (size, written) in sorted(contents.items())
            if sha256 not in named and written < newest
        ]

    @property
    def _unused_folder(self) -> Path:
        return self._root / ".objects"

    # -- the copy -----------------------------------------------------------------------------------------------------

    def _copies(self, folder: Path) -> list[Path]:
        """Folders of the copy in and under a folder that hold anything."""
        found = []
        for root, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not is_temporary(name) and name != self._unused_folder.name)
            if Path(root) != self._root and (COPIED in names or LOCK_NAME in names or any(n[0] != "." for n in names)):
                found.append(Path(root))
        return found

    def _follow(self, folder: Path) -> str:
        """Bring one folder of the copy to its index; why that index is damaged, empty for a good one."""
        key, why = key_of(self._root, folder), ""
        with self._exclusive(folder):
            before = self._index(folder)
            (folder / COPIED).unlink(missing_ok=True)
            found = self._objects.get(key)
            index = Index()
            if found is not None:
                try:
                    index = Index.from_bytes(found.content, f"{self.name}/{key}")
                except ArtifactError as error:
                    why = str(error)
            for path in [entry for entry in folder.iterdir() if entry.is_file() and entry.name[0] != "."]:
                entry = index.files.get(path.name)
                same = entry is not None and (before.files.get(path.name) == entry or sha256_file(path) == entry.sha256)
                if not same and path.name not in index.texts:
                    path.unlink()
            for name, text in index.texts.items():
                self._write_text(folder / name, text.encode())
            if found is not None:
                self._note(folder, index, found.etag)
        return why

    def _remove_parts(self, folder: Path) -> None:
        """Remove what downloads of processes that were killed have left."""
        for entry in folder.iterdir():
            if is_temporary(entry.name) and entry.is_file() and left_behind(entry):
                entry.unlink(missing_ok=True)

    def _write_text(self, path: Path, content: bytes) -> None:
        with suppress(OSError):
            if path.read_bytes() == content:
                return
        write_atomically(path, lambda file: file.write(content))

    def _note(self, folder: Path, index: Index, etag: str) -> None:
        text = json.dumps({"etag": etag, "index": index.to_bytes().decode()}).encode()
        write_atomically(folder / COPIED, lambda file: file.write(text))

    def _copied_tag(self, folder: Path) -> str | None:
        try:
            return str(json.loads((folder / COPIED).read_bytes())["etag"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _index(self, folder: Path) -> Index:
        """The index that a folder of the copy agrees with; an empty one where it agrees with none."""
        try:
            return self._known.of(folder / COPIED, _copied_index)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArtifactError):
            return Index()

    def _entry(self, path: Path) -> Entry | None:
        return self._index(path.parent).files.get(path.name)

    @staticmethod
    def _is_copy(path: Path, entry: Entry) -> bool:
        try:
            return path.stat().st_size == entry.bytes and sha256_file(path) == entry.sha256
        except OSError:
            return False

    def _uploaded(self, place: Path, source: Path) -> Entry:
        sha256, before = sha256_file(source), self._entry(place)
        if before is not None and self.attested(place, sha256, quick=False):
            return before
        stored = self._objects.upload(source, sha256)
        return Entry(sha256, stored.bytes, stored.etag)

    @contextmanager
    def _exclusive(self, folder: Path) -> Iterator[None]:
        """Keep other processes of this machine from changing a folder of the copy, for seconds."""
        path = folder / _COPY_LOCK
        with explained(path):
            make_folder(folder)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            with explained(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # -- its size -----------------------------------------------------------------------------------------------------

    def _touch(self, paths: Collection[Path]) -> None:
        """Note that files were used just now, in their time of access alone."""
        for path in paths:
            with suppress(OSError):
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def _still_in_use(self) -> None:
        with self._lock:
            paths = tuple(self._in_use)
        self._touch(paths)

    def _make_room(self, arrived: int) -> None:
        """Remove what was not used for longest, until the copy has no more than its size; at every 20th part of it."""
        self._arrived += arrived
        if self._arrived < self._most_bytes / 20:
            return
        self._arrived = 0
        total = 0
        used: list[tuple[float, int, Path]] = []
        for folder in self._copies(self._root):
            for name in self._index(folder).files:
                with suppress(OSError):
                    status = (folder / name).stat()
                    total += status.st_size
                    heapq.heappush(used, (status.st_atime, status.st_size, folder / name))
        while used and total > self._most_bytes and used[0][0] < time.time() - KEEP_SECONDS:
            _, size, path = heapq.heappop(used)
            with suppress(OSError):
                path.unlink()
                total -= size


def _copied_index(path: Path) -> Index:
    return Index.from_bytes(json.loads(path.read_bytes())["index"].encode(), str(path))
