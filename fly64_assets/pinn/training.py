"""Training of one network with Lightning: the loop, its guards, and what comes out.

Belongs here: :func:`train` and the choice of the task. Does not belong here: losses
(:mod:`fly64_assets.pinn.unrolled.training`, :mod:`fly64_assets.pinn.cnn.training`), what comes out of a training
(:mod:`fly64_assets.pinn.results`), requests (:mod:`fly64_assets.pinn.job`). Imported by engine processes only.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, cast

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import lightning.pytorch as lightning
import numpy as np
import torch

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import check_measurement
from fly64_assets.pinn.callbacks import BestWeights, History
from fly64_assets.pinn.cnn.training import PatchTraining
from fly64_assets.pinn.ranks import ranks
from fly64_assets.pinn.results import Trained
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.pinn.unrolled.training import UnrolledTraining

SEVERAL_DEVICES: Final = ("unrolled",)
"""Architectures whose training can be shared by several processes, one for each device."""


def train(
    measurement: Measurement,
    settings: UnrolledSettings | CnnSettings,
    gridsize: int,
    neighbor_count: int,
    seed: int,
    execution: Execution,
    progress: Progress,
    *,
    scratch: Path,
    say: Callable[[str], None] = lambda _line: None,
) -> Trained:
    """Train a network on all frames of a measurement, on ``execution.devices`` devices.

    The result is the same for the same arguments and number of threads, byte for byte. With several devices each
    process of the group (``isolation.run_isolated(..., processes=devices)``) calls this and gets the same result.

    Parameters
    ----------
    seed : int
        Seed of samples, division of photons and initial weights (``rng_seeds.grouping``).
    progress : callable
        Called after every epoch with (epochs done, epochs, losses).
    scratch : Path
        Folder for unnamed files.
    say : callable
        Gets a line about each step of the preparation.

    Raises
    ------
    EngineError
        If the measurement is unfit; if the groups cannot be formed (OVERSAMPLING-001), a loss is not finite or memory
        runs out, with the epoch and the batch; if this process is not one of as many as there are devices.
    """
    check_measurement(measurement)
    if execution.devices != 1 and settings.architecture not in SEVERAL_DEVICES:
        raise EngineError(
            f"devices = {execution.devices}: the architecture {settings.architecture} trains on one device; "
            f"{', '.join(SEVERAL_DEVICES)} on several"
        )
    start = time.perf_counter()
    best, rows = BestWeights(), History(settings.epochs, progress)
    stopping = lightning.callbacks.EarlyStopping("validation_loss", patience=settings.patience, check_finite=False)
    with deterministic(execution), _quiet(), ExitStack() as stack:
        task: PatchTraining | UnrolledTraining
        own = stack.enter_context(ranks(execution, scratch))
        with _memory_in_words(lambda: "the preparation"):
            if isinstance(settings, UnrolledSettings):
                task = UnrolledTraining.of(measurement, settings, gridsize, seed, own, scratch, say)
            else:
                task = PatchTraining.of(measurement, settings, gridsize, neighbor_count, seed)
        stack.callback(task.close)
        prepared = time.perf_counter() - start
        trainer = lightning.Trainer(
            accelerator="gpu" if execution.accelerator == "cuda" else execution.accelerator,
            devices=own.count,
            strategy=own.strategy,
            precision=cast(Any, execution.precision),
            deterministic=execution.deterministic,
            max_epochs=settings.epochs,
            gradient_clip_val=settings.gradient_clip,
            callbacks=[best, rows, stopping],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with _memory_in_words(lambda: task.position):
            trainer.fit(task)
        seconds = time.perf_counter() - start
        task.network.load_state_dict(best.weights)
        flat_loss, phase_std = task.judge()
    early = len(rows.history) < settings.epochs
    return Trained(
        spec=task.spec,
        weights={name: np.asarray(value.cpu()) for name, value in best.weights.items()},
        history=rows.history,
        flat_loss=flat_loss,
        phase_std=phase_std,
        stop_reason=f"no improvement in {settings.patience} epochs" if early else "all epochs done",
        parameters=sum(parameter.numel() for parameter in task.network.parameters()),
        frames_trained=task.frames_trained,
        seconds=seconds,
        facts=task.facts() | {"preparation_seconds": prepared},
    )


@contextmanager
def _memory_in_words(position: Callable[[], str]) -> Iterator[None]:
    """Memory errors as one sentence that says where."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in text:
            raise EngineError(
                f"out of memory in {position()} ({text[:200]}): lower batch_size, tile or width, or free memory"
            ) from error
        raise


@contextmanager
def deterministic(execution: Execution) -> Iterator[None]:
    """Deterministic algorithms as asked for; torch's global switch comes back afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(execution.deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
