"""The iterative job as an engine process runs it: a measurement file in, result files out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fly64_assets.contract.npz import load_measurement, open_npz, write_npz
from fly64_assets.contract.schema import encode_metadata
from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.engine import Progress, Reconstruction, reconstruct
from fly64_assets.lsqml.figures import reconstruction_figure
from fly64_assets.lsqml.settings import LsqmlSettings

LOG_EVERY = 10


def reconstruct_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct and write ``ptychi_reconstruction.npz`` and ``reconstruction.png``.

    Parameters
    ----------
    request : mapping
        ``measurement`` (path), ``start`` (path of another arm's NPZ with the object to start from, or None: flat),
        ``output_folder``, ``settings`` (of LsqmlSettings), ``seed``, ``execution``, ``metadata`` (recorded in the
        result).
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
    where = "GPU" if execution.accelerator == "cuda" else "CPU (no GPU is used)"
    threads = f"{execution.threads} thread(s)"
    print(f"{settings.engine.upper()}: {measurement.frames} frames, {where}, {threads}", flush=True)

    def tell(done: int, total: int, values: Mapping[str, float]) -> None:
        if done == 1 or done % LOG_EVERY == 0:
            print(f"epoch {done}/{total}: " + ", ".join(f"{k} {v:.6g}" for k, v in values.items()), flush=True)
        progress(done, total, values)

    start = open_npz(Path(request["start"]))["reconstructed_object"] if request.get("start") else None
    result = reconstruct(measurement, settings, execution, int(request["seed"]), tell, start=start)
    print(f"done: {result.stop_reason}", flush=True)
    folder = Path(request["output_folder"])
    metadata = {**request["metadata"], "algorithm": settings.engine.upper(), "execution": execution.to_dict()}
    _write(folder / "ptychi_reconstruction.npz", result, metadata)
    (folder / "reconstruction.png").write_bytes(reconstruction_figure(result))
    epochs, kept = len(result.loss), result.kept_epoch - 1
    return {
        "algorithm": settings.engine.upper(),
        "num_epochs": settings.epochs,
        "epochs_run": epochs,
        "kept_epoch": result.kept_epoch,
        "stop_reason": result.stop_reason,
        "final_loss": float(result.loss[kept]),
        "final_deviance": float(result.deviance[kept]),
        "expected_deviance": float(result.expected[kept]),
        "frames": measurement.frames,
        "engine_seconds": result.seconds,
        "seconds_per_epoch": result.seconds / epochs,
    }


def _write(path: Path, result: Reconstruction, metadata: Mapping[str, Any]) -> None:
    """The result file; equal results are equal bytes, so it holds no times."""
    document = {
        **metadata,
        "options": result.options,
        "epochs_run": len(result.loss),
        "kept_epoch": result.kept_epoch,
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
        "_metadata": encode_metadata(document),
    }
    with path.open("wb") as file:
        write_npz(file, arrays)
