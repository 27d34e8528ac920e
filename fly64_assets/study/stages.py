"""What follows from the table of stages: which stages a study has, what each needs, on which settings it depends.

Belongs here: rules derived from the rows of ``study.table``. Does not belong here: the rows, what is on disk
(``study.states``), Dagster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import BASE, REPORT, Cell, Coordinates, Dose, Half, StageKey
from fly64_assets.store.records import StageRecord
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import STAGES, Key, Stage, design_cells
from fly64_assets.study.upgrades import recorded


def study_keys(design: StudyDesign, requested: Collection[str] = ()) -> Iterator[Key]:
    """Every stage of the study, each after those that it depends on; of the methods on request, the requested ones."""
    part = [stage for stage in STAGES.values() if not stage.on_request or stage.method in requested]
    cell_stages = [stage for stage in part if stage.partitioned_by is Cell]
    yield BASE
    for repeat in range(1, design.repeats + 1):
        for dose in design.doses:
            yield STAGES["simulated_dataset"].key(design, Dose(dose, repeat))
            for cell in design_cells(design, dose, repeat):
                yield from (stage.key(design, cell) for stage in cell_stages)
    yield REPORT


def stage_of(key: Key) -> Stage:
    """The row of the table behind a stage. Raises ``KeyError`` if the study has no such stage."""
    for stage in STAGES.values():
        same = (stage.kind, stage.split or None) == (key.stage, key.split)
        if same and (not key.method or stage.method == key.method):
            return stage
    raise KeyError(key.label)


def upstream(design: StudyDesign, key: Key) -> tuple[Key, ...]:
    """Stages on whose results a stage depends directly, methods on request among them."""
    stage = stage_of(key)
    needed: list[Key] = [BASE] if stage.reads_base else []
    for asset in stage.needs:
        other = STAGES[asset]
        if key == REPORT:
            needed += other.keys(design)
        elif isinstance(key.at, Half):
            needed.append(other.key(design, key.at.cell))
        elif isinstance(key.at, Cell) and other.kind == "simulated":
            needed.append(other.key(design, key.at.whole_dose))
        elif other.kind == "base":
            needed.append(BASE)
        else:
            needed.append(other.key(design, key.at))
    return tuple(needed)


def optional(key: Key, other: Key) -> bool:
    """Whether a stage can do without one that it needs: a comparison without a method, a report without a cell."""
    return key.stage in ("comparison", "report") and other.stage not in ("base", "view")


def parameters(design: StudyDesign, key: Key) -> dict[str, Any]:
    """Exactly the design's values on which a stage depends; a change of any other leaves its results fresh."""
    return stage_of(key).settings(design, key)


def parameters_beside(design: StudyDesign, key: Key, record: StageRecord | None) -> dict[str, Any]:
    """As :func:`parameters`, or the record's own parameters if they equal today's after renaming.

    An older version recorded the same values under other names, or beside some that change nothing.
    """
    current = parameters(design, key)
    if record is None:
        return current
    then = recorded(record.parameters)
    unused = {name: None for name in then if name in current and current[name] is None}
    return dict(record.parameters) if then | unused == current else current


def code_version(key: Key) -> str:
    """Version of the code that makes a stage."""
    return stage_of(key).code_version


PARTITION_PARAMETERS: Final = frozenset(
    {"dose", "view", "split", "arm", "repeat", "overlap", "gridsize", "neighbor_count", "least_frames"}
)
"""Parameters that differ between the partitions of one asset."""


def asset_version(design: StudyDesign, stage: Stage) -> str:
    """Version of an asset for Dagster: its code, and the design values that all of its partitions depend on.

    So that Dagster too calls an asset out of date when the design has changed. What differs between partitions (the
    overlap of one view) does not change it: Dagster knows one version per asset.
    """
    values = stage.settings(design, next(stage.keys(design)))
    common = {name: value for name, value in values.items() if name not in PARTITION_PARAMETERS}
    return f"{stage.code_version}-{json_sha256(common)[:12]}"


def keys_of(design: StudyDesign, stage: Stage, at: Coordinates) -> Sequence[Key]:
    """The stages behind one partition of an asset, in every repeat of the study."""
    key = stage.key(design, at)
    if stage.partitioned_by not in (Dose, Cell):
        return [key]
    return [StageKey.from_dict({**key.to_dict(), "repeat": repeat}) for repeat in range(1, design.repeats + 1)]
