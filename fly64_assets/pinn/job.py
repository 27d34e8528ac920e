"""The two jobs of the network's arm, run in an engine process: training and inference.

Belongs here: requests in, plain files and facts out. Does not belong here: the store (the caller commits the files),
the truth (a measurement has none).
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import h5py
import lightning
import numpy as np
import torch

from fly64_assets.contract.npz import load_measurement
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.pinn.bundle import read_bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.results import timed_reconstruction, write_training
from fly64_assets.pinn.settings import CnnSettings, PinnSettings, UnrolledSettings
from fly64_assets.pinn.training import deterministic, train

LOG_LINES: Final = 20
"""Epochs that get a line in the log, besides the first and the last."""


def train_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train the network of one cell and write ``wts.h5.zip``, ``history.csv`` and ``loss.png``.

    With several devices every process of the group runs this; the first writes and answers.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``output_folder`` (exists), ``settings`` (:class:`PinnSettings` as a mapping),
        ``gridsize``, ``neighbor_count``, ``seeds`` (``grouping``), ``execution``, ``provenance`` (into the bundle's
        manifest), ``arm``.
    progress : callable
        Called after every epoch with (epochs done, epochs, losses).

    Returns
    -------
    dict
        JSON facts; ``collapsed`` and ``finding`` say whether the network learned anything.

    Raises
    ------
    EngineError
        OVERSAMPLING-001, a loss that is not finite, memory that runs out.
    """
    measurement = load_measurement(Path(request["measurement"]))
    settings, execution = PinnSettings.from_dict(request["settings"]), Execution(**request["execution"])
    seed, folder = int(request["seeds"]["grouping"]), Path(request["output_folder"])
    gridsize, neighbor_count = int(request["gridsize"]), int(request["neighbor_count"])
    _say(f"{request['arm']}: {measurement.frames} frames, gridsize {gridsize}, {settings.architecture}")

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        if done in (1, total) or done % max(1, total // LOG_LINES) == 0:
            _say(f"epoch {done}/{total}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items() if k != "epoch"))
        progress(done, total, values)

    with _threads(execution.threads):
        trained = train(
            measurement, settings, gridsize, neighbor_count, seed, execution, report, scratch=folder, say=_say
        )
    if int(os.environ.get("RANK", "0")) > 0:
        return {}
    params = {
        "settings": dict(request["settings"]),
        "gridsize": gridsize,
        "neighbor_count": neighbor_count,
        "seed": seed,
        "network": trained.spec.to_dict(),
        "intensity_scale": measurement.intensity_scale,
        "execution": execution.to_dict(),
    }
    facts = write_training(folder, _manifest(request, settings), params, trained)
    _say(trained.finding or f"done: {trained.stop_reason}, best validation loss {facts['best_val_loss']:.6g}")
    return facts


def infer_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct a measurement with a bundle; write the object as NPZ and a figure.

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
    bundle, measurement = read_bundle(Path(request["bundle"])), load_measurement(Path(request["measurement"]))
    execution, output = Execution(**request["execution"]), Path(request["output"])
    with _threads(execution.threads), deterministic(execution):
        facts = timed_reconstruction(
            bundle,
            output,
            Path(request["figure"]),
            lambda: reconstruct(bundle, measurement, execution.accelerator, output.parent, progress),
        )
    _say(f"{facts['frames']} frames in {facts['seconds']:.1f} s")
    return facts


def _manifest(request: Mapping[str, Any], settings: UnrolledSettings | CnnSettings) -> dict[str, Any]:
    libraries = {"torch": torch.__version__, "lightning": lightning.__version__, "numpy": np.__version__}
    libraries |= {"h5py": h5py.__version__, "python": platform.python_version()}
    return {
        "arm": request["arm"],
        "architecture": settings.architecture,
        "backend": "pytorch",
        "libraries": libraries,
        **request["provenance"],
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say(line: str) -> None:
    """One line for the log, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
