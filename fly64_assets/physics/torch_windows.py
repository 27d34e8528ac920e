"""Windows of an object at the positions of a scan, on tensors: what ``windows`` does, with gradients.

A window is N strips of N neighbouring pixels. Reading takes one index per strip instead of one per pixel, and on the
CPU adding is a plain sum over a view, frame after frame, with any number of threads: equal input gives equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fly64_assets.physics.windows import Scan


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of side N on a grid, bilinear between pixels; plain slices where the fractions are zero.

    Attributes
    ----------
    corners : (n, 2) int64
        First row and column of every window.
    size : int
        Window side N.
    fractions : (n, 2) float32
        How far every window lies beyond its corner [px], row and column, in [0, 1).
    fused : bool
        Interpolate by ``torch.lerp``, in one pass over the pixels instead of three; it rounds differently.

    Examples
    --------
    >>> import torch
    >>> grid = torch.arange(100.0).view(10, 10).to(torch.complex64)
    >>> windows = Windows(torch.tensor([[3, 4]]), 2, torch.tensor([[0.25, 0.5]]))
    >>> windows.read(grid).real
    tensor([[[37., 38.],
             [47., 48.]]])
    """

    corners: Tensor
    size: int
    fractions: Tensor
    fused: bool = False

    @classmethod
    def of(cls, scan: Scan, device: torch.device | str = "cpu") -> Windows:
        """Windows of a scan on its grid, between pixels."""
        corners, fractions = torch.from_numpy(scan.corners), torch.from_numpy(scan.fractions.astype(np.float32))
        return cls(corners.to(device), scan.patch_size, fractions.to(device))

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, frames: slice | Tensor) -> Windows:
        """The windows of some frames."""
        return replace(self, corners=self.corners[frames], fractions=self.fractions[frames])

    @property
    def reach(self) -> int:
        """Side N + 1 of the square of pixels that a window is read from."""
        return self.size + 1

    @property
    def rectangle(self) -> tuple[slice, slice]:
        """Rows and columns of the smallest part of the grid that holds all windows."""
        first, last = self.corners.amin(0).tolist(), (self.corners.amax(0) + self.reach).tolist()
        return slice(first[0], last[0]), slice(first[1], last[1])

    def within(self, top: int, left: int) -> Windows:
        """The same windows on a part of the grid that begins at this row and column."""
        return replace(self, corners=self.corners - self.corners.new_tensor([top, left]))

    def read(self, grid: Tensor) -> Tensor:
        """Windows (n, N, N) of a grid (H, W) that holds them all; differentiable."""
        width = grid.shape[1]
        starts = self._starts(width)
        side = torch.arange(self.reach, device=starts.device)
        strips = starts[:, None] + side * width
        if grid.requires_grad and torch.is_grad_enabled():
            # The derivative of an overlapping view would need the whole grid once per window.
            pixels = grid.reshape(-1)[strips[:, :, None] + side]
        else:
            flat = grid.contiguous()
            overlapping = flat.as_strided((flat.numel() - self.reach + 1, self.reach), (1, 1))
            pixels = overlapping.index_select(0, strips.reshape(-1)).view(-1, self.reach, self.reach)
        return interpolate(pixels, self.fractions, fused=self.fused)

    def add(self, grid: Tensor, windows: Tensor) -> None:
        """Add windows (n, N, N) to a contiguous grid (H, W) in place: the exact adjoint of :meth:`read`."""
        _add_strips(grid, self._starts(grid.shape[1]), spread(windows, self.fractions))

    def _starts(self, width: int) -> Tensor:
        """Pixels (n,) before the first of each window in a grid of that width."""
        return self.corners[:, 0] * width + self.corners[:, 1]


def interpolate(pixels: Tensor, fractions: Tensor, *, fused: bool = False) -> Tensor:
    """Windows (n, N, N) between the pixels (n, N + 1, N + 1), moved by fractions of a pixel (n, 2), row and column."""
    fy, fx = fractions[:, 0, None, None], fractions[:, 1, None, None]
    if fused:
        rows = torch.lerp(pixels[:, :-1], pixels[:, 1:], fy.to(pixels.dtype))
        return torch.lerp(rows[:, :, :-1], rows[:, :, 1:], fx.to(pixels.dtype))
    rows = pixels[:, :-1] + fy * (pixels[:, 1:] - pixels[:, :-1])
    return rows[:, :, :-1] + fx * (rows[:, :, 1:] - rows[:, :, :-1])


def spread(windows: Tensor, fractions: Tensor) -> Tensor:
    """Adjoint of :func:`interpolate`: windows (n, N, N) on the pixels (n, N + 1, N + 1)."""
    fy, fx = fractions[:, 0, None, None], fractions[:, 1, None, None]
    rows = torch.nn.functional.pad(windows * (1 - fy), (0, 0, 0, 1))
    rows[:, 1:] += windows * fy
    columns = torch.nn.functional.pad(rows * (1 - fx), (0, 1))
    columns[:, :, 1:] += rows * fx
    return columns


def _add_strips(grid: Tensor, starts: Tensor, patches: Tensor) -> None:
    """Add patches (n, h, w) to a contiguous grid (H, W) in place; ``starts`` (n,) count pixels from the first."""
    shape, width = patches.shape[1:], grid.shape[1]
    if not grid.is_cuda:
        views = [grid.as_strided(shape, (width, 1), grid.storage_offset() + start) for start in starts.tolist()]
        torch._foreach_add_(views, list(patches.unbind(0)))
        return
    rows, columns = (torch.arange(side, device=grid.device) for side in shape)
    pixels = (starts[:, None, None] + rows[:, None] * width + columns).reshape(-1)
    if grid.is_complex():
        target, values = torch.view_as_real(grid).view(-1, 2), torch.view_as_real(patches.contiguous()).view(-1, 2)
    else:
        target, values = grid.view(-1), patches.reshape(-1)
    target.index_add_(0, pixels, values)
