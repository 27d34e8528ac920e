"""From a trained ``cnn`` and a measurement to an object, in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.engines.process import Progress
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.cnn.network import EncoderDecoder
from fly64_assets.pinn.cnn.stitching import stitched_patches
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Reconstruction


def reconstruct(
    network: EncoderDecoder, spec: NetworkSpec, measurement: Measurement, device: str, scratch: Path, progress: Progress
) -> Reconstruction:
    """A patch of every frame, stitched.

    Raises
    ------
    EngineError
        If a patch is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """

    @torch.no_grad()
    def predict(counts: NDArray[np.float32], scale: float) -> NDArray[np.complex64]:
        tensor = torch.from_numpy(counts).to(device)
        scales = torch.full((*counts.shape[:2], 1, 1), scale, device=device)
        patches: NDArray[np.complex64] = network(tensor, scales)[:, 0].cpu().numpy()
        return patches

    illumination = network.physics.weight.cpu().numpy().astype(np.float64)
    return stitched_patches(predict, illumination, spec, measurement, scratch, progress)
