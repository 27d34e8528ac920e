"""The file in which frames are handed to other packages, and the file in which reconstructions come back.

Frames are in the CXI format, as `fly64 export data` writes it: counts, positions in metres, probe, geometry. The group
``known`` adds what the benchmark needs: positions in pixels, the grid, held-out counts. The truth is in neither file.
Needs NumPy and h5py only, so that every environment can read both.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

WAVELENGTH, DISTANCE, DETECTOR_PIXEL = 1e-10, 1.0, 1e-3
"""Metres. The frames fix only pixels; with this geometry the quadratic phase of the far field is below 1e-4 rad."""
PLANCK_TIMES_C = 1.98644586e-25
HELD_OUT = 0.1
"""Part of the photons that is not fitted when settings are chosen."""


@dataclass(frozen=True)
class Frames:
    """One half of a scan as a file holds it.

    Attributes
    ----------
    counts, held_out : (n, N, N) int32
        Photons of every frame, DC in the centre, and those of them that are held out.
    x, y : (n,) float64 [px]
        Window centres: column and row on the grid of ``object_shape``.
    probe : (N, N) complex64
        In square roots of photons: with the unitary Fourier transform F the expected counts are |F (probe * object)|^2.
    index : (n,) int64
        Index of each frame in the whole scan.
    """

    counts: np.ndarray
    held_out: np.ndarray
    x: np.ndarray
    y: np.ndarray
    probe: np.ndarray
    index: np.ndarray
    object_shape: tuple[int, int]

    @property
    def pixel_size(self) -> float:
        """Side of an object pixel [m]."""
        return WAVELENGTH * DISTANCE / (DETECTOR_PIXEL * self.probe.shape[0])

    @property
    def corners(self) -> np.ndarray:
        """First row and column (n, 2) of every window, fractions of a pixel included."""
        return np.stack([self.y, self.x], axis=1) - self.probe.shape[0] // 2

    def fitted(self, everything: bool) -> tuple[np.ndarray, np.ndarray]:
        """Counts to fit and the probe that belongs to them: of all photons, or without those that are held out."""
        if everything:
            return self.counts, self.probe
        return self.counts - self.held_out, (np.sqrt(1 - HELD_OUT) * self.probe).astype(np.complex64)

    def offset(self, corners: np.ndarray) -> np.ndarray:
        """Grid row and column (2,) int of the first pixel of an object whose windows begin at its pixels ``corners``.

        To whole pixels: a package that rounds positions moves its object by a fraction, which the scores remove.
        """
        return np.rint(np.mean(self.corners - corners, axis=0)).astype(int)

    def on_grid(self, obj: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """An object (h, w) on the grid of ``object_shape``, 1 where it has no pixel."""
        (top, left), (height, width) = offset, self.object_shape
        grid = np.ones(self.object_shape, np.complex64)
        part = obj[max(0, -top) : height - top, max(0, -left) : width - left]
        grid[max(0, top) :, max(0, left) :][: part.shape[0], : part.shape[1]] = part
        return grid


def read_frames(path: Path) -> Frames:
    """Read a file of export.py."""
    with h5py.File(path) as file:
        known = {name: value[()] for name, value in file["known"].items()}
        counts = file["entry_1/data_1/data"][()]
    height, width = known.pop("object_shape").tolist()
    return Frames(counts=counts, object_shape=(height, width), **known)


@dataclass
class Run:
    """One method with one setting: the objects after some of its iterations.

    ``fitted`` and ``objects`` (k, H, W) complex64 on the grid are found from the counts without the held-out ones and
    from all of them; ``seconds`` (k,) belong to the latter. ``corners`` (n, 2) is where the method's windows begin on
    the grid. A method that chooses by itself has neither ``fitted`` nor ``corners``.
    """

    cell: str
    method: str
    settings: str
    iterations: list[int]
    seconds: list[float]
    objects: np.ndarray
    fitted: np.ndarray | None = None
    corners: np.ndarray | None = None


def write_run(folder: Path, run: Run) -> None:
    """Write a run to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value for name, value in vars(run).items() if value is not None}
    name = "_".join((run.cell, run.method, run.settings))
    np.savez_compressed(folder / ("".join(c if c.isalnum() or c in "._-" else "-" for c in name) + ".npz"), **arrays)


def read_run(path: Path) -> Run:
    """Read a file of :func:`write_run`."""
    with np.load(path) as arrays:
        values = {name: arrays[name].tolist() if arrays[name].ndim < 2 else arrays[name] for name in arrays.files}
    return Run(**values)
