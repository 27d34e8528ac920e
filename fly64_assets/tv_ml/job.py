"""Regularised maximum likelihood as an engine process runs it: a measurement file in, result files out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.npz import load_measurement, write_npz
from fly64_assets.engines.execution import PICTURE, RESULT, Execution
from fly64_assets.engines.figures import draw_object, illuminated, png
from fly64_assets.engines.process import Progress
from fly64_assets.measured.pairs import reconstruct_pairs
from fly64_assets.physics.measurement import Measurement
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import Reconstruction, reconstruct

ALGORITHM: Final = "TV_ML"


def reconstruct_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct and write ``ptychi_reconstruction.npz`` and ``reconstruction.png``.

    The files have the names and the arrays of the other iterative method, so that a reader of one reads both.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``output_folder``, ``settings`` (of TvMlSettings), ``seed``, ``execution``,
        ``metadata`` (recorded in the result). The object always starts from a constant. With ``pairs``, a seed,
        halves are reconstructed too (:func:`fly64_assets.measured.pairs.reconstruct_pairs`).
    progress : callable
        Called after every step.

    Returns
    -------
    dict
        Facts for the stage's record.
    """
    measurement = load_measurement(Path(request["measurement"]))
    settings, execution = TvMlSettings.from_dict(request["settings"]), Execution(**request["execution"])
    folder = Path(request["output_folder"])
    where = "GPU" if execution.accelerator == "cuda" else "CPU (no GPU is used)"
    print(f"{ALGORITHM}: {measurement.frames} frames, {where}, {execution.threads} thread(s)", flush=True)

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        if done % settings.steps == 0:
            print(f"step {done}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items()), flush=True)
        progress(done, total, values)

    result = reconstruct(measurement, settings, execution, int(request["seed"]), report, scratch=folder)
    print(f"done: {result.stop_reason}", flush=True)
    metadata = {**request["metadata"], "algorithm": ALGORITHM, "execution": execution.to_dict()}
    _write(folder / RESULT, result, settings, measurement.probe, metadata)
    (folder / PICTURE).write_bytes(_figure(result))
    pairs: dict[str, Any] = {}
    if request.get("pairs") is not None:

        def half(_name: str, part: Measurement, steps: Progress) -> NDArray[np.complex64]:
            return reconstruct(part, settings, execution, int(request["seed"]), steps, scratch=folder).object

        pairs = reconstruct_pairs(measurement, int(request["pairs"]), folder, report, half)
    steps = len(result.loss)
    return {
        "algorithm": ALGORITHM,
        "num_epochs": settings.most_steps,
        "epochs_run": steps,
        "kept_epoch": steps,
        "stop_reason": result.stop_reason,
        "level": result.level,
        "final_loss": float(result.loss[-1]),
        "held_out_loss": float(result.held_out.min()),
        "frames": measurement.frames,
        "engine_seconds": result.seconds,
        "seconds_per_epoch": result.seconds / steps,
        **pairs,
    }


def _write(
    path: Path,
    result: Reconstruction,
    settings: TvMlSettings,
    probe: NDArray[np.complexfloating],
    metadata: Mapping[str, Any],
) -> None:
    """The result file; equal results are equal bytes, so it holds no times."""
    document = {
        **metadata,
        "options": settings.parameters(),
        "level": result.level,
        "epochs_run": len(result.loss),
        "kept_epoch": len(result.loss),
        "stop_reason": result.stop_reason,
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }
    arrays: dict[str, NDArray[Any]] = {
        "reconstructed_object": result.object,
        "reconstructed_probe": probe.astype(np.complex64),
        "coverage": result.coverage,
        "loss": result.loss,
        "levels": result.levels,
        "held_out_loss": result.held_out,
        "_metadata": encode_metadata(document),
    }
    with path.open("wb") as file:
        write_npz(file, arrays)


def _figure(result: Reconstruction) -> bytes:
    """PNG of amplitude, phase, the held-out loss of every weight and the objective of every step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    draw_object(figure, axes[:2], result.object, illuminated(result.coverage))
    axes[2].plot(result.levels, result.held_out - result.held_out.min(), "o-")
    axes[2].axvline(result.level, color="0.7", lw=0.8)
    title = f"TV weight {result.level:g} is kept"
    axes[2].set(xlabel="TV weight", ylabel="held-out loss above the least [nats/frame]", xscale="log", title=title)
    axes[3].plot(np.arange(1, len(result.loss) + 1), result.loss, color="C3")
    axes[3].set(xlabel="step", ylabel="objective [nats/frame]", yscale="log", title="objective")
    return png(figure, dpi=90)
