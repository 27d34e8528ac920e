"""What comes out of training and inference, whatever the backend, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import EngineError
from fly64_assets.pinn.network_spec import NetworkSpec

LEAST_PHASE_STD: Final = 0.01
"""Standard deviation of the predicted phase [rad] below which a network counts as collapsed."""


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Losses are mean negative log-likelihoods per frame in absolute counts, sum (lambda - c log lambda).

    ``weights`` are those of the epoch with the lowest validation loss. ``history`` has one row per epoch: ``epoch``,
    ``train_loss``, ``validation_loss``, ``learning_rate`` and what else the task records. ``flat_loss`` is the
    validation loss of the uniform object, ``phase_std`` the standard deviation of the predicted phase over the
    illuminated part [rad], ``facts`` what only this architecture has to say, JSON types.
    """

    spec: NetworkSpec
    weights: dict[str, NDArray[Any]]
    history: list[dict[str, float]]
    flat_loss: float
    phase_std: float
    stop_reason: str
    parameters: int
    frames_trained: int
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> dict[str, float]:
        """Row of the epoch whose weights were kept."""
        return min(self.history, key=lambda row: row["validation_loss"])

    @property
    def finding(self) -> str:
        """Why the network counts as collapsed (``PINN.collapsed``), or an empty text."""
        best = self.best["validation_loss"]
        if best >= self.flat_loss:
            return (
                f"PINN.collapsed: the held-out likelihood {best:.6g} is no better than the uniform object's "
                f"{self.flat_loss:.6g}"
            )
        if self.phase_std < LEAST_PHASE_STD:
            return (
                f"PINN.collapsed: the predicted phase varies by {self.phase_std:.3g} rad, "
                f"less than {LEAST_PHASE_STD} rad"
            )
        return ""

    def to_facts(self) -> dict[str, Any]:
        """What a training job answers, JSON types."""
        return {
            "status": "succeeded",
            "final_loss": self.history[-1]["train_loss"],
            "best_val_loss": self.best["validation_loss"],
            "best_epoch": int(self.best["epoch"]),
            "flat_val_loss": self.flat_loss,
            "epochs_completed": len(self.history),
            "stop_reason": self.stop_reason,
            "parameters": self.parameters,
            "seconds": self.seconds,
            "frames_per_second": self.frames_trained / self.seconds,
            "phase_std": self.phase_std,
            "collapsed": bool(self.finding),
            "finding": self.finding,
            **self.facts,
        }


@dataclass(frozen=True)
class Reconstruction:
    """Object (H, W) of a measurement of ``frames`` frames, ones where nothing was measured, and its coverage (H, W).

    It counts the frames that reach a pixel, weighted by the illumination: one for a frame at the probe's peak.
    """

    object: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    frames: int


def stop_reason(history: list[dict[str, float]], epochs: int, patience: int) -> str:
    """Why a training of at most ``epochs`` ended."""
    return f"no improvement in {patience} epochs" if len(history) < epochs else "all epochs done"


def diverged(loss: float, position: str) -> EngineError:
    """The error of a training whose loss is not finite."""
    return EngineError(
        f"the loss is {loss} in {position}: the training diverged; lower learning_rate or gradient_clip, or check the "
        "counts"
    )
