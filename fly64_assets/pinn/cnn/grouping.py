"""Which frames make one network sample: K-choose-C groups of neighbouring positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.errors import EngineError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Grouping:
    """Neighbourhoods of a set of positions, from which samples of C = g^2 frames are drawn.

    Attributes
    ----------
    neighbours : (n, min(K, n - 1)) int64
        The nearest other positions of each position, nearest first; no columns for C = 1.
    group_frames : int
        C, frames per sample.
    """

    neighbours: Indices
    group_frames: int

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64], gridsize: int, neighbor_count: int) -> Grouping:
        """Neighbourhoods by a KD-tree, O(n log n).

        Raises
        ------
        EngineError
            With fewer positions than a group holds, or a K from which C - 1 neighbours cannot be drawn
            (OVERSAMPLING-001).
        """
        n, frames = len(x), gridsize**2
        if n < frames:
            raise EngineError(
                f"{n} positions cannot fill groups of {frames} frames (gridsize {gridsize}): "
                f"at least {frames} are needed (OVERSAMPLING-001)"
            )
        if frames > 1 and neighbor_count < frames - 1:
            raise EngineError(
                f"neighbor_count = {neighbor_count}: groups of {frames} frames draw {frames - 1} neighbours; "
                f"set neighbor_count to at least {frames} (OVERSAMPLING-001)"
            )
        count = min(neighbor_count, n - 1) if frames > 1 else 0
        return cls(nearest_others(x, y, count), frames)

    def draw(self, samples: int, neighbor_count: int, generator: np.random.Generator) -> Indices:
        """Draw ``samples`` groups, (samples, C) int64, the seed frame first.

        Every position is a seed equally often, give or take one. The neighbours of a seed are drawn without
        replacement from its neighbourhood, so that one seed gives many different groups.

        Raises
        ------
        EngineError
            For more samples than positions where that would only repeat frames: C = 1, or K < C
            (OVERSAMPLING-001).
        """
        n = len(self.neighbours)
        if samples > n and (self.group_frames == 1 or neighbor_count < self.group_frames):
            raise EngineError(
                f"{samples} samples from {n} positions: more samples than positions need groups of several frames "
                f"and neighbor_count >= frames per group, found {neighbor_count} for {self.group_frames}; ask for "
                f"at most {n} samples (OVERSAMPLING-001)"
            )
        rounds = -(-samples // n)
        seeds = np.concatenate([generator.permutation(n) for _ in range(rounds)])[:samples]
        # The C - 1 smallest of independent uniform numbers are a draw without replacement.
        ranks = np.argsort(generator.random((samples, self.neighbours.shape[1])), axis=1, kind="stable")
        chosen = np.take_along_axis(self.neighbours[seeds], ranks[:, : self.group_frames - 1], axis=1)
        groups: Indices = np.concatenate([seeds[:, None], chosen], axis=1)
        return groups


def nearest_others(x: NDArray[np.float64], y: NDArray[np.float64], count: int) -> Indices:
    """The ``count`` nearest other positions of each position, (n, count) int64, nearest first.

    Coinciding positions are neighbours of each other like any others.

    Examples
    --------
    >>> nearest_others(np.array([0.0, 1.0, 3.0]), np.zeros(3), 2).tolist()
    [[1, 2], [0, 2], [1, 0]]
    """
    n = len(x)
    if count == 0:
        return np.empty((n, 0), np.int64)
    points = np.column_stack([y, x])
    nearest = np.asarray(scipy.spatial.cKDTree(points).query(points, k=count + 1)[1])
    # Each list holds the position itself, unless enough others coincide with it; then the last is left out instead.
    itself = nearest == np.arange(n)[:, None]
    itself[~itself.any(axis=1), -1] = True
    others: Indices = nearest[~itself].reshape(n, count).astype(np.int64)
    return others


def mean_offsets(x: NDArray[np.float64], y: NDArray[np.float64], groups: Indices) -> NDArray[np.float64]:
    """Positions of each group's frames relative to the group's mean position, (samples, C, 2) as (y, x) [px]."""
    points = np.stack([y[groups], x[groups]], axis=-1)
    offsets: NDArray[np.float64] = points - points.mean(axis=1, keepdims=True)
    return offsets
