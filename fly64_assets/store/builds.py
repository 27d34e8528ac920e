"""One build of a stage, from the lock to the record.

The result that is there stays until the new one is whole: outputs, sidecars and record are made in a scratch folder,
and only then renamed into the place of the old ones, the old record removed first and the new one placed last. A crash
before that leaves the old result, and a crash within it reads as *missing*.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.store.atomic import Writer, explained, flush, make_folder, remove_durably, sync_folder, temporary_name
from fly64_assets.store.hashing import json_bytes, json_sha256
from fly64_assets.store.keys import Coordinates, StageKey
from fly64_assets.store.layout import Layout, sidecar_path
from fly64_assets.store.machine import now
from fly64_assets.store.records import StageRecord, damage, read_record
from fly64_assets.store.sidecars import Artifact, Provenance, sidecar_bytes, write_artifact
from fly64_assets.store.storage import storage_of

Moves = tuple[tuple[Path, Path], tuple[Path, Path]]
"""A finished file and its sidecar, each with the place that it will take."""


@dataclass(frozen=True)
class _Output:
    """A finished file in the scratch folder; ``artifact`` names the place that it will take."""

    staged: Path
    artifact: Artifact
    data: bool


class Build:
    """A build in progress, as handed out by ``ArtifactStore.build``.

    Write files, then call :meth:`succeed` or :meth:`skip` once; files and record appear when the ``with`` block ends.
    ``done`` is set, and there is nothing to do, if another process finished the same stage while this one waited.

    ``scratch`` is an empty folder on the file system of the outputs, removed at the end in any case.
    """

    def __init__(
        self, layout: Layout, key: StageKey[Coordinates], provenance: Provenance, done: StageRecord | None
    ) -> None:
        self.key = key
        self.done = done
        self.scratch = temporary_name(layout.folder_of(key) / "scratch")
        self._layout = layout
        self._provenance = provenance
        self._started = time.monotonic()
        self._outputs: dict[str, _Output] = {}
        self._values: dict[str, Any] = {}
        self._outcome = ""
        self._reason = ""
        self._stands = False

    def write(self, path: Path, writer: Writer, *, data: bool = True) -> Artifact:
        """Write one output for a path from the layout; until the build ends it is where :meth:`staged` says.

        ``data`` says that identical builds give identical bytes on one kind of machine; it is False for logs, pictures
        and timings. Raises :class:`ArtifactError` if the disk is full or read-only.
        """
        name = self._output_name(path)
        self._outputs.pop(name, None)
        staged = self.staged(path)
        with explained(path, staged):
            staged.parent.mkdir(parents=True, exist_ok=True)
            with staged.open("wb") as file:
                writer(file)
            return self._keep(name, staged, path, data)

    def write_bytes(self, path: Path, content: bytes, *, data: bool = True) -> Artifact:
        """Write bytes; see :meth:`write`."""
        return self.write(path, lambda file: file.write(content), data=data)

    def write_json(self, path: Path, document: Any, *, data: bool = True) -> Artifact:
        """Write a JSON document; NaN and infinity are refused. See :meth:`write`."""
        return self.write_bytes(path, json_bytes(document, path.name), data=data)

    def adopt(self, scratch_path: Path, final_path: Path, *, data: bool = True) -> Artifact:
        """Take a finished file from the scratch folder as the output for a path. See :meth:`write`."""
        if not scratch_path.is_file():
            raise ArtifactError(f"{self.key.label}: {scratch_path.name} was expected in {scratch_path.parent}")
        name, staged = self._output_name(final_path), self.staged(final_path)
        with explained(final_path, staged):
            staged.parent.mkdir(parents=True, exist_ok=True)
            scratch_path.replace(staged)
            return self._keep(name, staged, final_path, data)

    def staged(self, path: Path) -> Path:
        """Where an output is until the build ends."""
        return self.scratch / ".outputs" / path.relative_to(self._layout.folder)

    def computed_with(self, libraries: Mapping[str, str]) -> None:
        """Name the libraries that an engine computed with, in the sidecars of all outputs."""
        self._provenance = replace(self._provenance, machine={**self._provenance.machine, **libraries})

    def note(self, values: Mapping[str, Any]) -> None:
        """Add facts to the record, independent of its outcome, for example the return code of a failing engine."""
        self._values.update(json.loads(json_bytes(values, f"values of {self.key.label}")))

    def succeed(self, values: Mapping[str, Any]) -> None:
        """Declare success with the facts to record (JSON types; NaN is refused)."""
        self._finish("succeeded", "", values)

    def skip(self, reason: str, values: Mapping[str, Any]) -> None:
        """Declare that this stage cannot exist, with the measured reason."""
        if not reason:
            raise ArtifactError(f"{self.key.label}: a skip needs its measured reason")
        self._finish("skipped", reason, values)

    def run(self) -> Iterator[Build]:
        """Yield the build between its first and its last step; only the store calls this."""
        try:
            self._stands = self._intact_result()
            with explained(self.scratch):
                self.scratch.mkdir()
            yield self
            self._place()
        except Exception as error:
            try:
                self._fail(error)
            except (OSError, ArtifactError) as second:
                error.add_note(f"the failure could not be recorded: {second}")
            raise
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _output_name(self, path: Path) -> str:
        self._require_open()
        if path in (self._layout.record(self.key), sidecar_path(self._layout.record(self.key))):
            raise ArtifactError(f"{path} is the record of '{self.key.label}': the store itself writes it")
        if not path.is_relative_to(self._layout.folder) or ".." in path.parts or path.name.startswith("."):
            raise ArtifactError(f"{path} is not a path for an output of '{self.key.label}': use the layout's paths")
        return path.relative_to(self._layout.folder).as_posix()

    def _keep(self, name: str, staged: Path, path: Path, data: bool) -> Artifact:
        self._outputs[name] = _Output(staged, Artifact(path, *flush(staged)), data)
        return self._outputs[name].artifact

    def _require_open(self) -> None:
        if self.done:
            raise ArtifactError(f"{self.key.label} was built by another process meanwhile: use build.done")
        if self._outcome:
            raise ArtifactError(f"{self.key.label} is already declared {self._outcome}; nothing may follow")

    def _finish(self, outcome: str, reason: str, values: Mapping[str, Any]) -> None:
        self._require_open()
        self.note(values)
        self._outcome, self._reason = outcome, reason

    def _intact_result(self) -> bool:
        """Whether a result is there that is worth keeping if this build fails."""
        try:
            record = read_record(self._layout, self.key)
        except ArtifactError:
            return False
        return record.outcome != "failed" and not damage(self._layout, record, quick=True)

    def _fail(self, error: Exception) -> None:
        """Leave the reason: in a failed record, or beside the intact result that is there."""
        self._reason = str(error) if isinstance(error, Fly64Error) else f"{type(error).__name__}: {error}"
        kept = {name: output for name, output in self._outputs.items() if not output.data and output.staged.exists()}
        if not self._stands:
            self._outcome, self._outputs = "failed", kept
            self._place()
            return
        provenance = replace(self._provenance, outcome="failed")
        for output in kept.values():
            if output.artifact.path.suffix == ".log":
                path, content = self._layout.failed_log(self.key, output.artifact.path), output.staged.read_bytes()
                write_artifact(self._layout, path, partial(_write, content), provenance)
        document = json_bytes({"reason": self._reason, "end": now()}, "reason of a failure")
        write_artifact(self._layout, self._layout.failure(self.key), lambda file: file.write(document), provenance)

    def _place(self) -> None:
        """Put record and outputs, which are made whole beforehand, into the place of the old ones."""
        if not self._outcome:
            raise ArtifactError(f"{self.key.label}: the build ended without declaring success or a skip")
        outputs = [self._with_sidecar(output.staged, output.artifact) for output in self._outputs.values()]
        place = self._layout.record(self.key)
        staged, text = self.staged(place), json_bytes(self._record().to_dict(), f"record of {self.key.label}")
        with explained(place, staged):
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(text)
            record = self._with_sidecar(staged, Artifact(place, *flush(staged)))
        old = old_files(self._layout, self.key, {output.artifact.path for output in self._outputs.values()})
        written = {target: source for pair in (*outputs, record) for source, target in pair}
        removed = [path for one in old for path in (one, sidecar_path(one)) if path not in written]
        with storage_of(place).publishing(written, removed):
            self._stands = False
            put_in_place(old, outputs, record)

    def _with_sidecar(self, staged: Path, artifact: Artifact) -> Moves:
        """A staged file with its sidecar, which is written now, each with the place that it will take."""
        provenance = replace(self._provenance, outcome=self._outcome)
        sidecar = sidecar_path(staged)
        with explained(sidecar_path(artifact.path), sidecar):
            sidecar.write_bytes(sidecar_bytes(self._layout, artifact, provenance))
            flush(sidecar)
        return (staged, artifact.path), (sidecar, sidecar_path(artifact.path))

    def _record(self) -> StageRecord:
        provenance = self._provenance
        return StageRecord(
            key=self.key,
            outcome=self._outcome,
            reason=self._reason,
            inputs=dict(sorted(provenance.inputs.items())),
            parameters=provenance.parameters,
            parameters_sha256=json_sha256(provenance.parameters),
            code_version=provenance.code_version,
            seconds=round(time.monotonic() - self._started, 3),
            start=provenance.start,
            end=now(),
            outputs={name: self._outputs[name].artifact.sha256 for name in sorted(self._outputs)},
            diagnostics=tuple(name for name in sorted(self._outputs) if not self._outputs[name].data),
            values=dict(self._values),
        )


def old_files(layout: Layout, key: StageKey[Coordinates], replaced: Collection[Path]) -> list[Path]:
    """Files of the result of a stage that is there, its record first, but for those that a new one replaces."""
    try:
        old = tuple(read_record(layout, key).outputs)
    except ArtifactError:
        old = ()
    paths = [layout.folder / name for name in old]
    logs = [layout.failed_log(key, path) for path in (*paths, *replaced) if path.suffix == ".log"]
    unwanted = dict.fromkeys(path for path in (*paths, *logs, layout.failure(key)) if path not in replaced)
    root = layout.folder.resolve()
    return [layout.record(key), *(path for path in unwanted if path.parent.resolve().is_relative_to(root))]


def put_in_place(old: Collection[Path], outputs: Collection[Moves], record: Moves | None) -> None:
    """Remove the old files, the record first, so that from here on a crash reads as missing; then move the new ones.

    The new record comes last. If that fails, the outputs are removed again.
    """
    for path in old:
        remove_durably(path)
        remove_durably(sidecar_path(path))
    try:
        for moves in (outputs, [record] if record else []):
            for source, target in (move for pair in moves for move in pair):
                with explained(target):
                    make_folder(target.parent)
                    source.replace(target)
            for folder in {target.parent for pair in moves for _, target in pair}:
                sync_folder(folder)
    except BaseException:
        for path in (path for (_, path), _ in outputs):
            remove_durably(path)
            remove_durably(sidecar_path(path))
        raise


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
