"""Halves of a measurement that share no photon, for the ring correlation of two reconstructions.

Two objects from disjoint halves of the photons of the same frames differ by noise alone, and two from halves of the
frames by noise and by what the scan leaves open (van Heel and Schatz, J. Struct. Biol. 151, 250, 2005). Nothing here
knows an object.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import write_npz
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.counts import frame_generator, stored_amplitude, thin_counts
from fly64_assets.physics.measurement import Measurement

PAIRS: Final = "pairs.npz"
"""What a job writes that was asked for pairs: an object (H, W) complex64 for each half, under its name."""
Reconstruct = Callable[[str, Measurement, Progress], NDArray[np.complexfloating]]
"""A method: from the name, the measurement and the progress of a half to its object (H, W)."""
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


def reconstruct_pairs(
    measurement: Measurement, seed: int, folder: Path, progress: Progress, reconstruct: Reconstruct
) -> dict[str, Any]:
    """Reconstruct every half of a measurement with a method, and write the objects as ``pairs.npz`` into a folder.

    A half of which the method makes no object (too few frames, no photons) is left out and named with the reason; the
    file holds the others, and does not exist if there are none.

    Parameters
    ----------
    measurement : Measurement
    seed : int
        Of :func:`pair_measurements`.
    folder : Path
        For the file, and for scratch files.
    progress : callable
        Called with the steps of each half, whose name stands before that of each value.
    reconstruct : callable
        From name, measurement and progress of a half to its object (H, W).

    Returns
    -------
    dict
        ``pairs_seconds``, which are not part of the method's own time; ``pairs``, the names of the halves with an
        object; ``pairs_left_out``, the reason for each of the others.
    """
    started = time.perf_counter()
    objects: dict[str, NDArray[np.complex64]] = {}
    left_out: dict[str, str] = {}
    for name, half in pair_measurements(measurement, seed, folder):
        print(f"half {name}: {half.frames} frames", flush=True)
        try:
            objects[name] = reconstruct(name, half, _named(progress, name)).astype(np.complex64)
        except EngineError as error:
            left_out[name] = str(error)
            print(f"half {name} is left out: {error}", flush=True)
    left_out |= {name: "there is one frame" for name in HALVES if name not in {**objects, **left_out}}
    if objects:
        with (folder / PAIRS).open("wb") as file:
            write_npz(file, objects)
    seconds = time.perf_counter() - started
    print(f"halves: {', '.join(objects) or 'none'} in {seconds:.1f} s", flush=True)
    return {"pairs_seconds": seconds, "pairs": list(objects), "pairs_left_out": left_out}


def _named(progress: Progress, name: str) -> Progress:
    """Progress whose values say of which half they are; of a method without values the part that is done."""

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        progress(done, total, {f"{name} {key}": value for key, value in values.items()} or {name: done / total})

    return report


def _empty(measurement: Measurement, scratch: Path | None) -> NDArray[np.float32]:
    """An array for the amplitudes of all frames, in memory or in a file that no folder lists."""
    shape = (measurement.frames, measurement.patch_size, measurement.patch_size)
    if scratch is None:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)
