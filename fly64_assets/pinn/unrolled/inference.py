"""From a trained ``unrolled`` network and a measurement to an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Reconstruction
from fly64_assets.pinn.unrolled.network import UnrolledNetwork
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import regularisation_path
from fly64_assets.pinn.unrolled.starts import SlowPhasesOf, Starts, start_objects


@torch.no_grad()
def reconstruct(
    network: UnrolledNetwork,
    spec: NetworkSpec,
    measurement: Measurement,
    device: str,
    _scratch: Path,
    progress: Progress,
) -> Reconstruction:
    """The regularisation path of all frames and counts; its best object, or a mean with another, is corrected.

    Raises
    ------
    EngineError
        If the object is not finite.
    """
    plane = ObjectPlane(measurement, device)

    def counts(rows: slice) -> torch.Tensor:
        shifted = np.fft.ifftshift(measurement.counts(rows), axes=(-2, -1)).astype(np.float32)
        return torch.from_numpy(shifted).to(device)

    scale, steps = measurement.intensity_scale, spec.level_iterations
    path = regularisation_path(plane, counts, scale, spec.levels, steps, progress)
    slow_phases = SlowPhasesOf(spec.slow_phases, spec.pretrained_slow_phases)
    found = start_objects(plane, counts, scale, path[spec.base], slow_phases, network.pretrained)
    given = Starts(path, *found).network_input(plane.illumination, spec.pretrained_part)
    corrected = network.correct(given.channels, given.obj)
    obj = plane.on_grid(corrected)
    if not np.isfinite(obj).all():
        raise EngineError("the network's object is not finite; the bundle is of no use, train it again")
    coverage = plane.coverage()
    return Reconstruction(np.where(coverage >= LEAST_COVERAGE, obj, 1), coverage, measurement.frames)
