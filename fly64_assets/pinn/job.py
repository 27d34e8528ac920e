"""The two jobs of the network's arm, run in an engine process: training and inference.

Belongs here: requests in, plain files and facts out. Does not belong here: the store (the caller commits the files),
the truth (a measurement has none).
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import fly64_assets.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import h5py
import lightning
import numpy as np
import torch

from fly64_assets.contract.npz import load_measurement, write_npz
from fly64_assets.design_fields import PinnSettings
from fly64_assets.execution import Execution
from fly64_assets.pinn.bundle import Bundle, history_csv, read_bundle, write_bundle
from fly64_assets.pinn.callbacks import Progress
from fly64_assets.pinn.figures import save_learning_curve, save_object
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.training import Trained, deterministic, train

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
    bundle = Bundle(_manifest(request, settings), params, trained.weights, trained.history)
    sha256 = write_bundle(folder / "wts.h5.zip", bundle)
    (folder / "history.csv").write_text(history_csv(trained.history), encoding="utf-8", newline="")
    save_learning_curve(folder / "loss.png", trained.history, trained.flat_loss)
    facts = _training_facts(trained) | {"bundle_sha256": sha256}
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
    start = time.perf_counter()
    with _threads(execution.threads), deterministic(execution):
        result = reconstruct(bundle, measurement, execution.accelerator, output.parent, progress)
    seconds = time.perf_counter() - start
    metadata = {"frames": result.frames, "network": bundle.params["network"], "gridsize": bundle.params["gridsize"]}
    arrays = {
        "reconstructed_object": result.object,
        "coverage": result.coverage,
        "_metadata": np.array(json.dumps(metadata, sort_keys=True)),
    }
    with output.open("wb") as file:
        write_npz(file, arrays)
    save_object(Path(request["figure"]), result.object, result.coverage)
    _say(f"{result.frames} frames in {seconds:.1f} s")
    return {
        "frames": result.frames,
        "seconds": seconds,
        "seconds_per_frame": seconds / result.frames,
        "covered_px": int((result.coverage > 0).sum()),
    }


def _training_facts(trained: Trained) -> dict[str, Any]:
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


def _manifest(request: Mapping[str, Any], settings: PinnSettings) -> dict[str, Any]:
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
