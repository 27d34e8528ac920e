"""What a stage is identified by: the kind of work, its coordinates, and the method where there are several.

Does not belong here: which stages a study has and what each needs (``study.stages``), paths of single files
(``store.layout``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import total_ordering
from typing import Any, Final, Generic, TypeVar

from fly64_assets.errors import Fly64Error
from fly64_assets.physics.scan import SPLITS

LONGEST_STUDY: Final = 63
"""Characters of a study's name: it is the value of a tag in Dagster."""

LONGEST_VIEW: Final = 99
"""Characters of a view's name, and of every other part of a path."""

_NAME: Final = re.compile(f"[a-z0-9_]{{1,{LONGEST_VIEW}}}")


class LayoutError(Fly64Error):
    """A name or a key cannot become a path."""


def checked_name(name: object, what: str) -> str:
    """Return ``name`` if it matches ``[a-z0-9_]+``; otherwise raise :class:`LayoutError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        allowed = f"only a-z, 0-9 and _ (at most {LONGEST_VIEW} characters)"
        raise LayoutError(f"{what} {name!r} cannot name a folder: use {allowed}")
    return name


def checked_count(value: object, what: str) -> int:
    """Return ``value`` if it is a whole number of at least 1; otherwise raise :class:`LayoutError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LayoutError(f"{what} {value!r} cannot name a folder: a whole number of at least 1 is expected")
    return value


def checked_split(split: object) -> str:
    """Return ``split`` if it names a half of the scan; otherwise raise :class:`LayoutError`."""
    if split not in SPLITS:
        raise LayoutError(f"split {split!r} is unknown: expected one of {', '.join(SPLITS)}")
    return str(split)


@dataclass(frozen=True)
class Coordinates:
    """Where in a study something belongs. Raises :class:`LayoutError` for what cannot be in a path."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "split":
                checked_split(value)
            else:
                (checked_count if field.name in ("dose", "repeat") else checked_name)(value, field.name)

    @property
    def place(self) -> str:
        """For humans: ``dose_1000`` or ``dose_1000/dense``; empty for the whole study."""
        values = vars(self)
        return "/".join([f"dose_{values['dose']}", *([values["view"]] if "view" in values else [])]) if values else ""


@dataclass(frozen=True)
class Study(Coordinates):
    """The study as a whole: its base, its report."""


@dataclass(frozen=True)
class Dose(Coordinates):
    """One dose [photons per frame] in one repeat: 1 for the study itself, 2, 3, ... for new noise and new training."""

    dose: int
    repeat: int = 1


@dataclass(frozen=True)
class Cell(Coordinates):
    """One dose and one overlap view: the unit of training, reconstruction and comparison."""

    dose: int
    view: str
    repeat: int = 1

    @property
    def whole_dose(self) -> Dose:
        """The dose that the cell belongs to."""
        return Dose(self.dose, self.repeat)

    def half(self, split: str) -> Half:
        """The train or test half of the cell."""
        return Half(self.dose, self.view, split, self.repeat)


@dataclass(frozen=True)
class Half(Coordinates):
    """The train or the test half of a cell."""

    dose: int
    view: str
    split: str
    repeat: int = 1

    @property
    def cell(self) -> Cell:
        """The cell with both halves."""
        return Cell(self.dose, self.view, self.repeat)


@dataclass(frozen=True)
class Kind:
    """A kind of work: the coordinates it has, and the folder and main files of each of its stages."""

    name: str
    coordinates: type[Coordinates]
    folder: str
    files: tuple[str, ...]
    record: str = "result.json"

    @property
    def has_method(self) -> bool:
        """Whether there is one stage for each method."""
        return "{method}" in self.folder

    @property
    def has_gridsize(self) -> bool:
        """Whether the folder carries the gridsize of a network's samples."""
        return "{gridsize}" in self.folder

    @property
    def json_fields(self) -> tuple[str, ...]:
        """Names of a key's fields in JSON, but the stage and the repeat. (The method is called ``arm`` there.)"""
        coordinates = [field.name for field in fields(self.coordinates) if field.name != "repeat"]
        return (*coordinates, *(["arm"] if self.has_method else []), *(["gridsize"] if self.has_gridsize else []))


_JSON_FIELDS: Final = ("dose", "view", "split", "arm", "gridsize")

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("base", Study, "", ("base.npz",), "base.json"),
        Kind("simulated", Dose, "dose_{dose}", ("patched_{split}.npz",)),
        Kind("view", Cell, "dose_{dose}/{view}", ("{split}_metrics.json",)),
        Kind("training", Cell, "training/dose_{dose}/{view}/gs{gridsize}/{method}", ("wts.h5.zip",)),
        Kind("inference", Cell, "inference/dose_{dose}/{view}/{method}", ("{split}.npz",)),
        Kind(
            "reconstruction", Half, "reconstruction/{method}/dose_{dose}/{view}/{split}", ("ptychi_reconstruction.npz",)
        ),
        Kind("comparison", Cell, "comparison/dose_{dose}/{view}", ("comparison.json",)),
        Kind("report", Study, "report", ("index.html",)),
    )
}
"""Every kind of stage, in the order of work. ``files`` are the results for which a stage exists."""

C_co = TypeVar("C_co", bound=Coordinates, covariant=True)


@total_ordering
@dataclass(frozen=True)
class StageKey(Generic[C_co]):
    """One unit of work: the name of its kind, its coordinates, and the method and gridsize g where the kind has them.

    Raises :class:`LayoutError` if the kind is unknown, or has other coordinates or fields.
    """

    stage: str
    at: C_co
    method: str = ""
    gridsize: int = 0

    def __post_init__(self) -> None:
        kind = _known_kind(self.stage)
        if type(self.at) is not kind.coordinates:
            raise LayoutError(f"a {self.stage} key belongs to a {kind.coordinates.__name__}; found {self.at!r}")
        if bool(self.method) != kind.has_method or bool(self.gridsize) != kind.has_gridsize:
            given = f"method {self.method!r}, gridsize {self.gridsize!r}"
            raise LayoutError(f"a {self.stage} key has the fields ({', '.join(kind.json_fields)}); found {given}")
        if kind.has_method:
            checked_name(self.method, "method")
        if kind.has_gridsize:
            checked_count(self.gridsize, "gridsize")

    @property
    def kind(self) -> Kind:
        """The kind of work."""
        return KINDS[self.stage]

    @property
    def dose(self) -> int | None:
        """Photons per frame; None for the whole study."""
        return getattr(self.at, "dose", None)

    @property
    def view(self) -> str | None:
        """Overlap view; None for what has none."""
        return getattr(self.at, "view", None)

    @property
    def split(self) -> str | None:
        """Half of the cell; None for what has both."""
        return getattr(self.at, "split", None)

    @property
    def repeat(self) -> int:
        """Which repeat of the study; 1 for what all repeats share."""
        return getattr(self.at, "repeat", 1)

    @property
    def folder(self) -> str:
        """Folder of its files, POSIX, relative to that of the base."""
        fixed = self.kind.folder.format(**vars(self.at), method=self.method, gridsize=self.gridsize)
        return f"repeat_{self.repeat}/{fixed}" if self.repeat > 1 else fixed

    @property
    def label(self) -> str:
        """The key for humans, for example ``dose_1000/dense: training pinn``."""
        words = " ".join(part for part in (self.stage, self.method, self.split) if part)
        repeat = f" (repeat {self.repeat})" if self.repeat > 1 else ""
        return f"{self.at.place}: {words}{repeat}" if self.at.place else words

    def to_dict(self) -> dict[str, Any]:
        """The fields that the kind has, in plain JSON types; :meth:`from_dict` is the inverse."""
        values = {**vars(self.at), "arm": self.method, "gridsize": self.gridsize}
        return {"stage": self.stage, **{name: values[name] for name in self.kind.json_fields}, "repeat": self.repeat}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StageKey[Coordinates]:
        """A key from its document, which may hold more than a key's fields.

        Raises :class:`LayoutError` if a field is missing, wrong, or belongs to another kind.
        """
        kind = _known_kind(document.get("stage"))
        names = kind.json_fields
        odd = [name for name in _JSON_FIELDS if (document.get(name) is not None) != (name in names)]
        if odd or (kind.coordinates is Study and document.get("repeat", 1) != 1):
            found = ", ".join(f"{name} = {document[name]!r}" for name in (*_JSON_FIELDS, "repeat") if name in document)
            raise LayoutError(f"a {kind.name} key has the fields ({', '.join(names)}); found {found}")
        given = {field.name: document.get(field.name, 1) for field in fields(kind.coordinates)}
        method = {"method": document["arm"]} if kind.has_method else {}
        gridsize = {"gridsize": document["gridsize"]} if kind.has_gridsize else {}
        return StageKey(kind.name, kind.coordinates(**given), **method, **gridsize)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, StageKey):
            return NotImplemented
        return self._order() < other._order()

    def _order(self) -> tuple[int, int, int, str, str, str, int]:
        rank = list(KINDS).index(self.stage)
        return (self.repeat, rank, self.dose or 0, self.view or "", self.method, self.split or "", self.gridsize)


def _known_kind(stage: object) -> Kind:
    kind = KINDS.get(str(stage))
    if kind is None:
        raise LayoutError(f"stage {stage!r} is unknown: expected one of {', '.join(KINDS)}")
    return kind


BASE: Final = StageKey("base", Study())
REPORT: Final = StageKey("report", Study())
