"""What of a study is on disk: its active base, and the state of every stage.

Does not belong here: the rules between stages (``study.stages``), what is done about a state (``assets``, ``cli``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fly64_assets.errors import ArtifactError
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.artifacts import CHOSEN, IMPORTED, ArtifactStore, Inputs, State
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE, REPORT, Cell, Dose, Half
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord, failed_rebuild
from fly64_assets.store.sidecars import EXTERNAL
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import ON_REQUEST, TRAIN, Key


def active_layout(store: ArtifactStore) -> Layout:
    """Layout of the active base. Raises :class:`ArtifactError` where there is none yet."""
    active = store.active_base()
    if active is None:
        raise ArtifactError(
            f"study {store.study} has no base yet in {store.folder}: materialise base_dataset, "
            "or run `fly64 base import FILE`"
        )
    return store.layout(active.base_id)


def base_state(store: ArtifactStore, design: StudyDesign, *, quick: bool = False) -> State:
    """State of the active base. A base that a user imported or chose stays active, also if the design names another.

    Raises :class:`ArtifactError` if such a base is damaged: no other base may silently replace it.
    """
    active = store.active_base()
    if active is None:
        return State("missing", "no base yet", None)
    layout = store.layout(active.base_id)
    record = store.record(layout, BASE)
    pinned = active.origin in (IMPORTED, CHOSEN)
    if record is None or record.outcome != "succeeded":
        if pinned:
            raise ArtifactError(
                f"base {active.base_id}, the active one of study {store.study}, is missing or damaged: import its file "
                "again with `fly64 base import FILE`, or choose another with `fly64 base use ID`"
            )
        return State("missing", f"the record of base {active.base_id} is missing or damaged", record)
    why = unfit_base(design, layout, record) if pinned else ""
    if why:
        return State("stale", why, record)
    inputs = {Path(name.removeprefix(EXTERNAL)): sha256 for name, sha256 in record.inputs.items()}
    expected: Mapping[str, Any] = {**record.parameters, "patch_size_pixels": design.patch_size_pixels}
    code_version = record.code_version
    if not pinned:
        expected, code_version = stages.parameters(design, BASE), stages.code_version(BASE)
        source = design.base_path
        if source is not None and source.is_file():
            inputs = {source: sha256_file(source)}
    return store.state(layout, BASE, inputs, expected, code_version=code_version, quick=quick)


def unfit_base(design: StudyDesign, layout: Layout, record: StageRecord) -> str:
    """Why a base cannot be that of a study of measured frames as it is, and what to do; empty for one that can be.

    A base with frames serves a study of simulated ones: it has an object, a probe and positions.
    """
    if not design.of_measured_frames:
        return ""
    again = "`fly64 base import FRAMES`"
    if layout.measured_frames.name not in record.outputs:
        return (
            f"base {layout.base_id} holds no measured frames, and study {design.name} is one of measured frames "
            f"(scan: measured): import them with {again}"
        )
    now, then = design.measured.calibration(), record.parameters.get("calibration", {})
    changed = [
        f"measured.{name} ({then.get(name)} then, {value} now)"
        for name, value in now.items()
        if then.get(name) != value
    ]
    if changed:
        return (
            f"the frames of base {layout.base_id} were calibrated with other settings: {', '.join(changed)}; import "
            f"them again with {again}"
        )
    return ""


def study_states(
    store: ArtifactStore, design: StudyDesign, *, quick: bool = False, methods: Collection[str] = ()
) -> dict[Key, State]:
    """State of every stage, in the order of work; a stage after one that is out of date is out of date itself.

    Of the methods on request, those in ``methods`` are included, and what has run already.
    """
    states: dict[Key, State] = {}
    active = store.active_base()
    layout = store.layout(active.base_id) if active else None
    for key in stages.study_keys(design, ON_REQUEST):
        requested = not stages.stage_of(key).on_request or key.method in methods
        if not requested and not (layout and layout.record(key).exists()):
            continue
        if key == BASE:
            states[key] = base_state(store, design, quick=quick)
        elif layout is None or states[BASE].record is None:
            states[key] = State("missing", "waits for the base", None)
        else:
            states[key] = _state_after(store, layout, design, key, states, quick)
    return states


def _state_after(
    store: ArtifactStore, layout: Layout, design: StudyDesign, key: Key, states: Mapping[Key, State], quick: bool
) -> State:
    record = store.record(layout, key)
    for other in stages.upstream(design, key):
        if other not in states:
            continue  # an optional method that was not requested
        before = states[other]
        left_out = before.name != "stale" or failed_since(store, layout, design, key, other)
        if before.done or (stages.optional(key, other) and left_out):
            # A method, or a cell, that is missing or failed leaves the others to compare and to report.
            continue
        if record is None:
            return State("missing", f"waits for {other.label}{_why(before)}", None)
        return State("stale", f"{other.label} is {before.name}{_why(before)}", record)
    wanted = expected(store, layout, design, key)
    if wanted.waits_for:
        return State("missing", f"waits: {wanted.waits_for}", record)
    parameters, version = stages.parameters_beside(design, key, record), stages.code_version(key)
    return store.state(layout, key, wanted.inputs, parameters, code_version=version, quick=quick)


def _why(state: State) -> str:
    """The reason of a stage that failed or was damaged, in brackets; empty for others, which lead to one."""
    return f" ({state.reason})" if state.record is not None and state.name in ("failed", "missing") else ""


@dataclass(frozen=True)
class Expected:
    """What a stage would work from now.

    ``inputs`` are the files to read (each verified against its sidecar by the store), or what a skip rests on; ``skip``
    says why the stage cannot exist, repeated from upstream; ``waits_for`` says what has to be built before.
    """

    inputs: Inputs = ()
    skip: str = ""
    waits_for: str = ""


def expected(store: ArtifactStore, layout: Layout, design: StudyDesign, key: Key) -> Expected:
    """What ``key`` would work from, given the records on disk."""
    records: dict[Key, StageRecord] = {}
    for other in stages.upstream(design, key):
        record = store.record(layout, other)
        if failed_since(store, layout, design, key, other):
            continue
        if record is not None and record.outcome != "failed":
            records[other] = record
        elif not stages.optional(key, other):
            why = f"failed ({record.reason})" if record else "has no valid result"
            return Expected(waits_for=f"{other.label} {why}; run it first")
    if key == REPORT:
        return Expected({layout.record(other): record.data_sha256 for other, record in records.items()})
    for other, record in records.items():
        reason = "" if stages.optional(key, other) else _skip_reason(key, record)
        if reason:
            return Expected({layout.record(other): record.data_sha256}, skip=reason)
    return Expected(tuple(dict.fromkeys(_files(layout, design, key, records))))


def failed_since(store: ArtifactStore, layout: Layout, design: StudyDesign, key: Key, other: Key) -> str:
    """Why a comparison leaves out a method whose result is out of date: building it again failed; empty for none.

    The same holds where building a stage that the method needs failed, as the training of its network. A result that is
    what the design asks for is compared, although building it once more failed.
    """
    if key.stage != "comparison" or not stages.optional(key, other):
        return ""
    for one in (other, *(needed for needed in stages.upstream(design, other) if needed.method)):
        failure = failed_rebuild(layout, one)
        if failure:
            inputs = expected(store, layout, design, one).inputs
            parameters = stages.parameters_beside(design, one, store.record(layout, one))
            version = stages.code_version(one)
            if not store.state(layout, one, inputs, parameters, code_version=version, quick=True).done:
                return failure if one == other else f"{one.label}: {failure}"
    return ""


def existing_splits(view: StageRecord) -> tuple[str, ...]:
    """Splits for which a view exists."""
    return tuple(split for split in SPLITS if view.values["splits"][split]["outcome"] == "succeeded")


def _skip_reason(key: Key, upstream_record: StageRecord) -> str:
    """Why a stage cannot exist, as the record of one that it needs says; empty if that does not prevent it."""
    if upstream_record.outcome == "skipped":
        return upstream_record.reason
    half = key.split or (TRAIN if key.method else "")
    if upstream_record.key.stage == "view" and half:
        facts = upstream_record.values["splits"][half]
        return str(facts["reason"]) if facts["outcome"] == "skipped" else ""
    return ""


def _files(layout: Layout, design: StudyDesign, key: Key, records: Mapping[Key, StageRecord]) -> Iterator[Path]:
    """Files that a stage reads, given the records of what it needs."""
    at = key.at
    yield from _base_files(layout, design, key, records)
    if key.stage in ("view", "comparison") and isinstance(at, Cell):
        yield from (layout.patched(at.whole_dose, split) for split in SPLITS)
    cell = at.cell if isinstance(at, Half) else at
    if not isinstance(cell, Cell) or key.stage == "view":
        return
    for other, record in records.items():
        if other.stage == "view":
            splits = (key.split,) if key.split else (TRAIN,) if key.stage == "training" else existing_splits(record)
            yield from (layout.view_frames(cell.half(split)) for split in splits)
            if key.stage == "comparison":
                yield from (layout.view_metrics(cell.half(split)) for split in splits)
        elif other.stage == "training":
            yield layout.result(other)
        elif other.stage == "inference" and key.split:
            yield layout.result(other, key.split)
            pairs = layout.pairs(other, key.split)
            if pairs.relative_to(layout.folder).as_posix() in record.outputs:
                yield pairs
        elif other.method and record.outcome == "succeeded":
            yield from (layout.folder / name for name in record.outputs if name.endswith(".npz"))


def _base_files(layout: Layout, design: StudyDesign, key: Key, records: Mapping[Key, StageRecord]) -> Iterator[Path]:
    """Files of the base that a stage reads; a dose of measured frames is made without its reference object."""
    if isinstance(key.at, Dose) or key.stage == "comparison":
        measured = design.of_measured_frames and layout.measured_frames.name in records[BASE].outputs
        if measured:
            yield layout.measured_frames
        if key.stage == "comparison" or not measured:
            yield layout.base
