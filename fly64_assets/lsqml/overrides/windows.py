"""Patches added to an image as strips of memory instead of one index per pixel.

To add a patch the library writes down the position of every pixel (8 bytes for each 8-byte pixel) and scatters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from fly64_assets.physics.torch_windows import add_strips


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
        add_strips(image, sy.long() * image.shape[1] + sx.long(), patches)
        return image

    return put
