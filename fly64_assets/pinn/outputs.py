"""The part of the jobs that does not depend on the backend: files, figures, facts and lines of the log."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import load_measurement, write_npz
from fly64_assets.engines.figures import draw_object, png
from fly64_assets.engines.process import Progress
from fly64_assets.measured.pairs import reconstruct_pairs
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.bundle import Bundle, history_csv, read_bundle, write_bundle
from fly64_assets.pinn.results import Reconstruction, Trained

LOG_LINES: Final = 20
"""Epochs that get a line in the log, besides the first and the last."""


def say(line: str) -> None:
    """Write one line to the log, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def logged(progress: Progress) -> Progress:
    """``progress`` that writes a line to the log about some epochs as well."""

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        if done in (1, total) or done % max(1, total // LOG_LINES) == 0:
            say(f"epoch {done}/{total}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items() if k != "epoch"))
        progress(done, total, values)

    return report


def manifest(
    request: Mapping[str, Any], architecture: str, backend: str, libraries: Mapping[str, str]
) -> dict[str, Any]:
    """A bundle's manifest: the cell's method, the network, the versions, and the request's ``provenance``."""
    versions = {"numpy": np.__version__, "h5py": h5py.__version__, "python": platform.python_version()}
    return {
        "arm": request["arm"],
        "architecture": architecture,
        "backend": backend,
        "libraries": {**libraries, **versions},
        **request["provenance"],
    }


def write_training(
    folder: Path, manifest: Mapping[str, Any], params: Mapping[str, Any], trained: Trained
) -> dict[str, Any]:
    """Write ``wts.h5.zip``, ``history.csv`` and ``loss.png``; returns the facts of the training.

    ``params`` become the bundle's parameters, beside the network's specification.
    """
    params = {**params, "network": trained.spec.to_dict()}
    sha256 = write_bundle(folder / "wts.h5.zip", Bundle(dict(manifest), params, trained.weights, trained.history))
    (folder / "history.csv").write_text(history_csv(trained.history), encoding="utf-8", newline="")
    (folder / "loss.png").write_bytes(_learning_curve(trained.history, trained.flat_loss))
    best = trained.best["validation_loss"]
    say(trained.finding or f"done: {trained.stop_reason}, best validation loss {best:.6g}")
    return trained.to_facts() | {"bundle_sha256": sha256}


def write_reconstruction(
    request: Mapping[str, Any],
    method: Callable[[Bundle], Callable[[Measurement, Path, Progress], Reconstruction]],
    progress: Progress,
) -> dict[str, Any]:
    """Run an inference and write its object as NPZ and a figure; the body of every backend's ``infer_job``.

    ``request`` holds ``bundle``, ``measurement``, ``output`` (NPZ) and ``figure`` (PNG) as paths; ``method`` makes of
    the bundle what is called with a measurement, a folder for scratch files and the progress. With ``pairs``, a seed,
    the same bundle reconstructs halves of the measurement too, into ``pairs.npz`` beside the output
    (:func:`fly64_assets.measured.pairs.reconstruct_pairs`). Returns JSON facts.
    """
    bundle, measurement = read_bundle(Path(request["bundle"])), load_measurement(Path(request["measurement"]))
    output, run = Path(request["output"]), method(bundle)
    start = time.perf_counter()
    result = run(measurement, output.parent, progress)
    seconds = time.perf_counter() - start
    metadata = {"frames": result.frames, "network": bundle.params["network"], "gridsize": bundle.params["gridsize"]}
    arrays = {
        "reconstructed_object": result.object,
        "coverage": result.coverage,
        "_metadata": np.array(json.dumps(metadata, sort_keys=True)),
    }
    with output.open("wb") as file:
        write_npz(file, arrays)
    Path(request["figure"]).write_bytes(_object_figure(result))
    say(f"{result.frames} frames in {seconds:.1f} s")
    pairs: dict[str, Any] = {}
    if request.get("pairs") is not None:

        def half(_name: str, part: Measurement, steps: Progress) -> NDArray[np.complex64]:
            return run(part, output.parent, steps).object

        pairs = reconstruct_pairs(measurement, int(request["pairs"]), output.parent, progress, half)
    return {
        "frames": result.frames,
        "seconds": seconds,
        "seconds_per_frame": seconds / result.frames,
        "covered_px": int((result.coverage > 0).sum()),
        **pairs,
    }


def _learning_curve(history: Sequence[Mapping[str, float]], flat_loss: float) -> bytes:
    """PNG of training and validation loss by epoch, with the uniform object's validation loss."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    titles = ("training", "validation, on counts that were not learned from")
    for panel, name, title, colour in zip(panels, ("train_loss", "validation_loss"), titles, ("C0", "C1"), strict=True):
        panel.plot([row["epoch"] for row in history], [row[name] for row in history], color=colour)
        panel.set_title(title, fontsize="small")
        panel.set_xlabel("epoch")
    panels[0].set_ylabel("Poisson loss per frame")
    panels[1].axhline(flat_loss, color="0.5", linestyle="--", label="uniform object")
    panels[1].legend(fontsize="small")
    return png(figure)


def _object_figure(result: Reconstruction) -> bytes:
    """PNG of amplitude and phase where the object was measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    draw_object(figure, figure.subplots(1, 2), result.object, result.coverage > 0)
    return png(figure)
