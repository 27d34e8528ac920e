"""The artifact store of one study: which results exist, whether they are still fresh, and building new ones.

Every method that takes ``inputs`` accepts paths of artifacts (each is verified, and its hash is read from the disk) or
a mapping of paths to SHA256 digests (for files whose hash is known, such as a user's own base file).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.store.builds import Build
from fly64_assets.store.hashing import json_bytes, json_sha256
from fly64_assets.store.keys import BASE, Coordinates, LayoutError, StageKey
from fly64_assets.store.layout import Layout, active_base_path, study_folder
from fly64_assets.store.locks import Announce
from fly64_assets.store.records import StageRecord, damage, failed_rebuild, read_record
from fly64_assets.store.sidecars import Artifact, Provenance, input_name, intact, verified, write_artifact
from fly64_assets.store.storage import root_name, storage_in

Inputs = Mapping[Path, str] | Sequence[Path]

IMPORTED: Final = "imported"  # origin of a base that a user brought; one made from the design follows the design
CHOSEN: Final = "chosen"  # origin of a base that a user switched back to
_NOT_SET: Final = object()
"""Stands for a parameter that a document leaves out: settings at their default do that."""


@dataclass(frozen=True)
class State:
    """State of a stage on disk.

    ``name`` is ``fresh``, ``stale`` (an input, a parameter or the code changed), ``missing`` (never built, interrupted,
    or an output is gone or damaged), ``failed`` or ``skipped`` (still for the recorded reason); ``reason`` says why.
    """

    name: str
    reason: str
    record: StageRecord | None

    @property
    def done(self) -> bool:
        """Whether nothing needs to run: fresh, or skipped for a reason that still holds."""
        return self.name in ("fresh", "skipped")


@dataclass(frozen=True)
class ActiveBase:
    """Which base a study works on, and where it came from, for example ``imported``."""

    base_id: str
    origin: str


class ArtifactStore:
    """All artifacts of one study under a data root; ``pinned`` replaces the base that the study's note names."""

    def __init__(self, data_root: Path, study: str, pinned: ActiveBase | None = None) -> None:
        self.data_root = Path(data_root)
        self.study = study
        self.folder = study_folder(self.data_root, study)
        self.pinned = pinned
        storage_in(self.folder).refresh(self.folder)

    @property
    def place(self) -> str:
        """The study's folder as users name it: a path, or a URL."""
        return f"{root_name(self.data_root)}/{self.study}"

    def on(self, base_id: str, origin: str) -> ArtifactStore:
        """The same store, pinned to one of its bases; :class:`ArtifactError` if it does not hold that base."""
        self._require_base(base_id)
        return ArtifactStore(self.data_root, self.study, ActiveBase(base_id, origin))

    def layout(self, base_id: str) -> Layout:
        """Paths of one base."""
        return Layout(self.data_root, self.study, base_id)

    def layouts(self) -> Iterator[Layout]:
        """Layouts of the folders that are named like a base, sorted; the store judges no other folder."""
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if folder.is_dir():
                with suppress(LayoutError):
                    yield self.layout(folder.name)

    def bases(self) -> tuple[str, ...]:
        """Names of the bases with an intact record, sorted."""
        return tuple(layout.base_id for layout in self.layouts() if self.record(layout, BASE))

    def active_base(self) -> ActiveBase | None:
        """The active base; None before the first. Raises :class:`ArtifactError` if the note of it cannot be read."""
        if self.pinned is not None:
            return self.pinned
        # The note names a base whose own record is verified: it is read without its sidecar, so that a crash between
        # the writing of the two cannot lock a study.
        path = active_base_path(self.data_root, self.study)
        try:
            document: Any = json.loads(path.read_bytes())
            return ActiveBase(self.layout(document["base_id"]).base_id, str(document["origin"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Fly64Error) as error:
            known = ", ".join(self.bases()) or "none yet"
            raise ArtifactError(
                f"{path}: does not name a base ({type(error).__name__}); choose one with `fly64 base use ID` ({known})"
            ) from error

    def set_active_base(self, base_id: str, origin: str) -> None:
        """Make a base the active one, and note why. Raises :class:`ArtifactError` if the store does not hold it."""
        self._require_base(base_id)
        layout = self.layout(base_id)
        text = json_bytes({"base_id": base_id, "origin": origin}, "active base")
        path = active_base_path(self.data_root, self.study)
        write_artifact(layout, path, lambda file: file.write(text), Provenance(stage=BASE))

    def record(self, layout: Layout, key: StageKey[Coordinates]) -> StageRecord | None:
        """The intact record of a stage, or None; :meth:`state` says why it is None."""
        try:
            return read_record(layout, key)
        except ArtifactError:
            return None

    def required(self, layout: Layout, key: StageKey[Coordinates]) -> StageRecord:
        """The record of a stage that others build on: succeeded or skipped.

        Raises :class:`ArtifactError` if the stage has not run, was interrupted, is damaged or has failed.
        """
        record = read_record(layout, key)
        if record.outcome == "failed":
            raise ArtifactError(f"{key.label} failed ({record.reason}); run it again first")
        return record

    def state(
        self,
        layout: Layout,
        key: StageKey[Coordinates],
        inputs: Inputs,
        parameters: Mapping[str, Any],
        *,
        code_version: str,
        quick: bool = False,
    ) -> State:
        """Compare a stage's record with its inputs, parameters, code version and files. Reads only.

        ``inputs`` (see the module's docstring), ``parameters`` (JSON types) and ``code_version`` are what the stage
        would use now; ``quick`` judges files that were not written to after their sidecars by size, not by SHA256.
        The reason also tells of a later build that failed, and left this result where it was.
        """
        found = self._state(layout, key, inputs, parameters, code_version, quick)
        failure = failed_rebuild(layout, key) if found.record is not None else ""
        return replace(found, reason="; ".join(filter(None, (found.reason, failure))))

    def _state(
        self,
        layout: Layout,
        key: StageKey[Coordinates],
        inputs: Inputs,
        parameters: Mapping[str, Any],
        code_version: str,
        quick: bool,
    ) -> State:
        try:
            record = read_record(layout, key)
        except ArtifactError as error:
            if not layout.record(key).exists():
                return State("missing", f"{key.label}: not built yet", None)
            return State("missing", str(error), None)
        if record.outcome == "failed":
            return State("failed", record.reason, record)
        try:
            current = _resolved(layout, inputs, partial(intact, quick=quick))
        except ArtifactError as error:
            return State("stale", f"an input is not intact: {error}", record)
        change = _changed(record, current, parameters, code_version)
        if change:
            return State("stale", change, record)
        harm = damage(layout, record, quick=quick)
        if harm:
            return State("missing", harm, record)
        return State("fresh" if record.outcome == "succeeded" else "skipped", record.reason, record)

    @contextmanager
    def build(
        self,
        layout: Layout,
        key: StageKey[Coordinates],
        *,
        inputs: Inputs,
        parameters: Mapping[str, Any],
        design_sha256: str,
        code_version: str,
        seeds: Mapping[str, int],
        announce: Announce | None = None,
        force: bool = True,
    ) -> Iterator[Build]:
        """Build a stage under its lock; see :class:`fly64_assets.store.builds.Build`.

        If another process built the same stage from the same inputs and parameters while this one waited for the
        lock, ``build.done`` holds its record and there is nothing left to do. Without ``force`` the same holds for a
        stage that is fresh already. ``announce`` receives a sentence when it waits for another process.

        The result that is there stays until the new one is whole. An exception in the block is raised again; it leaves
        a failed record with its sentence, or where an intact result is there, that result and the sentence beside it.
        An interrupt (``KeyboardInterrupt``, ``SystemExit``) leaves everything as it was. Raises
        :class:`ArtifactError`, and changes nothing, if an input is not intact.
        """
        folder = layout.folder_of(key)
        if not folder.resolve().is_relative_to(layout.data_root.resolve()):
            raise ArtifactError(
                f"{folder} leads out of the data root, to {folder.resolve()}: replace the symbolic link by a folder"
            )
        with storage_in(folder).lock(folder, key.label, announce) as waited:
            done = None
            if waited or not force:
                state = self.state(layout, key, inputs, parameters, code_version=code_version)
                done = state.record if state.done else None
            provenance = Provenance(
                stage=key,
                inputs=_resolved(layout, inputs, verified),
                parameters=json.loads(json_bytes(parameters, f"parameters of {key.label}")),
                design_sha256=design_sha256,
                code_version=code_version,
                seeds=dict(seeds),
            )
            build = Build(layout, key, provenance, done)
            if done:
                yield build
            else:
                yield from build.run()

    def _require_base(self, base_id: str) -> None:
        known = self.bases()
        if base_id not in known:
            names = ", ".join(known) or "none yet"
            raise ArtifactError(f"base '{base_id}' is not in {self.folder}; the bases there: {names}")


def _resolved(layout: Layout, inputs: Inputs, judge: Callable[[Path], Artifact]) -> dict[str, str]:
    """SHA256 of each input by its name in records; :class:`ArtifactError` if one is not intact."""
    if isinstance(inputs, Mapping):
        return {input_name(layout, path): sha256 for path, sha256 in inputs.items()}
    return {input_name(layout, path): judge(path).sha256 for path in inputs}


def _changed(record: StageRecord, inputs: Mapping[str, str], parameters: Mapping[str, Any], code_version: str) -> str:
    """Which input, parameter or code version differs from the record; empty if none."""
    for name in sorted({*inputs, *record.inputs}):
        if name not in inputs:
            return f"input {name} is no longer used"
        if name not in record.inputs:
            return f"input {name} is new"
        if inputs[name] != record.inputs[name]:
            return f"input {name} changed (SHA256 {record.inputs[name][:12]} then, {inputs[name][:12]} now)"
    if json_sha256(parameters) != record.parameters_sha256:
        return _difference(record.parameters, json.loads(json_bytes(parameters, "parameters")), "parameter ")
    if code_version != record.code_version:
        return f"the code gives other results now (version {record.code_version} then, {code_version} now)"
    return ""


def _difference(then: Any, now: Any, name: str) -> str:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}):
            if key not in then or key not in now or then[key] != now[key]:
                dot = "" if name.endswith(" ") else "."
                return _difference(then.get(key, _NOT_SET), now.get(key, _NOT_SET), f"{name}{dot}{key}")
    told = ("its default" if value is _NOT_SET else json.dumps(value) for value in (then, now))
    return "{} changed ({} then, {} now)".format(name.strip(), *told)
