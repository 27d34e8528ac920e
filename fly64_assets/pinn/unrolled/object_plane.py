"""The object plane of a scan: the part of the object's grid that the probe reaches, shared by all frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.torch_windows import Windows
from fly64_assets.physics.windows import common_part
from fly64_assets.pinn.forward import ForwardModel, probe_window

MARGIN: Final = 2
"""Pixels around the outermost windows [px]."""
STEP: Final = 8
"""Sides of the plane are multiples of this, so that a network may halve it three times."""
BLOCK_FRAMES: Final = 32
"""Frames that a solver handles at once on a CPU, whose caches hold them."""
GPU_BLOCK_PIXELS: Final = 2**24
"""Pixels of frames that a solver handles at once on a GPU, at most: a few frames do not keep it busy."""
PIXEL_BYTES: Final = 200
"""Memory that such a pixel takes with what is computed from it."""
IN_MEMORY_BYTES: Final = 512 * 2**20
"""Counts up to this size stay in memory from pass to pass."""
GPU_PART: Final = 0.125
"""Part of a GPU's free memory that such counts may take, and as much again what is computed at once: several engines
may share a GPU."""


class ObjectPlane:
    """The part of the object's grid that the windows of a scan reach.

    A window is the square of side M that holds the illuminated part of the probe. It is read with bilinear subpixel
    interpolation, as in the forward model of the study; :meth:`read` and :meth:`add` are adjoint. An object on this
    plane is a tensor (H, W) complex64 of :attr:`shape`.

    Parameters
    ----------
    order : (n,) int64, optional
        Indices of the measurement's frames in the order in which the plane numbers them; 0, 1, 2 ... by default.
    learned : int, optional
        How many frames at the beginning of that order may be learned from. The others (held-out frames) have windows
        but neither illuminate the plane nor appear in :meth:`blocks`. All by default.

    Attributes
    ----------
    shape : (H, W)
        Rows and columns of the plane [px].
    origin : (row, column)
        Pixel of the object's grid on which the plane begins; negative where windows leave the grid.
    window : int
        M [px].
    illumination : (H, W) float32
        Sum of |P|^2 over the positions of the learned frames.
    frames : int
        Number of learned frames.
    physics : ForwardModel
    bad_pixels : (N, N) bool or None
        Detector pixels that were not measured, DC in the corner; None if all were.

    Examples
    --------
    >>> import numpy as np
    >>> from fly64_assets.physics.measurement import Measurement
    >>> probe = np.zeros((16, 16), np.complex64)
    >>> probe[4:12, 4:12] = 1
    >>> x = y = np.array([20.0, 23.5])
    >>> scan = Measurement(np.ones((2, 16, 16), np.float32), 1.0, probe, x, y, (48, 48), np.arange(2))
    >>> plane = ObjectPlane(scan)
    >>> plane.window, plane.shape, plane.origin
    (8, (16, 16), (14, 14))
    >>> uniform = torch.ones(plane.shape, dtype=torch.complex64)
    >>> plane.read(uniform, slice(0, 2)).shape
    torch.Size([2, 8, 8])
    >>> float(plane.illumination.sum())
    128.0
    """

    def __init__(
        self,
        measurement: Measurement,
        device: torch.device | str = "cpu",
        order: NDArray[np.int64] | None = None,
        learned: int | None = None,
    ) -> None:
        probe = measurement.probe
        order = np.arange(measurement.frames) if order is None else order
        self.device = torch.device(device)
        self.physics = ForwardModel(probe, probe_window(probe)).to(self.device)
        self.window = window = self.physics.window
        bad = measurement.bad_pixels
        self.bad_pixels = None if bad is None else torch.from_numpy(np.fft.ifftshift(bad)).to(self.device)
        self.frames = len(order) if learned is None else learned
        self.object_shape = measurement.object_shape
        self._at_once = BLOCK_FRAMES
        if self.device.type == "cuda":
            pixels = min(GPU_BLOCK_PIXELS, int(GPU_PART * free_bytes(self.device)) // PIXEL_BYTES)
            self._at_once = max(BLOCK_FRAMES, pixels // self.physics.probe.numel())
        scan = replace(measurement.scan[order], patch_size=window).tight(MARGIN)
        height, width = (-(-side // STEP) * STEP for side in scan.object_shape)
        self.origin, self.shape = scan.origin, (height, width)
        self.top, self.left = scan.corners.T
        self._windows = Windows.of(scan, self.device)
        intensity = (self.physics.weight * self.physics.peak).to(torch.complex64)
        total = torch.zeros(self.shape, dtype=torch.complex64, device=self.device)
        for rows in self.blocks():
            self.add(total, intensity.expand(rows.stop - rows.start, -1, -1), rows)
        self.illumination = total.real.contiguous()

    @property
    def relative_illumination(self) -> torch.Tensor:
        """The illumination (H, W) float32 over its largest value."""
        return self.illumination / self.illumination.max()

    def blocks(self) -> list[slice]:
        """Consecutive learned frames, a few at a time; more of them on a GPU."""
        return list(blocks(self.frames, self._at_once))

    @property
    def holds_counts(self) -> bool:
        """Whether the counts of the learned frames, float32, may stay on the device from pass to pass."""
        most = IN_MEMORY_BYTES
        if self.device.type == "cuda":
            most = max(most, int(GPU_PART * free_bytes(self.device)))
        return 4 * self.frames * self.physics.probe.numel() <= most

    def read(self, obj: torch.Tensor, rows: slice | torch.Tensor, origin: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Windows (b, M, M) of an object at the positions of some frames, numbered in the plane's order.

        ``obj`` (h, w) complex64 is an object on the plane, or the part of one that begins at ``origin`` and holds these
        windows and one pixel more.
        """
        return self._windows[rows].within(*origin).read(obj)

    def add(self, obj: torch.Tensor, windows: torch.Tensor, rows: slice) -> None:
        """Add windows (b, M, M) complex64 to an object (H, W), in place: the adjoint of :meth:`read`."""
        self._windows[rows].add(obj, windows)

    def inside(self, top: int, left: int, height: int, width: int) -> NDArray[np.int64]:
        """Learned frames whose windows lie in a part of the plane, (k,) int64."""
        reach = self.window + 1
        rows = (self.top >= top) & (self.top + reach <= top + height)
        columns = (self.left >= left) & (self.left + reach <= left + width)
        return np.flatnonzero((rows & columns)[: self.frames])

    def on_grid(self, obj: torch.Tensor) -> NDArray[np.complex64]:
        """An object of the plane on the object grid of the measurement, ones elsewhere."""
        grid = np.ones(self.object_shape, np.complex64)
        self._place(obj, grid)
        return grid

    def coverage(self) -> NDArray[np.float32]:
        """Illumination on the object grid of the measurement, in units of one frame at the probe's peak."""
        grid = np.zeros(self.object_shape, np.float32)
        self._place(self.illumination / self.physics.peak, grid)
        return grid

    def _place(self, values: torch.Tensor, grid: NDArray[Any]) -> None:
        """Write the part of the plane that lies on the grid into it."""
        on_grid, on_plane = common_part(self.origin, self.shape, self.object_shape)
        grid[on_grid] = values.cpu().numpy()[on_plane]


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that nobody uses, with what torch keeps of it for later."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept
