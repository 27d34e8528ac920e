"""How a network of ``unrolled`` is validated: on counts and on frames that it never learned from.

Belongs here: the losses of an epoch and the verdict on a network. Does not belong here: what is made of them
(:mod:`fly64_assets.pinn.training`). Imported by engine processes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from fly64_assets.pinn.unrolled.model_error import BLOCK_FRAMES, EM_ITERATIONS
from fly64_assets.pinn.unrolled.preparation import FIRST_FOLD, VALIDATION, TrainingData

ILLUMINATED: Final = 0.1
"""Illumination, relative to the largest, from which a pixel counts for the spread of the phase."""


@dataclass(frozen=True)
class Losses:
    """Mean losses per frame: of a fold that was learned from, of the validation split, of held-out frames (if any)."""

    learned: float
    unseen: float
    held_out: float | None

    @property
    def validation(self) -> float:
        """What decides which epoch is best: the validation split and the held-out frames count the same."""
        return self.unseen if self.held_out is None else 0.5 * (self.unseen + self.held_out)


@dataclass(frozen=True)
class Validation:
    """Evaluates objects on the frames and splits of a training."""

    data: TrainingData

    def losses(self, obj: torch.Tensor, first_fold: torch.Tensor, background: torch.Tensor) -> Losses:
        """Losses of the object without the validation split, and of the first fold's object.

        On the same frames in every epoch: tiles differ by more in brightness than training gains.
        """
        likelihood, judged, held_out = self.data.likelihood, self.data.judged, self.data.held_out
        return Losses(
            learned=likelihood.mean_loss(first_fold, FIRST_FOLD, judged, background),
            unseen=likelihood.mean_loss(obj, VALIDATION, judged, background),
            held_out=likelihood.mean_loss(obj, VALIDATION, held_out, background) if len(held_out) else None,
        )

    def background(
        self, obj: torch.Tensor, fold: int, iterations: int = EM_ITERATIONS, start: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The background (N, N) of a fold that an object leaves, fitted on at most :data:`BLOCK_FRAMES` frames."""
        judged = self.data.judged
        frames = judged[:: -(-len(judged) // BLOCK_FRAMES)]
        return self.data.likelihood.background(obj, fold, frames, iterations, start)

    def uniform_loss(self) -> float:
        """Validation loss of the uniform object, with the background that belongs to it."""
        uniform = torch.ones_like(self.data.inputs[VALIDATION].obj)
        return self.losses(uniform, uniform, self.background(uniform, FIRST_FOLD)).validation

    def phase_spread(self, obj: torch.Tensor) -> float:
        """Standard deviation of an object's phase over the illuminated part [rad]; its global phase is free."""
        illumination = self.data.likelihood.plane.illumination
        mean = (obj * illumination).sum()
        phases = (obj * mean.conj())[illumination > ILLUMINATED * illumination.max()].angle()
        return float(phases.square().mean().sqrt())
