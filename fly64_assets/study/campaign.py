"""A campaign: one study on many bases, objects x probes x seeds, and the table of all its scores.

Every base has its folder in the study, and its stages are those of any study; a campaign only names the bases. Does not
belong here: driving the runs (``cli.driver``), what is concluded from the table (``evaluation``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.json_schema import SkipJsonSchema

from fly64_assets.contract.frames import probe_of
from fly64_assets.contract.npz import load_base, load_dataset, open_npz
from fly64_assets.errors import ArtifactError, DesignError
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.physics.quantities import (
    LISTED,
    NO_OTHER_FIELDS,
    Number,
    Text,
    Whole,
    at_least,
    at_most,
    unit,
    within,
)
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.simulation.objects.describing import describe_object
from fly64_assets.simulation.objects.kinds import PROBE_KINDS, TUNABLE, GeneratedBase, ObjectKind
from fly64_assets.simulation.recipe import LARGEST_OBJECT_PX
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import BASE, Cell, Half
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import verified
from fly64_assets.store.yaml_file import YamlError, read_mapping
from fly64_assets.study.design import StudyDesign, load_design, shipped_designs
from fly64_assets.study.documents import adapter, broken_fields
from fly64_assets.study.fields import DISTINCT
from fly64_assets.study.table import STAGES

COLUMNS: Final = (
    "base", "object", "probe", "seed", "tunable", "spectrum_exponent", "bandwidth", "phase_range",
    "amplitude_phase_correlation", "gradient_sparsity", "dose", "view", "repeat", "split", "method", "frames",
    "photons_per_pixel", "probe_diameter_px", "linear_overlap", "linear_overlap_low", "area_overlap_six",
    "window_overlap", "covered_fraction", "phase_rmse", "amplitude_rmse", "phase_frc_half_bit", "efficiency",
    "phase_floor", "seconds", "training_seconds", "outcome", "reason",
)  # fmt: skip
"""Columns of the table of a campaign, a row for each base, dose, view, repeat, half and method."""
REFERENCES: Final = ("truth",)
"""Rows of a comparison that are no method; the uniform object stays, as the baseline."""


@dataclass(frozen=True)
class Campaign:
    """What a campaign's file says, immutable."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    study: Text
    """The design of the study: a YAML file, relative to the campaign's, or the name of a shipped design."""
    objects: Annotated[tuple[ObjectKind, ...], *LISTED, DISTINCT] = ("texture",)
    """Kinds of objects, as in `fly64 base make --object`."""
    probes: Annotated[tuple[Text, ...], *LISTED, DISTINCT] = ("curved",)
    """Kinds of probes, as in `fly64 base make --probe`, or files NAME.npz with a probeGuess, relative to the file."""
    seeds: Annotated[tuple[Whole, ...], *LISTED, DISTINCT] = (1,)
    """Seeds of objects and positions; each makes a base of every object and probe."""
    object_size: Annotated[Whole, at_least(66), at_most(LARGEST_OBJECT_PX), unit("px")] = 160
    """Side of the objects."""
    positions: Annotated[Whole, at_least(4), at_most(10_000_000)] = 400
    """Scan positions of a base, of both halves together."""
    pattern: Literal["uniform", "raster", "fermat"] = "uniform"
    """Positions of the bases, used with `scan: base` in the design; a study may place its own."""
    probe_radius: Annotated[Number, within(0, 0.5, "()", ", a fraction of N"), unit("N")] = 0.25
    """Radius of the generated probes' disc, as a fraction of the width N of a diffraction pattern."""
    probe_edge: Annotated[Number, within(0, 0.5, "()", ", a fraction of N"), unit("N")] = 0.04
    """Width of the disc's soft edge, as a fraction of N."""
    judged_only: bool = True
    """Whether iterative methods reconstruct only the half that is judged; networks need both."""
    folder: SkipJsonSchema[Path] = field(default=Path(), compare=False, repr=False, metadata={"document": False})
    """Folder of the campaign's file."""

    @property
    def study_source(self) -> str:
        """The study as `fly64 --study` takes it."""
        return self.study if self.study in shipped_designs() else str((self.folder / self.study).resolve())

    def design(self) -> StudyDesign:
        """The design of the study. Raises :class:`DesignError` if it is none, or one of measured frames."""
        design = load_design(self.study_source)
        if design.of_measured_frames:
            raise DesignError([f"study = {self.study}: a campaign simulates its frames; expected no scan: measured"])
        return design

    def bases(self) -> Iterator[CampaignBase]:
        """All bases, in the order in which they are worked on."""
        for seed in self.seeds:
            for kind in self.objects:
                for probe in self.probes:
                    yield CampaignBase(self, kind, probe, seed)


@dataclass(frozen=True)
class CampaignBase:
    """One base of a campaign."""

    campaign: Campaign
    object: ObjectKind
    probe: str
    seed: int

    @property
    def name(self) -> str:
        """Its name for humans, with which its folder begins."""
        return f"{self.object}_{Path(self.probe).stem.lower()}_s{self.seed}"

    @property
    def recipe(self) -> GeneratedBase:
        """What is generated."""
        shared = ("object_size", "positions", "pattern", "probe_radius", "probe_edge")
        values: dict[str, Any] = {name: getattr(self.campaign, name) for name in shared}
        kind: Any = self.probe if self.probe in PROBE_KINDS else "flat"
        return GeneratedBase(self.object, kind, self.seed, **values)

    def given_probe(self, patch_size: int) -> NDArray[np.complex64] | None:
        """The probe of a file (N, N); None for a generated one. Raises :class:`ArtifactError` for a bad file."""
        if self.probe in PROBE_KINDS:
            return None
        return probe_from(self.campaign.folder / self.probe, patch_size)


def load_campaign(path: Path) -> Campaign:
    """Read a campaign's file. Raises :class:`DesignError` with every broken field."""
    if not path.is_file():
        raise DesignError([f"{path} does not exist: expected the YAML file of a campaign"])
    try:
        document = read_mapping(path)
    except YamlError as error:
        raise DesignError(error.problems) from error
    if "study" not in document:
        raise DesignError([f"{path.name}: study is missing: the design's YAML file, or the name of a shipped design"])
    problems = [*broken_fields(Campaign, document).values()]
    lists = ("objects", "probes", "seeds")
    problems += [f"{name} = []: expected at least one" for name in lists if document.get(name) == []]
    probes = document.get("probes")
    problems += [
        f"probes: {probe} is no kind ({', '.join(PROBE_KINDS)}) and no file NAME.npz"
        for probe in (probes if isinstance(probes, list) else ())
        if isinstance(probe, str) and probe not in PROBE_KINDS and not probe.endswith(".npz")
    ]
    if problems:
        raise DesignError(problems)
    campaign: Campaign = adapter(Campaign).validate_python({**document, "folder": path.parent.resolve()})
    names = [base.name for base in campaign.bases()]
    if len(set(names)) < len(names):
        raise DesignError(["probes: two files have the same name; rename one, results are known by it"])
    return campaign


def probe_from(path: Path, patch_size: int) -> NDArray[np.complex64]:
    """The probe (N, N) of an NPZ file with ``probeGuess``, the strongest of several modes.

    Raises :class:`ArtifactError` if the file cannot be read, holds none, or one of another size.
    """
    if not path.is_file():
        raise ArtifactError(f"probe file {path} does not exist")
    probe = probe_of(open_npz(path))
    if probe is None:
        raise ArtifactError(f"{path.name} holds no probeGuess of shape (N, N) or (M, N, N)")
    one = probe if probe.ndim == 2 else probe[0]
    if one.shape != (patch_size, patch_size):
        raise ArtifactError(f"{path.name}: probeGuess has shape {one.shape}; expected {(patch_size, patch_size)}")
    return one.astype(np.complex64)


def generated_parameters(base: CampaignBase, design: StudyDesign) -> dict[str, Any]:
    """The values by which a base of a campaign is known in the store, those of its record."""
    size = design.patch_size_pixels
    given = base.given_probe(size)
    recipe = adapter(GeneratedBase).dump_python(base.recipe, mode="json")
    if given is not None:
        recipe["probe"] = hashlib.sha256(given.tobytes()).hexdigest()
    return {"patch_size_pixels": size, "generated": recipe}


def find_base(store: ArtifactStore, design: StudyDesign, base: CampaignBase) -> str:
    """Name in the store of a base that was made already, empty if there is none.

    It is found by what it was made of and not by its bytes, which may differ in the last digit between machines.
    """
    wanted = json_sha256(generated_parameters(base, design))
    for layout in store.layouts():
        if layout.base_id.startswith(f"{base.name}_"):
            record = store.record(layout, BASE)
            if record is not None and record.outcome == "succeeded" and json_sha256(record.parameters) == wanted:
                return layout.base_id
    return ""


# -- the table --------------------------------------------------------------------------------------------------------


def campaign_rows(bases: Iterable[CampaignBase], design: StudyDesign, store: ArtifactStore) -> Iterator[dict[str, Any]]:
    """Rows of :data:`COLUMNS`, of every compared cell of some bases; a method without a result has its reason."""
    for base in bases:
        name = find_base(store, design, base)
        if name:
            yield from _base_rows(base, design, store, store.layout(name))


def _base_rows(
    base: CampaignBase, design: StudyDesign, store: ArtifactStore, layout: Layout
) -> Iterator[dict[str, Any]]:
    verified(layout.base)
    about = about_base(base, load_base(layout.base).object)
    overlaps: dict[str, dict[str, float]] = {}
    for key in STAGES["comparison"].keys(design):
        assert isinstance(key.at, Cell)
        record, path = store.record(layout, key), layout.output(key, "comparison.json")
        if record is None or record.outcome != "succeeded":
            continue
        verified(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        part = document["splits"].get(JUDGED_SPLIT)
        if part is None or part["outcome"] != "compared":
            continue
        half = key.at.half(JUDGED_SPLIT)
        if half.view not in overlaps:
            overlaps[half.view] = view_overlap(layout, half)
        place = {"dose": key.dose, "view": key.view, "repeat": key.repeat, "split": JUDGED_SPLIT}
        for row in method_rows(part):
            yield about | place | overlaps[half.view] | row | _seconds(store, layout, design, half, row["method"])


def about_base(base: CampaignBase, obj: NDArray[np.complexfloating]) -> dict[str, Any]:
    """Columns that are the same in all rows of a base with the object ``obj`` (H, W)."""
    return {
        "base": base.name,
        "object": base.object,
        "probe": Path(base.probe).stem,
        "seed": base.seed,
        "tunable": base.object in TUNABLE,
        **vars(describe_object(obj)),
    }


def method_rows(part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Columns of the scores, for each method of the judged half of a comparison's document."""
    values = {(row["arm"], row["part"], row["metric"]): row["value"] for row in part["rows"]}
    for method, result in part["arms"].items():
        if method in REFERENCES:
            continue
        yield {
            "method": method,
            "frames": part["photons"]["frames"],
            "photons_per_pixel": part["photons"]["photons_per_pixel"],
            "covered_fraction": part["region"]["covered_fraction"],
            "phase_rmse": values.get((method, "phase", "rmse")),
            "amplitude_rmse": values.get((method, "amplitude", "rmse")),
            "phase_frc_half_bit": values.get((method, "phase", "frc_half_bit")),
            "efficiency": values.get((method, "phase", "efficiency")),
            "phase_floor": part["photons"]["phase_floor_rad"],
            "outcome": result["outcome"],
            "reason": result["reason"],
        }


def view_overlap(layout: Layout, half: Half) -> dict[str, float]:
    """Columns of the overlap in a view on disk."""
    path = layout.view_frames(half)
    verified(path)
    data = load_dataset(path, hashed=True)
    return overlap_columns(np.c_[data.x, data.y], data.modes)


def overlap_columns(coords: NDArray[np.float64], modes: NDArray[np.complexfloating]) -> dict[str, float]:
    """Columns of the overlap of nearest probes at positions (n, 2) [px], for the diameter at half of the energy."""
    found = probe_overlap(coords, modes)
    if found is None or found.windows is None:
        return {}
    disc = found.of("half_energy")
    return {
        "probe_diameter_px": disc.diameter_px,
        "linear_overlap": disc.linear.nearest,
        "linear_overlap_low": disc.linear.nearest_low,
        "area_overlap_six": disc.area.six,
        "window_overlap": found.windows.nearest,
    }


def _seconds(
    store: ArtifactStore, layout: Layout, design: StudyDesign, half: Half, method: str
) -> dict[str, float | None]:
    """How long the reconstruction and the training of a method took [s]."""
    found: dict[str, float | None] = {"seconds": None, "training_seconds": None}
    for stage in STAGES.values():
        if stage.method == method and stage.split in ("", half.split):
            record = store.record(layout, stage.key(design, half.cell))
            if record is not None:
                found["training_seconds" if stage.kind == "training" else "seconds"] = record.seconds
    return found


def as_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its numbers in six digits: more is noise, and the file stays small."""
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
