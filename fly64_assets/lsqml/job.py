"""The iterative reconstruction as an engine process runs it: a measurement file in, result files out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.npz import load_measurement, open_npz, write_npz
from fly64_assets.engines.execution import PICTURE, RESULT, Execution
from fly64_assets.engines.figures import draw_object, illuminated, png
from fly64_assets.engines.preview import Preview
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.engine import Reconstruction, reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.measured.pairs import reconstruct_pairs
from fly64_assets.physics.measurement import Measurement

ALGORITHM: Final = "LSQML"
LOG_EVERY: Final = 10
"""Epochs between two lines of the log."""


def reconstruct_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct and write ``ptychi_reconstruction.npz`` and ``reconstruction.png``.

    ``request`` holds ``measurement`` (path), ``start`` (path of another method's NPZ with the object to start from;
    None for a uniform one), ``output_folder``, ``settings``, ``seed``, ``execution`` and ``metadata``
    (recorded in the result); ``progress`` is called after every epoch. With ``pairs``, a seed, halves of the
    measurement are reconstructed too (:func:`fly64_assets.measured.pairs.reconstruct_pairs`), from the objects in
    ``start_pairs`` (path) where there is a ``start``.

    Returns
    -------
    dict
        What the stage's record says of the run: epochs, losses, deviances, seconds.

    Raises
    ------
    EngineError
        If the measurement is unfit, or the loss is not finite; nothing is written then.
    """
    measurement = load_measurement(Path(request["measurement"]))
    settings = LsqmlSettings(**request["settings"])
    execution = Execution(**request["execution"])
    where = "GPU" if execution.accelerator == "cuda" else "CPU (no GPU is used)"
    threads = f"{execution.threads} thread(s)"
    print(f"{ALGORITHM}: {measurement.frames} frames, {where}, {threads}", flush=True)

    def notify(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == 1 or done % LOG_EVERY == 0:
            print(f"epoch {done}/{total}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items()), flush=True)
        progress(done, total, values)

    start = open_npz(Path(request["start"]))["reconstructed_object"] if request.get("start") else None
    folder = Path(request["output_folder"])
    with Preview(folder) as preview:
        result = reconstruct(
            measurement, settings, execution, int(request["seed"]), notify, start=start, preview=preview
        )
    print(f"done: {result.stop_reason}", flush=True)
    metadata = {**request["metadata"], "algorithm": ALGORITHM, "execution": execution.to_dict()}
    _write(folder / RESULT, result, metadata)
    (folder / PICTURE).write_bytes(_figure(result))
    pairs = _pairs(request, measurement, settings, execution, notify)
    epochs, refit = len(result.loss), len(result.refit_loss)
    return {
        "algorithm": ALGORITHM,
        "num_epochs": settings.epochs,
        "epochs_run": epochs,
        "kept_epoch": result.kept_epoch,
        "refit_epochs": refit,
        "stop_reason": result.stop_reason,
        "final_loss": result.final_loss,
        "final_deviance": result.final_deviances.fitted,
        "expected_deviance": result.final_deviances.expected,
        "frames": measurement.frames,
        "engine_seconds": result.seconds,
        "seconds_per_epoch": result.seconds / (epochs + refit),
        **pairs,
    }


def _pairs(
    request: Mapping[str, Any],
    measurement: Measurement,
    settings: LsqmlSettings,
    execution: Execution,
    progress: Progress,
) -> dict[str, Any]:
    """Reconstruct the halves as the whole, if the request asks for them; a start of all counts would be in both."""
    if request.get("pairs") is None:
        return {}
    starts = open_npz(Path(request["start_pairs"])) if request.get("start_pairs") else {}

    def half(name: str, part: Measurement, steps: Progress) -> NDArray[np.complex64]:
        if request.get("start") and name not in starts:
            raise EngineError(f"there is no object of the half {name} to start from")
        return reconstruct(part, settings, execution, int(request["seed"]), steps, start=starts.get(name)).object

    return reconstruct_pairs(measurement, int(request["pairs"]), Path(request["output_folder"]), progress, half)


def _write(path: Path, result: Reconstruction, metadata: Mapping[str, Any]) -> None:
    """Write the result file. It holds no times, so that equal results are equal bytes."""
    document = {
        **metadata,
        "options": result.options,
        "epochs_run": len(result.loss),
        "kept_epoch": result.kept_epoch,
        "refit_epochs": len(result.refit_loss),
        "stop_reason": result.stop_reason,
        "versions": {name: version(name) for name in ("ptychi", "torch", "numpy")},
    }
    arrays: dict[str, NDArray[Any]] = {
        "reconstructed_object": result.object,
        "reconstructed_probe": result.probe,
        "coverage": result.coverage,
        "loss": result.loss,
        "deviance": result.deviance,
        "expected_deviance": result.expected,
        "held_out_deviance": result.held_out,
        "refit_loss": result.refit_loss,
        "_metadata": encode_metadata(document),
    }
    with path.open("wb") as file:
        write_npz(file, arrays)


def _figure(result: Reconstruction) -> bytes:
    """PNG of amplitude, phase, and deviance and loss of every epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    draw_object(figure, axes[:2], result.object, illuminated(result.coverage))
    epochs = np.arange(1, len(result.loss) + 1)
    axes[2].plot(epochs, result.deviance, label="fitted counts")
    axes[2].plot(epochs, result.expected, "--", label="expected for the true object")
    if np.isfinite(result.held_out).all():
        # Fewer photons give a smaller deviance: scaled to agree in the first epoch, both curves can be compared.
        scale = result.deviance[0] / result.held_out[0]
        axes[2].plot(epochs, scale * result.held_out, ":", label=f"held-out counts, x {scale:.3g}")
    axes[2].axvline(result.kept_epoch, color="0.7", lw=0.8)
    title = f"epoch {result.kept_epoch} is kept"
    axes[2].set(xlabel="epoch", ylabel="Poisson deviance per pixel", yscale="log", title=title)
    axes[2].legend(fontsize="small")
    axes[3].plot(epochs, result.loss, color="C3")
    if len(result.refit_loss):
        axes[3].plot(epochs[: result.kept_epoch], result.refit_loss, "k--", lw=0.8, label="with all counts")
        axes[3].legend(fontsize="small")
    axes[3].set(xlabel="epoch", ylabel="loss of the library", title="loss")
    return png(figure, dpi=90)
