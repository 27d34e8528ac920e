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
from fly64_assets.physics.torch_windows import Windows

KEPT_PROBES_BYTES: Final = 2**28
"""Shifted probes are kept from epoch to epoch if all of them fit in here."""
KEPT_AT_ONCE: Final = 64


def bilinear_windows(forward_model: Any) -> BilinearWindows | None:
    """What reads the object between pixels in a forward model; None where the library does."""
    owner = getattr(forward_model.extract_object_patches, "__self__", None)
    return owner if isinstance(owner, BilinearWindows) else None


@dataclass
class FixedScan:
    """Windows of all positions, and the probes shifted by their sub-pixel offsets.

    Attributes
    ----------
    windows : Windows
        Of all positions; at whole pixels where the library moves the probe.
    ramps : pair of (n, N) complex, or None
        Phases of the sub-pixel offsets; None where the probe stays where it is.
    positions : (n, 2) float
        Of the library, y then x [px].
    probes : (n, N, N) complex or None
        Shifted probes, while they are kept.
    kept : (N, N) complex or None
        The probe that they were shifted from.
    """

    windows: Windows
    ramps: tuple[Tensor, Tensor] | None
    positions: Tensor
    probes: Tensor | None = None
    kept: Tensor | None = None

    @classmethod
    def of(cls, forward_model: Any) -> FixedScan:
        """Geometry as the library's forward model has it."""
        positions = forward_model.probe_positions.data.detach()
        height, width = forward_model.probe.get_spatial_shape()
        bilinear = bilinear_windows(forward_model)
        if bilinear is not None:
            return cls(bilinear.at(positions, height), None, positions)
        _, centres, offsets = (part.detach() for part in forward_model.get_probe_grid_position_data())
        half = torch.tensor([(height - 1) / 2, (width - 1) / 2], dtype=centres.dtype)
        windows = Windows((centres - half).round().long(), height)
        ramps = phase_ramps(offsets, (height, width)) if bool(offsets.any()) else None
        return cls(windows, ramps, positions)

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
        if len(self.windows) * probe.numel() * probe.element_size() <= KEPT_PROBES_BYTES:
            every = torch.split(torch.arange(len(self.windows)), KEPT_AT_ONCE)
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
