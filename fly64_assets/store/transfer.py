"""Copying results between data roots, in folders or object stores: verified, stage by stage, each whole or not at all.

Does not belong here: which stages to copy (``cli.commands.transfer``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import explained, flush, temporary_name, write_atomically
from fly64_assets.store.builds import Moves, old_files, put_in_place
from fly64_assets.store.index import is_text
from fly64_assets.store.keys import Coordinates, StageKey
from fly64_assets.store.layout import Layout, sidecar_path
from fly64_assets.store.locks import Announce
from fly64_assets.store.records import StageRecord, damage, read_record
from fly64_assets.store.sidecars import intact, verified
from fly64_assets.store.storage import is_copy, size_of, storage_in


@dataclass(frozen=True)
class Copied:
    """What was copied: stages, files, bytes; and how many stages had another result before."""

    stages: int = 0
    files: int = 0
    bytes: int = 0
    replaced: int = 0


def copy_stage(source: Layout, target: Layout, key: StageKey[Coordinates], announce: Announce | None = None) -> Copied:
    """Copy the result of a stage, unless the target has it; another result of it there is replaced.

    Until the copy is whole the target keeps what it has. Raises :class:`ArtifactError` if the result is not intact, or
    the record of a failure.
    """
    if _has(target, key, _good(source, key)):
        return Copied()
    label = f"{key.label}: copying"
    with ExitStack() as locks:
        folder = source.folder_of(key)
        # Contents in an object store never change under their name; files of a folder may be replaced meanwhile.
        if not is_copy(folder) and os.access(folder, os.W_OK):
            locks.enter_context(storage_in(folder).lock(folder, label, announce))
        record = _good(source, key)
        place = target.folder_of(key)
        locks.enter_context(storage_in(place).lock(place, label, announce))
        if _has(target, key, record):
            return Copied()
        replaced = target.record(key).exists()
        with _fetched(source.folder, record.outputs) as size:
            moves = [_pair(source, target, source.folder / name) for name in record.outputs]
            _copy(target, key, moves, _pair(source, target, source.record(key)))
        return Copied(1, len(record.outputs) + 1, size, int(replaced))


def copy_files(source: Layout, target: Layout, paths: Sequence[Path]) -> Copied:
    """Copy files with sidecars that belong to no stage, those of them that exist and that the target has not.

    Raises :class:`ArtifactError` if one is not intact.
    """
    copied = Copied()
    for path in paths:
        place = target.folder / path.relative_to(source.folder)
        if size_of(path) is None:
            continue
        found = intact(path)
        with suppress(ArtifactError):
            if intact(place).sha256 == found.sha256:
                continue
        with _fetched(source.folder, {path.relative_to(source.folder).as_posix(): found.sha256}) as size:
            _copy(target, None, [_pair(source, target, path)], None)
        copied = Copied(0, copied.files + 1, copied.bytes + size)
    return copied


def _good(layout: Layout, key: StageKey[Coordinates]) -> StageRecord:
    record = read_record(layout, key)
    if record.outcome == "failed":
        raise ArtifactError(f"{key.label} failed ({record.reason}): only good results are copied")
    return record


def _has(target: Layout, key: StageKey[Coordinates], record: StageRecord) -> bool:
    try:
        return read_record(target, key) == record and not damage(target, record, quick=False)
    except ArtifactError:
        return False


def _pair(source: Layout, target: Layout, path: Path) -> Moves:
    place = target.folder / path.relative_to(source.folder)
    return (path, place), (sidecar_path(path), sidecar_path(place))


@contextmanager
def _fetched(folder: Path, outputs: Mapping[str, str]) -> Iterator[int]:
    """Have files on the local disk, each as it should be; yields their bytes. What was fetched for this goes again."""
    size, arrived = 0, []
    for name, expected in outputs.items():
        path = folder / name
        here = path.exists()
        artifact = verified(path)
        if artifact.sha256 != expected:
            raise ArtifactError(
                f"{path}: has SHA256 {artifact.sha256}; its record says {expected}; run its stage again"
            )
        size += artifact.bytes
        if not here:
            arrived.append(path)
    yield size
    for path in arrived:
        path.unlink(missing_ok=True)


def _copy(target: Layout, key: StageKey[Coordinates] | None, files: Sequence[Moves], record: Moves | None) -> None:
    """Publish files at the target, the record last, and put them into their places."""
    pairs = [*files, *([record] if record else [])]
    old = old_files(target, key, {place for (_, place), _ in files}) if key else []
    folder = pairs[0][0][1].parent
    if is_copy(folder):
        written = {place: path for pair in pairs for path, place in pair}
        gone = [path for one in old for path in (one, sidecar_path(one)) if path not in written]
        with storage_in(folder).publishing(written, gone):
            for place in gone:
                place.unlink(missing_ok=True)
            for place, path in written.items():
                if is_text(place.name):
                    write_atomically(place, lambda file, path=path: file.write(path.read_bytes()))  # type: ignore[misc]
        return
    scratch = temporary_name(folder / "scratch")
    try:
        with explained(folder / "copy", scratch / "copy"):
            folder.mkdir(parents=True, exist_ok=True)
            scratch.mkdir()
            staged = [_staged(target, pair, scratch) for pair in pairs]
        put_in_place(old, staged[: len(files)], staged[-1] if record else None)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _staged(target: Layout, pair: Moves, scratch: Path) -> Moves:
    """A file and its sidecar in the scratch folder, flushed, the file with the bytes that were verified."""
    expected = verified(pair[0][0]).sha256
    moves = []
    for path, place in pair:
        staged = scratch / place.relative_to(target.folder)
        staged.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, staged)
        digest, _ = flush(staged)
        if path == pair[0][0] and digest != expected:
            raise ArtifactError(f"{path}: changed while it was copied; start again")
        moves.append((staged, place))
    return moves[0], moves[1]
