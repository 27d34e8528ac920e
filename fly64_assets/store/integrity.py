"""Is every file of a folder what it was when it was written? Needs nothing but the folder.

With the ``SHA256SUMS`` that lets ``sha256sum -c`` check the same without this package.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fly64_assets.errors import ArtifactError
from fly64_assets.store.layout import SUFFIX, Layout, sidecar_path
from fly64_assets.store.records import expected_outputs, record_paths
from fly64_assets.store.sidecars import kept, read_sidecar
from fly64_assets.store.storage import storage_in

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class BadFile:
    """A file that is not what it should be: its POSIX path relative to the checked folder, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Verification:
    """Result of checking a folder: how many artifacts were looked at, and the bad ones in the order of their paths."""

    checked: int
    bad: tuple[BadFile, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing bad was found."""
        return not self.bad

    def to_dict(self) -> dict[str, Any]:
        """The form of ``fly64 verify --json``."""
        return {"checked": self.checked, "bad": [asdict(bad) for bad in self.bad]}


def verify_folder(folder: Path, progress: Progress | None = None) -> Verification:
    """Hash every artifact under ``folder`` and compare it with its sidecar and with the records.

    It finds other bytes, files without a sidecar, sidecars without a file, changed sidecars, and files that a record
    lists but that are gone or were replaced. Hidden files (unfinished writes, locks) are no artifacts.

    ``folder`` is a data root, a study, a base or any folder inside, wherever it was copied to. ``progress`` is called
    as ``progress(done, total, {"bytes": hashed so far})``. Raises :class:`ArtifactError` for what is not a folder.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; give a data root, a study or a folder inside it")
    storage = storage_in(folder)
    bad = dict(storage.refresh(folder, anew=True))

    def unreadable(error: OSError) -> None:
        bad[Path(error.filename)] = f"cannot be listed ({error.strerror}): change its permissions"

    files = list(storage.files(folder, unreadable))
    present = set(files)
    artifacts = [path for path in files if not path.name.endswith(SUFFIX)]
    for path in present.difference(artifacts):
        if path.with_name(path.name.removesuffix(SUFFIX)) not in present:
            bad[path] = "sidecar without its file: run the stage that makes the file again"
    good = _hash_all(artifacts, bad, progress)
    for record in record_paths(folder):
        where = record.relative_to(folder).as_posix()
        for path, sha256 in expected_outputs(record).items():
            if path in good and good[path] != sha256:
                bad[path] = f"has SHA256 {good[path]}; the record {where} says {sha256}: run its stage again"
            elif path not in present and sidecar_path(path) not in bad:
                bad[path] = f"is listed in the record {where} but does not exist: run its stage again"
    reasons = {PurePosixPath(os.path.relpath(path, folder)).as_posix(): why for path, why in bad.items()}
    return Verification(len(artifacts), tuple(BadFile(path, reasons[path]) for path in sorted(reasons)))


def checksums(layout: Layout) -> bytes:
    """Content of ``SHA256SUMS``: the hash in the sidecar of every artifact, by its path from the report folder.

    A file that was damaged since it was written is listed with its true hash, so ``sha256sum -c`` finds it too.
    """
    lines = []
    for path in storage_in(layout.folder).files(layout.folder):
        if path.name.endswith(SUFFIX) or path == layout.checksums:
            continue
        with suppress(ArtifactError):
            name = PurePosixPath(os.path.relpath(path, layout.checksums.parent)).as_posix()
            lines.append(f"{read_sidecar(path)['sha256']}  {name}\n")
    return "".join(lines).encode()


def _hash_all(paths: list[Path], bad: dict[Path, str], progress: Progress | None) -> dict[Path, str]:
    """SHA256 of each intact artifact; the others go to ``bad``. Hashing releases the GIL, so threads share the work."""
    good: dict[Path, str] = {}
    hashed = 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = {pool.submit(kept, path): path for path in paths}
        for done, future in enumerate(as_completed(futures), start=1):
            path = futures[future]
            try:
                artifact = future.result()
            except ArtifactError as error:
                bad[path] = str(error).removeprefix(f"{path}: ")
            else:
                good[path] = artifact.sha256
                hashed += artifact.bytes
            if progress:
                progress(done, len(paths), {"bytes": hashed})
    return good
