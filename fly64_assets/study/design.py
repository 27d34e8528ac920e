"""The study design: the only source of study parameters.

Does not belong here: the type and range of a single field (beside the field), messages about broken ones
(:mod:`fly64_assets.study.documents`), partitions (Dagster), paths (:mod:`fly64_assets.store.layout`), data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import ConfigDict, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from fly64_assets.contract.findings import Expectations
from fly64_assets.errors import DesignError
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig, ReportSettings
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.measured.settings import MeasuredSettings
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.quantities import (
    LISTED,
    NO_OTHER_FIELDS,
    Count,
    Flag,
    Number,
    Text,
    Whole,
    at_least,
    at_most,
    unit,
    whole,
    within,
)
from fly64_assets.pinn.pretrained.settings import PretrainedSettings
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.simulation.recipe import BaseRecipe, DetectorSettings, ViewRule, diameter_problems, exposure_problems
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import LONGEST_VIEW
from fly64_assets.store.yaml_file import YamlError, read_mapping
from fly64_assets.study.documents import Place, adapter, broken_fields, plain, shown, without
from fly64_assets.study.fields import (
    DISTINCT,
    DOSES,
    GRIDSIZES,
    NAME,
    NAME_PATTERN,
    PATH,
    REQUIRED_SEEDS,
    SEED_NAMES,
    SEEDS,
    SHORT,
    SIZES,
    kind_of_base,
)
from fly64_assets.study.named_files import mask_problems, network_problems
from fly64_assets.study.upgrades import upgraded
from fly64_assets.tv_ml.settings import TvMlSettings

STUDIES_FOLDER: Final = Path(__file__).parent / "designs"


@dataclass(frozen=True)
class StudyDesign:
    """All parameters of a study, immutable. Construct it freely; :meth:`validate` judges it.

    A further section is one more field here, of a settings class in the package of its domain.
    """

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    name: Annotated[Text, NAME, SHORT] = "fly64"
    """Name of the study and of the folder of its results."""
    dose_list: Annotated[tuple[Number, ...], *LISTED, DOSES, unit("photons per frame")] = (1e3, 1e4, 1e5)
    """Doses to compare: mean photons in a diffraction pattern, whole numbers, distinct."""
    gridsizes: Annotated[tuple[Whole, ...], *LISTED, GRIDSIZES] = (1, 2)
    """Samples of `cnn` and of overlap metrics have g² frames: baseline takes the smallest g, others the largest."""
    neighbor_count: Annotated[Whole, at_least(1), at_most(1000)] = 7
    """Nearest neighbours from which a group of frames is drawn; `cnn` needs at least max(gridsizes)²."""
    patch_size_pixels: Annotated[Whole, SIZES, unit("px")] = 64
    """Width N of a diffraction pattern and of the probe of the base."""
    overlap_views: Mapping[str, Annotated[Number, within(0, 1, "[)")]] = field(
        default_factory=lambda: {"dense": 0.7, "sparse": 0.2}
    )
    """Thinned scans by name: neighbouring windows of N pixels overlap by at most this; `baseline` keeps all."""
    overlap_of: Literal["windows", "probe"] = "windows"
    """What the overlap of a view is of: windows, or nearest probes: then it is the mean of 1 - d/D that is aimed at."""
    probe_diameter: Literal["half_energy", "energy_90", "fwhm"] = "half_energy"
    """With `overlap_of: probe`, the diameter D: of the disc with half, or 90 %, of the energy, or the FWHM."""
    dose_per: Literal["frame", "pixel"] = "frame"
    """`pixel`: fewer frames of a thinned scan have more photons each, as many per object pixel as the full scan."""
    train_test_split_axis: Literal["x", "y"] = "y"
    """Axis at whose middle the scan is cut into a train half and a test half."""
    rng_seeds: Annotated[Mapping[str, Whole], SEED_NAMES] = field(
        default_factory=lambda: {"simulation": 42, "grouping": 123, "subsampling": 456}
    )
    """Seeds of the noise and positions, of the training, and of sampled metrics; all three in [0, 2**32)."""
    metrics_config: MetricsConfig = field(default_factory=MetricsConfig)
    """Image metrics."""
    base: Annotated[
        Annotated[BaseRecipe, Tag("recipe")] | Annotated[Text, PATH, Tag("path")], Discriminator(kind_of_base)
    ] = field(default_factory=lambda: BaseRecipe("astronaut", "gravel", 464, 10304))
    """Object, probe and scan: a recipe, or the path of a base NPZ, relative to the design's file."""
    scan: Literal["uniform", "raster", "fermat", "base", "measured"] = "uniform"
    """Positions anew (drawn uniformly, a jittered raster, a Fermat spiral), the base's own, or those of its frames."""
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    """What the simulated detector does not measure, and what it adds; without the section it counts every photon."""
    measured: MeasuredSettings = field(default_factory=MeasuredSettings)
    """With `scan: measured`, the calibration, and how doses are made of the measured counts."""
    min_view_frames: Count = 4
    """A view with fewer frames in a half is skipped there; `cnn` needs g² frames as well."""
    patches: Flag = True
    """Whether data files hold the true object patch of every frame, `Y`."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """Which pixels count, and how far objects may be shifted to register."""
    report: ReportSettings = field(default_factory=ReportSettings)
    """The question that the report answers; results do not depend on it."""
    repeats: Annotated[Whole, at_least(1), at_most(1000)] = 1
    """How often the study is repeated, each with its own noise and training; more give a standard error."""
    seeds: Annotated[tuple[Whole, ...], *LISTED, DISTINCT, SEEDS] = ()
    """Instead of `repeats`, the repeats by name: `repeats: 3` is `seeds: [1, 2, 3]`; another number changes one."""
    pinn: Annotated[UnrolledSettings | CnnSettings, Field(discriminator="architecture")] = field(
        default_factory=UnrolledSettings
    )
    """The physics-informed network; without an `architecture`, `unrolled`."""
    lsqml: LsqmlSettings = field(default_factory=LsqmlSettings)
    """The iterative reconstruction."""
    tv_ml: TvMlSettings = field(default_factory=TvMlSettings)
    """Regularised maximum likelihood: total variation, its weight chosen by held-out counts."""
    pretrained: PretrainedSettings = field(default_factory=PretrainedSettings)
    """The network that was trained once, on simulated scans of other objects."""
    folder: SkipJsonSchema[Path] = field(default=Path(), compare=False, repr=False, metadata={"document": False})
    """Folder of the design's file, from which a relative `base` counts; neither in the document nor in its hash."""
    notes: SkipJsonSchema[tuple[str, ...]] = field(default=(), compare=False, repr=False, metadata={"document": False})
    """A sentence for each setting of an older design that has moved; neither in the document nor in its hash."""

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

    @property
    def doses(self) -> tuple[int, ...]:
        """Doses as whole photons per frame, in the order of the design."""
        return tuple(whole(dose) for dose in self.dose_list)

    @property
    def views(self) -> tuple[str, ...]:
        """All views, ``baseline`` first."""
        return (BASELINE, *self.overlap_views)

    @property
    def spacing_thresholds(self) -> dict[str, float]:
        """Least distance between positions of each spaced view, in pixels: (1 - f) N; of the probe, none is fixed."""
        of_windows = self.overlap_views if self.overlap_of == "windows" else {}
        return {view: (1.0 - f) * self.patch_size_pixels for view, f in of_windows.items()}

    @property
    def base_path(self) -> Path | None:
        """Path of the base file; None for a recipe."""
        return None if isinstance(self.base, BaseRecipe) else self.folder / self.base

    @property
    def of_measured_frames(self) -> bool:
        """Whether frames are measured ones with counts taken away, and there is no truth."""
        return self.scan == "measured"

    @property
    def mask_path(self) -> Path | None:
        """Path of the detector's mask file; None without one."""
        return self.folder / self.detector.mask if self.detector.mask else None

    def gridsize(self, view: str) -> int:
        """Gridsize g of a view's network samples: the smallest for baseline, the largest for spaced views."""
        return min(self.gridsizes) if view == BASELINE else max(self.gridsizes)

    @property
    def groups_frames(self) -> bool:
        """Whether the study's network takes groups of g^2 frames, as ``cnn`` does."""
        return isinstance(self.pinn, CnnSettings)

    def least_frames(self, view: str) -> int:
        """Fewest frames with which a view of one split exists."""
        return max(self._needs(view).values())

    def _needs(self, view: str) -> dict[str, int]:
        """Frames that each setting asks of a view of one split."""
        gridsize = self.gridsize(view)
        return {"min_view_frames": self.min_view_frames} | (
            {f"gridsize {gridsize}": gridsize**2} if self.groups_frames else {}
        )

    def expectations(self) -> Expectations:
        """What the data contract compares the study's data sets with."""
        return Expectations(
            study=self.name,
            patch_size=self.patch_size_pixels,
            doses=self.doses,
            gridsizes={view: self.gridsize(view) for view in self.views},
            neighbor_count=self.neighbor_count,
            patches=self.patches and not self.of_measured_frames,
        )

    def view_rule(self, view: str) -> ViewRule:
        """Which positions a view keeps of each split, and how its overlap is measured."""
        needs = self._needs(view)
        return ViewRule(
            view=view,
            spacing_px=self.spacing_thresholds.get(view),
            least_frames=max(needs.values()),
            needed_for=" and ".join(name for name, frames in needs.items() if frames == max(needs.values())),
            gridsize=self.gridsize(view),
            neighbor_count=self.neighbor_count,
            seed=self.rng_seeds["subsampling"],
            probe_overlap=self.overlap_views.get(view) if self.overlap_of == "probe" else None,
            probe_diameter=self.probe_diameter,
            keeps_photons=self.dose_per == "pixel",
        )

    def repeat_seed(self, repeat: int) -> int:
        """What sets the noise and the training of a repeat apart: its entry in ``seeds``, or its number, from 1."""
        return self.seeds[repeat - 1] if self.seeds else repeat

    def repeat_seeds(self, repeat: int) -> dict[str, int]:
        """Seeds of a repeat: the design's own for seed 1, derived from them and the repeat's seed for others."""
        own, seeds = self.repeat_seed(repeat), self.rng_seeds.items()
        return {
            name: seed if own == 1 else int(np.random.SeedSequence([seed, own]).generate_state(1)[0])
            for name, seed in seeds
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON and YAML types; ``StudyDesign.from_dict`` is the inverse."""
        left_out = {
            # One of the two says how many repeats there are; a design without seeds has no such field.
            "repeats" if self.seeds else "seeds": True,
            # So that the hash of a design is that of versions without these sections.
            "detector": self.detector.counts_every_photon,
            "measured": not self.of_measured_frames,
            "report": self.report == ReportSettings(),
            **dict.fromkeys(("overlap_of", "probe_diameter"), self.overlap_of == "windows"),
            "dose_per": self.dose_per == "frame",
            "pretrained": self.pretrained == PretrainedSettings(),
        }
        document = {**plain(self), "pinn": self.pinn.parameters()}
        return {name: value for name, value in document.items() if not left_out.get(name)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], folder: Path | None = None) -> StudyDesign:
        """Build and validate; ``notes`` of the design say which settings of an older one have moved.

        The mask and the trained network lie in ``folder``; without one they are not looked at.

        Raises :class:`DesignError` with every unknown field, wrong type and broken rule as ``field = value: rule``.
        """
        problems: list[str] = []
        if "seeds" in document and "repeats" in document:
            problems.append(f"repeats = {shown(document['repeats'])}: give repeats or seeds, not both")
            document = {name: value for name, value in document.items() if name != "repeats"}
        document, notes = upgraded(document)
        broken = broken_fields(cls, document)
        # Rules between fields are judged as well, where the fields that they read are good.
        design: StudyDesign = adapter(StudyDesign).validate_python(without(document, broken) if broken else document)
        problems += [*broken.values(), *_broken_rules(design, broken)]
        if folder is not None:
            size = None if ("patch_size_pixels",) in broken else design.patch_size_pixels
            problems += mask_problems(design.detector, folder, size) + network_problems(design.pretrained, folder)
        if problems:
            raise DesignError(problems)
        return dataclasses.replace(design, folder=folder or design.folder, notes=tuple(notes))

    def sha256(self) -> str:
        """SHA256 of the whole design in canonical JSON."""
        return json_sha256(self.to_dict())

    def problems(self) -> list[str]:
        """Every violated rule as ``field = value: rule``."""
        broken = broken_fields(type(self), plain(self))
        return [*broken.values(), *_broken_rules(self, broken)]

    def validate(self) -> StudyDesign:
        """Return the design itself, or raise one :class:`DesignError` that names every violated rule."""
        if problems := self.problems():
            raise DesignError(problems)
        return self


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
        document = read_mapping(path)
    except YamlError as error:
        raise DesignError(error.problems) from error
    return StudyDesign.from_dict(document, path.parent.resolve())


def _dose_rules(d: StudyDesign) -> Iterator[str]:
    if len(set(d.doses)) != len(d.doses):
        yield f"dose_list = {list(d.dose_list)}: doses must differ"


def _group_rules(d: StudyDesign) -> Iterator[str]:
    least = max(d.gridsizes) ** 2
    if d.groups_frames and d.neighbor_count < least and least > 1:
        yield (f"neighbor_count = {d.neighbor_count}: must be at least max(gridsizes)^2 = {least} (OVERSAMPLING-001)")


def _view_rules(d: StudyDesign) -> Iterator[str]:
    for view in d.overlap_views:
        if not NAME_PATTERN.fullmatch(view):
            yield f"overlap_views.{view}: a view's name must match [a-z0-9_]+"
        if len(view) > LONGEST_VIEW:
            yield f"overlap_views.{view}: a view's name must have at most {LONGEST_VIEW} characters"
        if view == BASELINE:
            yield "overlap_views.baseline: the name is reserved for the view that keeps every position"


def _seed_rules(d: StudyDesign) -> Iterator[str]:
    missing = [seed for seed in REQUIRED_SEEDS if seed not in d.rng_seeds]
    if missing:
        yield f"rng_seeds = {dict(d.rng_seeds)}: missing {', '.join(missing)} (all of {', '.join(REQUIRED_SEEDS)})"
    for seed, value in d.rng_seeds.items():
        if seed not in REQUIRED_SEEDS:
            yield f"rng_seeds.{seed} = {value}: unknown seed (known: {', '.join(REQUIRED_SEEDS)})"
        elif not 0 <= value < 2**32:
            yield f"rng_seeds.{seed} = {value}: must be in [0, 2**32)"


def _repeat_rules(d: StudyDesign) -> Iterator[str]:
    if d.seeds and d.repeats != len(d.seeds):
        yield f"repeats = {d.repeats}: give repeats or seeds, not both (seeds names {len(d.seeds)})"


def _fold_rules(d: StudyDesign) -> Iterator[str]:
    if isinstance(d.pinn, UnrolledSettings) and d.pinn.folds >= d.pinn.photon_parts:
        yield (
            f"pinn.folds = {d.pinn.folds}: must be less than photon_parts = {d.pinn.photon_parts}, "
            "one of which is for validation"
        )


def _object_rules(d: StudyDesign) -> Iterator[str]:
    least = d.patch_size_pixels + 2
    if isinstance(d.base, BaseRecipe) and d.base.object_size < least:
        yield f"base.object_size = {d.base.object_size}: must be at least N + 2 = {least}"


def _measured_rules(d: StudyDesign) -> Iterator[str]:
    if d.of_measured_frames and not d.detector.counts_every_photon:
        yield "detector: is for simulated frames; with scan: measured the frames bring their bad pixels (--mask)"
    if not d.of_measured_frames and d.measured != MeasuredSettings():
        yield f"measured: is for measured frames; expected scan: measured, not scan: {d.scan}"


RULES: Final[tuple[tuple[tuple[str, ...], Callable[[StudyDesign], Iterator[str]]], ...]] = (
    (("dose_list",), _dose_rules),
    (("gridsizes", "neighbor_count", "pinn.architecture"), _group_rules),
    ((), _view_rules),
    (("overlap_of", "probe_diameter"), lambda d: diameter_problems(d.overlap_of, d.probe_diameter)),
    (("dose_per", "scan"), lambda d: exposure_problems(d.dose_per, d.scan)),
    (("rng_seeds",), _seed_rules),
    (("seeds", "repeats"), _repeat_rules),
    (("pinn.folds", "pinn.photon_parts"), _fold_rules),
    (("base.object_size", "patch_size_pixels"), _object_rules),
    (("detector", "patch_size_pixels"), lambda d: (f"detector{p}" for p in d.detector.problems(d.patch_size_pixels))),
    (("scan", "detector", "measured"), _measured_rules),
)
"""Rules between fields, each after the fields that it reads."""


def _broken_rules(design: StudyDesign, broken: Collection[Place]) -> Iterator[str]:
    """Broken rules between fields, of those rules whose fields are valid on their own."""
    bad = {".".join(map(str, place[:depth])) for place in broken for depth in (1, 2)}
    for reads, rule in RULES:
        if not bad & set(reads):
            yield from rule(design)
