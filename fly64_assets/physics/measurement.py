"""What an experiment knows: frames, probe and positions. It holds no truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.counts import counts_from_amplitude
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.windows import Scan


@dataclass(frozen=True)
class Measurement:
    """The only view of a data set that a reconstruction gets.

    Attributes
    ----------
    amplitude : (n, N, N) float32
        Stored amplitudes, DC in the centre; may be memory-mapped.
    intensity_scale : float
        s, with (s X)^2 = photon counts.
    probe : (N, N) complex64
    x, y : (n,) float64 [px]
        Window centres; x = column, y = row.
    object_shape : (H, W)
        Size of the grid on which a reconstruction is to be returned.
    scan_index : (n,) int64
        Index of each frame in the unsplit scan.
    """

    amplitude: NDArray[np.float32]
    intensity_scale: float
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    object_shape: tuple[int, int]
    scan_index: NDArray[np.int64]

    @property
    def frames(self) -> int:
        """Number of frames n."""
        return len(self.x)

    @property
    def scan(self) -> Scan:
        """Positions and the grid on which their windows lie."""
        return Scan(self.x, self.y, self.object_shape, self.patch_size)

    @property
    def patch_size(self) -> int:
        """Frame side N in pixels."""
        return int(self.probe.shape[0])

    def counts(self, part: slice | NDArray[np.integer] = slice(None)) -> NDArray[np.float64]:
        """Photon counts (b, N, N), float64 integers, of the selected frames (all by default)."""
        return counts_from_amplitude(np.asarray(self.amplitude[part]), self.intensity_scale)

    def count_blocks(self, size: int = 256) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Counts of all frames in blocks of ``size``, with the slice of each block."""
        for part in blocks(self.frames, size):
            yield part, self.counts(part)
