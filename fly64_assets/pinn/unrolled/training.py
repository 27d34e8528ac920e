"""Training of the network of the object plane by the photon likelihood of count splits, and its validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.pinn.layers import initialised
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.optimisation import Batches, TrainingSetup, TrainingTask
from fly64_assets.pinn.settings import UnrolledSettings
from fly64_assets.pinn.unrolled.model_error import BLOCK_FRAMES, EM_ITERATIONS
from fly64_assets.pinn.unrolled.network import UnrolledNetwork
from fly64_assets.pinn.unrolled.preparation import FIRST_FOLD, VALIDATION, prepare
from fly64_assets.pinn.unrolled.tiles import Tile, TileSampler, transformed, transformed_back

REFIT_ITERATIONS: Final = 10
"""Iterations with which the background follows the network after every epoch."""
ILLUMINATED: Final = 0.1
"""Illumination, relative to the largest, from which a pixel counts for the spread of the phase."""


@dataclass(frozen=True)
class Losses:
    """Mean losses per frame: of a fold that was learned from, of the validation split, of held-out frames (if any).

    A fold is a count split that the network learns to predict from the others.
    """

    learned: float
    unseen: float
    held_out: float | None

    @property
    def validation(self) -> float:
        """What decides which epoch is best: the validation split and the held-out frames count the same."""
        return self.unseen if self.held_out is None else 0.5 * (self.unseen + self.held_out)


class UnrolledTraining(TrainingTask):
    """A network of the object plane and the likelihood of the frames that its object predicts."""

    network: UnrolledNetwork

    def __init__(self, setup: TrainingSetup) -> None:
        settings = setup.settings
        assert isinstance(settings, UnrolledSettings)
        data = prepare(setup.measurement, settings, setup.seed, setup.ranks, setup.scratch, setup.notify)
        spec = NetworkSpec(
            architecture="unrolled",
            patch_size=setup.measurement.patch_size,
            group_frames=setup.gridsize**2,
            width=settings.width,
            levels=data.levels,
            level_iterations=settings.level_iterations,
            base=data.start_level,
            pretrained=None if data.pretrained is None else data.pretrained.spec.to_dict(),
            pretrained_part=data.pretrained_part,
            slow_phases=data.slow_phases.likelihood,
            pretrained_slow_phases=data.slow_phases.pretrained,
        )
        network = initialised(lambda: UnrolledNetwork(spec), setup.seed)
        if network.pretrained is not None and data.pretrained is not None:
            network.pretrained.load_state_dict(data.pretrained.state_dict())
        super().__init__(network, spec, settings, settings.steps_per_epoch)
        self.data, self.likelihood = data, data.likelihood
        self.sampler = TileSampler(self.likelihood.plane, settings, data.folds, setup.seed, setup.ranks)
        first = data.inputs[FIRST_FOLD].obj
        self.background = self.fitted_background(first, FIRST_FOLD)
        self.before = self.losses(data.inputs[VALIDATION].obj, first, self.background)
        self.present = data.inputs[VALIDATION].obj

    def facts(self) -> dict[str, Any]:
        """How well the objects of the regularisation path, one for each TV weight, predict by themselves."""
        return {
            "levels": list(self.data.levels),
            "base_level": self.data.levels[self.data.start_level],
            "path_losses": self.data.path_losses,
            **(
                {}
                if self.data.pretrained is None
                else {"start_losses": self.data.start_losses, "pretrained_part": self.data.pretrained_part}
            ),
            **({} if not self.data.gains else {"gains_of_slow_phases": self.data.gains}),
            "validation_loss_before": self.before.validation,
            "frames_held_out": len(self.data.held_out),
        }

    def object_so_far(self) -> NDArray[np.complex64]:
        """The object of the newest validation, from all counts but the validation split."""
        plane = self.likelihood.plane
        return np.where(plane.coverage() >= LEAST_COVERAGE, plane.on_grid(self.present), 1).astype(np.complex64)

    def close(self) -> None:
        """Remove the file of the divided counts."""
        self.likelihood.counts.close()

    def train_dataloader(self) -> Batches:
        """Tiles of the current epoch, drawn anew for every epoch."""
        return Batches(self.sampler.epoch(self.current_epoch))

    def val_dataloader(self) -> Batches:
        """One batch: the whole plane."""
        return Batches([None])

    def training_step(self, batch: Tile, batch_idx: int) -> torch.Tensor:
        """Poisson loss of the fold's counts in the tile's frames, relative to the photons of a frame.

        The network works on the tile as rotated or mirrored by its symmetry, the likelihood on its output turned back.
        """
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
        self.present = self.predicted(VALIDATION)
        now = self.losses(self.present, self.predicted(FIRST_FOLD), self.background)
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
        self.background = self.fitted_background(self.predicted(fold), fold, REFIT_ITERATIONS, self.background)

    def predicted(self, which: int) -> torch.Tensor:
        """The network's object (H, W) complex64 of a fold, or from all counts but the validation split."""
        return self.network.correct(self.data.inputs[which].channels, self.data.inputs[which].obj)

    def judge(self) -> tuple[float, float]:
        """What tells whether anything was learned.

        Validation loss of a uniform object, to compare with the network's, and standard deviation of its phase [rad].
        """
        self.network.to(self.likelihood.plane.device).eval()
        plane = self.likelihood.plane
        uniform = torch.ones_like(self.data.inputs[VALIDATION].obj)
        loss = self.losses(uniform, uniform, self.fitted_background(uniform, FIRST_FOLD)).validation
        obj = self.predicted(VALIDATION)
        # Relative to the object's own mean, since its global phase is free.
        mean = (obj * plane.illumination).sum()
        phases = (obj * mean.conj())[plane.illumination > ILLUMINATED * plane.illumination.max()].angle()
        return loss, float(phases.square().mean().sqrt())

    def losses(self, obj: torch.Tensor, first_fold: torch.Tensor, background: torch.Tensor) -> Losses:
        """Losses of the object without the validation split, and of the first fold's object.

        On the same frames in every epoch: tiles differ in illumination by more than training gains.
        """
        likelihood, judged, held_out = self.likelihood, self.data.judged, self.data.held_out
        return Losses(
            learned=likelihood.mean_loss(first_fold, FIRST_FOLD, judged, background),
            unseen=likelihood.mean_loss(obj, VALIDATION, judged, background),
            held_out=likelihood.mean_loss(obj, VALIDATION, held_out, background) if len(held_out) else None,
        )

    def fitted_background(
        self, obj: torch.Tensor, fold: int, iterations: int = EM_ITERATIONS, start: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The background (N, N) of a fold that an object leaves, fitted on at most :data:`BLOCK_FRAMES` frames."""
        judged = self.data.judged
        frames = judged[:: -(-len(judged) // BLOCK_FRAMES)]
        return self.likelihood.background(obj, fold, frames, iterations, start)
