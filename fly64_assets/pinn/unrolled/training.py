"""Training of the network of the object plane by the photon likelihood of count splits.

Belongs here: the optimisation steps of ``unrolled``. Does not belong here: the loop
(:mod:`fly64_assets.pinn.training`), the data (:mod:`fly64_assets.pinn.unrolled.preparation`), the choice of tiles, the
likelihood, validation. Imported by engine processes only.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from fly64_assets.pinn.layers import initialised
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.optimisation import Batches, TrainingSetup, TrainingTask
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.settings import UnrolledSettings
from fly64_assets.pinn.unrolled.network import UnrolledNetwork
from fly64_assets.pinn.unrolled.preparation import FIRST_FOLD, VALIDATION, TrainingData, prepare
from fly64_assets.pinn.unrolled.tiles import Tile, TileSampler, transformed, transformed_back
from fly64_assets.pinn.unrolled.validation import Validation

REFIT_ITERATIONS: Final = 10
"""Iterations with which the background follows the network after every epoch."""


class UnrolledTraining(TrainingTask):
    """A network of the object plane and the likelihood of the frames that its object predicts."""

    network: UnrolledNetwork

    def __init__(
        self,
        network: UnrolledNetwork,
        spec: NetworkSpec,
        settings: UnrolledSettings,
        data: TrainingData,
        seed: int,
        ranks: Ranks,
    ) -> None:
        super().__init__(network, spec, settings, settings.steps_per_epoch)
        self.data = data
        self.likelihood = data.likelihood
        self.validation = Validation(data)
        self.sampler = TileSampler(self.likelihood.plane, settings, data.folds, seed, ranks)
        first = data.inputs[FIRST_FOLD].obj
        self.background = self.validation.background(first, FIRST_FOLD)
        self.before = self.validation.losses(data.inputs[VALIDATION].obj, first, self.background)

    @classmethod
    def of(cls, setup: TrainingSetup) -> UnrolledTraining:
        """The task of a measurement: its data prepared, the network with its initial weights."""
        settings = setup.settings
        assert isinstance(settings, UnrolledSettings)
        data = prepare(setup.measurement, settings, setup.seed, setup.ranks, setup.scratch, setup.notify)
        spec = NetworkSpec.of_unrolled(setup.measurement, settings, setup.gridsize, data.levels, data.base)
        network = initialised(lambda: UnrolledNetwork(spec), setup.seed)
        return cls(network, spec, settings, data, setup.seed, setup.ranks)

    def facts(self) -> dict[str, Any]:
        """How well the objects of the path predict without the network."""
        return {
            "levels": list(self.data.levels),
            "base_level": self.data.levels[self.data.base],
            "path_losses": self.data.path_losses,
            "validation_loss_before": self.before.validation,
            "frames_held_out": len(self.data.held_out),
        }

    def close(self) -> None:
        """Remove the file of the divided counts."""
        self.likelihood.counts.close()

    def train_dataloader(self) -> Batches:
        """Tiles of the current epoch, drawn anew for every epoch."""
        return Batches(lambda: self.sampler.epoch(self.current_epoch))

    def val_dataloader(self) -> Batches:
        """One batch: the whole plane."""
        return Batches(lambda: [None])

    def training_step(self, batch: Tile, batch_idx: int) -> torch.Tensor:
        """Poisson loss of the fold's counts in the tile's frames, relative to the photons of a frame."""
        self.position = f"epoch {self.current_epoch + 1}, batch {batch_idx + 1}"
        fold_input = self.data.inputs[batch.fold]
        channels, obj = fold_input.channels[:, *batch.part], fold_input.obj[batch.part]
        corrected = self.network(transformed(channels, batch.symmetry), transformed(obj, batch.symmetry))
        tile = transformed_back(corrected, batch.symmetry).contiguous()
        loss = self.likelihood.loss(tile, batch.fold, batch.frames, self.background, (batch.top, batch.left))
        self.require_finite(loss)
        self.frames_trained += len(batch.frames) * self.sampler.ranks.count
        # The optimiser gets losses of order one at every dose; the history holds absolute ones.
        return (loss * self.likelihood.counts.splits / max(1.0, self.likelihood.counts.photons)).float()

    def validation_step(self, batch: None, batch_idx: int) -> None:
        """Losses of what was never learned from, and how much more the network gained on what it learned from."""
        del batch, batch_idx
        self.position = f"epoch {self.current_epoch + 1}, validation"
        now = self.validation.losses(self.predicted(VALIDATION), self.predicted(FIRST_FOLD), self.background)
        gap = (self.before.learned - now.learned) - (self.before.unseen - now.unseen)
        self.require_finite(torch.tensor(now.validation))
        losses = {"train_loss": now.learned, "validation_loss": now.validation, "generalisation_gap": gap}
        if now.held_out is not None:
            losses["held_out_frames_loss"] = now.held_out
        for name, value in losses.items():
            # Lightning would round plain numbers to single precision.
            self.log(name, torch.tensor(value, dtype=torch.float64), on_step=False, on_epoch=True, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Let the background follow the network, on another fold after every epoch."""
        fold = self.data.folds[self.current_epoch % len(self.data.folds)]
        self.background = self.validation.background(self.predicted(fold), fold, REFIT_ITERATIONS, self.background)

    def predicted(self, which: int) -> torch.Tensor:
        """The network's object (H, W) complex64 of a fold, or from all counts but the validation split."""
        return self.network.correct(self.data.inputs[which].channels, self.data.inputs[which].obj)

    def judge(self) -> tuple[float, float]:
        """Validation loss of the uniform object and standard deviation of the network's phase [rad]."""
        self.network.to(self.likelihood.plane.device).eval()
        return self.validation.uniform_loss(), self.validation.phase_spread(self.predicted(VALIDATION))
