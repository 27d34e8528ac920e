"""The two jobs of the network in PyTorch, run in an engine process: requests in, plain files and facts out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip  (before torch)
import torch

from fly64_assets.contract.npz import load_measurement
from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.process import Progress
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.outputs import logged, manifest, say, write_reconstruction, write_training
from fly64_assets.pinn.settings import PinnSettings


def train_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train the network of one cell and write ``wts.h5.zip``, ``history.csv`` and ``loss.png``.

    With several devices every process of the group runs this; the first writes and answers.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``output_folder`` (exists), ``settings`` (of one architecture, as a mapping),
        ``gridsize``, ``neighbor_count``, ``seeds`` (``grouping``), ``execution``, ``provenance`` (into the bundle's
        manifest), ``arm``.

    Returns
    -------
    dict
        JSON facts; ``collapsed`` and ``finding`` say whether the network learned anything.

    Raises
    ------
    EngineError
        OVERSAMPLING-001, a loss that is not finite, memory that runs out.
    """
    # Its import takes seconds, and an inference does without.
    import lightning

    from fly64_assets.pinn.training import train

    measurement = load_measurement(Path(request["measurement"]))
    settings, execution = PinnSettings.from_dict(request["settings"]), Execution(**request["execution"])
    seed, folder = int(request["seeds"]["grouping"]), Path(request["output_folder"])
    gridsize, neighbor_count = int(request["gridsize"]), int(request["neighbor_count"])
    say(f"{request['arm']}: {measurement.frames} frames, {settings.architecture}")
    trained = train(
        measurement, settings, gridsize, neighbor_count, seed, execution, logged(progress), scratch=folder, notify=say
    )
    if int(os.environ.get("RANK", "0")) > 0:
        return {}
    params = {
        "settings": dict(request["settings"]),
        "gridsize": gridsize,
        "neighbor_count": neighbor_count,
        "seed": seed,
        "intensity_scale": measurement.intensity_scale,
        "execution": execution.to_dict(),
    }
    libraries = {"torch": torch.__version__, "lightning": lightning.__version__}
    return write_training(folder, manifest(request, settings.architecture, "pytorch", libraries), params, trained)


def infer_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct a measurement with a bundle; write the object as NPZ and a figure.

    The request holds ``execution`` and the paths of :func:`fly64_assets.pinn.outputs.write_reconstruction`, whose facts
    are returned; ``progress`` is called now and then with (steps done, steps, no values).
    """
    execution = Execution(**request["execution"])
    with torch_settings(execution):
        return write_reconstruction(
            request,
            lambda bundle: (
                lambda measurement, scratch, steps: reconstruct(
                    bundle, measurement, execution.accelerator, scratch, steps
                )
            ),
            progress,
        )
