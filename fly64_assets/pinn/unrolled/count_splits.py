"""Count splits: the counts of a measurement divided at random into independent measurements of the same object.

A Poisson count divided multinomially gives independent Poisson counts (binomial thinning, Lewis and Shedler, Naval
Research Logistics Quarterly 26, 403, 1979): each split is a fainter measurement of the same rates with noise of its
own. What was computed from some splits can therefore be cross-validated on another, although frames are scarce.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.counts import thin_counts
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.pages import release_pages

IN_MEMORY_BYTES: Final = 256 * 2**20
"""Divided counts beyond this size are kept in a file."""


@dataclass(frozen=True)
class CountSplits:
    """The counts of every frame in ``splits`` equal splits, of which the first ``kept`` can be read one by one.

    All frames have the zero spatial frequency (DC) in the corner. Each split has the expected counts of a frame over
    ``splits``, which is an ``intensity_scale`` smaller by the square root of ``splits``. The splits from ``kept`` on
    exist only as a sum (:meth:`without`). ``photons`` is the mean number per frame, of all splits together.

    Examples
    --------
    >>> from fly64_assets.physics.measurement import Measurement
    >>> probe, where = np.ones((8, 8), np.complex64), np.full(3, 16.0)
    >>> amplitude = np.full((3, 8, 8), 3.0, np.float32)
    >>> scan = Measurement(amplitude, 1.0, probe, where, where, (32, 32), np.arange(3))
    >>> counts = CountSplits.of(scan, np.arange(3), splits=4, kept=4, seed=1, scratch=Path("."))
    >>> counts.photons
    576.0
    >>> total = sum(counts.split(number, np.arange(3)) for number in range(4))
    >>> bool((total == 9).all())
    True
    >>> bool((counts.without((0,), slice(0, 3)) == 9 - counts.split(0, np.arange(3))).all())
    True
    """

    frames: int
    size: int
    splits: int
    kept: int
    photons: float
    _type: np.dtype[np.unsignedinteger[Any]]
    _memory: NDArray[np.unsignedinteger[Any]] | None
    _file: IO[bytes] | None

    @classmethod
    def of(
        cls, measurement: Measurement, order: NDArray[np.int64], *, splits: int, kept: int, seed: int, scratch: Path
    ) -> CountSplits:
        """Divide the frames ``order`` (n,) of a measurement, in that order; equal arguments give equal counts.

        Counts beyond :data:`IN_MEMORY_BYTES` go through an unnamed file in the folder ``scratch``, so that memory
        holds one block of frames.
        """
        n, size = len(order), measurement.patch_size
        largest, photons = 0.0, 0.0
        for part in blocks(n):
            counts = measurement.counts(order[part])
            largest, photons = max(largest, float(counts.max())), photons + float(counts.sum())
        kind = np.min_scalar_type(int(largest))
        shape = (n, kept + 1, size, size)
        small = int(np.prod(shape)) * kind.itemsize <= IN_MEMORY_BYTES
        memory = np.empty(shape, kind) if small else None
        file = None if small else tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        for part in blocks(n):
            counts = np.fft.ifftshift(measurement.counts(order[part]), axes=(-2, -1))
            numbers = order[part].tolist()
            pairs = zip(counts, numbers, strict=True)
            divided = np.stack([_divided(*pair, splits, kept, seed) for pair in pairs]).astype(kind)
            if memory is not None:
                memory[part] = divided
            if file is not None:
                file.write(divided.tobytes())
        release_pages(measurement.amplitude)
        return cls(n, size, splits, kept, photons / n, kind, memory, file)

    def close(self) -> None:
        """Remove the file, if there is one; nothing can be read any more."""
        if self._file is not None:
            self._file.close()

    def split(self, number: int, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Counts (b, N, N) of one split of any frames (b,)."""
        if self._memory is not None:
            stored = self._memory[frames, number]
        else:
            stored = np.stack([self._read(frame, frame + 1)[0, number] for frame in frames.tolist()])
        counts: NDArray[np.float32] = stored.astype(np.float32)
        return counts

    def without(self, excluded: tuple[int, ...], rows: slice) -> NDArray[np.float32]:
        """Counts (b, N, N) of consecutive frames, of all splits but the ``excluded``."""
        stored = self._read(rows.start, rows.stop)
        rest: NDArray[np.float32] = stored[:, self.kept].astype(np.float32)
        for number in excluded:
            rest -= stored[:, number]
        return rest

    def _read(self, start: int, stop: int) -> NDArray[np.unsignedinteger[Any]]:
        """Stored counts (b, kept + 1, N, N) of consecutive frames; the last of a frame is its total."""
        if self._memory is not None:
            return self._memory[start:stop]
        assert self._file is not None
        frame = (self.kept + 1) * self.size**2
        # A read leaves no pages behind in this process, where a memory map would.
        self._file.seek(start * frame * self._type.itemsize)
        values = np.frombuffer(self._file.read((stop - start) * frame * self._type.itemsize), self._type)
        return values.reshape(stop - start, self.kept + 1, self.size, self.size)


def _divided(counts: NDArray[np.float64], number: int, splits: int, kept: int, seed: int) -> NDArray[np.int64]:
    """The first ``kept`` of ``splits`` equal splits of a frame's counts, and the counts: (kept + 1, N, N).

    Depends on nothing but the frame, its index in the measurement and the seed.
    """
    divided = np.empty((kept + 1, *counts.shape), np.int64)
    divided[kept] = rest = counts
    generator = np.random.Generator(np.random.Philox(key=[seed, number]))
    for split in range(kept):
        rest, divided[split] = thin_counts(rest, 1.0 / (splits - split), generator)
    return divided
