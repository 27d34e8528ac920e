"""The two jobs of the network in TensorFlow, run in a process of its own: training in a session, and inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fly64_assets.engines.tensorflow_compat import configure  # isort: skip  (before tensorflow)
import keras
import tensorflow as tf

from fly64_assets.contract.npz import load_measurement
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.pinn.cnn.keras.inference import reconstructor
from fly64_assets.pinn.cnn.keras.training import session_settings, train
from fly64_assets.pinn.outputs import logged, manifest, say, write_reconstruction, write_training
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.ptychopinn.configuration import ModelConfig, TrainingConfig
from fly64_assets.ptychopinn.session import legacy_session


def train_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train the network of one cell in a legacy session; write ``wts.h5.zip``, ``history.csv`` and ``loss.png``.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``output_folder`` (exists), ``settings`` (:class:`CnnSettings` as a mapping),
        ``training_config`` (:class:`TrainingConfig` as a mapping), ``others`` (keys without a field),
        ``wait_seconds``, ``execution``, ``provenance`` (into the bundle's manifest), ``arm``.

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
    say(f"{request['arm']}: {measurement.frames} frames, cnn in TensorFlow {tf.__version__} on {device}")
    document = request["training_config"]
    config = TrainingConfig(**{**document, "model": ModelConfig(**document["model"])})
    with legacy_session(config, others=request["others"], wait_seconds=request["wait_seconds"]) as session:
        trained = train(session, measurement, settings, logged(progress))
        used = session_settings(session, measurement, settings)
        params = {
            "settings": asdict(used),
            "gridsize": session["gridsize"],
            "neighbor_count": session["neighbor_count"],
            "n_groups": trained.facts["n_groups"],
            "seed": session["npseed"],
            "intensity_scale": measurement.intensity_scale,
            "execution": execution.to_dict(),
            "legacy": session.snapshot(),
        }
    libraries = {"tensorflow": tf.__version__, "keras": keras.__version__}
    header = manifest(request, "cnn", "tensorflow", libraries) | {"legacy": params["legacy"]}
    facts = write_training(Path(request["output_folder"]), header, params, trained)
    return facts | {"device": device, "legacy": params["legacy"]}


def infer_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct a measurement with a bundle of either backend; write the object as NPZ and a figure.

    The request holds ``execution`` and the paths of :func:`fly64_assets.pinn.outputs.write_reconstruction`, whose facts
    are returned; ``progress`` is called now and then with (steps done, steps, no values).
    """
    configure(Execution(**request["execution"]))
    return write_reconstruction(request, reconstructor, progress)
