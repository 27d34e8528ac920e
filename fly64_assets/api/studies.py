"""The results of a study: its cells, their scores, its reconstructions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import load_base, load_measurement, open_npz
from fly64_assets.errors import ArtifactError
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import Cell
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import root_folder
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.results import find_reconstruction
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import STAGES

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("dose", "view", "repeat", "split", "method", "part", "metric", "value", "reason")


@dataclass(frozen=True)
class FoundObject:
    """A reconstruction of a study.

    Attributes
    ----------
    object : (H, W) complex64
        On the grid of the study's object.
    coverage : (H, W) float
        Illumination by the frames that it was found from.
    measurement : Measurement
        These frames.
    label : str
        What it is, for humans.
    stale : str
        Why it is out of date; empty where it is not.
    """

    object: NDArray[np.complex64]
    coverage: NDArray[np.floating]
    measurement: Measurement
    label: str
    stale: str


@dataclass(frozen=True)
class Study:
    """A study on disk, on its active base; files are compared with their SHA256 when they are read."""

    design: StudyDesign
    store: ArtifactStore

    def cells(self) -> pd.DataFrame:
        """All cells: place, ``state`` of the comparison, and the ``reason`` where it is not fresh."""
        import pandas as pd

        states = study_states(self.store, self.design, quick=True)
        rows = [
            (key.dose, key.view, key.repeat, state.name, state.reason)
            for key, state in states.items()
            if key.stage == "comparison"
        ]
        return pd.DataFrame(rows, columns=["dose", "view", "repeat", "state", "reason"])

    def scores(self) -> pd.DataFrame:
        """Every score of every cell that was compared, a row each: place, method, part, metric, value, and reason.

        Raises :class:`ArtifactError` where no cell was compared yet.
        """
        import pandas as pd

        rows = list(self._scores())
        if not rows:
            raise ArtifactError(
                f"study {self.design.name} has no comparison in {self.store.folder}: build it with `fly64 run`"
            )
        return pd.DataFrame(rows, columns=list(SCORES))

    def reconstruction(
        self, method: str, dose: int, view: str = "baseline", split: str = JUDGED_SPLIT, repeat: int = 1
    ) -> FoundObject:
        """The object that a method found in one half of a cell. Raises :class:`ArtifactError` if there is none."""
        half = Cell(dose, view, repeat).half(split)
        found = find_reconstruction(self.store, self.design, method, half)
        arrays = open_npz(found.result)
        measurement = load_measurement(found.frames)
        return FoundObject(arrays["reconstructed_object"], arrays["coverage"], measurement, found.label, found.stale)

    def truth(self) -> NDArray[np.complex64]:
        """The object (H, W) that the study simulates. Raises :class:`ArtifactError` for a study of measured frames."""
        if self.design.of_measured_frames:
            raise ArtifactError(f"study {self.design.name} is of measured frames, and their object is not known")
        layout = active_layout(self.store)
        verified(layout.base)
        return load_base(layout.base).object

    def _scores(self) -> Iterator[tuple[Any, ...]]:
        layout = active_layout(self.store)
        for key in STAGES["comparison"].keys(self.design):
            path = layout.output(key, "comparison.json")
            record = self.store.record(layout, key)
            if record is None or path.relative_to(layout.folder).as_posix() not in record.outputs:
                continue
            verified(path)
            document = json.loads(path.read_text(encoding="utf-8"))
            for split, part in document["splits"].items():
                for row in part.get("rows", ()):
                    scores = (row["arm"], row["part"], row["metric"], row["value"], row["reason"])
                    yield (key.dose, key.view, key.repeat, split, *scores)


def open_study(study: str | Path = "demo", data_root: str | Path = "data") -> Study:
    """A study whose results are under ``data_root``.

    Parameters
    ----------
    study : str or Path
        A shipped design by name, or the path of a YAML file.
    data_root : str or Path
        A folder, or a URL ``s3://BUCKET/PREFIX``.

    Raises
    ------
    DesignError
        If there is no such design, or it is not valid.
    ArtifactError
        If the folder holds no base of this study.

    Examples
    --------
    >>> open_study("demo", "no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fly64_assets.errors.ArtifactError: study demo has no base yet in ...: materialise base_dataset, or run ...
    """
    design = load_design(study)
    store = ArtifactStore(root_folder(data_root), design.name)
    active_layout(store)
    return Study(design, store)


def show(obj: NDArray[np.complexfloating], coverage: NDArray[np.floating] | None = None) -> Any:
    """A figure of amplitude and phase of an object (H, W), where ``coverage`` is more than 2 % of its largest value.

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it; ``figure.savefig("object.png")`` writes it.

    Examples
    --------
    >>> figure = show(np.exp(0.3j * np.eye(64)))
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['amplitude', 'phase [rad]']
    """
    from matplotlib.figure import Figure

    from fly64_assets.engines.figures import draw_object, illuminated, png

    class Shown(Figure):
        """A figure that a notebook shows also where pyplot, which teaches it figures, has not drawn one before."""

        def _repr_png_(self) -> bytes:
            return png(self)

    mask = np.ones(obj.shape, np.bool_) if coverage is None else illuminated(coverage)
    figure = Shown(figsize=(8, 3.6), layout="constrained")
    draw_object(figure, figure.subplots(1, 2), obj, mask)
    return figure
