"""One build of a stage, from the lock to the record.

Its order of steps makes a crash at any moment read as *missing*: lock, remove the old record and its outputs, write
outputs (each with its sidecar), write the record, release.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.store.atomic import Writer, explained, remove_durably, temporary_name
from fly64_assets.store.hashing import json_bytes, json_sha256
from fly64_assets.store.keys import Coordinates, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord, read_record
from fly64_assets.store.sidecars import (
    Artifact,
    Provenance,
    adopt_artifact,
    now,
    sidecar_path,
    write_artifact,
    write_sidecar,
)


class Build:
    """A build in progress, as handed out by ``ArtifactStore.build``.

    Write files, then call :meth:`succeed` or :meth:`skip` once; the record appears when the ``with`` block ends.
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
        self._outputs: dict[str, Artifact] = {}
        self._diagnostics: set[str] = set()
        self._values: dict[str, Any] = {}
        self._outcome = ""
        self._reason = ""

    def write(self, path: Path, writer: Writer, *, data: bool = True) -> Artifact:
        """Write one output atomically, with its sidecar, to a path from the layout.

        ``data`` says that identical builds give identical bytes; it is False for logs, pictures and timings. Raises
        :class:`ArtifactError` if the disk is full or read-only; nothing then changes under ``path``.
        """
        name = self._output_name(path)
        return self._keep(name, write_artifact(self._layout, path, writer, self._provenance), data)

    def write_bytes(self, path: Path, content: bytes, *, data: bool = True) -> Artifact:
        """Write bytes; see :meth:`write`."""
        return self.write(path, lambda file: file.write(content), data=data)

    def write_json(self, path: Path, document: Any, *, data: bool = True) -> Artifact:
        """Write a JSON document; NaN and infinity are refused. See :meth:`write`."""
        return self.write_bytes(path, json_bytes(document, path.name), data=data)

    def adopt(self, scratch_path: Path, final_path: Path, *, data: bool = True) -> Artifact:
        """Flush, hash and move a finished file from the scratch folder to its final path. See :meth:`write`."""
        if not scratch_path.is_file():
            raise ArtifactError(f"{self.key.label}: {scratch_path.name} was expected in {scratch_path.parent}")
        name = self._output_name(final_path)
        return self._keep(name, adopt_artifact(self._layout, scratch_path, final_path, self._provenance), data)

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
            self._open()
            yield self
            self._write_record()
        except Exception as error:
            try:
                self._fail(error)
            except (OSError, ArtifactError) as second:
                error.add_note(f"the failure could not be recorded: {second}")
            raise
        except BaseException:
            self._drop_data()
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

    def _keep(self, name: str, artifact: Artifact, data: bool) -> Artifact:
        self._outputs[name] = artifact
        (self._diagnostics.discard if data else self._diagnostics.add)(name)
        return artifact

    def _require_open(self) -> None:
        if self.done:
            raise ArtifactError(f"{self.key.label} was built by another process meanwhile: use build.done")
        if self._outcome:
            raise ArtifactError(f"{self.key.label} is already declared {self._outcome}; nothing may follow")

    def _finish(self, outcome: str, reason: str, values: Mapping[str, Any]) -> None:
        self._require_open()
        self.note(values)
        self._outcome, self._reason = outcome, reason

    def _open(self) -> None:
        """Remove the old record first, so that from here on a crash reads as missing; then its outputs."""
        path = self._layout.record(self.key)
        try:
            old = tuple(read_record(self._layout, self.key).outputs)
        except ArtifactError:
            old = ()
        remove_durably(path)
        remove_durably(sidecar_path(path))
        for name in old:
            self._remove(self._layout.folder / name)
        with explained(self.scratch):
            self.scratch.mkdir()

    def _remove(self, path: Path) -> None:
        if path.parent.resolve().is_relative_to(self._layout.folder.resolve()):
            remove_durably(path)
            remove_durably(sidecar_path(path))

    def _drop_data(self) -> None:
        """Remove what a build that did not end well has written, except logs and pictures."""
        for name in [name for name in self._outputs if name not in self._diagnostics]:
            self._remove(self._outputs.pop(name).path)

    def _fail(self, error: Exception) -> None:
        self._outcome = "failed"
        self._reason = str(error) if isinstance(error, Fly64Error) else f"{type(error).__name__}: {error}"
        self._drop_data()
        self._write_record()

    def _write_record(self) -> None:
        if not self._outcome:
            raise ArtifactError(f"{self.key.label}: the build ended without declaring success or a skip")
        provenance = replace(self._provenance, outcome=self._outcome)
        if self._outcome != "succeeded":
            for artifact in self._outputs.values():
                write_sidecar(self._layout, artifact, provenance)
        record = StageRecord(
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
            outputs={name: self._outputs[name].sha256 for name in sorted(self._outputs)},
            diagnostics=tuple(sorted(self._diagnostics & set(self._outputs))),
            values=dict(self._values),
        )
        text = json_bytes(record.to_dict(), f"record of {self.key.label}")
        write_artifact(self._layout, self._layout.record(self.key), lambda file: file.write(text), provenance)
