"""What comes out of training and inference, whatever the backend: values, facts, files.

Belongs here: :class:`Trained`, :class:`Reconstruction` and what is written of them. Does not belong here: torch,
tensorflow, the store (the caller commits the files).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import write_npz
from fly64_assets.pinn.bundle import Bundle, history_csv, write_bundle
from fly64_assets.pinn.figures import save_learning_curve, save_object
from fly64_assets.pinn.network_spec import NetworkSpec

LEAST_PHASE_STD: Final = 0.01
"""Standard deviation of the predicted phase [rad] below which a network counts as collapsed."""


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Losses are mean negative log-likelihoods per frame in absolute counts, sum (lambda - c log lambda).

    Attributes
    ----------
    weights : dict of str to ndarray
        Those of the epoch with the lowest validation loss.
    history : list of dict
        One row per epoch: ``epoch``, ``train_loss``, ``validation_loss``, ``learning_rate`` and what else the task
        records.
    flat_loss : float
        Validation loss of a flat object.
    phase_std : float
        Standard deviation of the predicted phase over the lit part [rad].
    facts : mapping
        What else the task has to say, JSON types.
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
                f"PINN.collapsed: the held-out likelihood {best:.6g} is no better than the flat object's "
                f"{self.flat_loss:.6g}"
            )
        if self.phase_std < LEAST_PHASE_STD:
            return (
                f"PINN.collapsed: the predicted phase varies by {self.phase_std:.3g} rad, "
                f"less than {LEAST_PHASE_STD} rad"
            )
        return ""


@dataclass(frozen=True)
class Reconstruction:
    """Object of a measurement and how many frames made it.

    Attributes
    ----------
    object : (H, W) complex64
        Ones where nothing was measured.
    coverage : (H, W) float32
        Frames that reach each pixel, weighted by the light, one for a frame at the probe's peak.
    """

    object: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    frames: int


def training_facts(trained: Trained) -> dict[str, Any]:
    """What a training job says about its training, JSON types."""
    best, finding = trained.best, trained.finding
    return {
        "status": "succeeded",
        "final_loss": trained.history[-1]["train_loss"],
        "best_val_loss": best["validation_loss"],
        "best_epoch": int(best["epoch"]),
        "flat_val_loss": trained.flat_loss,
        "epochs_completed": len(trained.history),
        "stop_reason": trained.stop_reason,
        "parameters": trained.parameters,
        "seconds": trained.seconds,
        "frames_per_second": trained.frames_trained / trained.seconds,
        "phase_std": trained.phase_std,
        "collapsed": bool(finding),
        "finding": finding,
        **trained.facts,
    }


def write_training(
    folder: Path, manifest: Mapping[str, Any], params: Mapping[str, Any], trained: Trained
) -> dict[str, Any]:
    """Write ``wts.h5.zip``, ``history.csv`` and ``loss.png``; returns the facts of the training."""
    bundle = Bundle(dict(manifest), dict(params), trained.weights, trained.history)
    sha256 = write_bundle(folder / "wts.h5.zip", bundle)
    (folder / "history.csv").write_text(history_csv(trained.history), encoding="utf-8", newline="")
    save_learning_curve(folder / "loss.png", trained.history, trained.flat_loss)
    return training_facts(trained) | {"bundle_sha256": sha256}


def timed_reconstruction(
    bundle: Bundle, output: Path, figure: Path, run: Callable[[], Reconstruction]
) -> dict[str, Any]:
    """Run an inference and write its object as NPZ and a figure; returns its facts."""
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    metadata = {"frames": result.frames, "network": bundle.params["network"], "gridsize": bundle.params["gridsize"]}
    arrays = {
        "reconstructed_object": result.object,
        "coverage": result.coverage,
        "_metadata": np.array(json.dumps(metadata, sort_keys=True)),
    }
    with output.open("wb") as file:
        write_npz(file, arrays)
    save_object(figure, result.object, result.coverage)
    return {
        "frames": result.frames,
        "seconds": seconds,
        "seconds_per_frame": seconds / result.frames,
        "covered_px": int((result.coverage > 0).sum()),
    }
