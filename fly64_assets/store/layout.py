"""Paths of every file of a study, from keys and coordinates.

This is the only module that builds paths. No function here touches the file system.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from fly64_assets.physics.overlap import BASELINE
from fly64_assets.store.hashing import SHA256
from fly64_assets.store.keys import (
    BASE,
    KINDS,
    REPORT,
    Coordinates,
    Dose,
    Half,
    LayoutError,
    StageKey,
    checked_name,
    checked_split,
)

TWIN_FILES: Final = ("twin_frames.npz", "{study}_twin.yaml", "twin.json", "twin.md", "twin.html")
"""What lies in the folder of a base's simulated twin: its frames, its design, and the report on both studies."""

SUFFIX: Final = ".manifest.json"
"""Ending of the name of a sidecar."""

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def base_id(path_or_stem: Path | str, sha256: str) -> str:
    """Name of a base: its file's stem, reduced to ``[a-z0-9_]``, and the first 8 hex digits of its SHA256."""
    if not SHA256.fullmatch(sha256):
        raise LayoutError(f"{sha256!r} is not a SHA256: 64 lower-case hex digits are expected")
    stem = Path(path_or_stem).name.removesuffix(".npz")
    safe = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:64].strip("_")
    return f"{safe or 'base'}_{sha256[:8]}"


def sidecar_path(path: Path) -> Path:
    """Path of the sidecar of ``path``."""
    return path.with_name(path.name + SUFFIX)


def study_folder(data_root: Path, study: str) -> Path:
    """Folder of all bases of a study."""
    return data_root / checked_name(study, "study")


def active_base_path(data_root: Path, study: str) -> Path:
    """The file that names the active base of a study."""
    return study_folder(data_root, study) / "active_base.json"


@dataclass(frozen=True)
class Layout:
    """All paths of one base of one study. Every name is checked before it is used in a path."""

    data_root: Path
    study: str
    base_id: str

    def __post_init__(self) -> None:
        checked_name(self.study, "study")
        checked_name(self.base_id, "base")

    @cached_property
    def folder(self) -> Path:
        """Root of everything that belongs to this base."""
        return study_folder(self.data_root, self.study) / self.base_id

    def folder_of(self, key: StageKey[Coordinates]) -> Path:
        """Folder that holds the outputs, the record and the lock of a stage."""
        return self.folder / key.folder

    def record(self, key: StageKey[Coordinates]) -> Path:
        """The stage's record: ``base.json`` beside ``base.npz``, otherwise ``result.json`` in the stage's folder."""
        return self.folder_of(key) / key.kind.record

    def output(self, key: StageKey[Coordinates], name: str) -> Path:
        """A file ``name`` (result, log, picture, table) in the folder of a stage."""
        if not _FILE_NAME.fullmatch(name):
            raise LayoutError(f"{name!r} cannot name a file: use letters, digits, '_', '-' and '.', no folders")
        return self.folder_of(key) / name

    def failure(self, key: StageKey[Coordinates]) -> Path:
        """Why a later build of a stage failed, beside the result that it left where it was."""
        return self.output(key, "failed_rebuild.json")

    def failed_log(self, key: StageKey[Coordinates], log: Path) -> Path:
        """The log of that build, beside the ``log`` of the result."""
        return self.output(key, f"{log.stem}.failed.log")

    def result(self, key: StageKey[Coordinates], split: str | None = None) -> Path:
        """The main file of a stage: of one half, where the stage has a file for each."""
        (name,) = key.kind.files
        return self.output(key, name.format(split=checked_split(split)) if "{split}" in name else name)

    @property
    def base(self) -> Path:
        """The base file."""
        return self.result(BASE)

    @property
    def measured_frames(self) -> Path:
        """The measured counts of a base that has frames, a DATA-001 file of all of them, without an object."""
        return self.output(BASE, "measured_frames.npz")

    @property
    def calibration(self) -> Path:
        """How probe and reference object of a base with frames were found: a JSON document."""
        return self.output(BASE, "calibration.json")

    def pairs(self, key: StageKey[Coordinates], split: str) -> Path:
        """Objects from halves of the photons and of the frames of a method's split."""
        name = f"{checked_split(split)}_pairs.npz" if key.stage == "inference" else "pairs.npz"
        return self.output(key, name)

    @property
    def twin(self) -> tuple[Path, ...]:
        """Files of the simulated twin of a base with frames, in the order of :data:`TWIN_FILES`."""
        return tuple(self.folder / "twin" / name.format(study=self.study) for name in TWIN_FILES)

    def patched(self, dose: Dose, split: str) -> Path:
        """Simulated data of one dose and split: all its frames."""
        return self.result(StageKey("simulated", dose), split)

    def view_frames(self, half: Half) -> Path:
        """The file to reconstruct a view from: all frames of the dose for baseline, otherwise the view's own."""
        if half.view == BASELINE:
            return self.patched(half.cell.whole_dose, half.split)
        return self.output(StageKey("view", half.cell), f"{half.view}_{half.split}.npz")

    def view_metrics(self, half: Half) -> Path:
        """Measured overlap of one split of a view."""
        return self.result(StageKey("view", half.cell), half.split)

    @property
    def report_folder(self) -> Path:
        """Folder of the report."""
        return self.folder_of(REPORT)

    @property
    def checksums(self) -> Path:
        """``SHA256SUMS`` of every artifact, beside the report; ``sha256sum -c`` runs in its folder."""
        return self.report_folder / "SHA256SUMS"

    @property
    def manifests_lock(self) -> Path:
        """Lock under which the manifests of the study are rewritten."""
        return self.folder / ".manifests.lock"

    def manifest(self, name: str) -> Path:
        """A manifest of the study, for example ``manifest("training")`` for ``training_manifest.json``."""
        suffix = "" if name == "skip_summary" else "_manifest"
        return self.folder / f"{checked_name(name, 'manifest')}{suffix}.json"


_FOLDERS: Final = {
    kind.name: re.compile(
        r"(?:.*/)?[a-z0-9_]+_[0-9a-f]{8}/(?:repeat_\d+/)?"
        + re.sub(r"\{(\w+)\}", lambda name: r"\d+" if name[1] in ("dose", "gridsize") else "[a-z0-9_]+", kind.folder)
    )
    for kind in sorted(KINDS.values(), key=lambda kind: -len(kind.folder))
    if kind.folder
}
"""The end of a path to the folder of a stage of each kind, from the base on: folders above may have any name."""


def stage_of(path: Path) -> str | None:
    """The stage that a file belongs to by the form of its folder; None if the path does not show it."""
    if path.name in ("base.npz", KINDS["base"].record):
        return "base"
    folder = path.parent.as_posix()
    return next((name for name, pattern in _FOLDERS.items() if pattern.fullmatch(folder)), None)
