"""The network that was trained once, as an engine process applies it: a measurement file in, result files out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.npz import load_measurement, write_npz
from fly64_assets.engines.execution import PICTURE, RESULT, Execution, torch_settings
from fly64_assets.engines.figures import draw_object, illuminated, png
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.measured.pairs import reconstruct_pairs
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.pinn.outputs import say
from fly64_assets.pinn.pretrained.files import network_of
from fly64_assets.pinn.pretrained.inference import PretrainedReconstruction, reconstruct
from fly64_assets.pinn.pretrained.pretrained_spec import Applicability, read_pretrained
from fly64_assets.pinn.results import Reconstruction
from fly64_assets.pinn.unrolled.slow_phases import OF_PRETRAINED
from fly64_assets.store.hashing import sha256_file

ALGORITHM: Final = "PRETRAINED"
STOP_REASON: Final = "all steps done"


def reconstruct_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Reconstruct and write ``ptychi_reconstruction.npz`` and ``reconstruction.png``.

    The files have the names and the arrays of the iterative methods, so that a reader of one reads all. What of the
    measurement lies outside of the network's training is in the facts and in the result.

    Parameters
    ----------
    request : mapping
        ``measurement`` and ``network`` (paths), ``output_folder``, ``settings`` (``network``: the SHA256 of that file;
        ``slow_phases``), ``execution``, ``metadata`` (recorded in the result). With ``pairs``, a seed, halves are
        reconstructed too (:func:`fly64_assets.measured.pairs.reconstruct_pairs`).
    progress : callable
        Called when the object is there, with its loss.

    Returns
    -------
    dict
        Facts for the stage's record.

    Raises
    ------
    ArtifactError
        If the file is no network for new scans, or another one than when the stage began.
    EngineError
        If the measurement is unfit, as with several modes of the probe, or the object is not finite.
    """
    path = Path(request["network"])
    bundle, sha256 = read_pretrained(str(path)), request["settings"]["network"]
    if sha256_file(path) != sha256:
        raise EngineError(f"{path}: the file has changed since this stage began; run it again")
    network, ranges = network_of(bundle, path.name), Applicability.of(bundle, path.name)
    measurement = load_measurement(Path(request["measurement"]))
    checked(measurement)
    execution, folder = Execution(**request["execution"]), Path(request["output_folder"])
    where = "GPU" if execution.accelerator == "cuda" else "CPU (no GPU is used)"
    say(f"{ALGORITHM}: {measurement.frames} frames, {where}, {execution.threads} thread(s)")
    outside = [sentence for sentence, _ in ranges.findings(measurement)]
    for sentence in outside:
        say(f"outside of the training: {sentence}")

    slow_phases = bool(request["settings"]["slow_phases"])

    def run(part: Measurement, losses: list[float] | None = None) -> PretrainedReconstruction:
        with torch_settings(execution):
            return reconstruct(network, part, execution.accelerator, slow_phases=slow_phases, losses=losses)

    losses: list[float] = []
    began = time.perf_counter()
    result = run(measurement, losses)
    seconds, steps = time.perf_counter() - began, len(losses) - 1
    progress(steps, steps, {"loss": losses[-1]})
    say(f"done: {steps} steps in {seconds:.1f} s")
    gain, reason = result.gain_of_slow_phases, STOP_REASON
    if gain is not None:
        reason += f"; {OF_PRETRAINED.verdict(gain)}"
        say(OF_PRETRAINED.verdict(gain))
    document = {
        **request["metadata"],
        "algorithm": ALGORITHM,
        "execution": execution.to_dict(),
        "options": {"network": bundle.params["network"], "sha256": sha256, "slow_phases": slow_phases},
        "outside_of_training": outside,
        "epochs_run": steps,
        "kept_epoch": steps,
        "stop_reason": reason,
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }
    arrays: dict[str, NDArray[Any]] = {
        "reconstructed_object": result.object,
        "reconstructed_probe": measurement.probe.astype(np.complex64),
        "coverage": result.coverage,
        "loss": np.array(losses[1:]),
        "_metadata": encode_metadata(document),
    }
    with (folder / RESULT).open("wb") as file:
        write_npz(file, arrays)
    (folder / PICTURE).write_bytes(_figure(result, losses))
    pairs: dict[str, Any] = {}
    if request.get("pairs") is not None:
        pairs = reconstruct_pairs(
            measurement, int(request["pairs"]), folder, progress, lambda _name, part, _steps: run(part).object
        )
    return {
        "algorithm": ALGORITHM,
        "num_epochs": steps,
        "epochs_run": steps,
        "kept_epoch": steps,
        "stop_reason": reason,
        "final_loss": losses[-1],
        "frames": measurement.frames,
        "outside_of_training": outside,
        "engine_seconds": seconds,
        "seconds_per_epoch": seconds / steps,
        **pairs,
    }


def _figure(result: Reconstruction, losses: list[float]) -> bytes:
    """PNG of amplitude, phase, and the loss of the uniform object and after every step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    draw_object(figure, axes[:2], result.object, illuminated(result.coverage))
    axes[2].plot(np.array(losses) - min(losses), "o-", color="C3")
    axes[2].set(xlabel="step", ylabel="loss above the least [nats/frame]", title="Poisson loss")
    return png(figure, dpi=90)
