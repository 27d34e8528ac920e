"""Overlap views: which frames of a split a view keeps, its measured overlap, its data file.

Arrays in, arrays and documents out; no paths, no designs. The geometry itself is in ``physics.overlap``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.findings import ContractReport, Expectations
from fly64_assets.contract.metadata import derive_metadata, has_stand_in_object, transformation
from fly64_assets.contract.npz import write_data_set
from fly64_assets.contract.schema import Dataset, small_arrays
from fly64_assets.physics.forward import blocks, exact_mean, exit_wave_energies
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.physics.overlap import compute_overlap_metrics, select_spaced
from fly64_assets.simulation.detector import Detector
from fly64_assets.simulation.recipe import ViewRule

PROBE_SOURCE: Final = "disc about the probe's centroid that holds half of its energy"
VIEW_GROUPS: Final = 512
"""Groups that the overlap metrics of a view sample."""


@dataclass(frozen=True)
class SplitView:
    """What a view does to one split.

    ``kept`` (m,) int64 are ascending frame indices within the split's file; ``metrics`` is the metrics document of the
    kept frames, None where the view is skipped; ``facts`` are those of the selection (strategy, threshold, offered,
    accepted, rejected); ``reason`` says with the measured numbers why the view is skipped, empty where it exists.
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


def split_view(dataset: Dataset, rule: ViewRule, dose: int, split: str) -> SplitView:
    """Apply a view to one split; ``dose`` [photons per frame] and ``split`` name it in the reason of a skip."""
    coords = np.c_[dataset.x, dataset.y]
    if rule.spacing_px is None:
        kept, details = np.arange(len(coords), dtype=np.int64), {}
        facts: dict[str, Any] = {"n_accepted": len(coords), "n_rejected": 0, "acceptance_rate": 1.0}
    else:
        selection = select_spaced(coords, rule.spacing_px, len(dataset.probe))
        kept, facts = selection.kept, selection.to_dict()
        details = facts | selection.bounds()
    reason = _skip_reason(rule, f"dose_{dose}/{rule.view}: {split}", len(kept), len(coords))
    metrics = None if reason else _metrics(coords[kept], dataset, rule) | details
    return SplitView(rule.view, split, kept, metrics, {"n_offered": len(coords), **facts}, reason)


def _skip_reason(rule: ViewRule, where: str, kept: int, offered: int) -> str:
    if kept >= rule.least_frames:
        return ""
    need = f"{rule.least_frames} are needed for {rule.needed_for} (view skipped)"
    if rule.spacing_px is None:
        return f"{where}: the split has {kept} positions; {need}"
    return f"{where}: {kept} of {offered} positions are at least {rule.spacing_px:g} px apart; {need}"


def _metrics(coords: NDArray[np.float64], dataset: Dataset, rule: ViewRule) -> dict[str, Any]:
    return compute_overlap_metrics(
        coords,
        rule.gridsize if len(coords) >= rule.gridsize**2 else 1,
        s_img=1.0,
        n_groups=VIEW_GROUPS,
        neighbor_count=rule.neighbor_count,
        probe_diameter_px=probe_diameter_px(dataset.modes),
        rng_seed_subsample=rule.seed,
        probe_diameter_source=PROBE_SOURCE,
    )


def view_metadata(dataset: Dataset, selected: SplitView, rule: ViewRule, *, parameters_sha256: str) -> dict[str, Any]:
    """The ``_metadata`` document of a spaced view's file: the processing steps so far, and this selection.

    ``parameters_sha256`` is the hash of the design fields on which the file depends.
    """
    # A view for a network without groups may hold too few frames, or neighbours, for one.
    grouped = rule.gridsize == 1 or min(len(selected.kept), rule.neighbor_count) >= rule.gridsize**2
    return derive_metadata(
        dataset.metadata,
        transformation("view", {"view": selected.view, **selected.facts}),
        physics={
            "gridsize": rule.gridsize if grouped else None,
            "neighbor_count": rule.neighbor_count,
            "expected_mean_counts": _expected_mean_counts(dataset, selected.kept),
        },
        fields={"view": selected.view, "parameters_sha256": parameters_sha256},
    )


def _expected_mean_counts(dataset: Dataset, kept: NDArray[np.int64]) -> float:
    """Expected counts of a frame, averaged over the kept frames; without a known object the counts themselves."""
    if has_stand_in_object(dataset.metadata):
        measurement = dataset.measurement()
        return exact_mean(
            np.concatenate([measurement.counts(kept[part]).sum(axis=(1, 2)) for part in blocks(len(kept))])
        )
    scan, scale, detector = dataset.scan[kept], dataset.intensity_scale, Detector.of(dataset)
    if detector is not None:
        return detector.mean_counts(dataset.object, dataset.modes, scan, scale)
    return scale**2 * exact_mean(exit_wave_energies(dataset.object, dataset.modes, scan))


def write_view(
    dataset: Dataset,
    kept: NDArray[np.int64],
    file: BinaryIO,
    *,
    metadata: Mapping[str, Any],
    expected: Expectations | None = None,
) -> ContractReport:
    """Write the kept frames as a DATA-001 file of their own, block by block, and judge what was written.

    Returns the findings. Raises :class:`ContractError` if the written file breaks DATA-001.

    Parameters
    ----------
    dataset : Dataset
        The frames to choose from.
    kept : (m,) int64
        Indices of the frames to write.
    file : BinaryIO
        A new file on disk, open for writing.
    metadata, expected
        The new file's ``_metadata`` document (:func:`view_metadata`), and what the study expects of its data sets.

    """
    scan_index = dataset.scan_index[kept]
    return write_data_set(
        file,
        small_arrays(
            dataset.object,
            dataset.modes,
            dataset.x[kept],
            dataset.y[kept],
            scan_index,
            metadata,
            bad_pixels=dataset.bad_pixels,
        ),
        _rows(dataset.diffraction, kept),
        None if dataset.patches is None else _rows(dataset.patches, kept),
        where=f"view {metadata.get('view')}: {metadata.get('split')}",
        expected=expected,
    )


def _rows(frames: NDArray[Any], kept: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    for part in blocks(len(kept)):
        yield np.asarray(frames[kept[part]])
