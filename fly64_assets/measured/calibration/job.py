"""The calibration as an engine process runs it: a file of measured frames in, arrays, numbers and a picture out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import load_dataset, load_measurement, write_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.measured.calibration.deviations import backgrounds, further_mode, sentences
from fly64_assets.measured.calibration.figure import calibration_figure
from fly64_assets.measured.calibration.normalisation import fitted_object, in_counts_scale, mean_counts, normalised
from fly64_assets.measured.calibration.orientation import compare_orientations
from fly64_assets.measured.calibration.reference import SEED, Reference, calibrate, halves
from fly64_assets.physics.measurement import Measurement

ARRAYS: Final = "calibration.npz"
DOCUMENT: Final = "calibration.json"
PICTURE: Final = "calibration.png"
PARTS: Final = {"orientation": 10, "calibration": 60, "halves": 25}
"""Shares of the time in per cent, by what is done."""


def calibrate_job(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Calibrate measured frames and write ``calibration.npz``, ``calibration.json`` and ``calibration.png``.

    ``request`` holds ``measurement`` (path of a data set of all frames), ``output_folder``, ``settings`` (those of
    :meth:`fly64_assets.measured.settings.MeasuredSettings.calibration`) and ``execution``. Without ``calibrate`` the
    object of the file is the reference, and its probe and positions are taken.

    ``calibration.npz`` holds ``object`` (H, W) complex64, the reference; ``probe`` and ``first_probe`` (N, N) or
    (M, N, N) complex64, with s^2 sum |P|^2 in counts; ``xcoords``, ``ycoords`` and ``position_shift`` (n,) float64
    [px]; ``coverage`` (H, W); ``loss``, ``deviance``, ``expected_deviance``, ``held_out_deviance`` (epochs,) float64;
    ``background`` (N, N) float64 [counts per pixel]; ``further_modes`` (M + 1, N, N) complex64 where they were fitted.

    Returns the facts for the record. Raises :class:`fly64_assets.errors.EngineError` where the frames do not fit their
    positions, or cannot be reconstructed; nothing is written then.
    """
    settings, execution = request["settings"], Execution(**request["execution"])
    measurement = load_measurement(Path(request["measurement"]))
    course = _Course(progress)
    print(f"calibration: {measurement.frames} frames, {execution.threads} thread(s)", flush=True)
    started = time.perf_counter()
    if settings["calibrate"]:
        arrays, document = _calibrated(measurement, settings, execution, course)
    else:
        arrays, document = _taken(measurement, Path(request["measurement"]))
    seconds = time.perf_counter() - started
    document |= {"settings": dict(settings), "seconds": seconds, "frames": measurement.frames}
    folder = Path(request["output_folder"])
    with (folder / ARRAYS).open("wb") as file:
        write_npz(file, arrays)
    (folder / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False))
    (folder / PICTURE).write_bytes(calibration_figure(arrays, document))
    progress(100, 100, {})
    return _facts(document)


def _calibrated(
    measurement: Measurement, settings: Mapping[str, Any], execution: Execution, course: _Course
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    measurement, factor = in_counts_scale(measurement)
    print(f"the probe of the file times {factor:.6g} is in the scale of the counts", flush=True)
    orientations = compare_orientations(measurement, execution, course.part("orientation"))
    orientations.require_own()
    reference = calibrate(
        measurement,
        execution,
        course.part("calibration"),
        epochs=settings["epochs"],
        refine_positions=settings["refine_positions"],
    )
    obj, found = normalised(reference.object, reference.measurement)
    agreement = halves(found, execution, course.part("halves"), reference.run.kept_epoch).to_dict()
    print("deviations: begins", flush=True)
    residual = backgrounds(obj, found)
    picture = residual.pop("picture")
    residual["mode"] = further_mode(obj, found)
    modes = residual["mode"].pop("modes")
    document = _described(obj, found) | {
        "calibrated": True,
        "kept_epoch": reference.run.kept_epoch,
        "epochs_run": len(reference.run.loss),
        "stop_reason": reference.run.stop_reason,
        "first_probe_scale": factor,
        "positions": _moved(reference, refined=settings["refine_positions"]),
        "probe_change": _change(measurement, found),
        "orientations": orientations.to_dict(),
        "halves": agreement,
        "deviations": _with_sentences(residual),
    }
    run = reference.run
    arrays = _arrays(obj, measurement, found, picture) | {
        "position_shift": reference.shifts,
        "loss": run.loss,
        "deviance": run.deviance,
        "expected_deviance": run.expected,
        "held_out_deviance": run.held_out,
        "further_modes": modes,
    }
    return arrays, document


def _taken(measurement: Measurement, path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The object, probe and positions of the file.

    The probe is scaled by the counts alone and the object to it, so that methods, who get the probe, get nothing of
    the object.
    """
    found, factor = in_counts_scale(measurement)
    obj = fitted_object(load_dataset(path, hashed=True).object, found)
    residual = backgrounds(obj, found)
    picture = residual.pop("picture")
    document = _described(obj, found) | {
        "calibrated": False,
        "kept_epoch": None,
        "epochs_run": 0,
        "stop_reason": "taken from the file (measured.calibrate: false)",
        "first_probe_scale": factor,
        "positions": {"refined": False, "rms_shift_px": 0.0, "largest_shift_px": 0.0},
        "probe_change": 0.0,
        "orientations": None,
        "halves": None,
        "deviations": _with_sentences(residual),
    }
    nothing = np.empty(0)
    names = ("loss", "deviance", "expected_deviance", "held_out_deviance")
    arrays = _arrays(obj, found, found, picture) | {"position_shift": np.zeros(found.frames)}
    return arrays | dict.fromkeys(names, nothing), document


def _arrays(
    obj: NDArray[np.complex64], first: Measurement, found: Measurement, background: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    return {
        "object": obj,
        "probe": found.modes,
        "first_probe": first.modes,
        "xcoords": found.x,
        "ycoords": found.y,
        "coverage": found.coverage(),
        "background": background,
    }


def _described(obj: NDArray[np.complex64], found: Measurement) -> dict[str, Any]:
    """Deviance per measured pixel of all counts, and photons."""
    deviances = HeldOutCounts(found, 0.0, SEED).deviances(obj, found.modes)
    return {
        "measured_photons": mean_counts(found),
        "deviance": deviances.fitted,
        "expected_deviance": deviances.expected,
        "bad_pixels": 0 if found.bad_pixels is None else int(found.bad_pixels.sum()),
    }


def _moved(reference: Reference, *, refined: bool) -> dict[str, Any]:
    shifts = reference.shifts
    return {
        "refined": refined,
        "rms_shift_px": float(np.sqrt((shifts**2).mean())),
        "largest_shift_px": float(shifts.max()),
    }


def _change(first: Measurement, found: Measurement) -> float:
    """How far the calibrated probe is from the first one, relative to it, without a common phase."""
    one, other = (m.probe.astype(np.complex128).ravel() for m in (first, found))
    overlap = float(abs(np.vdot(one, other)) / (np.linalg.norm(one) * np.linalg.norm(other)))
    return float(np.sqrt(max(0.0, 2 - 2 * overlap)))


def _with_sentences(residual: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    said = sentences(residual)
    return {name: dict(one) | {"sentence": said[name]} for name, one in residual.items()}


def _facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """Plain facts for the stage's record."""
    scores = (document["halves"] or {}).get("scores", {})
    return {
        "measured_photons": document["measured_photons"],
        "frames": document["frames"],
        "calibration_seconds": document["seconds"],
        "stop_reason": document["stop_reason"],
        "kept_epoch": document["kept_epoch"],
        "epochs_run": document["epochs_run"],
        "deviance": document["deviance"],
        "expected_deviance": document["expected_deviance"],
        "halves_frc_half_bit_px": (scores.get("frc_half_bit") or {}).get("value"),
        "largest_position_shift_px": document["positions"]["largest_shift_px"],
    }


class _Course:
    """Progress of several parts as one, in per cent."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def part(self, name: str) -> Progress:
        """Progress of a part that begins now; what came before it is done."""
        start, share = self._done, PARTS[name]
        self._done += share
        print(f"{name}: begins", flush=True)
        tenth = 0

        def report(done: int, total: int, values: Mapping[str, float]) -> None:
            nonlocal tenth
            if 10 * done // total > tenth:
                tenth = 10 * done // total
                numbers = ", ".join(f"{k} {v:.6g}" for k, v in values.items())
                print(f"{name}: {done} of {total}: {numbers}", flush=True)
            self._progress(start + share * done // total, 100, values)

        return report
