"""The study's own windows inside pty-chi's forward model: the object read bilinearly, and the exact adjoint.

The library moves the *probe* by the fraction of a pixel, with a Fourier ramp, and reads whole windows. The forward
model of this study reads the *object* between pixels, bilinearly. Where photons are many the difference, not the noise,
limits a reconstruction; a solver that is compared with one that uses this model must use it too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fly64_assets.physics.torch_windows import Windows

NEARLY_WHOLE = 1e-4
"""Positions are float32; one this close to a whole pixel is that pixel [px]."""


class BilinearWindows:
    """Bilinear windows at the positions of one ``PlanarPtychographyForwardModel`` with one slice and no resampling."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def read(self, image: Tensor, positions: Tensor, size: int) -> Tensor:
        """Windows (b, N, N) of an image (H, W), differentiable."""
        return self.at(positions, size).read(image)

    def add(self, positions: Tensor, windows: Tensor, shape: tuple[int, int]) -> Tensor:
        """Image (H, W) of summed windows (b, N, N): the adjoint of :meth:`read`."""
        image = torch.zeros(shape, dtype=windows.dtype, device=windows.device)
        self.at(positions, windows.shape[-1]).add(image, windows)
        return image

    def at(self, positions: Tensor, size: int) -> Windows:
        """Windows of side ``size`` at positions (b, 2) of the library, y then x [px]."""
        corner = positions.detach() + self.model.object.pos_origin_coords - (size - 1) / 2
        whole = torch.floor(corner + NEARLY_WHOLE)
        return Windows(whole.long(), size, (corner - whole).clamp(min=0), fused=True)

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
