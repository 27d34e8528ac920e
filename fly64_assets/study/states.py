"""What of a study is there: its active base, and the state of every stage on disk.

Belongs here: records held against what would be built now. Does not belong here: the rules between stages
(``stages``), what is done about a state (``assets``, ``cli``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fly64_assets.errors import ArtifactError
from fly64_assets.store.artifacts import ArtifactStore, State
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.sidecars import EXTERNAL
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign, upgraded
from fly64_assets.study.layout import Layout, StageKey


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
    """State of the active base. A base that a user brought or chose stays, whatever the design says its base is.

    Raises
    ------
    ArtifactError
        If such a base is damaged: nothing else may silently take its place.
    """
    key = StageKey("base")
    active = store.active_base()
    if active is None:
        return State("missing", "no base yet", None)
    layout = store.layout(active.base_id)
    record = store.record(layout, key)
    pinned = active.origin in (stages.IMPORTED, stages.CHOSEN)
    if record is None or record.outcome != "succeeded":
        if pinned:
            raise ArtifactError(
                f"base {active.base_id}, the active one of study {store.study}, is missing or damaged: import its file "
                "again with `fly64 base import FILE`, or choose another with `fly64 base use ID`"
            )
        return State("missing", f"the record of base {active.base_id} is missing or damaged", record)
    inputs = {Path(name.removeprefix(EXTERNAL)): sha256 for name, sha256 in record.inputs.items()}
    expected: Mapping[str, Any] = {**record.parameters, "patch_size_pixels": design.patch_size_pixels}
    code_version = record.code_version
    if not pinned:
        expected, code_version = stages.parameters(design, key), stages.CODE_VERSIONS["base"]
        source = design.base_path
        if source is not None and source.is_file():
            inputs = {source: sha256_file(source)}
    return store.state(layout, key, inputs, expected, code_version=code_version, quick=quick)


def study_states(
    store: ArtifactStore, design: StudyDesign, *, quick: bool = False, arms: Sequence[str] = ()
) -> dict[StageKey, State]:
    """State of every stage, in the order of work; a stage after one that is out of date is out of date itself.

    Of the arms on request, those in ``arms`` are included, and what has run already.
    """
    states: dict[StageKey, State] = {}
    active = store.active_base()
    layout = store.layout(active.base_id) if active else None
    for key in stages.study_keys(design, stages.ALL_ARMS):
        unasked = key.arm in stages.ARMS_ON_REQUEST and key.arm not in arms
        if unasked and not (layout and layout.record(key).exists()):
            continue
        if key.stage == "base":
            states[key] = base_state(store, design, quick=quick)
        elif states[StageKey("base")].record is None:
            states[key] = State("missing", "waits for the base", None)
        else:
            states[key] = _state_after(store, design, key, states, quick)
    return states


def _state_after(
    store: ArtifactStore, design: StudyDesign, key: StageKey, states: Mapping[StageKey, State], quick: bool
) -> State:
    layout = active_layout(store)
    record = store.record(layout, key)
    for other in stages.upstream(design, key, stages.ALL_ARMS):
        if other not in states:
            continue  # nobody asked for this arm
        before = states[other]
        if before.done or (stages.optional(key) and other.stage not in ("base", "view") and before.name != "stale"):
            # An arm, or a cell, that is missing or failed leaves the others to compare and to report.
            continue
        if record is None:
            return State("missing", f"waits for {other.label}{_why(before)}", None)
        return State("stale", f"{other.label} is {before.name}{_why(before)}", record)
    wanted = stages.demand(store, layout, design, key)
    if wanted.waits_for:
        return State("missing", f"waits: {wanted.waits_for}", record)
    parameters = stages.parameters(design, key)
    if record is not None and upgraded(record.parameters)[0] == parameters:
        # An older version recorded the same values under other names, or beside some that change nothing.
        parameters = dict(record.parameters)
    return store.state(
        layout,
        key,
        wanted.inputs,
        parameters,
        code_version=stages.CODE_VERSIONS[key.stage],
        quick=quick,
    )


def _why(state: State) -> str:
    """The reason of a stage that failed or was damaged, in brackets; empty for others, which lead to one."""
    return f" ({state.reason})" if state.record is not None and state.name in ("failed", "missing") else ""
