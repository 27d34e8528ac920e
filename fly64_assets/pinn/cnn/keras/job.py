"""The two jobs of the legacy arm, run in a TensorFlow process: training in a session, and inference.

Belongs here: requests in, plain files and facts out. Does not belong here: the store (the caller commits the files),
the truth (a measurement has none).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fly64_assets.engines.tensorflow_compat import configure  # isort: skip  (before tensorflow)
import h5py
import keras
import numpy as np
import tensorflow as tf

from fly64_assets.contract.npz import load_measurement
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.pinn.bundle import read_bundle
from fly64_assets.pinn.cnn.keras.inference import reconstruct
from fly64_assets.pinn.cnn.keras.training import session_settings, train
from fly64_assets.pinn.results import timed_reconstruction, write_training
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.ptychopinn.configuration import ModelConfig, TrainingConfig
from fly64_assets.ptychopinn.session import LegacySession, legacy_session

BACKEND = "tensorflow"


def train_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train the network of one cell in a legacy session; write ``wts.h5.zip``, ``history.csv`` and ``loss.png``.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``output_folder`` (exists), ``settings`` (:class:`CnnSettings` as a mapping),
        ``training_config`` (:class:`TrainingConfig` as a mapping), ``others`` (keys without a field),
        ``wait_seconds``, ``execution``, ``provenance`` (into the bundle's manifest), ``arm``.
    progress : callable
        Called after every epoch with (epochs done, epochs, losses).

    Returns
    -------
    dict
        JSON facts; ``collapsed`` and ``finding`` say whether the network learned anything, ``legacy`` is the snapshot.

    Raises
    ------
    LegacyConfigError
        If the configuration is not valid, or asks for what the network cannot do.
    EngineError
        OVERSAMPLING-001, a loss that is not finite, memory that runs out.
    """
    execution = Execution(**request["execution"])
    device = configure(execution)
    measurement, settings = load_measurement(Path(request["measurement"])), CnnSettings(**request["settings"])
    _say(f"{request['arm']}: {measurement.frames} frames, cnn in TensorFlow {tf.__version__} on {device}")

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        _say(f"epoch {done}/{total}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items() if k != "epoch"))
        progress(done, total, values)

    document = request["training_config"]
    config = TrainingConfig(**{**document, "model": ModelConfig(**document["model"])})
    with legacy_session(config, others=request["others"], wait_seconds=request["wait_seconds"]) as session:
        trained = train(session, measurement, settings, report)
        used = session_settings(session, measurement, settings)
        params = {
            "settings": asdict(used),
            "gridsize": session["gridsize"],
            "neighbor_count": session["neighbor_count"],
            "n_groups": trained.facts["n_groups"],
            "seed": session["npseed"],
            "network": trained.spec.to_dict(),
            "intensity_scale": measurement.intensity_scale,
            "execution": execution.to_dict(),
            "legacy": session.snapshot(),
        }
        manifest = _manifest(request, session)
    facts = write_training(Path(request["output_folder"]), manifest, params, trained)
    _say(trained.finding or f"done: {trained.stop_reason}, best validation loss {facts['best_val_loss']:.6g}")
    return facts | {"device": device, "legacy": params["legacy"]}


def infer_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct a measurement with a bundle of either backend; write the object as NPZ and a figure.

    Parameters
    ----------
    request : mapping
        ``bundle``, ``measurement``, ``output`` (NPZ) and ``figure`` (PNG) as paths, ``execution``.
    progress : callable
        Called now and then with (steps done, steps, nothing).

    Returns
    -------
    dict
        JSON facts: ``frames``, ``seconds``, ``seconds_per_frame``, ``covered_px``.
    """
    configure(Execution(**request["execution"]))
    bundle, measurement = read_bundle(Path(request["bundle"])), load_measurement(Path(request["measurement"]))
    output = Path(request["output"])
    facts = timed_reconstruction(
        bundle, output, Path(request["figure"]), lambda: reconstruct(bundle, measurement, output.parent, progress)
    )
    _say(f"{facts['frames']} frames in {facts['seconds']:.1f} s")
    return facts


def _manifest(request: Mapping[str, Any], session: LegacySession) -> dict[str, Any]:
    libraries = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    libraries |= {"h5py": h5py.__version__, "python": platform.python_version()}
    return {
        "arm": request["arm"],
        "architecture": "cnn",
        "backend": BACKEND,
        "libraries": libraries,
        "legacy": session.snapshot(),
        **request["provenance"],
    }


def _say(line: str) -> None:
    """One line for the log, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
