"""Training of one network with Lightning: the loop, its guards, and what comes out."""

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

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.preview import Preview
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.pinn.architectures import ARCHITECTURES
from fly64_assets.pinn.optimisation import BestWeights, History, Settings, TrainingSetup
from fly64_assets.pinn.ranks import ranks
from fly64_assets.pinn.results import Trained, stop_reason

CPU_ALLOCATOR: Final = "can't allocate memory"
"""By these words alone torch distinguishes a full CPU memory from other errors: it has no class of its own for that."""


def train(
    measurement: Measurement,
    settings: Settings,
    gridsize: int,
    neighbor_count: int,
    seed: int,
    execution: Execution,
    progress: Progress,
    *,
    scratch: Path,
    notify: Callable[[str], None] = lambda _line: None,
) -> Trained:
    """Train a network on all frames of a measurement, on ``execution.devices`` devices.

    The result is the same for the same arguments and number of threads on one kind of machine, byte for byte. With
    several devices each process of the group (``run_isolated(..., processes=devices)``) calls this and gets the same
    result.

    ``gridsize`` and ``neighbor_count`` are g and K of the groups of ``cnn``; ``unrolled`` does not use them. For the
    rest see :class:`~fly64_assets.pinn.optimisation.TrainingSetup`; ``progress`` is called after every epoch with
    (epochs done, epochs, losses).

    Raises
    ------
    EngineError
        If the measurement is unfit; if the groups cannot be formed (OVERSAMPLING-001), a loss is not finite or memory
        runs out, with the epoch and the batch; if this process is not one of as many as there are devices.
    """
    measurement = checked(measurement)
    architecture = ARCHITECTURES[settings.architecture]
    if execution.devices != 1 and not architecture.several_devices:
        able = ", ".join(name for name, other in ARCHITECTURES.items() if other.several_devices)
        raise EngineError(
            f"devices = {execution.devices}: the architecture {settings.architecture} trains on one device; "
            f"{able} on several"
        )
    start = time.perf_counter()
    best = BestWeights()
    stopping = lightning.callbacks.EarlyStopping("validation_loss", patience=settings.patience, check_finite=False)
    with torch_settings(execution, otherwise="error"), _quiet(), ExitStack() as stack:
        place = stack.enter_context(ranks(execution, scratch))
        with _out_of_memory_says_where(lambda: "the preparation"):
            setup = TrainingSetup(measurement, settings, gridsize, neighbor_count, seed, place, scratch, notify)
            task = architecture.training(setup)
        stack.callback(task.close)
        preview = stack.enter_context(Preview(scratch)) if place.rank == 0 else None
        rows = History(settings.epochs, progress, preview)
        prepared = time.perf_counter() - start
        trainer = lightning.Trainer(
            accelerator="gpu" if execution.accelerator == "cuda" else execution.accelerator,
            devices=place.count,
            strategy=place.strategy,
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
            reload_dataloaders_every_n_epochs=1,
        )
        with _out_of_memory_says_where(lambda: task.position):
            trainer.fit(task)
        seconds = time.perf_counter() - start
        task.network.load_state_dict(best.weights)
        flat_loss, phase_std = task.judge()
    return Trained(
        spec=task.spec.in_unit(1 / measurement.unit),
        weights={name: np.asarray(value.cpu()) for name, value in best.weights.items()},
        history=rows.history,
        flat_loss=flat_loss,
        phase_std=phase_std,
        stop_reason=stop_reason(rows.history, settings.epochs, settings.patience),
        parameters=sum(parameter.numel() for parameter in task.network.parameters()),
        frames_trained=task.frames_trained,
        seconds=seconds,
        facts=task.facts() | {"preparation_seconds": prepared},
    )


@contextmanager
def _out_of_memory_says_where(position: Callable[[], str]) -> Iterator[None]:
    """Raise :class:`EngineError` with the position for memory that runs out; other errors pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or CPU_ALLOCATOR in text:
            raise EngineError(
                f"out of memory in {position()} ({text[:200]}): lower batch_size, tile or width, or free memory"
            ) from error
        raise


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
