"""Directions of the object about which a scan says nothing, found without its information matrix.

Belongs here: free phases of frames that share no light. Does not belong here: directions that only the matrix shows
(``limit``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray


@dataclass(frozen=True)
class Islands:
    """Groups of frames that are linked by pixels which more than one of them lights.

    Attributes
    ----------
    frame : (n,) int64
        Island of each frame.
    pixel : (H, W) int64
        Island of each pixel, -1 where no frame lights it.
    """

    frame: NDArray[np.int64]
    pixel: NDArray[np.int64]

    def inside(self, mask: NDArray[np.bool_]) -> int:
        """Number of islands that have pixels in a mask."""
        return len(np.unique(self.pixel[mask & (self.pixel >= 0)]))


def find_islands(
    probe: NDArray[np.complexfloating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    unknown: NDArray[np.bool_],
    least_light: float,
) -> Islands:
    """Islands of frames (n,) on unknown pixels (H, W): linked are frames that both light a pixel enough.

    Each island may turn its phase by itself and leave every count as it is, so that more than one makes the phase of
    all pixels unknowable relative to one another.

    Parameters
    ----------
    least_light : float
        |P|^2 from which a frame counts as lighting a pixel.
    """
    height, width = unknown.shape
    rows, columns = np.nonzero(np.abs(probe) ** 2 >= least_light)
    frames, pixels = [], []
    for j in range(len(x)):
        top = int(np.floor(y[j])) - probe.shape[0] // 2
        left = int(np.floor(x[j])) - probe.shape[0] // 2
        # Interpolation spreads a probe's pixel over two by two pixels of the object.
        for dy in (0, 1) if y[j] % 1 else (0,):
            for dx in (0, 1) if x[j] % 1 else (0,):
                row, column = rows + top + dy, columns + left + dx
                inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                lit = row[inside] * width + column[inside]
                lit = lit[unknown.ravel()[lit]]
                frames.append(np.full(len(lit), j))
                pixels.append(len(x) + lit)
    edges = (np.concatenate(frames), np.concatenate(pixels))
    nodes = len(x) + height * width
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(nodes, nodes)).tocsr()
    label = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
    touched = np.zeros(nodes, dtype=np.bool_)
    touched[edges[1]] = True
    pixel = np.where(touched, label, -1)[len(x) :].reshape(height, width)
    return Islands(label[: len(x)], pixel)
