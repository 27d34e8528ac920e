"""Windows of an image, read and added as strips of memory instead of one index per pixel.

To add a patch the library writes down the position of every pixel (8 bytes for each 8-byte pixel) and scatters. A
window is N strips of N neighbouring pixels: reading needs one index per strip, and adding is a plain sum over a view.
Sums run patch after patch in the given order, with any number of threads, so equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from fly64_assets.lsqml.bilinear import between, spread


def add_windows(image: Tensor, starts: Tensor, patches: Tensor) -> None:
    """Add patches (n, h, w) to a contiguous image (H, W) in place; ``starts`` (n,) count pixels from the first."""
    shape, strides = patches.shape[1:], (image.shape[1], 1)
    windows = [image.as_strided(shape, strides, image.storage_offset() + start) for start in starts.tolist()]
    torch._foreach_add_(windows, list(patches.unbind(0)))


def read_windows(image: Tensor, strips: Tensor, shape: tuple[int, int]) -> Tensor:
    """Windows (n, h, w) of a contiguous image (H, W); ``strips`` (n * h,) count the pixels before each strip."""
    height, width = shape
    overlapping = image.as_strided((image.numel() - width + 1, width), (1, 1))
    return overlapping.index_select(0, strips).view(-1, height, width)


@dataclass(frozen=True)
class Windows:
    """Windows of one minibatch within the smallest rectangle that holds them all.

    Attributes
    ----------
    rectangle : (slice, slice)
        Rows and columns of the image.
    starts : (n,) int64
        First pixel of each window, counted within the rectangle.
    strips : (n * h,) int64
        First pixel of each row of each window, counted within the rectangle.
    shape : (h, w)
    """

    rectangle: tuple[slice, slice]
    starts: Tensor
    strips: Tensor
    shape: tuple[int, int]

    @classmethod
    def at(cls, corners: Tensor, shape: tuple[int, int]) -> Windows:
        """Windows whose first pixels are ``corners`` (n, 2) int64, y then x."""
        first, last = corners.amin(0).tolist(), corners.amax(0).tolist()
        height, width = shape
        rectangle = (slice(first[0], last[0] + height), slice(first[1], last[1] + width))
        across = last[1] - first[1] + width
        starts = (corners[:, 0] - first[0]) * across + (corners[:, 1] - first[1])
        strips = (starts[:, None] + torch.arange(height) * across).flatten()
        return cls(rectangle, starts, strips, shape)

    def read(self, part: Tensor, frames: slice | None = None) -> Tensor:
        """Windows (b, h, w) of all or some frames from the contiguous content of the rectangle."""
        strips = (
            self.strips if frames is None else self.strips[frames.start * self.shape[0] : frames.stop * self.shape[0]]
        )
        return read_windows(part, strips, self.shape)

    def add(self, part: Tensor, frames: slice, patches: Tensor) -> None:
        """Add patches (b, h, w) of some frames to the contiguous content of the rectangle in place."""
        add_windows(part, self.starts[frames], patches)


@dataclass(frozen=True)
class WindowsBetween:
    """Windows that lie between pixels, read and added bilinearly (:mod:`fly64_assets.lsqml.bilinear`).

    Attributes
    ----------
    whole : Windows
        The pixels that the windows are read from, (h + 1, w + 1) for each.
    fractions : (n, 2)
        How far each window lies beyond its first pixel [px], y then x.
    """

    whole: Windows
    fractions: Tensor

    @property
    def rectangle(self) -> tuple[slice, slice]:
        """Rows and columns of the image that hold all windows."""
        return self.whole.rectangle

    def read(self, part: Tensor, frames: slice | None = None) -> Tensor:
        """Windows (b, h, w) of all or some frames from the contiguous content of the rectangle."""
        fractions = self.fractions if frames is None else self.fractions[frames]
        return between(self.whole.read(part, frames), fractions)

    def add(self, part: Tensor, frames: slice, patches: Tensor) -> None:
        """Add patches (b, h, w) of some frames to the contiguous content of the rectangle in place."""
        self.whole.add(part, frames, spread(patches, self.fractions[frames]))


def batch_put(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Patch of ``ptychi.image_proc.batch_put`` for sums on the CPU; everything else goes to the library."""

    @wraps(stock)
    def put(
        image: Tensor, patches: Tensor, sy: Tensor, sx: Tensor, op: str = "add", check_bounds: bool = True
    ) -> Tensor:
        height, width = patches.shape[-2:]
        inside = bool(
            (sy.min() >= 0)
            & (sx.min() >= 0)
            & (sy.max() + height <= image.shape[0])
            & (sx.max() + width <= image.shape[1])
        )
        plain = image.is_contiguous() and not image.requires_grad and not patches.requires_grad
        if op != "add" or image.is_cuda or patches.dtype != image.dtype or not (inside and plain):
            result: Tensor = stock(image, patches, sy, sx, op=op, check_bounds=check_bounds)
            return result
        add_windows(image, sy.long() * image.shape[1] + sx.long(), patches)
        return image

    return put
