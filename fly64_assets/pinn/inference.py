"""From a bundle and a measurement to an object: predicted patches, stitched at their positions.

Belongs here: running a trained network over any number of frames in bounded memory. Does not belong here: files of
a cell, figures. Imported by engine processes only.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.errors import ArtifactError, EngineError
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.architectures import (
    ARCHITECTURES,
    EncoderDecoder,
    NetworkSpec,
    UnrolledNetwork,
    build_network,
)
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.callbacks import Progress
from fly64_assets.pinn.grouping import nearest_others
from fly64_assets.pinn.likelihood_path import likelihood_path
from fly64_assets.pinn.scene import Scene
from fly64_assets.pinn.stitching import LEAST_COVERAGE, stitch

BLOCK_FRAMES: Final = 64
WHOLE_TILE: Final = 256
"""Side of the part of the plane that the network sees at once [px]."""


@dataclass(frozen=True)
class Reconstruction:
    """Object of a measurement and how many frames made it.

    Attributes
    ----------
    object : (H, W) complex64
        Ones where nothing was measured.
    coverage : (H, W) float32
        Frames that reach each pixel, weighted by the light, one for a frame at the probe's peak.
    """

    object: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    frames: int


def network_from_bundle(bundle: Bundle, probe: NDArray[np.complexfloating]) -> UnrolledNetwork | EncoderDecoder:
    """The trained network for a probe.

    Raises
    ------
    ArtifactError
        If the bundle names an unknown architecture or its weights do not fit it.
    """
    try:
        spec = NetworkSpec.from_dict(bundle.params["network"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"the bundle's params.json does not describe its network ({error})") from error
    if spec.architecture not in ARCHITECTURES:
        raise ArtifactError(
            f"the bundle's architecture {spec.architecture!r} is unknown (known: {', '.join(ARCHITECTURES)})"
        )
    network = build_network(spec, probe, seed=0)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in bundle.weights.items()}
    if expected != found:
        differing = sorted(expected.items() ^ found.items())
        raise ArtifactError(f"the bundle's weights do not fit its network; the first difference: {differing[0]}")
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
        If the object is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """
    network = network_from_bundle(bundle, measurement.probe).to(device)
    spec = NetworkSpec.from_dict(bundle.params["network"])
    if spec.patch_size != measurement.patch_size:
        raise ArtifactError(
            f"the bundle is for frames of {spec.patch_size} px, the measurement has {measurement.patch_size} px"
        )
    if isinstance(network, UnrolledNetwork):
        return _from_plane(network, spec, measurement, device, progress)
    return _from_patches(network, spec, measurement, device, scratch, progress)


@torch.no_grad()
def _from_plane(
    network: UnrolledNetwork, spec: NetworkSpec, measurement: Measurement, device: str, progress: Progress
) -> Reconstruction:
    """Likelihood steps over all frames, then the network on the object plane."""
    scene = Scene(measurement, device)

    def frames(rows: slice) -> torch.Tensor:
        counts = np.fft.ifftshift(measurement.counts(rows), axes=(-2, -1)).astype(np.float32)
        return torch.from_numpy(counts).to(device)

    path = likelihood_path(scene, frames, measurement.intensity_scale, spec.levels, spec.level_iterations, progress)
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
    """A patch of every frame, stitched; patches go through an unnamed scratch file."""
    window = network.physics.window
    groups = _groups(measurement, spec.group_frames)
    with tempfile.TemporaryFile(dir=scratch) as file:
        patches = np.memmap(cast(Any, file), np.complex64, "w+", shape=(measurement.frames, window, window))
        for part in blocks(measurement.frames, BLOCK_FRAMES):
            patches[part] = _predicted(network, measurement, groups[part], device)
            progress(part.stop, measurement.frames, {})
        weight = _central_weight(network, measurement.patch_size)
        stitched = stitch(patches, weight, measurement.x, measurement.y, measurement.object_shape)
        del patches
    coverage = stitched.coverage.astype(np.float32)
    return Reconstruction(stitched.object.astype(np.complex64), coverage, measurement.frames)


def _groups(measurement: Measurement, group_frames: int) -> NDArray[np.int64]:
    """Frames to show for each frame's patch, the frame itself first."""
    n, others = measurement.frames, group_frames - 1
    if others >= n:
        raise EngineError(f"{n} positions cannot fill groups of {group_frames} frames (OVERSAMPLING-001)")
    return np.column_stack([np.arange(n), nearest_others(measurement.x, measurement.y, others)])


@torch.no_grad()
def _predicted(
    network: EncoderDecoder, measurement: Measurement, groups: NDArray[np.int64], device: str
) -> NDArray[np.complex64]:
    """Patches of the first frame of each group."""
    counts = measurement.counts(groups.ravel()).reshape(*groups.shape, *measurement.probe.shape)
    tensor = torch.from_numpy(counts.astype(np.float32)).to(device)
    scale = torch.full((*groups.shape, 1, 1), measurement.intensity_scale, device=device)
    patches: NDArray[np.complex64] = network(tensor, scale)[:, 0].cpu().numpy()
    if not np.isfinite(patches).all():
        bad = int(groups[~np.isfinite(patches).all(axis=(1, 2)), 0][0])
        raise EngineError(f"the network's patch of frame {bad} is not finite; the bundle is of no use, train it again")
    return patches


def _central_weight(network: EncoderDecoder, patch_size: int) -> NDArray[np.float64]:
    """Probe intensity on the central N/2 of the window, 1 at its peak."""
    weight: NDArray[np.float64] = network.physics.weight.cpu().numpy().astype(np.float64)
    edge = max(0, (weight.shape[0] - patch_size // 2) // 2)
    central = np.zeros(weight.shape)
    inside = slice(edge, weight.shape[0] - edge)
    central[inside, inside] = weight[inside, inside]
    normalised: NDArray[np.float64] = central / central.max()
    return normalised
