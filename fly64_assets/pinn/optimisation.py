"""What the trainings of all architectures share: their start, the optimiser, the record of the epochs."""

from __future__ import annotations

import math
from collections import UserList
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import lightning.pytorch as lightning
import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.engines.preview import Preview
from fly64_assets.engines.process import Progress
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.results import diverged
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings, relative_rate

Settings = UnrolledSettings | CnnSettings
Batches = UserList[Any]
"""Batches of one epoch: Lightning would take the items of a plain list for data loaders."""


@dataclass(frozen=True)
class TrainingSetup:
    """What a training starts from.

    ``seed`` is that of samples, of the division of counts and of the initial weights; ``scratch`` a folder for unnamed
    files; ``notify`` gets a line about each step of the preparation.
    """

    measurement: Measurement
    settings: Settings
    gridsize: int
    neighbor_count: int
    seed: int
    ranks: Ranks
    scratch: Path
    notify: Callable[[str], None]


class TrainingTask(lightning.LightningModule):  # type: ignore[misc]
    """One network and its optimiser: Adam with a short warm-up and a cosine decay over all steps.

    ``position`` is the present epoch and batch, for messages; ``frames_trained`` counts the frames of all steps so far.
    """

    def __init__(self, network: torch.nn.Module, spec: NetworkSpec, settings: Settings, batches_per_epoch: int) -> None:
        super().__init__()
        self.network, self.spec, self.settings = network, spec, settings
        self.position = "before the first batch"
        self.frames_trained = 0
        self._steps = settings.epochs * batches_per_epoch

    def judge(self) -> tuple[float, float]:
        """Validation loss of the uniform object and standard deviation of the network's phase [rad]."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Facts beyond those of every training, JSON types."""
        return {}

    def object_so_far(self) -> NDArray[np.complex64] | None:
        """The network's present object (H, W), 1 where nothing was illuminated; None where a training makes none."""
        return None

    def close(self) -> None:
        """Release what the training holds outside its memory."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches are indices; what they point to is on the device already."""
        del device, dataloader_idx
        return batch

    def configure_optimizers(self) -> Any:
        """Adam and its schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), self.settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: relative_rate(step, self._steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def require_finite(self, loss: torch.Tensor) -> None:
        """Raise :class:`EngineError` for a loss that is not finite, with the epoch and the batch."""
        if not bool(torch.isfinite(loss)):
            raise diverged(float(loss), self.position)


class BestWeights(lightning.Callback):  # type: ignore[misc]
    """Keeps the weights of the epoch with the lowest validation loss, in memory."""

    def __init__(self) -> None:
        self.loss = math.inf
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compare with the best epoch so far."""
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self.loss:
            self.loss = loss
            state = pl_module.network.state_dict()
            self.weights = {name: value.detach().clone() for name, value in state.items()}


class History(lightning.Callback):  # type: ignore[misc]
    """One row per epoch, reported as it comes: the epoch, everything that was logged, the learning rate.

    ``preview`` draws the object now and then, before an epoch is reported.
    """

    def __init__(self, epochs: int, progress: Progress, preview: Preview | None) -> None:
        self.history: list[dict[str, float]] = []
        self._epochs, self._progress, self._preview = epochs, progress, preview

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record and report the epoch."""
        row: dict[str, float] = {"epoch": len(self.history) + 1}
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        row["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append(row)
        if self._preview:
            self._preview.update(len(self.history), self._epochs, pl_module.object_so_far)
        self._progress(len(self.history), self._epochs, row)
