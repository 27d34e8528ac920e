"""The iterative job as an engine process runs it: a measurement file in, result files out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import load_measurement, write_npz
from fly64_assets.contract.schema import encode_metadata
from fly64_assets.design_fields import LsqmlSettings
from fly64_assets.execution import Execution
from fly64_assets.lsqml.engine import Progress, Reconstruction, reconstruct

LOG_EVERY = 10


def reconstruct_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct and write ``ptychi_reconstruction.npz`` and ``reconstruction.png``.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``output_folder``, ``settings`` (of LsqmlSettings), ``seed``, ``execution``,
        ``metadata`` (recorded in the result).
    progress : callable
        Called after every epoch.

    Returns
    -------
    dict
        Facts for the stage's record.
    """
    measurement = load_measurement(Path(request["measurement"]))
    settings = LsqmlSettings(**request["settings"])
    execution = Execution(**request["execution"])
    print(f"LSQML: {measurement.frames} frames, {execution.accelerator}, {execution.threads} thread(s)", flush=True)

    def tell(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == 1 or done % LOG_EVERY == 0:
            print(f"epoch {done}/{total}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items()), flush=True)
        progress(done, total, values)

    result = reconstruct(measurement, settings, execution, int(request["seed"]), tell)
    print(f"done: {result.stop_reason}", flush=True)
    folder = Path(request["output_folder"])
    _write(folder / "ptychi_reconstruction.npz", result, request["metadata"])
    (folder / "reconstruction.png").write_bytes(_figure(result))
    epochs = len(result.loss)
    return {
        "algorithm": "LSQML",
        "num_epochs": settings.epochs,
        "epochs_run": epochs,
        "stop_reason": result.stop_reason,
        "final_loss": float(result.loss[-1]),
        "final_deviance": float(result.deviance[-1]),
        "expected_deviance": float(result.expected[-1]),
        "frames": measurement.frames,
        "engine_seconds": result.seconds,
        "seconds_per_epoch": result.seconds / epochs,
    }


def _write(path: Path, result: Reconstruction, metadata: Mapping[str, Any]) -> None:
    """The result file; equal results are equal bytes, so it holds no times."""
    document = {
        **metadata,
        "algorithm": "LSQML",
        "options": result.options,
        "epochs_run": len(result.loss),
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
        "_metadata": encode_metadata(document),
    }
    with path.open("wb") as file:
        write_npz(file, arrays)


def _figure(result: Reconstruction) -> bytes:
    """Amplitude, phase and the course of the deviance."""
    import io

    from matplotlib.figure import Figure

    lit = result.coverage > 0.02 * result.coverage.max()
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    shown = np.where(lit, result.object, np.nan)[top:bottom, left:right]
    gauge = np.exp(-1j * np.angle(result.object[lit].sum()))
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    pictures = ((np.abs(shown), "amplitude", "gray"), (np.angle(shown * gauge), "phase [rad]", "cividis"))
    for axis, (picture, title, colours) in zip(axes[:2], pictures, strict=True):
        limits = np.nanpercentile(picture, (0.5, 99.5))
        extent = (float(left), float(right), float(bottom), float(top))
        image = axis.imshow(picture, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent)
        axis.set(title=title, xlabel="x [px]", ylabel="y [px]")
        figure.colorbar(image, ax=axis, shrink=0.8)
    epochs = np.arange(1, len(result.loss) + 1)
    axes[2].plot(epochs, result.deviance, label="deviance")
    axes[2].plot(epochs, result.expected, "--", label="expected if true")
    axes[2].set(
        xlabel="epoch", ylabel="Poisson deviance per pixel", yscale="log", title=result.stop_reason.split(":")[0]
    )
    axes[2].legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()
