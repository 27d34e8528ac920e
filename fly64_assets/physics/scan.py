"""Scan positions and the split of a scan into a train and a test half."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.windows import Scan

SPLITS: Final = ("train", "test")
"""The two halves of a scan."""
JUDGED_SPLIT: Final = "test"
"""The half that verdicts are about: no network was trained on it."""


def uniform_scan(seed: int, n: int, object_shape: tuple[int, int], patch_size: int) -> Scan:
    """Draw ``n`` window centres uniformly over an object, such that every window lies inside it.

    Parameters
    ----------
    seed : int
        Seed of the legacy Mersenne Twister; x is drawn first, then y.
    object_shape : (H, W)
        Object size in pixels; both sides must be at least ``patch_size + 2``.
    patch_size : int
        Window side N in pixels.

    Returns
    -------
    Scan
        With window centres in [N/2, W - N/2) and [N/2, H - N/2).

    Raises
    ------
    ValueError
        If the object is too small.

    Examples
    --------
    >>> uniform_scan(seed=42, n=2, object_shape=(100, 100), patch_size=20).x.round(2)
    array([39.96, 86.06])
    """
    height, width = object_shape
    if min(height, width) < patch_size + 2:
        raise ValueError(
            f"object of {height} x {width} px is too small for windows of {patch_size} px: "
            f"each side needs at least {patch_size + 2} px"
        )
    buffer = patch_size / 2
    random = np.random.RandomState(seed)
    x = random.uniform(buffer, width - buffer, n)
    y = random.uniform(buffer, height - buffer, n)
    return Scan(x, y, object_shape, patch_size)


def split_point(coordinate: NDArray[np.float64]) -> float:
    """Middle of the coordinate's range [px]: positions below it are train, the rest test."""
    low, high = float(np.min(coordinate)), float(np.max(coordinate))
    return low + 0.5 * (high - low)


def one_sided(x: NDArray[np.float64], y: NDArray[np.float64], axis: str) -> str:
    """Why a scan cannot be split along an axis, and how it can be; empty where both halves hold positions."""
    coordinate, other, name = (y, x, "x") if axis == "y" else (x, y, "y")
    if len(coordinate) and all(len(half) for half in split_indices(coordinate, split_point(coordinate)).values()):
        return ""
    if len(other) and np.ptp(other) > 0:
        remedy = f"split along the other axis (train_test_split_axis: {name})"
    else:
        remedy = "give a base with at least two distinct positions"
    return f"all positions ({len(coordinate)}) have the same {axis}; {remedy}"


def split_indices(coordinate: NDArray[np.float64], point: float) -> dict[str, NDArray[np.int64]]:
    """Indices of the frames of each half: ``train`` where the coordinate is below ``point``, else ``test``."""
    below = coordinate < point
    return {"train": np.flatnonzero(below), "test": np.flatnonzero(~below)}


def evenly_spread(n: int, most: int) -> NDArray[np.int64]:
    """Indices of all ``n`` frames, or of ``most`` of them evenly spread over the scan.

    Examples
    --------
    >>> evenly_spread(9, 3).tolist(), evenly_spread(3, 9).tolist()
    ([0, 4, 8], [0, 1, 2])
    """
    return np.unique(np.linspace(0, n - 1, most).astype(np.int64))
