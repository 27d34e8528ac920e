"""Overlap views: which frames of a split a view keeps, its measured overlap, its data file.

Belongs here: arrays in, arrays and documents out. Does not belong here: paths, Dagster. The geometry itself is
in ``physics.overlap``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import NpzWriter
from fly64_assets.contract.schema import FRAMES, PATCHES, Dataset, derive_metadata, small_arrays, transformation
from fly64_assets.physics.forward import blocks, exact_mean, exit_wave_energies
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.physics.overlap import BASELINE, compute_overlap_metrics, select_spaced
from fly64_assets.study.design import StudyDesign

PROBE_SOURCE: Final = "disc about the probe's centroid that holds half of its energy"
VIEW_GROUPS: Final = 512
"""Groups that the overlap metrics of a view sample."""


@dataclass(frozen=True)
class SplitView:
    """What a view does to one split.

    Attributes
    ----------
    view, split : str
    kept : (m,) int64
        Ascending frame indices within the split's file.
    metrics : dict or None
        Metrics document of the kept frames; None where the view is skipped.
    facts : dict
        Selection facts (strategy, threshold, offered, accepted, rejected).
    reason : str
        Why the view is skipped, with the measured numbers; empty where it exists.
    """

    view: str
    split: str
    kept: NDArray[np.int64]
    metrics: dict[str, Any] | None
    facts: dict[str, Any]
    reason: str

    @property
    def skipped(self) -> bool:
        """Whether the view does not exist for this split."""
        return bool(self.reason)


def split_view(dataset: Dataset, design: StudyDesign, dose: int, view: str, split: str) -> SplitView:
    """Apply a view of the design to one split; ``baseline`` keeps every frame."""
    coords = np.c_[dataset.x, dataset.y]
    facts: dict[str, Any]
    if view == BASELINE:
        kept = np.arange(len(coords), dtype=np.int64)
        facts = {"n_accepted": len(coords), "n_rejected": 0, "acceptance_rate": 1.0}
        details: dict[str, Any] = {}
    else:
        selection = select_spaced(coords, design.spacing_thresholds[view], design.patch_size_pixels)
        kept, facts = selection.kept, selection.to_dict()
        details = facts | selection.bounds()
    reason = _skip_reason(design, dose, view, split, len(kept), len(coords))
    metrics = None if reason else _metrics(coords[kept], dataset, design, view) | details
    return SplitView(view, split, kept, metrics, {"n_offered": len(coords), **facts}, reason)


def _skip_reason(design: StudyDesign, dose: int, view: str, split: str, kept: int, offered: int) -> str:
    least = design.least_frames(view)
    if kept >= least:
        return ""
    g = design.gridsize(view)
    where = f"dose_{dose}/{view}: {split}: "
    need = f"gridsize {g}" if least == g**2 else "min_view_frames"
    if view == BASELINE:
        return f"{where}the split has {kept} positions; {least} are needed for {need} (view skipped)"
    spacing = design.spacing_thresholds[view]
    return (
        f"{where}{kept} of {offered} positions are at least {spacing:g} px apart; {least} are needed for {need} "
        "(view skipped)"
    )


def _metrics(coords: NDArray[np.float64], dataset: Dataset, design: StudyDesign, view: str) -> dict[str, Any]:
    return compute_overlap_metrics(
        coords,
        design.gridsize(view),
        1.0,
        VIEW_GROUPS,
        design.neighbor_count,
        probe_diameter_px(dataset.probe),
        design.rng_seeds["subsampling"],
        probe_diameter_source=PROBE_SOURCE,
    )


def view_mean_counts(dataset: Dataset, kept: NDArray[np.int64]) -> float:
    """Expected photons per frame of the kept frames, from the truth and the photon scale of the data set."""
    energies = exit_wave_energies(dataset.object, dataset.probe, dataset.x[kept], dataset.y[kept])
    return dataset.intensity_scale**2 * exact_mean(energies)


def view_metadata(
    dataset: Dataset, selected: SplitView, design: StudyDesign, *, parameters_sha256: str
) -> dict[str, Any]:
    """The ``_metadata`` document of a spaced view's file: the history of its split and the selection."""
    parameters = {"view": selected.view, **selected.facts}
    return derive_metadata(
        dataset.metadata,
        transformation("view", parameters),
        physics={
            "gridsize": design.gridsize(selected.view),
            "neighbor_count": design.neighbor_count,
            "expected_mean_counts": view_mean_counts(dataset, selected.kept),
        },
        fields={"view": selected.view, "parameters_sha256": parameters_sha256},
    )


def write_view(dataset: Dataset, kept: NDArray[np.int64], file: BinaryIO, *, metadata: Mapping[str, Any]) -> None:
    """Write the kept frames as a DATA-001 file of their own, block by block."""
    with NpzWriter(file) as npz:
        shape = (len(kept), *dataset.diffraction.shape[1:])
        npz.add_blocks(FRAMES, shape, np.dtype(np.float32), _rows(dataset.diffraction, kept))
        if dataset.patches is not None:
            npz.add_blocks(PATCHES, shape, np.dtype(np.complex64), _rows(dataset.patches, kept))
        rest = small_arrays(
            dataset.object, dataset.probe, dataset.x[kept], dataset.y[kept], dataset.scan_index[kept], metadata
        )
        for name, array in rest.items():
            npz.add(name, array)


def _rows(frames: NDArray[Any], kept: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    for part in blocks(len(kept)):
        yield np.asarray(frames[kept[part]])
