"""The study as stages: which there are, and what each depends on.

Belongs here: the dependency rules between stages, as data, for assets, checks and the command alike. Does not
belong here: what a stage computes, what of it is there (``inventory``), Dagster, paths (``store.layout``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import SPLITS
from fly64_assets.pinn.settings import cnn_settings
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.artifacts import ArtifactStore, Inputs
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.records import StageRecord
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.layout import Layout, StageKey

IMPORTED: Final = "imported"
"""Origin of a base that a user brought; a base made from the design follows the design."""

CHOSEN: Final = "chosen"
"""Noted for a base that a user switched back to."""

NETWORK_ARMS: Final = ("pinn",)
"""Arms that are trained on the train half and reconstruct both halves."""

LEGACY_ARM: Final = "legacy_pinn"
WARM_ARM: Final = "lsqml_from_pinn"
"""The iterative arm, started from the network's object of the same half instead of a flat one."""

ARMS_ON_REQUEST: Final = (LEGACY_ARM, WARM_ARM)
"""Further arms, which are part of a study where they were asked for or have run already."""

ALL_ARMS: Final = (*NETWORK_ARMS, *ARMS_ON_REQUEST)

CODE_VERSIONS: Final[Mapping[str, str]] = {
    "base": "1",
    "simulated": "1",
    "view": "1",
    "training": "3",
    "inference": "2",
    "reconstruction": "3",
    "comparison": "2",
    "report": "2",
}
"""Raised when a stage's code gives other results for the same inputs."""


# -- which stages there are ---------------------------------------------------------------------------------------


def cell_keys(
    design: StudyDesign, dose: int, view: str, repeat: int = 1, arms: Sequence[str] = NETWORK_ARMS
) -> tuple[StageKey, ...]:
    """All stages of one cell, in the order of work, with these arms beside the iterative one."""
    g, networks = design.gridsize(view), [arm for arm in arms if arm != WARM_ARM]
    solvers = [design.lsqml.engine, *(arm for arm in arms if arm == WARM_ARM)]
    training = tuple(StageKey("training", dose, view, arm=a, repeat=repeat, gridsize=g) for a in networks)
    inference = tuple(StageKey("inference", dose, view, arm=a, repeat=repeat) for a in networks)
    iterative = tuple(StageKey("reconstruction", dose, view, s, a, repeat) for a in solvers for s in SPLITS)
    view_key, comparison = (StageKey(stage, dose, view, repeat=repeat) for stage in ("view", "comparison"))
    return (view_key, *training, *inference, *iterative, comparison)


def study_keys(design: StudyDesign, arms: Sequence[str] = NETWORK_ARMS) -> Iterator[StageKey]:
    """Every stage of the study, each after the stages that it depends on, with these arms beside the iterative one."""
    yield StageKey("base")
    for repeat in range(1, design.repeats + 1):
        for dose in design.doses:
            yield StageKey("simulated", dose, repeat=repeat)
            for view in design.views:
                yield from cell_keys(design, dose, view, repeat, arms)
    yield StageKey("report")


def serves(key: StageKey, arms: Sequence[str]) -> bool:
    """Whether a stage belongs to these arms, or to all."""
    return key.stage != "reconstruction" or (key.arm == WARM_ARM) == (WARM_ARM in arms)


def repeats(design: StudyDesign, key: StageKey) -> list[StageKey]:
    """The stage in every repeat of the study."""
    return [StageKey(**(key.to_dict() | {"repeat": repeat})) for repeat in range(1, design.repeats + 1)]


def upstream(design: StudyDesign, key: StageKey, arms: Sequence[str] = NETWORK_ARMS) -> tuple[StageKey, ...]:
    """Stages on whose outputs a stage depends directly, in a study with these arms beside the iterative one."""
    if key.stage == "base":
        return ()
    if key.stage == "simulated":
        return (StageKey("base"),)
    if key.stage == "report":
        return tuple(k for k in study_keys(design) if k.stage == "comparison")
    assert key.dose is not None
    assert key.view is not None
    simulated = StageKey("simulated", key.dose, repeat=key.repeat)
    own: Sequence[str] = (key.arm,) if key.stage == "inference" and key.arm else arms
    if key.stage == "reconstruction":
        own = NETWORK_ARMS if key.arm == WARM_ARM else ()
    view, *work, _ = cell_keys(design, key.dose, key.view, key.repeat, own)
    return {
        "view": (simulated,),
        "training": (view,),
        "inference": (view, *(k for k in work if k.stage == "training")),
        "reconstruction": (view, *(k for k in work if k.stage == "inference")),
        "comparison": (StageKey("base"), view, *(k for k in work if k.stage != "training")),
    }[key.stage]


def optional(key: StageKey) -> bool:
    """Whether a missing or failed upstream stage leaves something to do (an arm is missing, not the cell)."""
    return key.stage in ("comparison", "report")


# -- what each depends on -----------------------------------------------------------------------------------------


def parameters(design: StudyDesign, key: StageKey) -> dict[str, Any]:
    """Exactly the design values on which a stage depends, its inputs' own parameters not repeated.

    A change outside this subset leaves the stage's artifacts fresh.
    """
    builders = {
        "base": _base_parameters,
        "simulated": _simulated_parameters,
        "view": _view_parameters,
        "training": _training_parameters,
        "inference": _inference_parameters,
        "reconstruction": _reconstruction_parameters,
        "comparison": _comparison_parameters,
        "report": _report_parameters,
    }
    return builders[key.stage](design, key)


def _base_parameters(design: StudyDesign, _key: StageKey) -> dict[str, Any]:
    document: dict[str, Any] = {"patch_size_pixels": design.patch_size_pixels}
    if isinstance(design.base, BaseRecipe):
        document["recipe"] = design.to_dict()["base"]
    return document


def _simulated_parameters(design: StudyDesign, key: StageKey) -> dict[str, Any]:
    return {
        "dose": key.dose,
        "patch_size_pixels": design.patch_size_pixels,
        "scan": design.scan,
        "train_test_split_axis": design.train_test_split_axis,
        "seed": design.rng_seeds["simulation"],
        "repeat": design.repeat_seed(key.repeat),
        "patches": design.patches,
    }


def _view_parameters(design: StudyDesign, key: StageKey) -> dict[str, Any]:
    assert key.view is not None
    return {
        "view": key.view,
        "overlap": None if key.view == BASELINE else design.overlap_views[key.view],
        "gridsize": design.gridsize(key.view),
        "neighbor_count": design.neighbor_count,
        "patch_size_pixels": design.patch_size_pixels,
        "least_frames": design.least_frames(key.view),
        "seed": design.rng_seeds["subsampling"],
    }


def _training_parameters(design: StudyDesign, key: StageKey) -> dict[str, Any]:
    return {
        "arm": key.arm,
        "gridsize": key.gridsize,
        # Single frames have no neighbours.
        "neighbor_count": design.neighbor_count if key.gridsize != 1 else None,
        "patch_size_pixels": design.patch_size_pixels,
        "seed": design.repeat_seeds(key.repeat)["grouping"],
        "pinn": (design.pinn if key.arm != LEGACY_ARM else cnn_settings(design.pinn)).parameters(),
    }


def _inference_parameters(_design: StudyDesign, key: StageKey) -> dict[str, Any]:
    return {"arm": key.arm}


def _reconstruction_parameters(design: StudyDesign, key: StageKey) -> dict[str, Any]:
    seed = design.repeat_seeds(key.repeat)["grouping"]
    start = {"start": NETWORK_ARMS[0]} if key.arm == WARM_ARM else {}
    return {"split": key.split, "seed": seed, "lsqml": design.lsqml.parameters(), **start}


def _report_parameters(design: StudyDesign, _key: StageKey) -> dict[str, Any]:
    return {"name": design.name}


def _comparison_parameters(design: StudyDesign, _key: StageKey) -> dict[str, Any]:
    document = design.to_dict()
    # A comparison of older code has other members: it is out of date.
    version = CODE_VERSIONS["comparison"]
    return {"evaluation": document["evaluation"], "metrics_config": document["metrics_config"], "version": version}


@dataclass(frozen=True)
class Demand:
    """What a stage would work from now.

    Attributes
    ----------
    inputs : paths, or mapping of path to SHA256
        Files to read (each verified against its sidecar by the store), or what a skip rests on.
    skip : str
        Why the stage cannot exist, repeated from upstream; empty if it can.
    waits_for : str
        What has to be built before; empty if the stage can run.
    """

    inputs: Inputs = ()
    skip: str = ""
    waits_for: str = ""


def demand(store: ArtifactStore, layout: Layout, design: StudyDesign, key: StageKey) -> Demand:
    """What ``key`` would work from, given the records on disk."""
    found: dict[StageKey, StageRecord] = {}
    for other in upstream(design, key, ALL_ARMS):
        record = store.record(layout, other)
        if record is not None and record.outcome != "failed":
            found[other] = record
        elif other.stage == "view" or not optional(key):
            why = f"failed ({record.reason})" if record else "has no valid result"
            return Demand(waits_for=f"{other.label} {why}; run it first")
    if key.stage == "report":
        return Demand({layout.record(other): record.data_sha256 for other, record in found.items()})
    view = next((record for other, record in found.items() if other.stage == "view"), None)
    if view is not None and view.outcome == "skipped":
        return Demand({layout.record(view.key): view.data_sha256}, skip=view.reason)
    for split in (key.split,) if key.split else ("train",) if key.stage in ("training", "inference") else ():
        if view is not None and view.values["splits"][split]["outcome"] == "skipped":
            return Demand({layout.record(view.key): view.data_sha256}, skip=view.values["splits"][split]["reason"])
    start = next((record for other, record in found.items() if other.stage == "inference"), None)
    if key.stage == "reconstruction" and start is not None and start.outcome == "skipped":
        return Demand({layout.record(start.key): start.data_sha256}, skip=start.reason)
    return Demand(_input_files(layout, design, key, view, found))


def existing_splits(view: StageRecord) -> tuple[str, ...]:
    """Splits for which a view exists."""
    return tuple(split for split in SPLITS if view.values["splits"][split]["outcome"] == "succeeded")


def _input_files(
    layout: Layout,
    design: StudyDesign,
    key: StageKey,
    view: StageRecord | None,
    found: Mapping[StageKey, StageRecord],
) -> tuple[Path, ...]:
    """Files that a stage reads."""
    if key.stage == "base":
        return ()
    if key.stage == "simulated":
        return (layout.base,)
    assert key.dose is not None
    assert key.view is not None
    halves = tuple(layout.patched(key.dose, split, key.repeat) for split in SPLITS)
    if key.stage == "view":
        return halves
    assert view is not None
    frames = {s: layout.view_frames(key.dose, key.view, s, key.repeat) for s in existing_splits(view)}
    if key.stage == "reconstruction":
        assert key.split is not None
        starts = (layout.inference(key.dose, key.view, NETWORK_ARMS[0], key.split, key.repeat),)
        return (frames[key.split], *(starts if key.arm == WARM_ARM else ()))
    if key.stage == "training":
        return (frames["train"],)
    if key.stage == "inference":
        assert key.arm is not None
        return (layout.bundle(key.dose, key.view, design.gridsize(key.view), key.arm, key.repeat), *frames.values())
    metrics = tuple(layout.view_metrics(key.dose, key.view, s, key.repeat) for s in frames)
    arms = (r for k, r in found.items() if k.stage in ("inference", "reconstruction") and r.outcome == "succeeded")
    objects = (layout.folder / name for r in arms for name in r.outputs if name.endswith(".npz"))
    return tuple(dict.fromkeys((layout.base, *halves, *frames.values(), *metrics, *objects)))


PARTITION_PARAMETERS: Final = frozenset(
    {"dose", "view", "split", "arm", "repeat", "overlap", "gridsize", "neighbor_count", "least_frames"}
)
"""Parameters that differ between the partitions of one asset."""


def asset_version(design: StudyDesign, stage: str, arms: Sequence[str] = NETWORK_ARMS) -> str:
    """Version of an asset for Dagster: its code, and the design values that all of its partitions depend on.

    So that Dagster too calls an asset out of date when the design has changed. What differs between partitions (the
    overlap of one view) is no part of it: Dagster knows one version per asset.
    """
    key = next(key for key in study_keys(design, arms) if key.stage == stage and serves(key, arms))
    common = {name: value for name, value in parameters(design, key).items() if name not in PARTITION_PARAMETERS}
    return f"{CODE_VERSIONS[stage]}-{json_sha256(common)[:12]}"
