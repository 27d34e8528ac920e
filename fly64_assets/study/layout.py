"""Where every file of a study lies: (stage, dose, view, split, arm, repeat) to a path, and nothing else.

Belongs here: names and paths; this is the only module that builds them. It is pure: no function touches the file
system. Does not belong here: reading, writing, hashing (``store.sidecars``, ``store.artifacts``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import Any, Final

from fly64_assets.errors import Fly64Error
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.hashing import SHA256

STAGES: Final = ("base", "simulated", "view", "training", "inference", "reconstruction", "comparison", "report")
STAGE_FIELDS: Final = {
    "base": (),
    "simulated": ("dose",),
    "view": ("dose", "view"),
    "training": ("dose", "view", "arm", "gridsize"),
    "inference": ("dose", "view", "arm"),
    "reconstruction": ("dose", "view", "split", "arm"),
    "comparison": ("dose", "view"),
    "report": (),
}
"""The fields that a :class:`StageKey` of each stage has; ``repeat`` comes on top, except for base and report."""

_NAME: Final = re.compile(r"[a-z0-9_]{1,100}")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class LayoutError(Fly64Error):
    """A name or a key cannot become a path."""


def checked_name(name: object, what: str) -> str:
    """Return ``name`` if it matches ``[a-z0-9_]+``; otherwise raise :class:`LayoutError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise LayoutError(f"{what} {name!r} cannot name a folder: use only a-z, 0-9 and _ (at most 100 characters)")
    return name


def _checked_count(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LayoutError(f"{what} {value!r} cannot name a folder: a whole number of at least 1 is expected")
    return value


@total_ordering
@dataclass(frozen=True)
class StageKey:
    """One unit of work: a stage and exactly the coordinates that this stage has (see ``STAGE_FIELDS``).

    Attributes
    ----------
    stage : str
        One of ``STAGES``.
    dose : int or None
        Photons per frame.
    view, split, arm : str or None
        Names matching ``[a-z0-9_]+``; ``split`` is ``train`` or ``test``.
    repeat : int
        1 for the study itself, 2, 3, ... for repeated noise and training.
    gridsize : int or None
        g of a training; its folder carries it.

    Raises
    ------
    LayoutError
        If a coordinate is missing, superfluous or cannot become part of a path.
    """

    stage: str
    dose: int | None = None
    view: str | None = None
    split: str | None = None
    arm: str | None = None
    repeat: int = 1
    gridsize: int | None = None

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise LayoutError(f"stage {self.stage!r} is unknown: expected one of {', '.join(STAGES)}")
        expected = STAGE_FIELDS[self.stage]
        for name in ("dose", "view", "split", "arm", "gridsize"):
            if (getattr(self, name) is not None) != (name in expected):
                given = f"{name} = {getattr(self, name)!r}"
                raise LayoutError(f"a {self.stage} key has the fields ({', '.join(expected)}); found {given}")
        for name in ("dose", "gridsize"):
            if name in expected:
                _checked_count(getattr(self, name), name)
        for name in ("view", "arm"):
            if name in expected:
                checked_name(getattr(self, name), name)
        if "split" in expected and self.split not in SPLITS:
            raise LayoutError(f"split {self.split!r} is unknown: expected one of {', '.join(SPLITS)}")
        _checked_count(self.repeat, "repeat")
        if self.repeat > 1 and self.stage in ("base", "report"):
            raise LayoutError(f"the {self.stage} is common to all repeats; found repeat {self.repeat}")

    @property
    def label(self) -> str:
        """The key for humans, for example ``dose_1000/dense: training pinn``."""
        cell = "/".join(part for part in (f"dose_{self.dose}" if self.dose else "", self.view or "") if part)
        words = " ".join(part for part in (self.stage, self.arm or "", self.split or "") if part)
        repeat = f" (repeat {self.repeat})" if self.repeat > 1 else ""
        return f"{cell}: {words}{repeat}" if cell else words

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, in plain JSON types; ``StageKey(**document)`` is the inverse."""
        coordinates = {name: getattr(self, name) for name in STAGE_FIELDS[self.stage]}
        return {"stage": self.stage, **coordinates, "repeat": self.repeat}

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, StageKey):
            return NotImplemented
        return self._order() < other._order()

    def _order(self) -> tuple[int, int, int, str, str, str, int]:
        place = STAGES.index(self.stage)
        return (
            self.repeat, place, self.dose or 0, self.view or "", self.arm or "", self.split or "", self.gridsize or 0
        )  # fmt: skip


def base_id(path_or_stem: Path | str, sha256: str) -> str:
    """Name of a base: its file's stem, reduced to ``[a-z0-9_]``, and the first 8 hex digits of its SHA256."""
    if not SHA256.fullmatch(sha256):
        raise LayoutError(f"{sha256!r} is not a SHA256: 64 lower-case hex digits are expected")
    stem = Path(path_or_stem).name.removesuffix(".npz")
    safe = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:64].strip("_")
    return f"{safe or 'base'}_{sha256[:8]}"


def study_folder(data_root: Path, study: str) -> Path:
    """Folder of all bases of a study."""
    return data_root / checked_name(study, "study")


def active_base_path(data_root: Path, study: str) -> Path:
    """The file that names the active base of a study."""
    return study_folder(data_root, study) / "active_base.json"


@dataclass(frozen=True)
class Layout:
    """All paths of one base of one study. Every name is checked before it becomes part of a path."""

    data_root: Path
    study: str
    base_id: str

    def __post_init__(self) -> None:
        checked_name(self.study, "study")
        checked_name(self.base_id, "base")

    # -- folders -----------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Root of everything that belongs to this base."""
        return study_folder(self.data_root, self.study) / self.base_id

    def repeat_folder(self, repeat: int = 1) -> Path:
        """Root of one repeat: the folder itself for the first, ``repeat_2`` and so on for further ones."""
        return self.folder if _checked_count(repeat, "repeat") == 1 else self.folder / f"repeat_{repeat}"

    def folder_of(self, key: StageKey) -> Path:
        """Folder that holds the outputs, the record and the lock of a stage."""
        root = self.repeat_folder(key.repeat)
        dose, view, arm = f"dose_{key.dose}", key.view or "", key.arm or ""
        return {
            "base": self.folder,
            "simulated": root / dose,
            "view": root / dose / view,
            "training": root / "training" / dose / view / f"gs{key.gridsize}" / arm,
            "inference": root / "inference" / dose / view / arm,
            "reconstruction": root / "reconstruction" / arm / dose / view / (key.split or ""),
            "comparison": root / "comparison" / dose / view,
            "report": self.report_folder,
        }[key.stage]

    def record(self, key: StageKey) -> Path:
        """The stage's record: ``base.json`` beside ``base.npz``, otherwise ``result.json`` in the stage's folder."""
        return self.folder_of(key) / ("base.json" if key.stage == "base" else "result.json")

    def output(self, key: StageKey, name: str) -> Path:
        """A further file ``name`` (log, picture, table) in the folder of a stage."""
        if not _FILE_NAME.fullmatch(name):
            raise LayoutError(f"{name!r} cannot name a file: use letters, digits, '_', '-' and '.', no folders")
        return self.folder_of(key) / name

    # -- base, simulation, views ---------------------------------------------------------------------------------

    @property
    def base(self) -> Path:
        """The base file."""
        return self.folder / "base.npz"

    def patched(self, dose: int, split: str, repeat: int = 1) -> Path:
        """Simulated data of one dose and split: all its frames."""
        return self.output(StageKey("simulated", dose, repeat=repeat), f"patched_{_checked_split(split)}.npz")

    def view_data(self, dose: int, view: str, split: str, repeat: int = 1) -> Path:
        """The frames of a spaced view (the baseline view has no file of its own; see :meth:`view_frames`)."""
        return self.output(StageKey("view", dose, view, repeat=repeat), f"{view}_{_checked_split(split)}.npz")

    def view_frames(self, dose: int, view: str, split: str, repeat: int = 1) -> Path:
        """The file to reconstruct a view from: the patched file for baseline, otherwise the view's own."""
        if view == BASELINE:
            return self.patched(dose, split, repeat)
        return self.view_data(dose, view, split, repeat)

    def view_metrics(self, dose: int, view: str, split: str, repeat: int = 1) -> Path:
        """Measured overlap of one split of a view."""
        return self.output(StageKey("view", dose, view, repeat=repeat), f"{_checked_split(split)}_metrics.json")

    def metrics_bundle(self, dose: int, view: str, repeat: int = 1) -> Path:
        """Measured overlap of both splits of a view in one document."""
        return self.output(StageKey("view", dose, view, repeat=repeat), "metrics_bundle.json")

    # -- arms ----------------------------------------------------------------------------------------------------

    def training_folder(self, dose: int, view: str, gridsize: int, arm: str, repeat: int = 1) -> Path:
        """Folder of one training."""
        return self.folder_of(StageKey("training", dose, view, arm=arm, repeat=repeat, gridsize=gridsize))

    def bundle(self, dose: int, view: str, gridsize: int, arm: str, repeat: int = 1) -> Path:
        """The trained network."""
        return self.training_folder(dose, view, gridsize, arm, repeat) / "wts.h5.zip"

    def inference(self, dose: int, view: str, arm: str, split: str, repeat: int = 1) -> Path:
        """Object that a trained network reconstructs from one split."""
        return self.output(StageKey("inference", dose, view, arm=arm, repeat=repeat), f"{_checked_split(split)}.npz")

    def reconstruction(self, arm: str, dose: int, view: str, split: str, repeat: int = 1) -> Path:
        """Object that an iterative arm reconstructs from one split."""
        key = StageKey("reconstruction", dose, view, split, arm, repeat)
        return self.output(key, "ptychi_reconstruction.npz")

    # -- comparison, report, study manifests -----------------------------------------------------------------------

    def comparison_folder(self, dose: int, view: str, repeat: int = 1) -> Path:
        """Folder of the comparison of one cell."""
        return self.folder_of(StageKey("comparison", dose, view, repeat=repeat))

    @property
    def report_folder(self) -> Path:
        """Folder of the report."""
        return self.folder / "report"

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


def _checked_split(split: str) -> str:
    if split not in SPLITS:
        raise LayoutError(f"split {split!r} is unknown: expected one of {', '.join(SPLITS)}")
    return split


def stage_of(path: Path) -> str | None:
    """The stage whose folder a file lies in, told from the path alone; None if the path does not show it."""
    parts = path.parent.parts
    for stage in ("training", "inference", "reconstruction", "comparison"):
        if stage in parts[-6:-1]:
            return stage
    if parts and parts[-1] == "report":
        return "report"
    for depth, stage in ((1, "simulated"), (2, "view")):
        if len(parts) >= depth and re.fullmatch(r"dose_\d+", parts[-depth]):
            return stage
    return "base" if path.name in ("base.npz", "base.json") else None
