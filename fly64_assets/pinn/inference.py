"""From a bundle and a measurement to an object.

Belongs here: running a trained network over any number of frames in bounded memory. Does not belong here: the stitching
of patches (:mod:`fly64_assets.pinn.cnn.inference`), files of a cell, figures. Imported by engine processes only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import check_measurement
from fly64_assets.pinn.architectures import EncoderDecoder, UnrolledNetwork, build_network
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.cnn.inference import bundled_spec, require_patch_size, require_shapes, stitched_patches
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Reconstruction
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import regularisation_path

WHOLE_TILE: Final = 256
"""Side of the part of the plane that the network sees at once [px]."""


def network_from_bundle(bundle: Bundle, probe: NDArray[np.complexfloating]) -> UnrolledNetwork | EncoderDecoder:
    """The trained network for a probe.

    Raises
    ------
    ArtifactError
        If the bundle names an unknown architecture or its weights do not fit it.
    """
    spec = bundled_spec(bundle)
    network = build_network(spec, probe, seed=0)
    require_shapes(bundle, {name: tuple(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(value) for name, value in bundle.weights.items()})
    return network.eval()


def reconstruct(
    bundle: Bundle, measurement: Measurement, device: str, scratch: Path, progress: Progress
) -> Reconstruction:
    """Object of all frames of a measurement, in memory that does not grow with their number.

    Parameters
    ----------
    device : str
        ``cpu`` or ``cuda``.
    scratch : Path
        Folder for a scratch file.
    progress : callable
        Called now and then with (steps done, steps, nothing).

    Raises
    ------
    ArtifactError
        If the bundle was trained for another frame size.
    EngineError
        If the measurement is unfit, the object is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """
    network = network_from_bundle(bundle, measurement.probe).to(device)
    spec = bundled_spec(bundle)
    require_patch_size(spec, measurement)
    check_measurement(measurement)
    if isinstance(network, UnrolledNetwork):
        return _from_plane(network, spec, measurement, device, progress)
    return _from_patches(network, spec, measurement, device, scratch, progress)


@torch.no_grad()
def _from_plane(
    network: UnrolledNetwork, spec: NetworkSpec, measurement: Measurement, device: str, progress: Progress
) -> Reconstruction:
    """Likelihood steps over all frames, then the network on the object plane."""
    scene = ObjectPlane(measurement, device)

    def frames(rows: slice) -> torch.Tensor:
        counts = np.fft.ifftshift(measurement.counts(rows), axes=(-2, -1)).astype(np.float32)
        return torch.from_numpy(counts).to(device)

    path = regularisation_path(scene, frames, measurement.intensity_scale, spec.levels, spec.level_iterations, progress)
    plane = network.whole(network.channels(path, scene.illumination), path[spec.base], WHOLE_TILE)
    obj = scene.on_grid(plane)
    if not np.isfinite(obj).all():
        raise EngineError("the network's object is not finite; the bundle is of no use, train it again")
    coverage = scene.coverage()
    return Reconstruction(np.where(coverage >= LEAST_COVERAGE, obj, 1), coverage, measurement.frames)


def _from_patches(
    network: EncoderDecoder,
    spec: NetworkSpec,
    measurement: Measurement,
    device: str,
    scratch: Path,
    progress: Progress,
) -> Reconstruction:
    """A patch of every frame, stitched."""

    @torch.no_grad()
    def predict(counts: NDArray[np.float32], scale: float) -> NDArray[np.complex64]:
        tensor = torch.from_numpy(counts).to(device)
        scales = torch.full((*counts.shape[:2], 1, 1), scale, device=device)
        patches: NDArray[np.complex64] = network(tensor, scales)[:, 0].cpu().numpy()
        return patches

    light = network.physics.weight.cpu().numpy().astype(np.float64)
    return stitched_patches(predict, light, spec, measurement, scratch, progress)
