"""From a training to a bundle, and from a bundle to a network."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch

from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.pretrained.network import PretrainedNetwork
from fly64_assets.pinn.pretrained.pretrained_spec import ENERGY, Applicability, PretrainedSpec, read_pretrained
from fly64_assets.pinn.pretrained.scans import Family, Pool
from fly64_assets.pinn.pretrained.settings import GENERAL
from fly64_assets.pinn.pretrained.training import Pretrained, PretrainingSettings


def bundle_of(
    trained: Pretrained,
    spec: PretrainedSpec,
    settings: PretrainingSettings,
    family: Family,
    device: str,
    earlier: Bundle | None = None,
) -> Bundle:
    """The bundle of a training; weights are rounded to half precision, which halves the file.

    ``earlier`` is the bundle whose network was trained on; its trainings are listed before this one.
    """
    training = asdict(settings) | {"family": family.to_dict(), "optimisation_steps": trained.steps, "device": device}
    trainings = [*(earlier.params["trainings"] if earlier else []), training]
    before = earlier.history if earlier else []
    done = before[-1]["step"] if before else 0.0
    history = [*before, *({**row, "step": row["step"] + done} for row in trained.history)]
    params = {"network": spec.to_dict(), "trainings": trainings, "applicability": applicability(family).to_dict()}
    weights = {name: value.cpu().numpy().astype(np.float16) for name, value in trained.network.state_dict().items()}
    libraries = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    return Bundle({"architecture": spec.to_dict()["architecture"], "libraries": libraries}, params, weights, history)


def applicability(family: Family) -> Applicability:
    """Ranges of a family as they can be measured in a scan; those of the probe from probes of the family."""
    probes = Pool.probes_of(family, seed=0)
    diameters = [probe_diameter_px(probe, ENERGY) for probe in probes]
    return Applicability(family.photons_per_frame, family.area_per_frame, (min(diameters), max(diameters)))


def network_of(bundle: Bundle, name: str) -> PretrainedNetwork:
    """The trained network of a bundle, on the CPU. Raises :class:`ArtifactError` if it is another."""
    network = PretrainedNetwork(PretrainedSpec.of(bundle, name))
    bundle.require_shapes({key: tuple(value.shape) for key, value in network.state_dict().items()})
    network.load_state_dict(weights_of(bundle))
    return network.eval()


def weights_of(bundle: Bundle) -> Mapping[str, torch.Tensor]:
    """Weights in single precision."""
    return {key: torch.from_numpy(np.asarray(value, np.float32)) for key, value in bundle.weights.items()}


def general_network() -> PretrainedNetwork:
    """The network in the package, on the CPU."""
    return network_of(read_pretrained(GENERAL), GENERAL)
