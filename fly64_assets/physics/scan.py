"""Scan positions and the split of a scan into a train and a test half."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.windows import Scan

SPLITS: Final = ("train", "test")
"""The two halves of a scan."""
JUDGED_SPLIT: Final = "test"
"""The half that verdicts are about: no network was trained on it."""
GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))
"""Angle [rad] from one position of a Fermat spiral to the next."""


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
    height, width = _large_enough(object_shape, patch_size)
    buffer = patch_size / 2
    random = np.random.RandomState(seed)
    x = random.uniform(buffer, width - buffer, n)
    y = random.uniform(buffer, height - buffer, n)
    return Scan(x, y, object_shape, patch_size)


def raster_scan(seed: int, n: int, object_shape: tuple[int, int], patch_size: int) -> Scan:
    """Row by row over the whole object, each position moved by up to a quarter step; arguments of :func:`uniform_scan`.

    Raises ``ValueError`` if the object is too small.
    """
    height, width = _large_enough(object_shape, patch_size)
    low = patch_size / 2
    span_x, span_y = width - patch_size - 1, height - patch_size - 1
    columns = max(1, round(math.sqrt(n * span_x / max(span_y, 1))))
    rows = math.ceil(n / columns)
    index = np.arange(n)
    step_x, step_y = span_x / columns, span_y / rows
    jitter = np.random.RandomState(seed).uniform(-0.25, 0.25, (2, n))
    x = low + (index % columns + 0.5 + jitter[0]) * step_x
    y = low + (index // columns + 0.5 + jitter[1]) * step_y
    return Scan(x, y, object_shape, patch_size)


def fermat_scan(seed: int, n: int, object_shape: tuple[int, int], patch_size: int) -> Scan:
    """A Fermat spiral over the whole object, from its middle outwards; arguments of :func:`uniform_scan`.

    Position k is at the radius c sqrt(k + 1/2) and the angle 2.39996 k rad (the golden angle), so that all positions
    have the same area (Huang et al., Opt. Express 22, 12634, 2014). The corners of the object are filled, too: c is the
    largest with which n positions lie inside. The seed turns the spiral.

    Raises ``ValueError`` if the object is too small.

    Examples
    --------
    >>> scan = fermat_scan(seed=42, n=400, object_shape=(120, 160), patch_size=20)
    >>> len(scan), float(scan.x.min()) >= 10, float(scan.y.max()) < 110
    (400, True, True)
    """
    height, width = _large_enough(object_shape, patch_size)
    span_x, span_y = width - patch_size - 1, height - patch_size - 1
    angle0 = np.random.RandomState(seed).uniform(0, 2 * np.pi)
    # Circles around the middle have 1 / (pi c^2) positions per area, from those that fill the box to its corners.
    c = math.sqrt(span_x * span_y / (math.pi * n)) * 1.1
    while True:
        k = np.arange(math.ceil((span_x**2 + span_y**2) / (4 * c**2)) + 1)
        radius, angle = c * np.sqrt(k + 0.5), angle0 + GOLDEN_ANGLE * k
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        inside = np.flatnonzero((np.abs(x) <= span_x / 2) & (np.abs(y) <= span_y / 2))
        if len(inside) >= n:
            chosen = inside[:n]
            low = patch_size / 2
            return Scan(x[chosen] + low + span_x / 2, y[chosen] + low + span_y / 2, object_shape, patch_size)
        c *= 0.999


SCANS: Final[Mapping[str, Callable[[int, int, tuple[int, int], int], Scan]]] = {
    "uniform": uniform_scan,
    "raster": raster_scan,
    "fermat": fermat_scan,
}
"""How positions are drawn anew over an object, by the name of the setting ``scan``."""


def _large_enough(object_shape: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Height and width of an object in which windows have room to move; ``ValueError`` for a smaller one."""
    height, width = object_shape
    if min(height, width) < patch_size + 2:
        raise ValueError(
            f"object of {height} x {width} px is too small for windows of {patch_size} px: "
            f"each side needs at least {patch_size + 2} px"
        )
    return height, width


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
