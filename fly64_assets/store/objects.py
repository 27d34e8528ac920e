"""Files in an object store, reached over the S3 protocol: contents by their SHA256, and small documents.

``objects/SHA256`` is the content of files and never changes. ``folders/.../index.json`` says what is published in a
folder; it is replaced only on the condition that nobody else has replaced it (``If-Match`` or ``If-None-Match``).

Does not belong here: what an index says (``store.index``), the local copy (``store.mirror``).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import explained, make_folder, temporary_name

if TYPE_CHECKING:
    from obstore.store import S3Store

PART_BYTES: Final = 8 * 2**20
MOST_PARTS: Final = 9000
"""A server takes at most 10,000 parts of one object; larger files go in larger parts."""

GRACE_SECONDS: Final = 24 * 3600.0
"""Content that no index names is of no use when it is older: a build publishes soon after it has uploaded."""

RETRY_SECONDS: Final = 60
BLOCK: Final = 2**20

KEY_VARIABLES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
)
"""Any of these says where keys come from: themselves, a token, a container's or a cloud machine's role."""


class ConflictError(ArtifactError):
    """Somebody else has replaced a document since it was read."""


@dataclass(frozen=True)
class Document:
    """The bytes of a document, and the tag of this version."""

    content: bytes
    etag: str


@dataclass(frozen=True)
class Stored:
    """Size and tag of stored content, and when it was written by the server's clock (seconds since 1970)."""

    bytes: int
    etag: str
    written: float


class Objects:
    """The objects under one URL ``s3://BUCKET/PREFIX``.

    Keys and the server's address come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
    ``AWS_SESSION_TOKEN``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``). Methods raise :class:`ArtifactError` with a sentence.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store: S3Store | None = None

    def get(self, key: str) -> Document | None:
        """A document, or None."""
        import obstore

        try:
            with self._sentences(key):
                answer = obstore.get(self._open(), key)
                return Document(bytes(answer.bytes()), str(answer.meta["e_tag"]))
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes, replaces: str | None) -> str:
        """Replace the version ``replaces`` of a document, or make it where there is none; returns the new tag.

        Raises :class:`ConflictError`, and changes nothing, if the document is another one.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._sentences(key):
                mode: Any = "create" if replaces is None else {"e_tag": replaces}
                return str(obstore.put(self._open(), key, content, mode=mode, use_multipart=False)["e_tag"])
        except (AlreadyExistsError, PreconditionError) as error:
            raise ConflictError(f"{self.url}/{key} was replaced by another process") from error

    def touch(self, key: str) -> float:
        """Write a small object and return when that was by the clock of the server (seconds since 1970)."""
        import obstore

        with self._sentences(key):
            obstore.put(self._open(), key, b"")
            return obstore.head(self._open(), key)["last_modified"].timestamp()

    def written(self, key: str) -> float:
        """When an object was written, by the clock of the server (seconds since 1970)."""
        import obstore

        with self._sentences(key):
            return obstore.head(self._open(), key)["last_modified"].timestamp()

    def tags(self, prefix: str) -> dict[str, str]:
        """Tag of each object whose key begins with ``prefix`` and a slash, by its key."""
        return {str(entry["path"]): str(entry["e_tag"]) for entry in self._listed(prefix)}

    def contents(self) -> dict[str, tuple[int, float]]:
        """Bytes and time of writing (seconds since 1970) of every stored content, by its SHA256."""
        return {
            str(entry["path"]).rpartition("/")[2]: (int(entry["size"]), entry["last_modified"].timestamp())
            for entry in self._listed("objects")
        }

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are fine."""
        import obstore

        for key in keys:
            with self._sentences(key):
                obstore.delete(self._open(), key)

    def stored(self, sha256: str) -> Stored | None:
        """Size and tag of a content, or None where it is not stored."""
        import obstore

        try:
            with self._sentences(content_key(sha256)):
                found = obstore.head(self._open(), content_key(sha256))
                return Stored(int(found["size"]), str(found["e_tag"]), found["last_modified"].timestamp())
        except FileNotFoundError:
            return None

    def upload(self, path: Path, sha256: str) -> Stored:
        """Store the content of a file, unless it is there: an object with the tag that these bytes get.

        One that is old is written again: if no index names it, it might be removed before one does.
        """
        import obstore

        size = path.stat().st_size
        part = max(PART_BYTES, -(-size // MOST_PARTS))
        found = self.stored(sha256)
        recent = found is not None and time.time() - found.written < GRACE_SECONDS / 2
        same = recent and found is not None and found.bytes == size
        if found is not None and same and found.etag.strip('"') == expected_etag(path, part):
            return found
        key = content_key(sha256)
        with self._sentences(key):
            answer = obstore.put(self._open(), key, path, chunk_size=part, use_multipart=size > part)
        return Stored(size, str(answer["e_tag"]), time.time())

    def download(self, sha256: str, target: Path) -> None:
        """Bring a content to a path; nothing appears there unless its bytes have this SHA256."""
        import obstore

        key = content_key(sha256)
        with explained(target):
            make_folder(target.parent)
        temporary = temporary_name(target)
        try:
            with explained(target), temporary.open("xb") as file:
                digest = hashlib.sha256()
                with self._sentences(key):
                    for block in obstore.get(self._open(), key).stream(min_chunk_size=BLOCK):
                        digest.update(block)
                        file.write(block)
                file.flush()
                os.fsync(file.fileno())
            self._require(sha256, digest.hexdigest())
            temporary.replace(target)
        except FileNotFoundError as error:
            self._lost(sha256, error)
        finally:
            temporary.unlink(missing_ok=True)

    def digest(self, sha256: str) -> str:
        """SHA256 of what is stored as the content with this SHA256, every byte of it read."""
        import obstore

        digest = hashlib.sha256()
        try:
            with self._sentences(content_key(sha256)):
                for block in obstore.get(self._open(), content_key(sha256)).stream(min_chunk_size=BLOCK):
                    digest.update(block)
        except FileNotFoundError as error:
            self._lost(sha256, error)
        return digest.hexdigest()

    def _require(self, sha256: str, found: str) -> None:
        if found != sha256:
            raise ArtifactError(
                f"{self.url}/{content_key(sha256)}: has SHA256 {found}, not the one in its name, so it was damaged: "
                "delete it, then run the stage that makes it again, or push it again from a good copy"
            )

    def _lost(self, sha256: str, error: Exception) -> NoReturn:
        raise ArtifactError(
            f"{self.url}/{content_key(sha256)}: does not exist, and an index names it: run the stage that makes it "
            "again, or push it again from a good copy"
        ) from error

    def _listed(self, prefix: str) -> Iterator[Any]:
        import obstore

        with self._sentences(prefix):
            for page in obstore.list(self._open(), prefix=prefix):
                yield from page

    def _open(self) -> S3Store:
        if self._store is None:
            try:
                from obstore.store import S3Store
            except ImportError as error:
                raise ArtifactError(
                    f"{self.url}: a data root in an object store needs the package obstore: "
                    "pip install 'fly64-assets[object-store]'"
                ) from error
            # Without any, the library asks an address of cloud machines, which elsewhere answers late or never.
            if not any(os.environ.get(name) for name in KEY_VARIABLES):
                raise ArtifactError(
                    f"{self.url}: there are no keys of the object store: set AWS_ACCESS_KEY_ID and "
                    f"AWS_SECRET_ACCESS_KEY (or one of {', '.join(KEY_VARIABLES[1:])})"
                )
            plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
            bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                client_options={"allow_http": plain, "timeout": timedelta(hours=1), "connect_timeout": "10s"},
                retry_config={"max_retries": 6, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
            )
        return self._store

    @contextmanager
    def _sentences(self, key: str) -> Iterator[None]:
        """What a server answers, or that none does, as a sentence; that an object is missing or another one stays."""
        try:
            yield
        except ArtifactError:
            raise
        except Exception as error:
            from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

            if not isinstance(error, BaseError) or isinstance(error, AlreadyExistsError | PreconditionError):
                raise
            why = " ".join(str(error).partition("Debug source:")[0].split())[:300]
            raise ArtifactError(
                f"{self.url}/{key}: the object store refused or did not answer ({why}): see whether the bucket exists "
                "and the variables AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right"
            ) from error


def content_key(sha256: str) -> str:
    """Key of the object with a content."""
    return f"objects/{sha256}"


def expected_etag(path: Path, part: int) -> str:
    """The tag that a server gives to the bytes of a file: MD5, or MD5 of the MD5s of its parts and their number.

    A server that encrypts gives others: there a content that is not known to be whole is uploaded again.
    """
    parts: list[bytes] = []
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest = hashlib.md5(block, usedforsecurity=False)
            left = part - len(block)
            while left > 0 and (block := file.read(min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
            parts.append(digest.digest())
    if len(parts) <= 1:
        return (parts[0] if parts else hashlib.md5(b"", usedforsecurity=False).digest()).hex()
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"
