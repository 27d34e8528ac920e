"""The overlap canvas: the frames of a group share one object, with gradients."""

from __future__ import annotations

import math
from typing import Final

import torch

from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.physics.windows import corner_weights

CORRECTIONS: Final = 1
"""Corrections of the mean by the residual of the patches; as many as in stitching."""


class OverlapCanvas:
    """Canvases of b groups of C patches, one canvas per group, as large as the offsets need.

    :meth:`place` and :meth:`read` are bilinear and adjoint to each other.

    Parameters
    ----------
    offsets : (b, C, 2) float32
        Window centres relative to the canvas centre as (y, x) [px].
    patch_side : int
        Side of the patches [px].
    """

    def __init__(self, offsets: torch.Tensor, patch_side: int) -> None:
        side = patch_side + 2 * math.ceil(float(offsets.abs().max()))
        self.groups, self.frames = offsets.shape[:2]
        self.patch_side, self.side = patch_side, side
        corner = offsets + (side - patch_side) / 2
        whole = corner.floor()
        fraction = corner - whole
        top, left = whole[..., 0].long(), whole[..., 1].long()
        canvas = torch.arange(self.groups, device=offsets.device)[:, None] * side * side
        pixel = torch.arange(patch_side, device=offsets.device)
        fy, fx = fraction[..., 0, None, None, None], fraction[..., 1, None, None, None]
        self._corners: list[tuple[torch.Tensor, torch.Tensor]] = []
        for dy, dx, weight in corner_weights(fy, fx):
            # At the canvas edge the outer neighbour has weight zero; any index inside will do.
            row = (top[..., None] + dy + pixel).clamp_max(side - 1)
            column = (left[..., None] + dx + pixel).clamp_max(side - 1)
            index = canvas[..., None, None] + row[..., :, None] * side + column[..., None, :]
            self._corners.append((index.reshape(-1), weight))

    def place(self, patches: torch.Tensor) -> torch.Tensor:
        """Add patches (b, C, N, N, k) onto canvases, returned flat as (b * side * side, k)."""
        channels = patches.shape[-1]
        canvas = patches.new_zeros((self.groups * self.side * self.side, channels))
        for index, weight in self._corners:
            canvas = canvas.index_add(0, index, (patches * weight).reshape(-1, channels))
        return canvas

    def read(self, canvas: torch.Tensor) -> torch.Tensor:
        """Windows (b, C, N, N, k) of flat canvases (b * side * side, k)."""
        shape = (self.groups, self.frames, self.patch_side, self.patch_side, canvas.shape[-1])
        windows = [canvas.index_select(0, index).view(shape) * weight for index, weight in self._corners]
        return torch.stack(windows).sum(dim=0)


def shared_patches(patches: torch.Tensor, weight: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Replace each patch of a group by the group's common object at its position: the overlap constraint.

    The common object is the weighted mean of the patches where they overlap, numerator and denominator under the
    same weights, 1 where no patch reaches. The undetermined global phase of each patch is aligned to the mean first:
    patches with different phases would cancel. Interpolating and averaging blur; correcting the mean once by the
    residual of the patches against it undoes most of that, as in stitching.

    Parameters
    ----------
    patches : (b, C, M, M) complex64
    weight : (M, M) float32
        Weight of a patch's pixels (the probe's intensity, 1 at its peak).
    offsets : (b, C, 2) float32
        Positions relative to the group's mean as (y, x) [px].

    Returns
    -------
    (b, C, M, M) complex64
    """
    canvas = OverlapCanvas(offsets, patches.shape[-1])
    spread = weight.expand(patches.shape)[..., None]
    coverage = canvas.place(spread)
    measured = coverage >= LEAST_COVERAGE
    inverse = torch.where(measured, 1.0 / coverage.clamp_min(LEAST_COVERAGE), torch.zeros_like(coverage))
    uniform = torch.cat([(~measured).to(weight.dtype), torch.zeros_like(coverage)], dim=1)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return canvas.place(torch.view_as_real(values) * spread) * inverse

    def window(values: torch.Tensor) -> torch.Tensor:
        return torch.view_as_complex(canvas.read(values).contiguous())

    # The best phase of a patch must not change its content: no gradient goes through it.
    with torch.no_grad():
        match = (window(mean(patches)) * patches.conj() * weight).sum(dim=(-2, -1), keepdim=True)
        phases = match / match.abs().clamp_min(1e-12)
    aligned = phases * patches
    obj = mean(aligned) + uniform
    for _ in range(CORRECTIONS):
        obj = obj + mean(aligned - window(obj))
    return window(obj)
