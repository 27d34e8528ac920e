"""The registry of architectures: the one place, besides ``settings``, where a new network is entered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fly64_assets.engines.process import Progress
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.cnn import inference as cnn_inference
from fly64_assets.pinn.cnn.network import EncoderDecoder
from fly64_assets.pinn.forward import ForwardModel
from fly64_assets.pinn.layers import initialised
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Reconstruction
from fly64_assets.pinn.unrolled import inference as unrolled_inference
from fly64_assets.pinn.unrolled.network import UnrolledNetwork

if TYPE_CHECKING:
    from fly64_assets.pinn.optimisation import TrainingSetup, TrainingTask

Probe = NDArray[np.complexfloating]


def _unrolled_training(setup: TrainingSetup) -> TrainingTask:
    from fly64_assets.pinn.unrolled.training import UnrolledTraining

    return UnrolledTraining(setup)


def _cnn_training(setup: TrainingSetup) -> TrainingTask:
    from fly64_assets.pinn.cnn.training import CnnTraining

    return CnnTraining(setup)


@dataclass(frozen=True)
class Architecture:
    """A network from its specification and the probe (N, N), its training, and its inference.

    A training imports Lightning when it begins, which takes seconds that an inference does without.

    ``reconstruct`` goes from network, specification, measurement, device, scratch folder and progress to the object of
    all frames; ``several_devices`` says whether several processes can share the training, one for each device.
    """

    network: Callable[[NetworkSpec, Probe], nn.Module]
    training: Callable[[TrainingSetup], TrainingTask]
    reconstruct: Callable[[Any, NetworkSpec, Measurement, str, Path, Progress], Reconstruction]
    several_devices: bool


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "unrolled": Architecture(
        network=lambda spec, _probe: UnrolledNetwork(spec),
        training=_unrolled_training,
        reconstruct=unrolled_inference.reconstruct,
        several_devices=True,
    ),
    "cnn": Architecture(
        network=lambda spec, probe: EncoderDecoder(spec, ForwardModel(probe, int(probe.shape[0]))),
        training=_cnn_training,
        reconstruct=cnn_inference.reconstruct,
        several_devices=False,
    ),
}


def build_network(spec: NetworkSpec, probe: Probe, seed: int) -> nn.Module:
    """A network with initial weights that depend on ``spec`` and ``seed`` only."""
    return initialised(lambda: ARCHITECTURES[spec.architecture].network(spec, probe), seed)
