"""Overlap of a scan: which positions a spaced view keeps, and how much the kept windows really overlap.

Everything here is linear or n log n in the number of positions; no all-pairs matrix is ever formed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

BASELINE: Final = "baseline"
"""The view that keeps every position."""

METRICS_VERSION: Final = "1.0"
GROUP_SEED: Final = 42
ASSUMED_DIAMETER_FRACTION: Final = 0.6
"""Probe diameter as a fraction of N where no probe is given."""
LEAST_DIAMETER_PX = 0.1
MOST_DIAMETER_PX = 1e6
"""Diameters [px] outside of which no probe can be meant."""

AT_A_TIME: Final = 2**14
"""Positions that are Python numbers at the same time."""

COUNTED: Final = {
    "metric_1_group_based_avg": "each frame of a group of four with its {neighbors} nearest in the group",
    "metric_2_image_based_avg": "each frame with its {neighbors} nearest frames",
    "metric_3_group_to_group_avg": "the centre of each group with those of the groups that it overlaps",
}
"""What each metric of a metrics document averages: the area that two discs share, as a fraction of one disc."""


@dataclass(frozen=True)
class Selection:
    """Which positions of a split a spaced view keeps.

    ``kept`` holds ascending indices; ``spacing_threshold`` is in pixels; the two acceptance figures are
    diagnostics of packing, not promises.
    """

    kept: NDArray[np.int64]
    offered: int
    spacing_threshold: float
    geometry_acceptance_bound: float
    effective_min_acceptance: float

    def to_dict(self) -> dict[str, Any]:
        """Facts of the selection for a metrics document."""
        return {
            "selection_strategy": "greedy",
            "spacing_threshold": self.spacing_threshold,
            "n_accepted": len(self.kept),
            "n_rejected": self.offered - len(self.kept),
            "acceptance_rate": len(self.kept) / self.offered if self.offered else 0.0,
        }

    def bounds(self) -> dict[str, float]:
        """The two diagnostics of packing, by their names in a metrics document."""
        return {
            "geometry_acceptance_bound": self.geometry_acceptance_bound,
            "effective_min_acceptance": self.effective_min_acceptance,
        }


def acceptance_bounds(coords: NDArray[np.float64], spacing: float) -> tuple[float, float]:
    """Geometric bound on the accepted fraction, and four fifths of it, at least 0.0005.

    bound = min(bounding box area / (n pi (S/2)^2), 0.10); least fraction = max(0.0005, 0.8 bound).
    """
    if len(coords) == 0:
        return 0.0, 0.0005
    extent = coords.max(axis=0) - coords.min(axis=0)
    area = float(extent[0] * extent[1])
    bound = min(area / (len(coords) * math.pi * (spacing / 2) ** 2), 0.10)
    return bound, max(0.0005, 0.80 * bound)


def select_spaced(coords: NDArray[np.float64], spacing: float, patch_size: int) -> Selection:
    """Keep a maximal set of positions whose mutual distance is at least ``spacing``: no other could be added.

    Positions are visited by y, then x, and one is kept that is far enough from all kept ones.

    The columns of ``coords`` (n, 2) float64 are x and y [px], ``spacing`` is the threshold S = (1 - f) N [px] for
    windows of side N; S - 1e-9 N is applied, so that rounding of S excludes nobody.
    """
    if not spacing > 0:
        raise ValueError(f"spacing = {spacing} px: must be positive")
    kept = _far_apart(coords, spacing - 1e-9 * patch_size)
    return Selection(kept, len(coords), spacing, *acceptance_bounds(coords, spacing))


def _far_apart(coords: NDArray[np.float64], limit: float) -> NDArray[np.int64]:
    if len(coords) == 0 or limit <= 0:
        return np.arange(len(coords), dtype=np.int64)
    # The diagonal of a square, 0.85 limits, leaves room for one kept position, and two squares further are more than
    # a limit away: 5 x 5 squares hold every possible conflict, whatever is rounded.
    squares = np.floor((coords - coords.min(axis=0)) / (0.6 * limit)).astype(np.int64)
    stride = int(squares[:, 0].max()) + 5
    near = [j * stride + i for j in range(-2, 1) for i in range(-2, 3)]
    held: dict[int, tuple[float, float]] = {}
    kept: list[int] = []
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    for start in range(0, len(order), AT_A_TIME):
        part = order[start : start + AT_A_TIME]
        listed = zip(part.tolist(), squares[part].tolist(), coords[part].tolist(), strict=True)
        for index, (column, row), (x, y) in listed:
            key = row * stride + column
            for step in near:
                other = held.get(key + step)
                if other is not None and math.hypot(x - other[0], y - other[1]) < limit:
                    break
            else:
                held[key] = (x, y)
                kept.append(index)
    return np.sort(np.asarray(kept, dtype=np.int64))


def disc_overlap(distance: NDArray[np.float64] | float, diameter: float) -> NDArray[np.float64]:
    """Common area of two discs of equal diameter, as a fraction of one disc; 0 where they do not touch."""
    radius = diameter / 2
    d = np.minimum(np.asarray(distance, dtype=np.float64), diameter)
    area = 2 * radius**2 * np.arccos(d / diameter) - (d / 2) * np.sqrt(np.maximum(4 * radius**2 - d**2, 0))
    fraction: NDArray[np.float64] = np.where(d < diameter, area / (np.pi * radius**2), 0.0)
    return fraction


def compute_overlap_metrics(
    coords: NDArray[np.float64],
    gridsize: int,
    s_img: float,
    n_groups: int,
    neighbor_count: int = 6,
    probe_diameter_px: float | None = None,
    rng_seed_subsample: int | None = None,
    *,
    probe_diameter_source: str = "argument",
    patch_size: int | None = None,
) -> dict[str, Any]:
    """Measured overlap of the probe's disc at a set of positions, as the metrics document of a view.

    All metrics are areas that discs of the probe's diameter share (:func:`counted` says which discs); the windows of
    N x N pixels, by whose overlap a view is named, do not enter.

    Parameters
    ----------
    coords : (n, 2) float64 [px]
        Columns x, y.
    gridsize : 1 or 2
        2 adds metric 1, the overlap inside groups of four neighbouring frames.
    s_img : float in (0, 1]
        Fraction of the images to use, drawn without replacement with ``rng_seed_subsample``.
    n_groups : int
        Groups to form; every position begins one at most.
    neighbor_count : int
        K, the nearest neighbours that count.
    probe_diameter_px : float, optional
        Disc diameter D; ``0.6 * patch_size`` where none is known (then ``patch_size`` is required).

    Raises
    ------
    ValueError
        For arguments outside their range, no positions, or fewer than 4 images at gridsize 2.
    """
    diameter = probe_diameter_px
    source = probe_diameter_source
    if diameter is None:
        if patch_size is None:
            raise ValueError("probe diameter unknown: give probe_diameter_px, or patch_size to assume 0.6 N")
        diameter, source = ASSUMED_DIAMETER_FRACTION * patch_size, "0.6 N (no probe at hand)"
    coords = np.asarray(coords, dtype=np.float64)
    _check_arguments(coords, gridsize, s_img, n_groups, neighbor_count, diameter)
    total = len(coords)
    images = subsample(coords, s_img, rng_seed_subsample)
    if gridsize == 2 and len(images) < 4:
        raise ValueError(f"gridsize 2 needs at least 4 images; {len(images)} are left of {total}")
    groups = _groups(images, gridsize, n_groups)
    unique = np.unique(images, axis=0)
    document: dict[str, Any] = {
        "metrics_version": METRICS_VERSION,
        "gridsize": gridsize,
        "s_img": s_img,
        "n_groups": n_groups,
        "neighbor_count": neighbor_count,
        "probe_diameter_px": diameter,
        "probe_diameter_source": source,
        "rng_seed_subsample": rng_seed_subsample,
    }
    if gridsize == 2:
        document["metric_1_group_based_avg"] = _within_groups(images, groups, neighbor_count, diameter)
    document |= {
        "metric_2_image_based_avg": _between_images(unique, neighbor_count, diameter),
        "metric_3_group_to_group_avg": _between_groups(images[groups].mean(axis=1), diameter),
        "n_images_total": total,
        "n_images_subsampled": len(images),
        "n_unique_images": len(unique),
        "n_groups_actual": len(groups),
        # Only a selection by spacing has these; it fills them in.
        "geometry_acceptance_bound": None,
        "effective_min_acceptance": None,
    }
    return document


def counted(document: Mapping[str, Any], metric: str = "metric_2_image_based_avg") -> str:
    """What a metric of a metrics document says, for readers: whose overlap, and with which neighbours.

    Examples
    --------
    >>> document = {"neighbor_count": 7, "n_unique_images": 28, "probe_diameter_px": 21.32}
    >>> counted(document)
    'mean area shared by probe discs 21.3 px wide: each frame with its 7 nearest frames'
    """
    frames = 4 if metric == "metric_1_group_based_avg" else document["n_unique_images"]
    neighbors = min(document["neighbor_count"], frames - 1)
    pairs = COUNTED[metric].format(neighbors=neighbors)
    return f"mean area shared by probe discs {document['probe_diameter_px']:.1f} px wide: {pairs}"


def subsample(coords: NDArray[np.float64], s_img: float, seed: int | None) -> NDArray[np.float64]:
    """Fraction ``s_img`` of the positions, drawn without replacement and kept in their order."""
    n = len(coords)
    chosen = np.random.default_rng(seed).choice(n, max(1, round(s_img * n)), replace=False)
    return coords[np.sort(chosen)]


def _check_arguments(
    coords: NDArray[np.float64], gridsize: int, s_img: float, n_groups: int, neighbor_count: int, diameter: float
) -> None:
    if coords.ndim != 2 or coords.shape[1:] != (2,) or len(coords) == 0:
        raise ValueError(f"coords of shape {coords.shape}: expected (n, 2) with n >= 1")
    if not np.isfinite(coords).all():
        raise ValueError("coords hold NaN or infinite values")
    if gridsize not in (1, 2):
        raise ValueError(f"gridsize = {gridsize}: must be 1 or 2")
    if not 0 < s_img <= 1:
        raise ValueError(f"s_img = {s_img}: must be in (0, 1]")
    if n_groups < 1:
        raise ValueError(f"n_groups = {n_groups}: must be at least 1")
    if neighbor_count < 1:
        raise ValueError(f"neighbor_count = {neighbor_count}: must be at least 1")
    if not LEAST_DIAMETER_PX <= diameter <= MOST_DIAMETER_PX:
        raise ValueError(
            f"probe_diameter_px = {diameter:g}: must be in [{LEAST_DIAMETER_PX:g}, {MOST_DIAMETER_PX:,.0f}]"
        )


def _groups(images: NDArray[np.float64], gridsize: int, n_groups: int) -> NDArray[np.int64]:
    """Member indices (groups, gridsize^2): seed images at distinct positions, each with its nearest others."""
    n = len(images)
    seeds = np.random.default_rng(GROUP_SEED).choice(n, min(n, n_groups), replace=False)
    # A second group about the same position would be a copy of the first, and count as its neighbour.
    seeds = seeds[np.sort(np.unique(images[seeds], axis=0, return_index=True)[1])]
    if gridsize == 1:
        return seeds[:, None]
    return np.asarray(scipy.spatial.cKDTree(images).query(images[seeds], k=4)[1], dtype=np.int64)


def _within_groups(
    images: NDArray[np.float64], groups: NDArray[np.int64], neighbor_count: int, diameter: float
) -> float:
    members = images[groups]
    distance = np.linalg.norm(members[:, :, None] - members[:, None, :], axis=-1)
    others = ~np.eye(members.shape[1], dtype=bool)
    nearest = np.sort(distance[:, others].reshape(*members.shape[:2], -1), axis=-1)[..., :neighbor_count]
    return float(disc_overlap(nearest, diameter).mean(axis=-1).mean())


def _between_images(unique: NDArray[np.float64], neighbor_count: int, diameter: float) -> float:
    if len(unique) <= 1:
        return 0.0
    nearest = min(neighbor_count, len(unique) - 1)
    distance = np.asarray(scipy.spatial.cKDTree(unique).query(unique, k=nearest + 1)[0])[:, 1:]
    return float(disc_overlap(distance, diameter).mean(axis=1).mean())


def _between_groups(centroids: NDArray[np.float64], diameter: float) -> float:
    if len(centroids) <= 1:
        return 0.0
    tree = scipy.spatial.cKDTree(centroids)
    total = 0.0
    # Neighbour lists in pieces keep the memory linear even where many groups crowd together.
    for start in range(0, len(centroids), 256):
        part = centroids[start : start + 256]
        for row, indices in enumerate(tree.query_ball_point(part, diameter)):
            others = np.asarray(indices)[np.asarray(indices) != start + row]
            distance = np.linalg.norm(centroids[others] - part[row], axis=1)
            distance = distance[distance < diameter]
            if len(distance):
                total += float(disc_overlap(distance, diameter).mean())
    return total / len(centroids)
