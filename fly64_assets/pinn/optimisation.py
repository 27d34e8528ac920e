"""What the trainings of all architectures share: optimiser, schedule, batches that Lightning iterates.

Belongs here: the base of the training tasks. Does not belong here: losses. Imported by engine processes only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import lightning.pytorch as lightning
import torch

from fly64_assets.errors import EngineError
from fly64_assets.pinn.learning_rate import relative_rate
from fly64_assets.pinn.settings import PinnSettings


class Batches:
    """Batches for Lightning, which iterates it once per epoch."""

    def __init__(self, draw: Callable[[], Sequence[Any]]) -> None:
        self._draw = draw

    def __iter__(self) -> Iterator[Any]:
        return iter(self._draw())

    def __len__(self) -> int:
        return len(self._draw())


class TrainingTask(lightning.LightningModule):  # type: ignore[misc]
    """One network and its optimiser: Adam with a short warm-up and a cosine decay over all steps.

    Attributes
    ----------
    position : str
        Epoch and batch, for messages.
    """

    def __init__(self, network: torch.nn.Module, settings: PinnSettings, batches_per_epoch: int) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.position = "before the first batch"
        self._steps = settings.epochs * batches_per_epoch

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
            raise EngineError(
                f"the loss is {float(loss)} in {self.position}: the training diverged; lower learning_rate or "
                "gradient_clip, or check the counts"
            )
