"""From a bundle and a measurement to an object, by the architecture that the bundle names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fly64_assets.engines.process import Progress
from fly64_assets.errors import ArtifactError
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.pinn.architectures import ARCHITECTURES, build_network
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.results import Reconstruction


def network_from_bundle(bundle: Bundle, probe: NDArray[np.complexfloating], unit: float = 1.0) -> nn.Module:
    """The trained network for a probe, which is counted in a unit of the stored amplitudes.

    Raises
    ------
    ArtifactError
        If the bundle names an unknown architecture or its weights do not fit it.
    """
    spec = bundle.spec().in_unit(unit)
    if spec.architecture not in ARCHITECTURES:
        raise ArtifactError(
            f"the bundle's architecture {spec.architecture!r} is unknown (known: {', '.join(ARCHITECTURES)})"
        )
    network = build_network(spec, probe, seed=0)
    bundle.require_shapes({name: tuple(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(value) for name, value in bundle.weights.items()})
    return network.eval()


def reconstruct(
    bundle: Bundle, measurement: Measurement, device: str, scratch: Path, progress: Progress
) -> Reconstruction:
    """Object of all frames of a measurement, in memory that does not grow with their number.

    ``device`` is ``cpu`` or ``cuda``; ``scratch`` a folder for a scratch file; ``progress`` is called now and then with
    (steps done, steps, no values).

    Raises
    ------
    ArtifactError
        If the bundle is not one of a known network, or was trained for another frame size.
    EngineError
        If the measurement is unfit, the object is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """
    spec = bundle.spec()
    bundle.require_patch_size(measurement.patch_size)
    measurement = checked(measurement)
    network = network_from_bundle(bundle, measurement.probe, measurement.unit).to(device)
    return ARCHITECTURES[spec.architecture].reconstruct(network, spec, measurement, device, scratch, progress)
