"""Which Dagster runs a request needs, and in which order they may go: pure decisions from states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fly64_assets.store.artifacts import State
from fly64_assets.store.keys import BASE, KINDS, REPORT
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import BACKENDS, Key

STAGE_NAMES: Final = tuple(KINDS)
PHASES: Final = {
    "generate": ("base", "simulated"),
    "overlap": ("view",),
    "train": ("training",),
    "reconstruct": ("inference", "reconstruction"),
    "compare": ("comparison", "report"),
}
"""Steps of the study with a command of their own, in the order of work, and the kinds of stages that each builds."""


@dataclass(frozen=True)
class Filters:
    """The user's selection; an empty field means everything."""

    doses: tuple[int, ...] = ()
    views: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    """Networks and optional methods that are selected by name; without a network among them, all networks."""

    @property
    def some_cells(self) -> bool:
        """Whether the request selects only some of the cells."""
        return bool(self.doses or self.views or self.splits)

    def match(self, key: Key) -> bool:
        """Whether a stage is selected; the report covers all cells and is not selected with only some of them."""
        if key.stage == "report" and self.some_cells and "report" not in self.stages:
            return False
        networks = set(BACKENDS.values())
        return (
            (not self.stages or key.stage in self.stages)
            and (not self.doses or key.dose is None or key.dose in self.doses)
            and (not self.views or key.view is None or key.view in self.views)
            and (not self.splits or key.split is None or key.split in self.splits)
            and (key.method not in networks or key.method in (networks.intersection(self.methods) or networks))
        )


@dataclass(frozen=True)
class Run:
    """One Dagster run: assets of one partition, and the stages that it builds."""

    assets: tuple[str, ...]
    partition: str | None
    keys: tuple[Key, ...]

    @property
    def label(self) -> str:
        """The run for humans."""
        place = self.partition.replace("|", "/") if self.partition else "study"
        return f"{place}: {', '.join(self.assets)}"


def to_build(design: StudyDesign, states: Mapping[Key, State], filters: Filters) -> list[Key]:
    """Stages to build: the selected ones that are not done and the inputs they lack, in the order of work."""
    wanted: set[Key] = set()
    open_ends = [key for key in states if filters.match(key) and not states[key].done]
    while open_ends:
        key = open_ends.pop()
        if key in wanted:
            continue
        wanted.add(key)
        needed = [other for other in stages.upstream(design, key) if not stages.optional(key, other)]
        open_ends += [other for other in needed if other in states and not states[other].done]
    # A comparison without a method is up to date until that method exists.
    methods = {key for key in wanted if key.stage in ("inference", "reconstruction")}
    comparisons = (key for key in states if key.stage == "comparison" and filters.match(key))
    wanted |= {key for key in comparisons if methods & set(stages.upstream(design, key))}
    if wanted and not filters.stages:
        # Whatever changes a cell changes the report.
        wanted.add(REPORT)
    return [key for key in states if key in wanted]


@dataclass(frozen=True)
class PhasePlan:
    """What one phase would do."""

    keys: list[Key]
    """Stages to build, in the order of work."""
    missing: dict[Key, list[Key]]
    """Requested stages, each with the inputs of other phases that it lacks."""
    left_out: set[Key]
    """Those of them that cannot be built without; a comparison can do without a method."""


def phase_plan(design: StudyDesign, states: Mapping[Key, State], filters: Filters) -> PhasePlan:
    """What a phase (``filters.stages``) would do with what other phases have left; it never builds for them."""
    plan, planned = PhasePlan([], {}, set()), set[Key]()
    for key in (key for key in states if filters.match(key)):
        needed = (other for other in stages.upstream(design, key) if other in states)
        lacking = [other for other in needed if not states[other].done and other not in planned]
        if key == REPORT:
            # It names the cells that are missing, but it is in the folder of a base.
            lacking = [other for other in (BASE,) if not states[other].done]
        if lacking:
            plan.missing[key] = lacking
        if any(not stages.optional(key, other) for other in lacking):
            plan.left_out.add(key)
        elif not states[key].done:
            plan.keys.append(key)
            planned.add(key)
    if plan.keys and "report" in filters.stages and REPORT not in plan.keys:
        # Whatever changes a cell changes the report.
        plan.keys.append(REPORT)
    return plan


def phases_before(design: StudyDesign, states: Mapping[Key, State], lacking: Sequence[Key]) -> list[str]:
    """Names of the phases that would have to run for these stages to exist, in the order of work."""
    needed: set[Key] = set()
    ends = list(lacking)
    while ends:
        key = ends.pop()
        if key not in needed:
            needed.add(key)
            ends += [k for k in stages.upstream(design, key) if k in states and not states[k].done]
    return [phase for phase, built in PHASES.items() if any(key.stage in built for key in needed)]


def cell_runs(keys: Sequence[Key], dose: int, view: str) -> list[Run]:
    """The runs of one cell: view and methods together, then the comparison alone, so that it compares what exists."""
    cell = [key for key in keys if (key.dose, key.view) == (dose, view)]
    work = [key for key in cell if key.stage != "comparison"]
    comparisons = [key for key in cell if key.stage == "comparison"]
    return [run for part in (work, comparisons) if (run := _run(part, f"{dose}|{view}"))]


def stage_run(keys: Sequence[Key], stage: str, dose: int | None = None) -> Run | None:
    """The run of a stage of the whole study, or of a dose; None if there is nothing to do."""
    return _run([key for key in keys if (key.stage, key.dose) == (stage, dose)], str(dose) if dose else None)


def _run(keys: Sequence[Key], partition: str | None) -> Run | None:
    assets = dict.fromkeys(stages.stage_of(key).asset for key in keys)
    return Run(tuple(assets), partition, tuple(keys)) if keys else None
