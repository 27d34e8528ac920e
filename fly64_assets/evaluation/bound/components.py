"""Connected components of the illumination: frames that share no illuminated pixel have free phases.

Belongs here: what a graph of frames and pixels shows without the information matrix. Does not belong here: directions
that only the matrix shows (``limit``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

from fly64_assets.physics.windows import Scan, corner_weights


@dataclass(frozen=True)
class Components:
    """Connected components: two frames are connected if both illuminate a pixel, or through frames between them.

    Attributes
    ----------
    frame : (n,) int64
        Component of each frame.
    pixel : (H, W) int64
        Component of each pixel, -1 where no frame illuminates it.
    """

    frame: NDArray[np.int64]
    pixel: NDArray[np.int64]

    def within(self, mask: NDArray[np.bool_]) -> int:
        """Number of components that have pixels in a mask (H, W)."""
        return len(np.unique(self.pixel[mask & (self.pixel >= 0)]))


def connected_components(
    probe: NDArray[np.complexfloating], scan: Scan, unknown: NDArray[np.bool_], least_intensity: float
) -> Components:
    """Connected components of the frames of a scan over the unknown pixels (H, W).

    The phase of each component can be shifted by a constant of its own without a change of any count. With more than
    one component the phases of all pixels are therefore undetermined relative to one another.

    Parameters
    ----------
    least_intensity : float
        |P|^2 from which a frame counts as illuminating a pixel.

    Examples
    --------
    Two frames that overlap, and one far away:

    >>> import numpy as np
    >>> scan = Scan(np.array([4.0, 6.0, 15.0]), np.full(3, 4.0), (8, 20), patch_size=4)
    >>> found = connected_components(np.ones((4, 4)), scan, np.ones((8, 20), bool), least_intensity=0.5)
    >>> found.within(np.ones((8, 20), bool)), bool(found.frame[0] == found.frame[1])
    (2, True)
    """
    height, width = unknown.shape
    rows, columns = np.nonzero(np.abs(probe) ** 2 >= least_intensity)
    # A graph with one node per frame and one per pixel: linear in the probe's pixels, where frames against frames
    # would be quadratic in the frames.
    frames, pixels = [], []
    for j, ((top, left), (fy, fx)) in enumerate(zip(scan.corners.tolist(), scan.fractions.tolist(), strict=True)):
        for dy, dx, weight in corner_weights(fy, fx):
            if not weight:
                continue
            row, column = rows + top + dy, columns + left + dx
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            touched = row[inside] * width + column[inside]
            touched = touched[unknown.ravel()[touched]]
            frames.append(np.full(len(touched), j))
            pixels.append(len(scan) + touched)
    edges = (np.concatenate(frames), np.concatenate(pixels))
    nodes = len(scan) + height * width
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(nodes, nodes)).tocsr()
    label = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
    illuminated = np.zeros(nodes, dtype=np.bool_)
    illuminated[edges[1]] = True
    pixel = np.where(illuminated, label, -1)[len(scan) :].reshape(height, width)
    return Components(label[: len(scan)], pixel)
