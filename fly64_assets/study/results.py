"""One reconstruction of a study by method, dose, view and half of the scan, with the frames it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import Half
from fly64_assets.store.sidecars import input_name, verified
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import STAGES

_STAGES: Final = tuple(stage for stage in STAGES.values() if stage.kind in ("inference", "reconstruction"))
METHODS: Final = tuple(dict.fromkeys(stage.method for stage in _STAGES))
"""Every method that reconstructs."""


@dataclass(frozen=True)
class FoundReconstruction:
    """Files of a reconstruction, compared with their sidecars.

    ``stale`` says why it is out of date, empty where it is not; ``label`` names it for humans.
    """

    result: Path
    frames: Path
    label: str
    stale: str


def find_reconstruction(store: ArtifactStore, design: StudyDesign, method: str, half: Half) -> FoundReconstruction:
    """The reconstruction of a half of a cell by ``method``, on the active base.

    Raises :class:`ArtifactError` if there is none, if a file is damaged, or if the frames are no longer those from
    which it was made.
    """
    stage = next(one for one in _STAGES if one.method == method and one.split in ("", half.split))
    key, layout = stage.key(design, half.cell), active_layout(store)
    state = study_states(store, design, quick=True).get(key)
    if state is None or state.record is None or state.record.outcome != "succeeded":
        why = f" ({state.reason})" if state is not None and state.reason else ""
        raise ArtifactError(
            f"{key.label} has no result{why}: build it with `fly64 run`; `fly64 status` shows what is there"
        )
    result = layout.result(key, half.split) if key.split is None else layout.result(key)
    frames = layout.view_frames(half)
    verified(result)
    if state.record.inputs.get(input_name(layout, frames)) != verified(frames).sha256:
        raise ArtifactError(
            f"{key.label} was made from other frames than those in {frames}: build it again with `fly64 run`"
        )
    return FoundReconstruction(result, frames, key.label, state.reason if state.name == "stale" else "")
