"""What happens after each epoch of a training: keep the best weights, record and report the losses.

Belongs here: Lightning callbacks that write no file. Does not belong here: the loss, the optimiser. Imported by engine
processes only.
"""

from __future__ import annotations

import math

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import lightning.pytorch as lightning
import torch

from fly64_assets.engines.process import Progress


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
    """One row per epoch, reported as it comes: the epoch, everything that was logged, the learning rate."""

    def __init__(self, epochs: int, progress: Progress) -> None:
        self.history: list[dict[str, float]] = []
        self._epochs, self._progress = epochs, progress

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record and report the epoch."""
        del pl_module
        row: dict[str, float] = {"epoch": len(self.history) + 1}
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        row["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.history.append(row)
        self._progress(len(self.history), self._epochs, row)
