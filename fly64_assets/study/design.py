"""The study design: the only source of study parameters.

Belongs here: the frozen :class:`StudyDesign`, its rules, its YAML form, the job matrix and the subset of
parameters on which each stage depends. Does not belong here: partitions (Dagster), paths (``store.layout``)
or anything that touches data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from fly64_assets.contract.expectations import Expectations
from fly64_assets.errors import DesignError
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import SPLITS
from fly64_assets.pinn.settings import PinnSettings
from fly64_assets.simulation.recipe import BaseRecipe, ViewRule
from fly64_assets.study.rules import broken_rules

STUDIES_FOLDER: Final = Path(__file__).parent / "designs"


@dataclass(frozen=True)
class Job:
    """One row of the job matrix; ``split`` is None for training."""

    stage: str
    dose: int
    view: str
    split: str | None
    gridsize: int


def _default_views() -> Mapping[str, float]:
    return {"dense": 0.7, "sparse": 0.2}


def _default_seeds() -> Mapping[str, int]:
    return {"simulation": 42, "grouping": 123, "subsampling": 456}


@dataclass(frozen=True)
class StudyDesign:
    """All parameters of a study, immutable. Construct it freely; :meth:`validate` judges it.

    Units: doses in photons per frame, lengths in object pixels, overlaps as linear fractions of the window.
    ``base`` is a recipe or the path of a base NPZ; a relative path counts from ``folder``, the design file's own,
    which is no part of the design's document or hash.
    ``seeds`` names the repeats one by one instead of their number: ``repeats: 3`` is ``seeds: [1, 2, 3]``.
    """

    name: str = "fly64"
    dose_list: tuple[float, ...] = (1e3, 1e4, 1e5)
    gridsizes: tuple[int, ...] = (1, 2)
    neighbor_count: int = 7
    patch_size_pixels: int = 64
    overlap_views: Mapping[str, float] = field(default_factory=_default_views)
    train_test_split_axis: str = "y"
    rng_seeds: Mapping[str, int] = field(default_factory=_default_seeds)
    metrics_config: MetricsConfig = field(default_factory=MetricsConfig)
    base: BaseRecipe | str = field(default_factory=lambda: BaseRecipe("astronaut", "gravel", 464, 10304))
    scan: str = "uniform"
    min_view_frames: int = 4
    patches: bool = True
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    repeats: int = 1
    seeds: tuple[int, ...] = ()
    pinn: PinnSettings = field(default_factory=PinnSettings)
    lsqml: LsqmlSettings = field(default_factory=LsqmlSettings)
    folder: Path = field(default=Path(), compare=False, repr=False, metadata={"document": False})

    def __post_init__(self) -> None:
        for name in ("overlap_views", "rng_seeds"):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                object.__setattr__(self, name, MappingProxyType(dict(value)))
        for name in ("dose_list", "gridsizes", "seeds"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if self.seeds and self.repeats == 1:
            object.__setattr__(self, "repeats", len(self.seeds))

    # -- derived -------------------------------------------------------------------------------------------

    @property
    def doses(self) -> tuple[int, ...]:
        """Doses as whole photons per frame, in the order of the design."""
        return tuple(int(dose) for dose in self.dose_list)

    @property
    def views(self) -> tuple[str, ...]:
        """All views, ``baseline`` first."""
        return (BASELINE, *self.overlap_views)

    @property
    def spacing_thresholds(self) -> dict[str, float]:
        """Least distance between positions of each spaced view, in pixels: (1 - f) N."""
        return {view: (1.0 - f) * self.patch_size_pixels for view, f in self.overlap_views.items()}

    @property
    def base_path(self) -> Path | None:
        """Path of the base file; None for a recipe."""
        return None if isinstance(self.base, BaseRecipe) else self.folder / self.base

    def gridsize(self, view: str) -> int:
        """Gridsize g of a view's network samples: the smallest for baseline, the largest for spaced views."""
        return min(self.gridsizes) if view == BASELINE else max(self.gridsizes)

    def least_frames(self, view: str) -> int:
        """Fewest frames with which a view of one split exists."""
        return max(self.gridsize(view) ** 2, self.min_view_frames)

    def expectations(self) -> Expectations:
        """What the data contract compares the study's data sets with."""
        return Expectations(
            study=self.name,
            patch_size=self.patch_size_pixels,
            doses=self.doses,
            gridsizes={view: self.gridsize(view) for view in self.views},
            neighbor_count=self.neighbor_count,
            patches=self.patches,
        )

    def view_rule(self, view: str) -> ViewRule:
        """Which positions a view keeps of each split, and how its overlap is measured."""
        return ViewRule(
            view=view,
            spacing_px=self.spacing_thresholds.get(view),
            least_frames=self.least_frames(view),
            gridsize=self.gridsize(view),
            neighbor_count=self.neighbor_count,
            seed=self.rng_seeds["subsampling"],
        )

    def repeat_seed(self, repeat: int) -> int:
        """What sets the noise and the training of a repeat apart: its entry in ``seeds``, or its number, from 1."""
        return self.seeds[repeat - 1] if self.seeds else repeat

    def repeat_seeds(self, repeat: int) -> dict[str, int]:
        """Seeds of a repeat: the design's own for seed 1, derived from them and the repeat's seed for others."""
        own = self.repeat_seed(repeat)
        if own == 1:
            return dict(self.rng_seeds)
        return {
            name: int(np.random.SeedSequence([seed, own]).generate_state(1)[0]) for name, seed in self.rng_seeds.items()
        }

    def training_jobs(self) -> tuple[Job, ...]:
        """One training job per (dose, view). Pure: touches no file and no global state."""
        return tuple(Job("training", d, v, None, self.gridsize(v)) for d in self.doses for v in self.views)

    def lsqml_jobs(self) -> tuple[Job, ...]:
        """One LSQML job per (dose, view, split). Pure, like :meth:`training_jobs`."""
        return tuple(
            Job("reconstruction", d, v, s, self.gridsize(v)) for d in self.doses for v in self.views for s in SPLITS
        )

    # -- forms ---------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON and YAML types; ``StudyDesign.from_dict`` is the inverse."""
        document = cast(dict[str, Any], _plain(self))
        # One of the two says how many repeats there are; a design without seeds has no such field.
        del document["repeats" if self.seeds else "seeds"]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StudyDesign:
        """Build and validate. Raises :class:`DesignError` with every unknown key, wrong type and broken rule."""
        problems: list[str] = []
        if "seeds" in document and "repeats" in document:
            problems.append(f"repeats = {_shown(document['repeats'])}: give repeats or seeds, not both")
            document = {name: value for name, value in document.items() if name != "repeats"}
        design = cast(StudyDesign | None, _build(cls, document, "", problems))
        if design is not None:
            problems += design.problems()
        if problems:
            raise DesignError(problems)
        assert design is not None
        return design

    def sha256(self) -> str:
        """SHA256 of the whole design in canonical JSON."""
        return parameters_sha256(self.to_dict())

    # -- rules ---------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Every violated rule as ``field = value: rule``."""
        return list(broken_rules(self))

    def validate(self) -> StudyDesign:
        """Return the design itself, or raise one :class:`DesignError` that names every violated rule."""
        found = self.problems()
        if found:
            raise DesignError(found)
        return self


def parameters_sha256(parameters: Mapping[str, Any]) -> str:
    """SHA256 of a JSON document in canonical form (sorted keys, no spaces)."""
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def get_study_design() -> StudyDesign:
    """The canonical design, ``fly64``."""
    return load_design("fly64")


def shipped_designs() -> tuple[str, ...]:
    """Names of the designs inside the package."""
    return tuple(sorted(path.stem for path in STUDIES_FOLDER.glob("*.yaml")))


def load_design(source: str | Path) -> StudyDesign:
    """Read a design from a YAML file or by the name of a shipped one. Raises :class:`DesignError`."""
    path = Path(source)
    if str(source) in shipped_designs():
        path = STUDIES_FOLDER / f"{source}.yaml"
    if not path.is_file():
        raise DesignError([f"study '{source}' is neither a file nor a shipped design ({', '.join(shipped_designs())})"])
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise DesignError([f"{path.name}: not readable as YAML ({' '.join(str(error).split())[:500]})"]) from error
    if not isinstance(document, Mapping):
        raise DesignError([f"{path.name}: expected a mapping of design fields, found {type(document).__name__}"])
    return dataclasses.replace(StudyDesign.from_dict(document), folder=path.parent.resolve())


# -- internals ------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in _document_fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _shown(value: Any) -> str:
    """A value in a message: cut where it is long, because YAML aliases can make a short file mean a huge value."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxlong = 40
    short.maxlevel = 3
    return short.repr(value)


def _document_fields(cls: Any) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cls) if f.metadata.get("document", True)]


def _build(cls: type[Any], document: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    """Dataclass from a mapping; every unknown key and wrong type is appended to ``problems``."""
    hints = get_type_hints(cls)
    names = {f.name for f in _document_fields(cls)}
    values: dict[str, Any] = {}
    complete = True
    for key, raw in document.items():
        label = f"{where}{key}"
        if key not in names:
            problems.append(f"{label} = {_shown(raw)}: unknown field (known: {', '.join(sorted(names))})")
            continue
        before = len(problems)
        value = _convert(hints[key], raw, label, problems)
        if len(problems) > before:
            complete = False
        else:
            values[key] = value
    return cls(**values) if complete else None


def _convert(hint: Any, raw: Any, label: str, problems: list[str]) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint == BaseRecipe | str:
        if isinstance(raw, Mapping):
            return _build(BaseRecipe, raw, f"{label}.", problems)
        return _convert(str, raw, label, problems)
    if dataclasses.is_dataclass(hint):
        if isinstance(raw, Mapping):
            return _build(cast(type[Any], hint), raw, f"{label}.", problems)
        problems.append(f"{label} = {_shown(raw)}: must be a mapping")
        return None
    if origin is tuple:
        if not isinstance(raw, (list, tuple)):
            problems.append(f"{label} = {_shown(raw)}: must be a list")
            return None
        if args[-1] is not Ellipsis and len(raw) != len(args):
            problems.append(f"{label} = {_shown(raw)}: must have {len(args)} entries")
            return None
        return tuple(_convert(args[0], item, f"{label}[{i}]", problems) for i, item in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, Mapping):
            problems.append(f"{label} = {_shown(raw)}: must be a mapping")
            return None
        return {str(key): _convert(args[1], item, f"{label}.{key}", problems) for key, item in raw.items()}
    return _convert_scalar(hint, raw, label, problems)


def _convert_scalar(hint: Any, raw: Any, label: str, problems: list[str]) -> Any:
    if hint is float:
        # YAML 1.1 reads 1e5 (without a dot) as text.
        if isinstance(raw, str):
            try:
                return float(raw)
            except ValueError:
                pass
        if isinstance(raw, (int, float)) and not isinstance(raw, bool):
            return float(raw)
    elif hint is int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            return raw
    elif isinstance(raw, hint):
        return raw
    problems.append(f"{label} = {_shown(raw)}: must be {hint.__name__}")
    return None
