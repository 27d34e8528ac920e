"""Reference object, probe and positions by LSQML at full counts, and how far two halves of the frames agree on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.evaluation.scores.resolution import HalfSets, compare_halves, half_indices
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.lsqml.engine import Reconstruction, reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.measured.calibration.normalisation import with_probe
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import modes_of

SEED: Final = 19
"""Of the counts that are held out and the order of batches: no setting of a study, so that a calibration is one."""
GAUSSIAN_EPOCHS: Final = 20
"""Epochs with the Gaussian noise model that lead to where the Poisson model is stable; at most a third of all.

The Gaussian model of amplitudes is biased where pixels hold few counts (the mean root of a Poisson count is less than
the root of its mean), so that its object and probe lack light there, which would look like a background.
"""
MOST_SHIFT: Final = 1 / 16
"""Largest shift of a refined position, over the side of a frame: more is another position."""


@dataclass(frozen=True)
class Reference:
    """What the calibration found.

    Attributes
    ----------
    object : (H, W) complex64
        On the measurement's grid.
    measurement : Measurement
        With the refined probe and positions.
    run : Reconstruction
        The reconstruction that found them.
    shifts : (n,) float64
        By how much each position moved [px].
    """

    object: NDArray[np.complex64]
    measurement: Measurement
    run: Reconstruction
    shifts: NDArray[np.float64]


def calibrate(
    measurement: Measurement, execution: Execution, progress: Progress, *, epochs: int, refine_positions: bool
) -> Reference:
    """Object, probe and by option positions that explain all counts; counts kept aside decide when to stop.

    Raises :class:`EngineError` if a position moves further than positions err, or the measurement is unfit.
    """
    settings = poisson_settings(epochs, probe="refined")
    run = reconstruct(measurement, settings, execution, SEED, progress, refine_positions=refine_positions)
    x, y = _on_grid(run.positions, measurement)
    shifts = np.hypot(x - measurement.x, y - measurement.y)
    most = MOST_SHIFT * measurement.patch_size
    if shifts.max() > most:
        worst = int(shifts.argmax())
        raise EngineError(
            f"the refinement moved the position of frame {worst} by {shifts[worst]:.2f} px (root mean square of all "
            f"{float(np.sqrt((shifts**2).mean())):.2f} px); expected at most {most:g} px: the positions of the file or "
            "their unit are wrong, or there are too few photons for it (measured.refine_positions: false)"
        )
    return Reference(run.object, replace(with_probe(measurement, run.probe), x=x, y=y), run, shifts)


def poisson_settings(epochs: int, **others: Any) -> LsqmlSettings:
    """LSQML from a uniform object with Poisson noise, after a Gaussian beginning."""
    gaussian = max(1, min(GAUSSIAN_EPOCHS, epochs // 3))
    return LsqmlSettings(epochs=epochs, noise_model="poisson", gaussian_epochs=gaussian, **others)


def _on_grid(positions: NDArray[np.float64], measurement: Measurement) -> tuple[NDArray[np.float64], ...]:
    """Coordinates x and y (n,) of positions (n, 2), moved onto the grid where their windows leave it."""
    half, (height, width) = measurement.patch_size / 2, measurement.object_shape
    return tuple(
        np.clip(centres, half, side - half) for centres, side in zip(positions.T, (width, height), strict=True)
    )


def halves(measurement: Measurement, execution: Execution, progress: Progress, epochs: int) -> HalfSets:
    """Ring correlation of two reconstructions of every other frame, each in ``epochs``, with the calibrated probe.

    Raises ValueError for fewer than two frames, and :class:`EngineError` where a half cannot be reconstructed.
    """
    region, metrics = EvaluationSettings(), MetricsConfig()
    parts = [subset(measurement, index) for index in half_indices(measurement.scan_index)]
    objects = []
    for number, part in enumerate(parts):

        def report(done: int, total: int, values: Mapping[str, float], number: int = number) -> None:
            progress(number * total + done, 2 * total, values)

        settings = poisson_settings(epochs, stopping="epochs")
        objects.append(reconstruct(part, settings, execution, SEED, report).object)
    return compare_halves(
        (objects[0], objects[1]),
        (parts[0], parts[1]),
        coverage_threshold=region.coverage_threshold,
        max_shift_px=region.max_shift_px,
        frc_threshold=metrics.frc_threshold,
    )


def subset(measurement: Measurement, frames: NDArray[np.int64], amplitude: Any = None) -> Measurement:
    """The measurement of some of its frames; ``amplitude`` (b, N, N) are other amplitudes of them."""
    return replace(
        measurement,
        amplitude=np.asarray(measurement.amplitude[frames]) if amplitude is None else amplitude,
        x=measurement.x[frames],
        y=measurement.y[frames],
        scan_index=measurement.scan_index[frames],
    )


def all_modes(measurement: Measurement) -> NDArray[np.complexfloating]:
    """Modes (M, N, N) of the probe, also where it has one."""
    return modes_of(measurement.probe, measurement.further_modes).reshape(-1, *measurement.probe.shape)
