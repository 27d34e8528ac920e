"""Inference as every backend does it: what a bundle must hold, and the patches of all frames stitched to an object.

Belongs here: the course around a network, which comes as a function of counts. Does not belong here: torch,
tensorflow, files of a cell, figures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.process import Progress
from fly64_assets.errors import ArtifactError, EngineError
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.cnn.grouping import nearest_others
from fly64_assets.pinn.cnn.stitching import stitch
from fly64_assets.pinn.network_spec import ARCHITECTURES, NetworkSpec
from fly64_assets.pinn.results import Reconstruction

BLOCK_FRAMES: Final = 64

Predict = Callable[[NDArray[np.float32], float], NDArray[np.complex64]]
"""Patches (b, N, N) of the first frame of each group, from counts (b, C, N, N) at an intensity scale."""


def bundled_spec(bundle: Bundle) -> NetworkSpec:
    """The specification of a bundle's network.

    Raises
    ------
    ArtifactError
        If there is none, or its architecture is unknown.
    """
    try:
        spec = NetworkSpec.from_dict(bundle.params["network"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"the bundle's params.json does not describe its network ({error})") from error
    if spec.architecture not in ARCHITECTURES:
        raise ArtifactError(
            f"the bundle's architecture {spec.architecture!r} is unknown (known: {', '.join(ARCHITECTURES)})"
        )
    return spec


def require_shapes(bundle: Bundle, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise :class:`ArtifactError` unless a bundle's weights have exactly these names and shapes."""
    found = {name: value.shape for name, value in bundle.weights.items()}
    if dict(expected) != found:
        differing = sorted(expected.items() ^ found.items())
        raise ArtifactError(f"the bundle's weights do not fit its network; the first difference: {differing[0]}")


def require_patch_size(spec: NetworkSpec, measurement: Measurement) -> None:
    """Raise :class:`ArtifactError` unless the measurement's frames are as large as those of training."""
    if spec.patch_size != measurement.patch_size:
        raise ArtifactError(
            f"the bundle is for frames of {spec.patch_size} px, the measurement has {measurement.patch_size} px"
        )


def stitched_patches(
    predict: Predict,
    light: NDArray[np.float64],
    spec: NetworkSpec,
    measurement: Measurement,
    scratch: Path,
    progress: Progress,
) -> Reconstruction:
    """A patch of every frame, stitched; patches go through an unnamed file in ``scratch``.

    Parameters
    ----------
    light : (N, N) float64
        Probe intensity, 1 at its peak.

    Raises
    ------
    EngineError
        If a patch is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """
    groups = _groups(measurement, spec.group_frames)
    with tempfile.TemporaryFile(dir=scratch) as file:
        patches = np.memmap(cast(Any, file), np.complex64, "w+", shape=(measurement.frames, *light.shape))
        for part in blocks(measurement.frames, BLOCK_FRAMES):
            patches[part] = _finite(predict(_counts(measurement, groups[part]), measurement.intensity_scale), part)
            progress(part.stop, measurement.frames, {})
        weight = _central(light, measurement.patch_size)
        stitched = stitch(patches, weight, measurement.scan)
        del patches
    coverage = stitched.coverage.astype(np.float32)
    return Reconstruction(stitched.object.astype(np.complex64), coverage, measurement.frames)


def _groups(measurement: Measurement, group_frames: int) -> NDArray[np.int64]:
    """Frames to show for each frame's patch, the frame itself first."""
    n, others = measurement.frames, group_frames - 1
    if others >= n:
        raise EngineError(f"{n} positions cannot fill groups of {group_frames} frames (OVERSAMPLING-001)")
    return np.column_stack([np.arange(n), nearest_others(measurement.x, measurement.y, others)])


def _counts(measurement: Measurement, groups: NDArray[np.int64]) -> NDArray[np.float32]:
    counts = measurement.counts(groups.ravel()).reshape(*groups.shape, *measurement.probe.shape)
    return counts.astype(np.float32)


def _finite(patches: NDArray[np.complex64], part: slice) -> NDArray[np.complex64]:
    finite = np.isfinite(patches).all(axis=(1, 2))
    if not finite.all():
        bad = part.start + int(np.flatnonzero(~finite)[0])
        raise EngineError(f"the network's patch of frame {bad} is not finite; the bundle is of no use, train it again")
    return patches


def _central(light: NDArray[np.float64], patch_size: int) -> NDArray[np.float64]:
    """Light on the central N/2 of the window, 1 at its peak."""
    edge = max(0, (light.shape[0] - patch_size // 2) // 2)
    central = np.zeros(light.shape)
    inside = slice(edge, light.shape[0] - edge)
    central[inside, inside] = light[inside, inside]
    normalised: NDArray[np.float64] = central / central.max()
    return normalised
