"""The photons of a measurement, divided at random into independent parts.

Belongs here: the division and where its counts are kept. Does not belong here: torch, what is learned from a part.

A Poisson count divided multinomially gives independent Poisson counts (binomial thinning, Lewis and Shedler 1979):
each part is a fainter measurement of the same rates, with noise of its own.
"""

from __future__ import annotations

import mmap
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.cnn.grouping import Indices

IN_MEMORY_BYTES: Final = 256 * 2**20
"""Divided counts beyond this size are kept in a file."""


@dataclass(frozen=True)
class PhotonParts:
    """Counts of every frame in ``parts`` equal parts, of which the first ``kept`` can be read one by one.

    The DC of all frames is in the corner.

    Attributes
    ----------
    frames, size : int
        n and N.
    parts : int
        Equal parts into which the photons are divided.
    photons : float
        Mean photons per frame, of all parts together.
    """

    frames: int
    size: int
    parts: int
    kept: int
    photons: float
    _type: np.dtype[np.unsignedinteger[Any]]
    _memory: NDArray[np.unsignedinteger[Any]] | None
    _file: IO[bytes] | None

    @classmethod
    def of(
        cls, measurement: Measurement, order: Indices, *, parts: int, kept: int, seed: int, scratch: Path
    ) -> PhotonParts:
        """Divide the frames ``order`` of a measurement, in that order; the same for the same arguments.

        Large data go through an unnamed file in ``scratch``, so that memory holds one block of frames.
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
            frames = order[part].tolist()
            divided = np.stack([_divided(*one, parts, kept, seed) for one in zip(counts, frames, strict=True)])
            divided = divided.astype(kind)
            if memory is not None:
                memory[part] = divided
            if file is not None:
                file.write(divided.tobytes())
        _let_go(measurement.amplitude)
        return cls(n, size, parts, kept, photons / n, kind, memory, file)

    def close(self) -> None:
        """Give the file back; nothing can be read any more."""
        if self._file is not None:
            self._file.close()

    def part(self, which: int, frames: Indices) -> NDArray[np.float32]:
        """Counts (b, N, N) of one part of any frames."""
        if self._memory is not None:
            stored = self._memory[frames, which]
        else:
            stored = np.stack([self._read(frame, frame + 1)[0, which] for frame in frames.tolist()])
        counts: NDArray[np.float32] = stored.astype(np.float32)
        return counts

    def all_but(self, without: tuple[int, ...], rows: slice) -> NDArray[np.float32]:
        """Counts (b, N, N) of consecutive frames without some parts."""
        stored = self._read(rows.start, rows.stop)
        rest: NDArray[np.float32] = stored[:, self.kept].astype(np.float32)
        for which in without:
            rest -= stored[:, which]
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


def _let_go(array: NDArray[Any]) -> None:
    """Give back the memory of a mapped file's pages; they are read again when somebody asks for them."""
    mapping = getattr(array, "_mmap", None)
    if isinstance(mapping, mmap.mmap):
        mapping.madvise(mmap.MADV_DONTNEED)


def _divided(counts: NDArray[np.float64], frame: int, parts: int, kept: int, seed: int) -> NDArray[np.int64]:
    """The first ``kept`` of ``parts`` equal parts of a frame's counts, and the counts: (kept + 1, N, N).

    Depends on nothing but the frame, its index in the measurement and the seed.
    """
    divided = np.zeros((kept + 1, *counts.shape), np.int64)
    divided[kept] = counts
    # Most pixels hold no photon; drawing for the others alone is several times faster.
    lit = divided[kept] > 0
    rest = divided[kept][lit]
    generator = np.random.Generator(np.random.Philox(key=[seed, frame]))
    for which in range(kept):
        taken = generator.binomial(rest, 1.0 / (parts - which))
        divided[which][lit] = taken
        rest = rest - taken
    return divided
