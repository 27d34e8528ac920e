"""Halves of a measurement that share no photon, for the ring correlation of two reconstructions.

Two objects from disjoint halves of the photons of the same frames differ by noise alone, and two from halves of the
frames by noise and by what the scan leaves open (van Heel and Schatz, J. Struct. Biol. 151, 250, 2005). Nothing here
knows an object.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.counts import frame_generator, stored_amplitude, thin_counts
from fly64_assets.physics.measurement import Measurement

PAIRS: Final = "pairs.npz"
"""What a job writes that was asked for pairs: an object (H, W) complex64 for each half, under its name."""
HALVES: Final = ("photons_1", "photons_2", "frames_1", "frames_2")
"""Names of the halves: of the photons of all frames, and of the frames with all their photons."""
HALVING: Final = 3
"""Stream of a frame's generator that decides to which half a photon belongs."""


def pair_measurements(
    measurement: Measurement, seed: int, scratch: Path | None = None
) -> Iterator[tuple[str, Measurement]]:
    """The halves of a measurement by name (:data:`HALVES`), one after the other.

    Parameters
    ----------
    measurement : Measurement
    seed : int
        With the index of a frame in the scan it fixes to which half each photon belongs.
    scratch : Path, optional
        Folder in which the counts of a half lie on disk until they are no longer used; in memory without it.

    Yields
    ------
    str, Measurement
        ``photons_1`` and ``photons_2`` hold the same frames, and their counts add up to those of the measurement; their
        intensity scale is smaller by the square root of 2. ``frames_1`` and ``frames_2`` hold every second frame, from
        the first and from the second on; of a single frame there is no second half.
    """
    scale = measurement.intensity_scale / math.sqrt(2)
    for half in (0, 1):
        amplitude = _empty(measurement, scratch)
        for part, counts in measurement.count_blocks():
            for row, frame in enumerate(measurement.scan_index[part]):
                generator = frame_generator(seed, 0, int(frame), stream=HALVING)
                counts[row] = thin_counts(counts[row], 0.5, generator)[half]
            amplitude[part] = stored_amplitude(counts.astype(np.int64), scale / measurement.unit)
        yield HALVES[half], replace(measurement, amplitude=amplitude, intensity_scale=scale)
    for half in range(min(2, measurement.frames)):
        part = slice(half, None, 2)
        amplitude, index = measurement.amplitude[part], measurement.scan_index[part]
        x, y = measurement.x[part], measurement.y[part]
        yield HALVES[2 + half], replace(measurement, amplitude=amplitude, x=x, y=y, scan_index=index)


def _empty(measurement: Measurement, scratch: Path | None) -> NDArray[np.float32]:
    """An array for the amplitudes of all frames, in memory or in a file that no folder lists."""
    shape = (measurement.frames, measurement.patch_size, measurement.patch_size)
    if scratch is None:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)
