"""From the network ``pretrained`` and a measurement to an object: as many passes over the frames as it has steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from fly64_assets.errors import EngineError
from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.pretrained.direction import returned_waves
from fly64_assets.pinn.pretrained.network import PLANE_STEP, Illuminated, PretrainedNetwork
from fly64_assets.pinn.results import Reconstruction
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import Counts, RegularisedLikelihood
from fly64_assets.pinn.unrolled.slow_phases import OF_PRETRAINED


@dataclass(frozen=True)
class PretrainedReconstruction(Reconstruction):
    """With the gain of slow phases per cosine [nats]; None where they were not asked for."""

    gain_of_slow_phases: float | None


@torch.no_grad()
def reconstruct(
    network: PretrainedNetwork,
    measurement: Measurement,
    device: str,
    *,
    slow_phases: bool = False,
    losses: list[float] | None = None,
) -> PretrainedReconstruction:
    """The object of all frames, on ``cpu`` or ``cuda``, with slow phases if they are asked for and worth adding.

    ``losses`` as for :func:`estimate`.

    Raises
    ------
    EngineError
        If the measurement is unfit or the object is not finite.
    """
    measurement = checked(measurement)
    plane = ObjectPlane(measurement, device)
    counts, scale = _counts(measurement, plane), measurement.intensity_scale
    found, gain = estimate(network, plane, counts, scale, losses), None
    if slow_phases:
        likelihood = RegularisedLikelihood(plane, counts, scale)
        changed = OF_PRETRAINED.applied(plane, likelihood, found)
        found, gain = changed.object, changed.gain
    coverage = plane.coverage()
    obj = np.where(coverage >= LEAST_COVERAGE, plane.on_grid(found), 1)
    return PretrainedReconstruction(obj, coverage, measurement.frames, gain)


@torch.no_grad()
def estimate(
    network: PretrainedNetwork, plane: ObjectPlane, counts: Counts, scale: float, losses: list[float] | None = None
) -> torch.Tensor:
    """The network's object (H, W) complex64 on an object plane.

    Parameters
    ----------
    counts : callable
        Counts (b, N, N) float32 of consecutive frames, DC in the corner, on the device of the plane; ``scale`` is the
        intensity scale that belongs to them.
    losses : list of float, optional
        Receives the Poisson loss [nats per frame] of the uniform object and of the object after every step; the last
        one takes a further pass over the frames.

    Raises
    ------
    EngineError
        If the object is not finite.
    """
    pad = [-side % PLANE_STEP for side in plane.shape]
    padding = (0, pad[1], 0, pad[0])
    illumination = functional.pad(plane.illumination, padding)[None]
    squared = torch.tensor([scale**2], dtype=torch.float32, device=plane.device)
    probe = plane.physics.on_window(plane.physics.probe).conj()

    def direction(objects: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        obj = objects[0, : plane.shape[0], : plane.shape[1]].contiguous()
        total = torch.zeros_like(obj)
        loss = Loss(plane.frames, plane.bad_pixels)
        for rows in plane.blocks():
            waves, measured = plane.physics.waves(plane.read(obj, rows)), counts(rows)
            observe = None if losses is None else partial(loss.add, measured)
            returned = returned_waves(waves, measured, scale, background, plane.bad_pixels, observe)
            plane.add(total, probe * plane.physics.on_window(returned), rows)
        if losses is not None:
            losses.append(loss.value)
        return functional.pad(total, padding)[None]

    counted = sum(float(counts(rows).sum(dtype=torch.float64)) for rows in plane.blocks())
    modulus = (counted / (float(plane.illumination.sum(dtype=torch.float64)) * scale**2)) ** 0.5
    start = torch.full(illumination.shape, modulus, dtype=torch.complex64, device=plane.device)
    illuminated = Illuminated(illumination * squared[:, None, None], squared)
    found: torch.Tensor = network(start, direction, illuminated)[-1][0]
    found = found[: plane.shape[0], : plane.shape[1]].contiguous()
    if not torch.view_as_real(found).isfinite().all():
        raise EngineError(
            "the pretrained network's object is not finite; the scan lies far outside of what it was trained for"
        )
    if losses is not None:
        loss = Loss(plane.frames, plane.bad_pixels)
        for rows in plane.blocks():
            loss.add(counts(rows), plane.physics.corner_rates(plane.read(found, rows), scale))
        losses.append(loss.value)
    return found


class Loss:
    """The Poisson loss of an object, a mean over frames, collected from blocks of them."""

    def __init__(self, frames: int, bad_pixels: torch.Tensor | None) -> None:
        self._frames, self._bad_pixels = frames, bad_pixels
        self.value = 0.0

    def add(self, counts: torch.Tensor, rates: torch.Tensor) -> None:
        """Counts and expected counts (b, N, N) of some frames."""
        self.value += float(poisson_loss(rates, counts, self._bad_pixels)) * len(counts) / self._frames


def _counts(measurement: Measurement, plane: ObjectPlane) -> Counts:
    """Counts (b, N, N) of consecutive frames, DC in the corner, on the device of the plane."""

    def read(rows: slice) -> torch.Tensor:
        shifted = np.fft.ifftshift(measurement.counts(rows), axes=(-2, -1)).astype(np.float32)
        return torch.from_numpy(shifted).to(plane.device)

    if not plane.holds_counts:
        return read
    size = measurement.patch_size
    every = torch.empty(plane.frames, size, size, device=plane.device)
    for rows in plane.blocks():
        every[rows] = read(rows)
    return lambda rows: every[rows]
