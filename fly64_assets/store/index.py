"""The index of one folder of a data root in an object store: which files are published there, and who builds.

One object per folder, replaced by conditional puts alone, so that it is lock and publication in one: who builds has put
a claim into it, and what was built appears with the put that needs the claim to be there still.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import is_temporary
from fly64_assets.store.hashing import SHA256, json_bytes, json_sha256
from fly64_assets.store.keys import KINDS
from fly64_assets.store.layout import SUFFIX

NAME: Final = "index.json"
FOLDERS: Final = "folders"
VERSION: Final = 1
_SMALL: Final = frozenset({"active_base.json", "failed_rebuild.json", *(kind.record for kind in KINDS.values())})


@dataclass(frozen=True)
class Entry:
    """A published file whose content is an object of its own: SHA256, bytes, and the tag of that object."""

    sha256: str
    bytes: int
    etag: str


@dataclass(frozen=True)
class Claim:
    """Who builds in a folder; ``token`` is that process's own secret, ``renewed`` counts its signs of life."""

    host: str
    pid: int
    since: str
    token: str
    building: str
    renewed: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


@dataclass(frozen=True)
class Index:
    """What is published in a folder: contents by file name, and the texts of sidecars and records themselves."""

    files: Mapping[str, Entry] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None

    @property
    def names(self) -> set[str]:
        """Names of all published files."""
        return {*self.files, *self.texts}

    def changed(self, files: Mapping[str, Entry], texts: Mapping[str, str], removed: Collection[str]) -> Index:
        """The index after a publication."""
        gone = {*removed, *files, *texts}
        return replace(
            self,
            files={name: entry for name, entry in self.files.items() if name not in gone} | dict(files),
            texts={name: text for name, text in self.texts.items() if name not in gone} | dict(texts),
        )

    def to_bytes(self) -> bytes:
        """The document, with its own checksum; :meth:`from_bytes` is the inverse."""
        document = {
            "version": VERSION,
            "files": {name: asdict(self.files[name]) for name in sorted(self.files)},
            "texts": {name: self.texts[name] for name in sorted(self.texts)},
            "claim": asdict(self.claim) if self.claim else None,
        }
        return json_bytes({**document, "index_sha256": json_sha256(document)}, NAME)

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Index:
        """Read a document back. Raises :class:`ArtifactError`, which names ``where``, if it is damaged."""
        with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
            document: Any = json.loads(content)
            checksum = document.pop("index_sha256")
            claim = document["claim"]
            index = cls(
                {name: Entry(**entry) for name, entry in document["files"].items()},
                dict(document["texts"]),
                Claim(**claim) if claim else None,
            )
            if document["version"] == VERSION and checksum == json_sha256(document) and _sound(index):
                return index
        raise ArtifactError(
            f"{where}: this index was damaged, or is of another version, so that what it listed counts as absent: run "
            "the stage of this folder again, or push it again from a good copy"
        )


def _sound(index: Index) -> bool:
    """Whether every name is that of a visible file in the folder itself, and every content has a SHA256."""
    names = all(PurePosixPath(name).name == name and not name.startswith(".") for name in index.names)
    return names and all(SHA256.fullmatch(entry.sha256) for entry in index.files.values())


def is_text(name: str) -> bool:
    """Whether a file is part of the index itself: sidecars, records and notes, which every reader needs."""
    return name.endswith(SUFFIX) or name in _SMALL


def key_of(root: Path, folder: Path) -> str:
    """Key of the index of a folder of a data root."""
    return "/".join((FOLDERS, *folder.relative_to(root).parts, NAME))


def folder_of(root: Path, key: str) -> Path | None:
    """The folder of a key; None for an object that is no index."""
    first, *parts, name = key.split("/")
    odd = any(part in ("", ".", "..") or part.startswith(".") or is_temporary(part) for part in parts)
    return root.joinpath(*parts) if (first, name) == (FOLDERS, NAME) and not odd else None


def prefix_of(root: Path, folder: Path) -> str:
    """What the keys of the indices in and under a folder begin with."""
    return "/".join((FOLDERS, *folder.relative_to(root).parts))


def by_folder(paths: Collection[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """Paths grouped by their folders, those with a record last: what it lists is there before it."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.parent, []).append(path)
    records = {kind.record for kind in KINDS.values()}
    yield from sorted(groups.items(), key=lambda group: (any(path.name in records for path in group[1]), group[0]))
