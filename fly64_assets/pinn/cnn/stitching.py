"""Stitch patches of any number of frames into one object, solving for each patch's free global phase.

Belongs here: numpy arithmetic on patches and positions. Does not belong here: networks, files, the canvas of a
training group (:mod:`fly64_assets.pinn.cnn.canvas`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

LEAST_COVERAGE: Final = 1e-2
"""Coverage, in frames at the weight's peak, below which a pixel counts as not measured."""


@dataclass(frozen=True)
class Stitched:
    """A stitched object.

    Attributes
    ----------
    object : (H, W) complex128
        Ones where nothing was measured.
    coverage : (H, W) float64
        Sum of the weights of the patches that reach each pixel.
    phases : (n,) complex128
        Unit factor by which each patch was multiplied.
    """

    object: Complex
    coverage: Float
    phases: Complex


@dataclass(frozen=True)
class _Window:
    """Where one patch lies on the padded grid: corner and bilinear fractions."""

    top: int
    left: int
    fy: float
    fx: float

    def read(self, grid: NDArray[Any], size: int) -> Complex:
        """Bilinear window of ``grid``."""
        corner = grid[self.top : self.top + size + 1, self.left : self.left + size + 1]
        rows = corner[:-1] + self.fy * (corner[1:] - corner[:-1])
        window: Complex = rows[:, :-1] + self.fx * (rows[:, 1:] - rows[:, :-1])
        return window

    def add(self, grid: NDArray[Any], values: NDArray[Any]) -> None:
        """Add ``values`` to ``grid``: the adjoint of :meth:`read`."""
        size = values.shape[0]
        for row, weight_y in ((self.top, 1.0 - self.fy), (self.top + 1, self.fy)):
            for column, weight_x in ((self.left, 1.0 - self.fx), (self.left + 1, self.fx)):
                weight = weight_y * weight_x
                if weight:
                    grid[row : row + size, column : column + size] += weight * values


class _Grid:
    """The object's grid with a margin of one window, so that windows may leave the object."""

    def __init__(self, x: Float, y: Float, object_shape: tuple[int, int], size: int) -> None:
        self.object_shape = object_shape
        self.margin = size + 1
        self.shape = (object_shape[0] + 2 * self.margin, object_shape[1] + 2 * self.margin)
        self._x, self._y, self._size = x, y, size

    def windows(self) -> Iterator[_Window]:
        """Window of each frame in turn; a window that misses the object lies in the margin."""
        half = self._size // 2
        height, width = self.object_shape
        for x, y in zip(self._x.tolist(), self._y.tolist(), strict=True):
            left, top = int(np.floor(x)), int(np.floor(y))
            yield _Window(
                int(np.clip(top - half + self.margin, 0, height + self.margin)),
                int(np.clip(left - half + self.margin, 0, width + self.margin)),
                y - top,
                x - left,
            )

    def crop(self, grid: NDArray[Any]) -> NDArray[Any]:
        """Part of ``grid`` that is the object."""
        return grid[self.margin : -self.margin, self.margin : -self.margin]


def stitch(
    patches: NDArray[np.complexfloating],
    weight: Float,
    x: Float,
    y: Float,
    object_shape: tuple[int, int],
    alignments: int = 4,
    corrections: int = 1,
) -> Stitched:
    """Weighted shift-and-sum over coverage, alternating with a re-alignment of each patch's phase.

    The likelihood of a frame does not know its global phase, so every patch p_j carries a free factor. Each
    alignment sets the unit factor a_j to the phase of <w p_j, E_j O>, where E_j reads the bilinear window at
    (x_j, y_j) from the current object O, and assembles the object anew. A correction then moves the object by
    the adjoint of the residual w (a_j p_j - E_j O) over the coverage, which undoes part of the blur that placing
    between pixels adds. Time is linear in the patches; memory is the grid and one patch.

    Parameters
    ----------
    patches : (n, M, M) complex
        Patches centred on the positions; may be memory-mapped.
    weight : (M, M) float64
        Non-negative weight of a patch's pixels, 1 at its peak.
    x, y : (n,) float64 [px]
    object_shape : (H, W)
    alignments : int
        Re-alignments after the first assembly; 0 gives the plain shift-and-sum.
    corrections : int
        Residual corrections after the last alignment; the same number as in training.
    """
    size = weight.shape[0]
    grid = _Grid(x, y, object_shape, size)
    coverage = np.zeros(grid.shape)
    for window in grid.windows():
        window.add(coverage, weight)
    measured = coverage >= LEAST_COVERAGE
    inverse = np.where(measured, 1.0 / np.where(measured, coverage, 1.0), 0.0)
    background = np.where(measured, 0.0, 1.0)
    phases = np.ones(len(patches), np.complex128)

    def assemble(obj: Complex | None) -> Complex:
        """Shift-and-sum of the patches, or of their residual against ``obj``, over the coverage."""
        total = np.zeros(grid.shape, np.complex128)
        for phase, patch, window in zip(phases, patches, grid.windows(), strict=True):
            seen = 0.0 if obj is None else window.read(obj, size)
            window.add(total, weight * (phase * patch - seen))
        return total * inverse

    obj = assemble(None) + background
    for _ in range(alignments):
        for j, (patch, window) in enumerate(zip(patches, grid.windows(), strict=True)):
            phases[j] = _unit(np.vdot(weight * patch, window.read(obj, size)))
        obj = assemble(None) + background
    for _ in range(corrections):
        obj = obj + assemble(obj)
    return Stitched(np.array(grid.crop(obj)), np.array(grid.crop(coverage)), phases)


def _unit(value: np.complex128) -> complex:
    """Phase factor of ``value``; 1 for zero."""
    size = abs(value)
    return complex(value / size) if size > 0 else 1.0 + 0.0j
