"""Compact batches of many positions: frames that lie together, in batches of equal size, in near-linear time.

The library forms them by ten runs of k-means and then moves single positions between clusters: time and memory grow
with the square of the number of positions. Here the scan is halved along its longer side until every part is a batch.
Does not belong here: random and uniform batches, which are the library's. Imported by engine processes only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import ptychi.api  # before its other modules, which import each other
import ptychi.io_handles
import torch
from numpy.typing import NDArray

from fly64_assets.lsqml.minibatch import PINNED_VERSION

MOST_CLUSTERED: Final = 16_384
"""Largest number of positions whose batches are the library's. Which frames share a batch changes a result slightly:
below, results stay as they were published; above, the library's start takes minutes and gigabytes."""

logger = logging.getLogger(__name__)


def compact_batches(positions: NDArray[np.floating], size: int) -> list[NDArray[np.intp]]:
    """Indices of positions in batches that lie together.

    Parameters
    ----------
    positions : (n, 2) float
        Positions [px]; not empty.
    size : int
        Largest number of positions in a batch.

    Returns
    -------
    list of (b,) int
        ceil(n / size) batches, whose sizes differ by at most one, the largest first; each index occurs once, and those
        of a batch ascend. The same positions always give the same batches.

    Examples
    --------
    >>> line = np.c_[np.zeros(6), [5, 0, 4, 1, 3, 2]]
    >>> [batch.tolist() for batch in compact_batches(line, 2)]
    [[1, 3], [4, 5], [0, 2]]
    """
    batches: list[NDArray[np.intp]] = []
    parts = [(np.arange(len(positions)), math.ceil(len(positions) / size))]
    while parts:
        indices, count = parts.pop()
        if count == 1:
            batches.append(np.sort(indices))
            continue
        first = count // 2
        along = positions[indices]
        order = np.argsort(along[:, np.argmax(np.ptp(along, axis=0))], kind="stable")
        cut = len(indices) * first // count
        parts += [(indices[order[cut:]], count - first), (indices[order[:cut]], first)]
    return sorted(batches, key=len, reverse=True)


@contextmanager
def quick_batches(frames: int) -> Iterator[None]:
    """Tasks of the library that are made within form the compact batches of many frames by :func:`compact_batches`.

    Another version of the library forms its own, and the log says so.
    """
    if frames <= MOST_CLUSTERED:
        yield
        return
    if ptychi.__version__.split("+")[0] != PINNED_VERSION:
        logger.warning("pty-chi %s is not %s: it forms its own batches", ptychi.__version__, PINNED_VERSION)
        yield
        return
    sampler = ptychi.io_handles.PtychographyCompactBatchSampler
    own = sampler.build_clusters
    sampler.build_clusters = _build_clusters
    try:
        yield
    finally:
        sampler.build_clusters = own


def _build_clusters(sampler: Any) -> None:
    """In place of the library's method: fill the list of batches."""
    batches = compact_batches(sampler.positions, sampler.batch_size)
    sampler.clusters_of_indices = [torch.from_numpy(batch) for batch in batches]
