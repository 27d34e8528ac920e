"""Stitch patches of any number of frames into one object, solving for each patch's free global phase."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
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


def stitch(
    patches: NDArray[np.complexfloating], weight: Float, scan: Scan, alignments: int = 4, corrections: int = 1
) -> tuple[Complex, Float]:
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

    Returns
    -------
    object : (H, W) complex128
        Ones where nothing was measured.
    coverage : (H, W) float64
        Sum of the weights of the patches that reach each pixel.
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
                match = complex(np.vdot(weight * patches[j], window))
                phases[j] = match / abs(match) if match else 1.0
        obj = assemble(None) + background
    for _ in range(corrections):
        obj = obj + assemble(obj)
    inner = (slice(margin, -margin), slice(margin, -margin))
    return np.array(obj[inner]), np.array(coverage[inner])


def stitched_patches(
    predict: Predict,
    illumination: Float,
    spec: NetworkSpec,
    measurement: Measurement,
    scratch: Path,
    progress: Progress,
) -> Reconstruction:
    """A patch of every frame, stitched; patches go through an unnamed file in ``scratch``.

    The weight is the illumination (N, N) float64, the probe's intensity, on the central N/2 of a patch: its border is
    hardly illuminated, so that the network knows little about it.

    Raises
    ------
    EngineError
        If a patch is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """
    n, others = measurement.frames, spec.group_frames - 1
    if others >= n:
        raise EngineError(f"{n} positions cannot fill groups of {spec.group_frames} frames (OVERSAMPLING-001)")
    groups = np.column_stack([np.arange(n), nearest_others(measurement.x, measurement.y, others)])
    edge = measurement.patch_size // 4
    weight = np.zeros(illumination.shape)
    weight[edge:-edge, edge:-edge] = illumination[edge:-edge, edge:-edge]
    with tempfile.TemporaryFile(dir=scratch) as file:
        patches = np.memmap(cast(Any, file), np.complex64, "w+", shape=(n, *illumination.shape))
        for part in blocks(n):
            counts = measurement.counts(groups[part].ravel()).reshape(*groups[part].shape, *illumination.shape)
            patches[part] = predict(counts.astype(np.float32), measurement.intensity_scale)
            unfit = np.flatnonzero(~np.isfinite(patches[part]).all(axis=(1, 2)))
            if len(unfit):
                bad = part.start + int(unfit[0])
                raise EngineError(
                    f"the network's patch of frame {bad} is not finite; the bundle is of no use, train it again"
                )
            progress(part.stop, n, {})
        obj, coverage = stitch(patches, weight / weight.max(), measurement.scan)
        del patches
    return Reconstruction(obj.astype(np.complex64), coverage.astype(np.float32), n)
