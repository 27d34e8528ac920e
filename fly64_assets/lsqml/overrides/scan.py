"""What an unmoved scan and an unchanged probe let a reconstruction compute once instead of in every minibatch.

The library rounds all positions, and shifts a copy of the probe for every frame, in every minibatch anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from fly64_assets.lsqml.bilinear import BilinearWindows
from fly64_assets.lsqml.overrides.shift import phase_ramps
from fly64_assets.lsqml.overrides.windows import Windows, WindowsBetween

KEPT_PROBES_BYTES: Final = 2**28
"""Shifted probes are kept from epoch to epoch if all of them fit in here."""
KEPT_AT_ONCE: Final = 64


def bilinear_windows(forward_model: Any) -> BilinearWindows | None:
    """What reads the object between pixels in a forward model; None where the library does."""
    owner = getattr(forward_model.extract_object_patches, "__self__", None)
    return owner if isinstance(owner, BilinearWindows) else None


@dataclass
class FixedScan:
    """Window corners and sub-pixel offsets of all positions, and the probes shifted by them.

    Attributes
    ----------
    corners : (n, 2) int64
        First pixel of each window, y then x.
    ramps : pair of (n, N) complex, or None
        Phases of the sub-pixel offsets; None where the probe stays where it is.
    fractions : (n, 2) or None
        Sub-pixel offsets of windows that are read bilinearly.
    shape : (N, N)
    positions : (n, 2) float
        Of the library, y then x [px].
    probes : (n, N, N) complex or None
        Shifted probes, while they are kept.
    kept : (N, N) complex or None
        The probe that they were shifted from.
    """

    corners: Tensor
    ramps: tuple[Tensor, Tensor] | None
    shape: tuple[int, int]
    positions: Tensor
    fractions: Tensor | None = None
    probes: Tensor | None = None
    kept: Tensor | None = None

    @classmethod
    def of(cls, forward_model: Any) -> FixedScan:
        """Geometry as the library's forward model has it."""
        between = bilinear_windows(forward_model)
        if between is not None:
            positions = forward_model.probe_positions.data.detach()
            size = forward_model.probe.get_spatial_shape()
            corners, fractions = between.corners(positions, size[0])
            return cls(corners, None, tuple(size), positions, fractions)
        _, centres, offsets = (part.detach() for part in forward_model.get_probe_grid_position_data())
        height, width = forward_model.probe.get_spatial_shape()
        half = torch.tensor([(height - 1) / 2, (width - 1) / 2], dtype=centres.dtype)
        corners = (centres - half).round().long()
        ramps = phase_ramps(offsets, (height, width)) if bool(offsets.any()) else None
        return cls(corners, ramps, (height, width), forward_model.probe_positions.data.detach())

    def inside(self, object_shape: tuple[int, int]) -> bool:
        """Whether all windows lie within the object."""
        limit = torch.tensor(object_shape) - torch.tensor(self._reach)
        return bool((self.corners >= 0).all() & (self.corners <= limit).all())

    def windows(self, indices: Tensor) -> Windows | WindowsBetween:
        """Windows of some positions."""
        whole = Windows.at(self.corners[indices], self._reach)
        return whole if self.fractions is None else WindowsBetween(whole, self.fractions[indices])

    @property
    def _reach(self) -> tuple[int, int]:
        """Pixels that a window is read from."""
        more = int(self.fractions is not None)
        return self.shape[0] + more, self.shape[1] + more

    def ramps_of(self, indices: Tensor) -> tuple[Tensor, Tensor] | None:
        """Phases of the sub-pixel offsets of some positions."""
        return None if self.ramps is None else (self.ramps[0][indices], self.ramps[1][indices])

    def keep(self, probe: Tensor | None) -> None:
        """Shift the probe (N, N) to all positions once, if the result is small enough; None: keep nothing."""
        if probe is not None and self.kept is not None and torch.equal(probe, self.kept):
            return
        self.kept, self.probes = probe, None
        if probe is None or self.ramps is None:
            return
        if len(self.corners) * probe.numel() * probe.element_size() <= KEPT_PROBES_BYTES:
            every = torch.split(torch.arange(len(self.corners)), KEPT_AT_ONCE)
            self.probes = torch.cat([self.probes_at(part, probe) for part in every])

    def probes_at(self, indices: Tensor, probe: Tensor) -> Tensor:
        """Probe (N, N) shifted to some positions, (b, N, N), or (1, N, N) where no position needs a shift.

        The library transforms a copy of the probe for every position; one transform serves all.
        """
        if self.probes is not None:
            return self.probes.index_select(0, indices)
        ramps = self.ramps_of(indices)
        if ramps is None:
            return probe[None]
        spectra: Tensor = torch.fft.fft2(probe) * ramps[0][:, :, None]
        shifted: Tensor = torch.fft.ifft2(spectra.mul_(ramps[1][:, None, :]))
        return shifted
