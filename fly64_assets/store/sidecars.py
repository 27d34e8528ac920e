"""An artifact is a file plus its sidecar ``NAME.manifest.json``; a file without one is treated as absent.

File and sidecar are written in the order that survives a crash, and read only if they agree.
"""

from __future__ import annotations

import json
import os
import platform
import posixpath
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from fly64_assets import __version__
from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import Writer, explained, flush, make_folder, sync_folder, temporary_name
from fly64_assets.store.hashing import SHA256, FileMemo, json_bytes, json_sha256, sha256_file
from fly64_assets.store.keys import Coordinates, StageKey
from fly64_assets.store.layout import Layout, sidecar_path, stage_of
from fly64_assets.store.machine import now, numpy_libraries
from fly64_assets.store.storage import storage_of

EXTERNAL: Final = "external:"
"""Prefix of an input that lies outside the data root: only its name is kept, so that a study can be moved."""

_LARGEST_SIDECAR: Final = 16 * 2**20
_LIBRARIES: Final = (
    "dagster", "h5py", "lightning", "matplotlib", "numpy", "ptychi", "scikit-image", "scipy", "tensorflow", "torch"
)  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """A file that agreed with its sidecar when it was looked at."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Provenance:
    """What a sidecar says beyond the file itself; ``inputs`` are SHA256 digests by :func:`input_name`.

    ``machine`` is what an engine computed with, beside the processor and the libraries of this process.
    """

    stage: StageKey[Coordinates] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    design_sha256: str | None = None
    code_version: str = __version__
    seeds: Mapping[str, int] = field(default_factory=dict)
    start: str = field(default_factory=now)
    outcome: str = "succeeded"
    machine: Mapping[str, str] = field(default_factory=dict)


def input_name(layout: Layout, path: Path) -> str:
    """Name of an input in records: POSIX path relative to the layout's folder, or ``external:NAME`` outside it."""
    name = _inside(path, layout.folder) or _inside(path.resolve(), layout.folder.resolve())
    return name or f"{EXTERNAL}{path.name}"


def _inside(path: Path, folder: Path) -> str:
    """POSIX path relative to a folder; empty outside it."""
    inside = path.is_relative_to(folder) and ".." not in path.parts
    return path.relative_to(folder).as_posix() if inside else ""


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that results depend on, without importing them."""
    versions = {"python": platform.python_version(), "fly64-assets": __version__}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def write_artifact(layout: Layout, path: Path, writer: Writer, provenance: Provenance) -> Artifact:
    """Write a file atomically, then its sidecar. Raises :class:`ArtifactError` if the disk or the server refuses."""
    place = sidecar_path(path)
    staged, sidecar = temporary_name(path), temporary_name(place)
    try:
        with explained(path):
            make_folder(path.parent)
            with staged.open("xb") as file:
                writer(file)
            artifact = Artifact(path, *flush(staged))
        text = sidecar_bytes(layout, artifact, provenance)
        with explained(place):
            sidecar.write_bytes(text)
            flush(sidecar)
            sync_folder(path.parent)
        with storage_of(path).publishing({path: staged, place: sidecar}, ()):
            for source, target in ((staged, path), (sidecar, place)):
                with explained(target):
                    source.replace(target)
                    sync_folder(target.parent)
        return artifact
    finally:
        for left in (staged, sidecar):
            left.unlink(missing_ok=True)


def read_sidecar(path: Path) -> dict[str, Any]:
    """The sidecar of ``path``, after its own checksum agreed. Raises :class:`ArtifactError` otherwise."""
    sidecar = sidecar_path(path)
    try:
        status = sidecar.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise _bad(path, f"its sidecar {sidecar.name} is {_kind(status.st_mode)}, not a regular file")
        if status.st_size > _LARGEST_SIDECAR:
            raise _bad(path, f"its sidecar {sidecar.name} is larger than {_LARGEST_SIDECAR} bytes")
        document = json.loads(sidecar.read_bytes())
    except FileNotFoundError:
        raise _bad(path, f"has no sidecar {sidecar.name}, so it counts as absent") from None
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"its sidecar {sidecar.name} is not readable as JSON ({error})") from error
    except OSError as error:
        raise _bad(path, f"its sidecar {sidecar.name} cannot be read ({error.strerror})") from error
    problem = _problem(document, path)
    if problem:
        raise _bad(path, f"its sidecar {sidecar.name} {problem}")
    assert isinstance(document, dict)
    return document


def verified(path: Path, *, quick: bool = False) -> Artifact:
    """Return the artifact at ``path`` if the file agrees with its sidecar; afterwards it is on the local disk.

    ``quick`` compares only the size of a file that was not written to after its sidecar: for listings, not for reading
    data. Raises :class:`ArtifactError`, whose sentence names the file, what is wrong (missing, no sidecar, sidecar
    edited, other hash: found and expected) and which stage to run again.
    """
    _fetch(path)
    try:
        status = path.lstat()
    except (OSError, ValueError) as error:
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise _bad(path, "does not exist" if absent else f"cannot be read ({error})") from None
    if not stat.S_ISREG(status.st_mode):
        raise _bad(path, f"is {_kind(status.st_mode)}, not a regular file")
    expected, size = _expectation(path)
    try:
        if status.st_size != size:
            raise _bad(path, f"has {status.st_size} bytes; its sidecar says {size}")
        untouched = status.st_mtime_ns <= sidecar_path(path).lstat().st_mtime_ns
        actual = expected if quick and untouched else sha256_file(path)
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})") from error
    if actual != expected:
        raise _bad(path, f"has SHA256 {actual}; its sidecar says {expected}")
    return Artifact(path, expected, size)


_expectations: Final = FileMemo[tuple[str, int]]()


def _expectation(path: Path) -> tuple[str, int]:
    """SHA256 and size [bytes] that the sidecar of ``path`` names; see :func:`read_sidecar`."""

    def read(_sidecar: Path) -> tuple[str, int]:
        document = read_sidecar(path)
        return str(document["sha256"]), int(document["bytes"])

    try:
        return _expectations.of(sidecar_path(path), read)
    except OSError:
        return read(path)  # says what is wrong with it


def intact(path: Path, *, quick: bool = False) -> Artifact:
    """Return the artifact at ``path`` as :func:`verified`, without fetching it from an object store: to judge states.

    An object counts as intact if it has the size and the tag with which it was published.
    """
    storage = storage_of(path)
    if storage.attested(path, "", quick=True) is None:
        return verified(path, quick=quick)
    expected, size = _expectation(path)
    try:
        agrees = storage.attested(path, expected, quick=quick)
    except ArtifactError as error:
        raise _bad(path, str(error)) from error
    if not agrees:
        raise _bad(path, f"is not in {storage.name} as its sidecar says")
    return Artifact(path, expected, size)


def kept(path: Path) -> Artifact:
    """Return the artifact at ``path`` if what is kept of it agrees with its sidecar, every byte of it read."""
    try:
        actual = storage_of(path).digest(path)
    except ArtifactError as error:
        raise _bad(path, str(error)) from error
    if actual is None:
        return verified(path)
    expected, size = _expectation(path)
    if actual != expected:
        raise _bad(path, f"has SHA256 {actual} in the object store; its sidecar says {expected}")
    return Artifact(path, actual, size)


def _fetch(path: Path) -> None:
    try:
        storage_of(path).fetch(path)
    except ArtifactError as error:
        raise _bad(path, str(error)) from error


def sidecar_bytes(layout: Layout, artifact: Artifact, provenance: Provenance) -> bytes:
    """The content of a sidecar."""
    path = artifact.path
    folder = path.parent.relative_to(layout.folder).as_posix() if path.is_relative_to(layout.folder) else "."
    document = {
        "file": path.name,
        "sha256": artifact.sha256,
        "bytes": artifact.bytes,
        "stage": provenance.stage.to_dict() if provenance.stage else None,
        "outcome": provenance.outcome,
        "inputs": {
            name if name.startswith(EXTERNAL) else posixpath.relpath(name, folder): sha256
            for name, sha256 in sorted(provenance.inputs.items())
        },
        "parameters": dict(provenance.parameters),
        "parameters_sha256": json_sha256(provenance.parameters),
        "design_sha256": provenance.design_sha256,
        "seeds": dict(provenance.seeds),
        "code_version": provenance.code_version,
        "library_versions": library_versions(),
        "machine": {**numpy_libraries(), **provenance.machine},
        "host": socket.gethostname(),
        "start": provenance.start,
        "end": now(),
    }
    document["sidecar_sha256"] = json_sha256(document)
    return json_bytes(document, f"sidecar of {path.name}")


def _problem(document: Any, path: Path) -> str:
    """What is wrong with a sidecar document; empty if nothing is."""
    if not isinstance(document, dict):
        return "does not hold a JSON object"
    body = {key: value for key, value in document.items() if key != "sidecar_sha256"}
    try:
        agrees = document.get("sidecar_sha256") == json_sha256(body)
    except (ValueError, RecursionError):
        agrees = False
    if not agrees:
        return "was changed after it was written (its own checksum does not agree)"
    if document.get("file") != path.name:
        return f"belongs to another file, {document.get('file')!r}"
    size, inputs = document.get("bytes"), document.get("inputs")
    if isinstance(size, bool) or not isinstance(size, int) or not isinstance(inputs, dict):
        return "does not hold a size and inputs"
    if not SHA256.fullmatch(str(document.get("sha256"))):
        return "does not hold a SHA256"
    return ""


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "a folder" if stat.S_ISDIR(mode) else "a device or pipe"


def _bad(path: Path, what: str) -> ArtifactError:
    stage = stage_of(path)
    again = f"run the stage '{stage}' again" if stage else "run the stage that makes it again"
    return ArtifactError(f"{os.fspath(path)}: {what}; {again}")
