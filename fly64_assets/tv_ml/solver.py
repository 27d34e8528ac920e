"""Regularised maximum likelihood with a weight that held-out counts choose.

Belongs here: the sequence of weights, the choice between them, the result. Does not belong here: the likelihood steps
(:mod:`fly64_assets.pinn.unrolled.regularisation_path`), files (:mod:`fly64_assets.tv_ml.job`). Imported by engine
processes only.

The objective is the negative log-likelihood of the counts plus an isotropic total variation (TV) of the complex object
(Rudin, Osher and Fatemi, Physica D 60, 259, 1992). Binomial thinning splits the counts, and one split is held out; the
object of every weight is found from the others, from strong to weak, and the weight whose object predicts the held-out
counts best is used for a last reconstruction from all counts. Slow phases
(:mod:`fly64_assets.pinn.unrolled.slow_phases`) are added to that.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import check_scan, checked
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.model_error import fitted_background
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import FIRST_PART, RegularisedLikelihood, search
from fly64_assets.pinn.unrolled.slow_phases import OF_LIKELIHOOD
from fly64_assets.tv_ml.settings import TvMlSettings

HELD_OUT: Final = 0
"""Number of the count split that is held out."""
JUDGED_FRAMES: Final = 1024
"""Frames whose held-out counts are predicted, evenly spread over the scan."""
BACKGROUND_FRAMES: Final = 256
"""Frames from which the background is fitted, evenly spread over the scan."""
BACKGROUND_ITERATIONS: Final = 60


@dataclass(frozen=True)
class Reconstruction:
    """What a job found.

    Attributes
    ----------
    object : (H, W) complex64
        On the measurement's grid; 1 where no frame reaches.
    coverage : (H, W) float32 or float64
        Illumination by all frames, sum of |P|^2 (:meth:`Measurement.coverage`).
    loss : (steps,) float64
        Objective per frame [nats] at every step, of all weights one after the other and of the last reconstruction,
        before slow phases are added.
    levels : (k,) float64
        Weights of total variation that were tried, falling.
    held_out : (k,) float64
        Negative log-likelihood of the held-out counts per frame [nats] for each, up to a constant of the data.
    level : float
        The weight of ``object``.
    stop_reason : str
    seconds : float
    """

    object: NDArray[np.complex64]
    coverage: NDArray[np.floating]
    loss: NDArray[np.float64]
    levels: NDArray[np.float64]
    held_out: NDArray[np.float64]
    level: float
    stop_reason: str
    seconds: float


def reconstruct(
    measurement: Measurement,
    settings: TvMlSettings,
    execution: Execution,
    seed: int,
    progress: Progress,
    *,
    scratch: Path,
) -> Reconstruction:
    """Reconstruct the object from all frames, starting from a constant.

    Parameters
    ----------
    seed : int
        Divides the counts; equal arguments give equal bytes.
    progress : callable
        Called after every step with (steps done, the most there may be, ``level`` and ``loss``).
    scratch : Path
        Folder for an unnamed file of counts that do not fit into memory.

    Raises
    ------
    EngineError
        If the measurement is unfit, or the objective is not finite at some step.
    """
    measurement = checked(measurement)
    check_scan(measurement)
    with torch_settings(execution), torch.no_grad():
        plane = ObjectPlane(measurement, execution.accelerator)
        order = np.arange(measurement.frames)
        counts = CountSplits.of(
            measurement, order, splits=settings.count_splits, kept=HELD_OUT + 1, seed=seed, scratch=scratch
        )
        try:
            return _Solver(measurement, settings, plane, counts, progress).run()
        finally:
            counts.close()


class _Solver:
    """One reconstruction, step by step."""

    def __init__(
        self,
        measurement: Measurement,
        settings: TvMlSettings,
        plane: ObjectPlane,
        counts: CountSplits,
        progress: Progress,
    ) -> None:
        self._measurement, self._settings, self._plane, self._counts = measurement, settings, plane, counts
        self._progress = progress
        self._loss: list[float] = []

    def run(self) -> Reconstruction:
        """Try the weights, then reconstruct from all counts with the best."""
        started, measurement, settings = time.perf_counter(), self._measurement, self._settings
        objects, losses = self._tried()
        best = int(np.argmin(losses))
        level = settings.levels[best]
        likelihood = self._likelihood(())
        obj = self._minimised(likelihood, level, objects[best], FIRST_PART * settings.steps)
        reason = f"TV weight {level:g} predicts the held-out counts best of {len(losses)} weights"
        if best == len(losses) - 1:
            reason += ", and no weaker one is among the settings"
        if best == 0:
            reason += ", and no stronger one is among the settings"
        if settings.slow_phases:
            changed = OF_LIKELIHOOD.applied(self._plane, likelihood, obj)
            obj = changed.object
            reason += f"; {OF_LIKELIHOOD.verdict(changed.gain)}"
        if not self._loss:
            raise EngineError("no step decreases the objective; no result is kept")
        on_grid = self._plane.on_grid(obj)
        return Reconstruction(
            object=np.where(self._plane.coverage() > 0, on_grid, 1).astype(np.complex64),
            coverage=measurement.coverage(),
            loss=np.array(self._loss),
            levels=np.array(settings.levels[: len(losses)]),
            held_out=np.array(losses),
            level=level,
            stop_reason=reason,
            seconds=time.perf_counter() - started,
        )

    def _tried(self) -> tuple[list[torch.Tensor], list[float]]:
        """Objects without the held-out counts, and their held-out losses, of one weight after the other."""
        likelihood, settings = self._likelihood((HELD_OUT,)), self._settings

        minimised = partial(self._minimised, likelihood, most=settings.steps)
        return search(settings.levels, minimised, self._held_out_loss, settings.patience)

    def _likelihood(self, excluded: tuple[int, ...]) -> RegularisedLikelihood:
        """The objective of all counts but those of the ``excluded`` splits."""
        plane, counts = self._plane, self._counts
        scale = self._measurement.intensity_scale * math.sqrt(1 - len(excluded) / counts.splits)
        return RegularisedLikelihood(
            plane, lambda rows: torch.from_numpy(counts.without(excluded, rows)).to(plane.device), scale
        )

    def _minimised(
        self, likelihood: RegularisedLikelihood, level: float, start: torch.Tensor | None, most: int
    ) -> torch.Tensor:
        """The object with one weight, after at most ``most`` steps from another, or twice as many from a constant."""
        obj = likelihood.minimised(level, start, most, partial(self._report, level))
        if not bool(torch.isfinite(torch.view_as_real(obj)).all()):
            raise EngineError(
                f"the object is not finite after step {len(self._loss)} (TV weight {level:g}); no result is kept"
            )
        return obj

    def _report(self, level: float, objective: float) -> None:
        self._loss.append(objective / self._measurement.frames)
        values = {"level": level, "loss": self._loss[-1]}
        self._progress(len(self._loss), self._settings.most_steps, values)

    def _held_out_loss(self, obj: torch.Tensor) -> float:
        """Mean negative log-likelihood per frame [nats] of the held-out counts, up to a constant of the data.

        With a background for the detail that this object lacks: without it the held-out counts favour weights
        that are too weak, whose noise scatters about as much as the details that a smooth object lacks.
        """
        judged = evenly_spread(self._measurement.frames, JUDGED_FRAMES)
        some = evenly_spread(self._measurement.frames, BACKGROUND_FRAMES)
        bad, seen = self._plane.bad_pixels, (self._rates(obj, some), self._held_out(some))
        background = fitted_background(*seen, BACKGROUND_ITERATIONS, bad_pixels=bad)
        total = 0.0
        for start in range(0, len(judged), BACKGROUND_FRAMES):
            part = judged[start : start + BACKGROUND_FRAMES]
            rates = self._rates(obj, part) + background
            total += float(poisson_loss(rates, self._held_out(part), bad)) * len(part)
        return total / len(judged)

    def _rates(self, obj: torch.Tensor, frames: NDArray[np.int64]) -> torch.Tensor:
        scale = self._measurement.intensity_scale / math.sqrt(self._counts.splits)
        windows = self._plane.read(obj, torch.from_numpy(frames).to(self._plane.device))
        return self._plane.physics.corner_rates(windows, scale)

    def _held_out(self, frames: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(self._counts.split(HELD_OUT, frames)).to(self._plane.device)
