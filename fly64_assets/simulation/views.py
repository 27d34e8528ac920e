"""Overlap views: which frames of a split a view keeps, its measured overlap, its data file.

Arrays in, arrays and documents out; no paths, no designs. The geometry itself is in ``physics.overlap``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.findings import ContractReport, Expectations
from fly64_assets.contract.metadata import FULL_SCAN_DOSE, derive_metadata, has_stand_in_object, transformation
from fly64_assets.contract.npz import write_data_set
from fly64_assets.contract.schema import Dataset, small_arrays
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import blocks, exact_mean, exit_wave_energies, patch_counts
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.physics.overlap import Selection, compute_overlap_metrics, select_spaced
from fly64_assets.physics.pages import release_pages
from fly64_assets.physics.probe_overlap import probe_diameters, select_by_overlap
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
    where = f"dose_{dose}/{rule.view}: {split}"
    if rule.keeps_all:
        kept, details = np.arange(len(coords), dtype=np.int64), {}
        facts: dict[str, Any] = {"n_accepted": len(coords), "n_rejected": 0, "acceptance_rate": 1.0}
        reason = _skip_reason(rule, where, len(kept), len(coords))
    else:
        selection, facts, reason = thinned(rule, coords, dataset.modes, where)
        kept, details = selection.kept, facts | selection.bounds()
    metrics = None if reason else _metrics(coords[kept], dataset, rule) | details
    return SplitView(rule.view, split, kept, metrics, {"n_offered": len(coords), **facts}, reason)


def thinned(
    rule: ViewRule, coords: NDArray[np.float64], probe: NDArray[np.complexfloating], where: str
) -> tuple[Selection, dict[str, Any], str]:
    """The selection of a view that thins positions (n, 2), its facts, and why it is skipped, empty if it is not."""
    if rule.probe_overlap is None:
        assert rule.spacing_px is not None
        selection = select_spaced(coords, rule.spacing_px, probe.shape[-1])
        return selection, selection.to_dict(), _skip_reason(rule, where, len(selection.kept), len(coords))
    diameter = probe_diameters(probe)[rule.probe_diameter]
    found = select_by_overlap(coords, rule.probe_overlap, diameter, probe.shape[-1])
    facts = found.to_dict() | {"probe_diameter": rule.probe_diameter}
    if found.short:
        reason = (
            f"{where}: nearest probes of all {len(coords)} positions overlap by {found.reached:.0%} of their diameter "
            f"of {diameter:.1f} px ({rule.probe_diameter}) on average, and the view asks for {found.target:.0%}: give "
            "the base more positions (view skipped)"
        )
    else:
        reason = _skip_reason(rule, where, len(found.selection.kept), len(coords))
    return found.selection, facts, reason


def _skip_reason(rule: ViewRule, where: str, kept: int, offered: int) -> str:
    if kept >= rule.least_frames:
        return ""
    need = f"{rule.least_frames} are needed for {rule.needed_for} (view skipped)"
    if rule.keeps_all:
        return f"{where}: the split has {kept} positions; {need}"
    if rule.spacing_px is None:
        return f"{where}: {kept} of {offered} positions are left at an overlap of {rule.probe_overlap:.0%}; {need}"
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


@dataclass(frozen=True)
class Exposure:
    """Frames of a view with more photons than those of the full scan, so that an object pixel gets as many.

    Attributes
    ----------
    dose : float
        Expected photons of the view's frames as the dose counts them: that of the full scan times the frames that were
        offered over those that were kept.
    scale : float
        s of its exit waves, in square roots of photons.
    seed, repeat : int
        They fix the noise, with the dose and the frame, as in ``simulation.frames``.
    """

    dose: float
    scale: float
    seed: int
    repeat: int

    def amplitude_blocks(self, dataset: Dataset, kept: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """Noisy amplitudes (b, N, N) float32 of the kept frames of a simulated data set, exposed anew, in order."""
        detector, key = Detector.of(dataset), round(self.dose)
        for part in blocks(len(kept)):
            index = kept[part]
            rates = patch_counts(dataset.object, dataset.modes, dataset.scan[index], self.scale)
            frames = np.asarray(dataset.scan_index[index], dtype=np.int64)
            counts = poisson_counts(rates, frames, self.seed, key, self.repeat)
            if detector is not None:
                counts = detector.record(counts, frames, self.seed, key, self.repeat)
            yield stored_amplitude(counts, self.scale)


def exposure(
    dataset: Dataset, rule: ViewRule, kept: NDArray[np.int64], *, dose: int, seed: int, repeat: int
) -> Exposure | None:
    """How the kept frames are exposed anew, None where they keep their photons (dose per frame, or all are kept)."""
    if not rule.keeps_photons or rule.keeps_all:
        return None
    more = dataset.frames / len(kept)
    return Exposure(dose * more, dataset.intensity_scale * math.sqrt(more), seed, repeat)


def view_metadata(
    dataset: Dataset, selected: SplitView, rule: ViewRule, *, parameters_sha256: str, exposed: Exposure | None = None
) -> dict[str, Any]:
    """The ``_metadata`` document of a spaced view's file: the processing steps so far, and this selection.

    ``parameters_sha256`` is the hash of the design fields on which the file depends.
    """
    scale = dataset.intensity_scale if exposed is None else exposed.scale
    physics: dict[str, Any] = {}
    steps = [transformation("view", {"view": selected.view, **selected.facts})]
    if exposed is not None:
        full = dataset.metadata["physics_parameters"]["nphotons"]
        physics = {"nphotons": exposed.dose, FULL_SCAN_DOSE: full, "intensity_scale": scale}
        steps.append(transformation("expose", {"dose": exposed.dose, "seed": exposed.seed, "repeat": exposed.repeat}))
    # A view for a network without groups may hold too few frames, or neighbours, for one.
    grouped = rule.gridsize == 1 or min(len(selected.kept), rule.neighbor_count) >= rule.gridsize**2
    return derive_metadata(
        dataset.metadata,
        *steps,
        physics=physics
        | {
            "gridsize": rule.gridsize if grouped else None,
            "neighbor_count": rule.neighbor_count,
            "expected_mean_counts": _expected_mean_counts(dataset, selected.kept, scale),
        },
        fields={"view": selected.view, "parameters_sha256": parameters_sha256},
    )


def _expected_mean_counts(dataset: Dataset, kept: NDArray[np.int64], scale: float) -> float:
    """Expected counts of a frame, averaged over the kept frames; without a known object the counts themselves."""
    if has_stand_in_object(dataset.metadata):
        measurement = dataset.measurement()
        return exact_mean(
            np.concatenate([measurement.counts(kept[part]).sum(axis=(1, 2)) for part in blocks(len(kept))])
        )
    scan, detector = dataset.scan[kept], Detector.of(dataset)
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
    exposed: Exposure | None = None,
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
    exposed : Exposure, optional
        How the frames are simulated anew with more photons; without it they are those of ``dataset``.

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
        _rows(dataset.diffraction, kept) if exposed is None else exposed.amplitude_blocks(dataset, kept),
        None if dataset.patches is None else _rows(dataset.patches, kept),
        where=f"view {metadata.get('view')}: {metadata.get('split')}",
        expected=expected,
    )


def _rows(frames: NDArray[Any], kept: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    for part in blocks(len(kept)):
        yield np.asarray(frames[kept[part]])
        release_pages(frames)
