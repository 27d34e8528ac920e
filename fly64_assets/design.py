"""The study design: the only source of study parameters.

Belongs here: the frozen :class:`StudyDesign`, its rules, its YAML form, the job matrix and the subset of
parameters on which each stage depends. Does not belong here: partitions (Dagster), paths (``store.layout``)
or anything that touches data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from fly64_assets.errors import DesignError

STUDIES_FOLDER: Final = Path(__file__).parent / "studies"
BASELINE: Final = "baseline"
SPLITS: Final = ("train", "test")
REQUIRED_SEEDS: Final = ("simulation", "grouping", "subsampling")
NETWORK_PATCH_SIZES: Final = (64, 128, 256)
NAME_PATTERN: Final = re.compile(r"[a-z0-9_]+")
PICTURES: Final = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "clock_motion",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "microaneurysms",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
"""Photographs and micrographs that the scikit-image wheel carries, by file stem."""


@dataclass(frozen=True)
class BaseRecipe:
    """How to make a base from the pictures in the scikit-image wheel.

    ``amplitude`` and ``phase`` name pictures; the object is ``object_size`` pixels square with amplitude in
    ``amplitude_range`` and phase in ``phase_range`` (rad). The probe is a disc of radius ``probe_radius``
    times N with soft edges (``probe_edge`` times N) and ``probe_curvature`` radians of defocus at its rim.
    The base's own positions follow ``pattern``: ``uniform`` (drawn with ``seed``) or ``raster`` (a grid over the
    object with a random jitter of a quarter step).
    """

    amplitude: str = "camera"
    phase: str = "brick"
    object_size: int = 448
    positions: int = 2000
    amplitude_range: tuple[float, float] = (0.7, 1.0)
    phase_range: tuple[float, float] = (0.0, 1.0)
    probe_radius: float = 0.25
    probe_edge: float = 0.04
    probe_curvature: float = 4.0
    pattern: str = "uniform"
    seed: int = 42


@dataclass(frozen=True)
class MetricsConfig:
    """Settings of the image metrics (spec 07)."""

    ms_ssim_sigma: float = 1.0
    emphasize_phase: bool = True
    report_amplitude: bool = True
    frc_threshold: float = 0.5


@dataclass(frozen=True)
class EvaluationSettings:
    """The common evaluation frame: where pixels count and how far arms may be shifted to register."""

    coverage_threshold: float = 0.1
    max_shift_px: float = 2.0


@dataclass(frozen=True)
class PinnSettings:
    """Hyperparameters of the physics-informed network (spec 05).

    ``batch_size`` counts frames per optimisation step (a group of C frames is one sample of C frames). An epoch takes
    every position once as the seed of a sample, groups (g = 2) ``samples_per_position`` times. ``target_fraction`` of
    a frame's photons, drawn anew in every step, is what the network must predict from the others, so that it cannot
    learn a frame's noise; 0 shows it all photons and predicts the same. ``validation_fraction`` of the frames is held
    out, of their counts the ``thinning_fraction`` is judged (with fewer than 200 frames: of all frames' counts).
    ``width`` belongs to ``unrolled``, ``n_filters_scale`` and ``amplitude_max`` to ``cnn``.
    """

    architecture: str = "unrolled"
    epochs: int = 50
    batch_size: int = 16
    learning_rate: float = 1e-3
    samples_per_position: int = 1
    n_filters_scale: int = 2
    width: int = 24
    amplitude_max: float = 1.5
    gradient_clip: float = 1.0
    patience: int = 15
    target_fraction: float = 0.2
    validation_fraction: float = 0.05
    thinning_fraction: float = 0.1


@dataclass(frozen=True)
class LsqmlSettings:
    """Hyperparameters of the iterative arm (spec 06)."""

    engine: str = "lsqml"
    epochs: int = 100
    stopping: str = "discrepancy"
    probe: str = "fixed"
    batch_size: int = 64
    momentum: float = 0.8
    noise_model: str = "poisson"
    gaussian_epochs: int = 5
    fast_shift: bool = True


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
    ``base`` is a recipe or the path of a base NPZ; a relative path counts from the design file's folder.
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
    pinn: PinnSettings = field(default_factory=PinnSettings)
    lsqml: LsqmlSettings = field(default_factory=LsqmlSettings)

    def __post_init__(self) -> None:
        for name in ("overlap_views", "rng_seeds"):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                object.__setattr__(self, name, MappingProxyType(dict(value)))
        for name in ("dose_list", "gridsizes"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))

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

    def gridsize(self, view: str) -> int:
        """Gridsize g of a view's network samples: the smallest for baseline, the largest for spaced views."""
        return min(self.gridsizes) if view == BASELINE else max(self.gridsizes)

    def least_frames(self, view: str) -> int:
        """Fewest frames with which a view of one split exists."""
        return max(self.gridsize(view) ** 2, self.min_view_frames)

    def repeat_seeds(self, repeat: int) -> dict[str, int]:
        """Seeds of a repeat: the design's own for the first, derived from them for the others."""
        if repeat == 1:
            return dict(self.rng_seeds)
        return {
            name: int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
            for name, seed in self.rng_seeds.items()
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
        return cast(dict[str, Any], _plain(self))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StudyDesign:
        """Build and validate. Raises :class:`DesignError` with every unknown key, wrong type and broken rule."""
        problems: list[str] = []
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
        return list(_rules(self))

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
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DesignError([f"{path.name}: not readable as YAML ({' '.join(str(error).split())})"]) from error
    if not isinstance(document, Mapping):
        raise DesignError([f"{path.name}: expected a mapping of design fields, found {type(document).__name__}"])
    design = StudyDesign.from_dict(document)
    if isinstance(design.base, str) and not Path(design.base).is_absolute():
        design = dataclasses.replace(design, base=(path.parent / design.base).resolve().as_posix())
    return design


# -- internals ------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _build(cls: type[Any], document: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    """Dataclass from a mapping; every unknown key and wrong type is appended to ``problems``."""
    hints = get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    complete = True
    for key, raw in document.items():
        label = f"{where}{key}"
        if key not in names:
            problems.append(f"{label} = {raw!r}: unknown field (known: {', '.join(sorted(names))})")
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
        problems.append(f"{label} = {raw!r}: must be a mapping")
        return None
    if origin is tuple:
        if not isinstance(raw, (list, tuple)):
            problems.append(f"{label} = {raw!r}: must be a list")
            return None
        if args[-1] is not Ellipsis and len(raw) != len(args):
            problems.append(f"{label} = {raw!r}: must have {len(args)} entries")
            return None
        return tuple(_convert(args[0], item, f"{label}[{i}]", problems) for i, item in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, Mapping):
            problems.append(f"{label} = {raw!r}: must be a mapping")
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
    problems.append(f"{label} = {raw!r}: must be {hint.__name__}")
    return None


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _rules(d: StudyDesign) -> Iterator[str]:
    if not NAME_PATTERN.fullmatch(d.name):
        yield f"name = {d.name!r}: must match [a-z0-9_]+"
    yield from _dose_rules(d)
    yield from _geometry_rules(d)
    yield from _view_rules(d)
    missing = [seed for seed in REQUIRED_SEEDS if seed not in d.rng_seeds]
    if missing:
        yield f"rng_seeds = {dict(d.rng_seeds)}: missing {', '.join(missing)} (all of {', '.join(REQUIRED_SEEDS)})"
    for seed, value in d.rng_seeds.items():
        if seed not in REQUIRED_SEEDS:
            yield f"rng_seeds.{seed} = {value}: unknown seed (known: {', '.join(REQUIRED_SEEDS)})"
        elif not 0 <= value < 2**32:
            yield f"rng_seeds.{seed} = {value}: must be in [0, 2**32)"
    if d.min_view_frames < 1:
        yield f"min_view_frames = {d.min_view_frames}: must be at least 1"
    if d.repeats < 1:
        yield f"repeats = {d.repeats}: must be at least 1"
    if not 0 < d.metrics_config.frc_threshold < 1:
        yield f"metrics_config.frc_threshold = {d.metrics_config.frc_threshold}: must be in (0, 1)"
    if not _positive(d.metrics_config.ms_ssim_sigma):
        yield f"metrics_config.ms_ssim_sigma = {d.metrics_config.ms_ssim_sigma}: must be positive"
    if not _positive(d.evaluation.coverage_threshold):
        yield f"evaluation.coverage_threshold = {d.evaluation.coverage_threshold}: must be positive"
    if not 0 <= d.evaluation.max_shift_px <= 10:
        yield f"evaluation.max_shift_px = {d.evaluation.max_shift_px}: must be in [0, 10]"
    if isinstance(d.base, BaseRecipe):
        yield from _recipe_rules(d.base, d.patch_size_pixels)
    elif not d.base:
        yield "base = '': must be a path or a recipe"
    yield from _pinn_rules(d.pinn)
    yield from _lsqml_rules(d.lsqml)


def _dose_rules(d: StudyDesign) -> Iterator[str]:
    if not d.dose_list:
        yield "dose_list = []: must not be empty"
    bad = [dose for dose in d.dose_list if not (_positive(dose) and dose >= 1)]
    if bad:
        yield f"dose_list = {list(d.dose_list)}: every dose must be finite and at least 1 photon ({bad} are not)"
    else:
        keys = [int(dose) for dose in d.dose_list]
        if len(set(keys)) != len(keys):
            yield f"dose_list = {list(d.dose_list)}: doses must differ after int() ({keys})"


def _geometry_rules(d: StudyDesign) -> Iterator[str]:
    if not d.gridsizes or any(g not in (1, 2) for g in d.gridsizes):
        yield f"gridsizes = {list(d.gridsizes)}: must be a non-empty list of 1 and 2"
    elif d.neighbor_count < max(d.gridsizes) ** 2 and max(d.gridsizes) > 1:
        yield (
            f"neighbor_count = {d.neighbor_count}: must be at least max(gridsizes)^2 = {max(d.gridsizes) ** 2} "
            "(OVERSAMPLING-001)"
        )
    if d.patch_size_pixels not in NETWORK_PATCH_SIZES:
        yield f"patch_size_pixels = {d.patch_size_pixels}: must be one of 64, 128, 256"
    if d.train_test_split_axis not in ("x", "y"):
        yield f"train_test_split_axis = {d.train_test_split_axis!r}: must be x or y"
    if d.scan not in ("uniform", "base"):
        yield f"scan = {d.scan!r}: must be uniform or base"


def _view_rules(d: StudyDesign) -> Iterator[str]:
    for view, fraction in d.overlap_views.items():
        if not NAME_PATTERN.fullmatch(view):
            yield f"overlap_views.{view}: a view's name must match [a-z0-9_]+"
        if view == BASELINE:
            yield "overlap_views.baseline: the name is reserved for the view that keeps every position"
        if not 0 <= fraction < 1:
            yield f"overlap_views.{view} = {fraction}: must be in [0, 1) so that the spacing (1 - f) N is positive"


def _recipe_rules(recipe: BaseRecipe, patch_size: int) -> Iterator[str]:
    for name in ("amplitude", "phase"):
        if getattr(recipe, name) not in PICTURES:
            yield f"base.{name} = {getattr(recipe, name)!r}: must be one of {', '.join(PICTURES)}"
    if recipe.object_size < patch_size + 2:
        yield f"base.object_size = {recipe.object_size}: must be at least N + 2 = {patch_size + 2}"
    if recipe.positions < 4:
        yield f"base.positions = {recipe.positions}: must be at least 4"
    low, high = recipe.amplitude_range
    if not (0 <= low < high and math.isfinite(high)):
        yield f"base.amplitude_range = {list(recipe.amplitude_range)}: must be 0 <= low < high"
    low, high = recipe.phase_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        yield f"base.phase_range = {list(recipe.phase_range)}: must be low < high, in rad"
    if not 0 < recipe.probe_radius < 0.5:
        yield f"base.probe_radius = {recipe.probe_radius}: must be in (0, 0.5), a fraction of N"
    if not 0 < recipe.probe_edge < 0.5:
        yield f"base.probe_edge = {recipe.probe_edge}: must be in (0, 0.5), a fraction of N"
    if recipe.pattern not in ("uniform", "raster"):
        yield f"base.pattern = {recipe.pattern!r}: must be uniform or raster"
    if not 0 <= recipe.seed < 2**32:
        yield f"base.seed = {recipe.seed}: must be in [0, 2**32)"
    if not math.isfinite(recipe.probe_curvature):
        yield f"base.probe_curvature = {recipe.probe_curvature}: must be finite, in rad"


def _pinn_rules(p: PinnSettings) -> Iterator[str]:
    if p.architecture not in ("cnn", "unrolled"):
        yield f"pinn.architecture = {p.architecture!r}: must be cnn or unrolled"
    if p.batch_size < 1 or p.batch_size & (p.batch_size - 1):
        yield f"pinn.batch_size = {p.batch_size}: must be a power of two"
    for name in ("epochs", "samples_per_position", "n_filters_scale", "width", "patience"):
        if getattr(p, name) < 1:
            yield f"pinn.{name} = {getattr(p, name)}: must be at least 1"
    for name in ("learning_rate", "amplitude_max", "gradient_clip"):
        if not _positive(getattr(p, name)):
            yield f"pinn.{name} = {getattr(p, name)}: must be positive"
    if not 0 <= p.target_fraction < 1:
        yield f"pinn.target_fraction = {p.target_fraction}: must be in [0, 1)"
    for name in ("validation_fraction", "thinning_fraction"):
        if not 0 < getattr(p, name) < 1:
            yield f"pinn.{name} = {getattr(p, name)}: must be in (0, 1)"


def _lsqml_rules(s: LsqmlSettings) -> Iterator[str]:
    choices = {"engine": ("lsqml",), "stopping": ("discrepancy", "epochs"), "probe": ("fixed", "refined")}
    choices["noise_model"] = ("gaussian", "poisson")
    for name, allowed in choices.items():
        if getattr(s, name) not in allowed:
            yield f"lsqml.{name} = {getattr(s, name)!r}: must be one of {', '.join(allowed)}"
    if not 1 <= s.epochs <= 100:
        yield f"lsqml.epochs = {s.epochs}: must be in 1 ... 100"
    if not 0 <= s.gaussian_epochs <= s.epochs:
        yield f"lsqml.gaussian_epochs = {s.gaussian_epochs}: must be in 0 ... epochs"
    if s.batch_size < 1:
        yield f"lsqml.batch_size = {s.batch_size}: must be at least 1"
    if not 0 <= s.momentum < 1:
        yield f"lsqml.momentum = {s.momentum}: must be in [0, 1)"
