"""Stitch patches of any number of frames into one object, solving for each patch's free global phase.

Belongs here: numpy arithmetic on patches and positions. Does not belong here: networks, files, the canvas of a
training group (:mod:`fly64_assets.pinn.cnn.canvas`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan, add, read
from fly64_assets.pinn.cnn.grouping import nearest_others
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Reconstruction

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]

Predict = Callable[[NDArray[np.float32], float], NDArray[np.complex64]]
"""Patches (b, N, N) of the first frame of each group, from counts (b, C, N, N) at an intensity scale."""


@dataclass(frozen=True)
class Stitched:
    """A stitched object.

    Attributes
    ----------
    object : (H, W) complex128
        Ones where nothing was measured.
    coverage : (H, W) float64
        Sum of the weights of the patches that reach each pixel.
    phases : (n,) complex128
        Unit factor by which each patch was multiplied.
    """

    object: Complex
    coverage: Float
    phases: Complex


def stitch(
    patches: NDArray[np.complexfloating], weight: Float, scan: Scan, alignments: int = 4, corrections: int = 1
) -> Stitched:
    """Weighted shift-and-sum over coverage, alternating with a re-alignment of each patch's phase.

    The likelihood of a frame does not depend on its global phase, so every patch p_j carries a free unit factor; summed
    as they are, patches would cancel, and small differences would become low-frequency errors of the phase. Each
    alignment sets the factor a_j to the phase of <w p_j, E_j O>, where E_j reads the bilinear window at (x_j, y_j) from
    the current object O, and assembles the object anew: power iterations towards the leading eigenvector of the
    overlap matrix (phase synchronisation), without forming it. A correction then moves the object by the adjoint of
    the residual w (a_j p_j - E_j O) over the coverage, which undoes part of the blur of subpixel interpolation. Time is
    linear in the patches; memory is the grid and a few patches.

    Parameters
    ----------
    patches : (n, M, M) complex
        Patches centred on the positions; may be memory-mapped.
    weight : (M, M) float64
        Non-negative weight of a patch's pixels, 1 at its peak.
    scan : Scan
        Positions, with windows of any side; patches are placed with their own side M.
    alignments : int
        Re-alignments after the first assembly; 0 gives the plain shift-and-sum.
    corrections : int
        Residual corrections after the last alignment; the same number as in training.
    """
    size = weight.shape[0]
    height, width = scan.object_shape
    # A margin of one window holds what reaches out of the object: it belongs to the common object all the same.
    margin = size + 1
    grid = replace(scan, patch_size=size).on((-margin, -margin), (height + 2 * margin, width + 2 * margin))
    coverage = np.zeros(grid.object_shape)
    add(coverage, grid, np.broadcast_to(weight, (len(scan), size, size)))
    measured = coverage >= LEAST_COVERAGE
    inverse = np.where(measured, 1.0 / np.where(measured, coverage, 1.0), 0.0)
    background = np.where(measured, 0.0, 1.0)
    phases = np.ones(len(patches), np.complex128)

    def assemble(obj: Complex | None) -> Complex:
        """Shift-and-sum of the patches, or of their residual against ``obj``, over the coverage."""
        total = np.zeros(grid.object_shape, np.complex128)
        for part in blocks(len(scan)):
            expected = 0.0 if obj is None else read(obj, grid[part])
            add(total, grid[part], weight * (phases[part, None, None] * patches[part] - expected))
        return total * inverse

    obj = assemble(None) + background
    for _ in range(alignments):
        for part in blocks(len(scan)):
            for j, window in enumerate(read(obj, grid[part]), part.start):
                phases[j] = _unit(np.vdot(weight * patches[j], window))
        obj = assemble(None) + background
    for _ in range(corrections):
        obj = obj + assemble(obj)
    inner = (slice(margin, -margin), slice(margin, -margin))
    return Stitched(np.array(obj[inner]), np.array(coverage[inner]), phases)


def _unit(value: np.complex128) -> complex:
    """Phase factor of ``value``; 1 for zero."""
    size = abs(value)
    return complex(value / size) if size > 0 else 1.0 + 0.0j


def stitched_patches(
    predict: Predict,
    illumination: Float,
    spec: NetworkSpec,
    measurement: Measurement,
    scratch: Path,
    progress: Progress,
) -> Reconstruction:
    """A patch of every frame, stitched; patches go through an unnamed file in ``scratch``.

    Parameters
    ----------
    illumination : (N, N) float64
        Probe intensity, 1 at its peak.

    Raises
    ------
    EngineError
        If a patch is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """
    groups = _groups(measurement, spec.group_frames)
    with tempfile.TemporaryFile(dir=scratch) as file:
        patches = np.memmap(cast(Any, file), np.complex64, "w+", shape=(measurement.frames, *illumination.shape))
        for part in blocks(measurement.frames):
            patches[part] = _finite(predict(_counts(measurement, groups[part]), measurement.intensity_scale), part)
            progress(part.stop, measurement.frames, {})
        weight = _central(illumination, measurement.patch_size)
        stitched = stitch(patches, weight, measurement.scan)
        del patches
    coverage = stitched.coverage.astype(np.float32)
    return Reconstruction(stitched.object.astype(np.complex64), coverage, measurement.frames)


def _groups(measurement: Measurement, group_frames: int) -> NDArray[np.int64]:
    """Frames (n, C) that the network is given for each frame's patch, the frame itself first."""
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


def _central(illumination: Float, patch_size: int) -> NDArray[np.float64]:
    """Probe intensity on the central N/2 of the patch, zero around it, 1 at its peak.

    The border of a patch is hardly illuminated, so that the network knows little about it.
    """
    edge = max(0, (illumination.shape[0] - patch_size // 2) // 2)
    central = np.zeros(illumination.shape)
    inside = slice(edge, illumination.shape[0] - edge)
    central[inside, inside] = illumination[inside, inside]
    normalised: Float = central / central.max()
    return normalised
