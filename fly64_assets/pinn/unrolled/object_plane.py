"""The object plane of a whole scan: windows at the positions, read from one grid and added to it.

Belongs here: geometry on tensors and the light on the plane. Does not belong here: solvers, networks, losses.
Imported by engine processes only.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.cnn.grouping import Indices
from fly64_assets.pinn.forward import ForwardModel, probe_window

MARGIN: Final = 2
"""Pixels around the windows."""
STEP: Final = 8
"""Sides of the plane are multiples of this, so that a network may halve it three times."""
BLOCK_FRAMES: Final = 32


class Scene:
    """The part of the object's grid that the windows of a scan reach.

    Windows have the side M of the probe's lit part and are read bilinearly, as the forward model of the study does.
    Reading and adding are adjoint.

    Parameters
    ----------
    order : (n,) int64, optional
        Frames of the measurement in the order in which the scene counts them; all, as they are, by default.
    shown : int, optional
        The first so many frames are the measured ones; the others have windows and nothing else.

    Attributes
    ----------
    shape : (H, W)
        Rows and columns of the plane [px].
    illumination : (H, W) float32
        Sum of |P|^2 over the positions of the measured frames.
    frames : int
        Measured frames.
    physics : ForwardModel
    """

    def __init__(
        self,
        measurement: Measurement,
        device: torch.device | str = "cpu",
        order: Indices | None = None,
        shown: int | None = None,
    ) -> None:
        probe = measurement.probe
        order = np.arange(measurement.frames) if order is None else order
        self.device = torch.device(device)
        self.physics = ForwardModel(probe, probe_window(probe)).to(self.device)
        self.window = window = self.physics.window
        self.frames = len(order) if shown is None else shown
        self.object_shape = measurement.object_shape
        x, y = measurement.x[order], measurement.y[order]
        whole_x, whole_y = np.floor(x), np.floor(y)
        left, top = (whole.astype(np.int64) - window // 2 for whole in (whole_x, whole_y))
        self.origin = (int(top.min()) - MARGIN, int(left.min()) - MARGIN)
        self.top, self.left = top - self.origin[0], left - self.origin[1]
        self.shape = tuple(
            -(-(int(corner.max()) + window + 1 + MARGIN) // STEP) * STEP for corner in (self.top, self.left)
        )
        self._fractions = [
            torch.from_numpy((centre - whole).astype(np.float32)).to(self.device)[:, None, None]
            for centre, whole in ((y, whole_y), (x, whole_x))
        ]
        self._corner = torch.from_numpy(self.top * self.shape[1] + self.left).to(self.device)
        self.illumination = self._lit()

    def blocks(self) -> list[slice]:
        """Consecutive measured frames, a few at a time."""
        return list(blocks(self.frames, BLOCK_FRAMES))

    def read(self, plane: torch.Tensor, rows: slice | torch.Tensor, origin: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Windows (b, M, M) of some frames.

        Parameters
        ----------
        plane : (h, w) complex64
            The plane, or a part of it that holds these windows and one pixel more.
        rows : slice or (b,) int64
        origin : (row, column)
            Where the part begins.
        """
        fy, fx = (fraction[rows] for fraction in self._fractions)
        windows = plane.reshape(-1)[self._pixels(rows, plane.shape[1], origin)]
        windows = windows[:, :-1] + fy * (windows[:, 1:] - windows[:, :-1])
        return windows[:, :, :-1] + fx * (windows[:, :, 1:] - windows[:, :, :-1])

    def add(self, plane: torch.Tensor, windows: torch.Tensor, rows: slice) -> None:
        """Add windows (b, M, M) complex64 to the plane (H, W), in place: the adjoint of :meth:`read`."""
        fy, fx = (fraction[rows] for fraction in self._fractions)
        spread = torch.nn.functional.pad(windows * (1 - fy), (0, 1, 0, 1))
        spread[:, 1:, :-1] += windows * fy
        columns = spread * (1 - fx)
        columns[:, :, 1:] += spread[:, :, :-1] * fx
        target = torch.view_as_real(plane).view(-1, 2)
        target.index_add_(0, self._pixels(rows, plane.shape[1]).reshape(-1), torch.view_as_real(columns).reshape(-1, 2))

    def inside(self, top: int, left: int, height: int, width: int) -> Indices:
        """Measured frames whose windows lie in a part of the plane."""
        reach = self.window + 1
        rows = (self.top >= top) & (self.top + reach <= top + height)
        columns = (self.left >= left) & (self.left + reach <= left + width)
        return np.flatnonzero((rows & columns)[: self.frames])

    def on_grid(self, plane: torch.Tensor) -> NDArray[np.complex64]:
        """The plane on the grid of the measurement, ones elsewhere."""
        grid = np.ones(self.object_shape, np.complex64)
        self._place(plane, grid)
        return grid

    def coverage(self) -> NDArray[np.float32]:
        """Illumination on the grid of the measurement, in frames at the probe's peak."""
        grid = np.zeros(self.object_shape, np.float32)
        self._place(self.illumination / self.physics.peak, grid)
        return grid

    def _place(self, plane: torch.Tensor, grid: NDArray[Any]) -> None:
        """Write the part of the plane that lies on the grid into it."""
        own, whole = [], []
        for origin, side, limit in zip(self.origin, self.shape, self.object_shape, strict=True):
            low = min(max(0, origin), limit)
            high = max(low, min(limit, origin + side))
            whole.append(slice(low, high))
            own.append(slice(low - origin, high - origin))
        grid[tuple(whole)] = plane.cpu().numpy()[tuple(own)]

    def _pixels(self, rows: slice | torch.Tensor, width: int, origin: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Flat indices (b, M + 1, M + 1) of the windows in a plane of that width."""
        side = torch.arange(self.window + 1, device=self.device)
        corner = self._corner[rows]
        row = corner // self.shape[1] - origin[0]
        column = corner % self.shape[1] - origin[1]
        return (row * width + column)[:, None, None] + side[:, None] * width + side

    def _lit(self) -> torch.Tensor:
        light = (self.physics.weight * self.physics.peak).to(torch.complex64)
        plane = torch.zeros(self.shape, dtype=torch.complex64, device=self.device)
        for rows in self.blocks():
            count = rows.stop - rows.start
            self.add(plane, light.expand(count, -1, -1), rows)
        return plane.real.contiguous()
