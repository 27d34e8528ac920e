"""The study's own windows inside pty-chi's forward model: the object read bilinearly, and the exact adjoint.

The library moves the *probe* by the fraction of a pixel, with a Fourier ramp, and reads whole windows. The forward
model of this study reads the *object* between pixels, bilinearly. Where photons are many the difference, not the noise,
limits a reconstruction; a solver that is compared with one that knows the model must know it too.

Belongs here: reading, adding, and putting both into one task. Does not belong here: what an engine does with them.
Imported by engine processes only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NEARLY_WHOLE = 1e-4
"""Positions are float32; one this close to a whole pixel is that pixel [px]."""


def between(corners: Tensor, fractions: Tensor) -> Tensor:
    """Windows (b, N, N) between the pixels (b, N + 1, N + 1), moved by fractions of a pixel (b, 2), y then x."""
    fy, fx = fractions[:, 0, None, None], fractions[:, 1, None, None]
    rows = torch.lerp(corners[:, :-1], corners[:, 1:], fy.to(corners.dtype))
    return torch.lerp(rows[:, :, :-1], rows[:, :, 1:], fx.to(corners.dtype))


def spread(windows: Tensor, fractions: Tensor) -> Tensor:
    """Adjoint of :func:`between`: windows (b, N, N) on the pixels (b, N + 1, N + 1)."""
    fy, fx = fractions[:, 0, None, None], fractions[:, 1, None, None]
    rows = torch.nn.functional.pad(windows * (1 - fy), (0, 0, 0, 1))
    rows[:, 1:] += windows * fy
    columns = torch.nn.functional.pad(rows * (1 - fx), (0, 1))
    columns[:, :, 1:] += rows * fx
    return columns


class BilinearWindows:
    """Bilinear windows at the positions of one forward model of the library.

    Attributes
    ----------
    model
        ``PlanarPtychographyForwardModel``; it must have one slice and no resampling.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def read(self, image: Tensor, positions: Tensor, size: int) -> Tensor:
        """Windows (b, N, N) of an image (H, W), differentiable."""
        pixels, fractions = self._geometry(positions, size, image.shape[-1])
        return between(image.reshape(-1)[pixels], fractions)

    def add(self, positions: Tensor, windows: Tensor, shape: tuple[int, int]) -> Tensor:
        """Image (H, W) of summed windows (b, N, N): the adjoint of :meth:`read`."""
        pixels, fractions = self._geometry(positions, windows.shape[-1], shape[1])
        columns = spread(windows, fractions)
        image = torch.zeros(shape[0] * shape[1], dtype=windows.dtype, device=windows.device)
        if not windows.is_complex():
            return image.index_add_(0, pixels.reshape(-1), columns.reshape(-1)).view(shape)
        parts = torch.view_as_real(image)
        parts.index_add_(0, pixels.reshape(-1), torch.view_as_real(columns.contiguous()).view(-1, 2))
        return image.view(shape)

    def corners(self, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """First pixels (b, 2) int64 of the windows, and how far (b, 2) the windows lie beyond them [px]; y then x."""
        corner = positions.detach() + self.model.object.pos_origin_coords - (size - 1) / 2
        whole = torch.floor(corner + NEARLY_WHOLE)
        return whole.long(), (corner - whole).clamp(min=0)

    def _geometry(self, positions: Tensor, size: int, width: int) -> tuple[Tensor, Tensor]:
        """Flat pixels (b, N + 1, N + 1) that windows are read from, and the fractions of a pixel (b, 2)."""
        whole, fractions = self.corners(positions, size)
        top, left = whole.unbind(1)
        side = torch.arange(size + 1, device=positions.device)
        pixels = (top * width + left)[:, None, None] + side[:, None] * width + side
        return pixels, fractions

    # -- in the shape of the library's own functions ---------------------------------------------------------------

    def extract_object_patches(self, indices: Tensor) -> Tensor:
        """Windows of the current object, (b, 1, N, N)."""
        size = self.model.probe.get_spatial_shape()[0]
        return self.read(self.model.get_probe_grid_object()[0], self.model.probe_positions.tensor[indices], size)[
            :, None
        ]

    def extract_probe_grid_patches(
        self, image: Tensor, positions: Tensor, patch_shape: Any, *, integer_mode: bool
    ) -> Tensor:
        """Windows of an update; there are no whole-pixel windows in this model."""
        del integer_mode
        return self.read(image, positions, patch_shape[-1])

    def place_object_patches_on_probe_grid(self, positions: Tensor, patches: Tensor, *, integer_mode: bool) -> Tensor:
        """Sum of windows on an empty object; there are no whole-pixel windows in this model."""
        del integer_mode
        height, width = self.model.probe_grid_object_shape
        return self.add(positions, patches, (int(height), int(width)))


def use_bilinear_windows(task: Any) -> None:
    """Let a task of the library read and add windows bilinearly, and leave its probe where it is."""
    reconstructor = task.reconstructor
    model = reconstructor.forward_model
    windows = BilinearWindows(model)
    for name in ("extract_object_patches", "extract_probe_grid_patches", "place_object_patches_on_probe_grid"):
        setattr(model, name, getattr(windows, name))
    model.shift_unique_probes = _unmoved
    reconstructor.adjoint_shift_probe_update_direction = _unmoved


def _unmoved(_indices: Tensor, waves: Tensor, first_mode_only: bool = False) -> Tensor:
    """The probe, or an update of it, where it is."""
    del first_mode_only
    return waves
