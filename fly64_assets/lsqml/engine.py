"""The reconstruction itself: checked input, epoch by epoch, stopped in time.

Belongs here: one job in this process. Does not belong here: files (``job``), the library's options (``settings``),
judgement of input (``physics.measurement_check``) and of progress (``photons``, ``stopping``).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.count_split import Photons
from fly64_assets.lsqml.options import WHOLE_PIXEL_ENGINES, engine_options
from fly64_assets.lsqml.overrides.installation import faster_library
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.lsqml.stopping import Watch, held_out_fraction
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import check_measurement, check_scan

MARGIN: Final = 2
"""Pixels around the object in which the library's sub-pixel windows may reach out."""


@dataclass(frozen=True)
class Reconstruction:
    """What a job found.

    Attributes
    ----------
    object : (H, W) complex64
        On the measurement's grid; 1 where no light fell.
    probe : (N, N) complex64
        In the scale of the measurement's probe.
    coverage : (H, W) float32
        Illumination by all frames, sum of |P|^2.
    loss : (epochs,) float64
        The library's loss after every epoch.
    deviance, expected : (epochs,) float64
        Mean Poisson deviance per pixel of the fitted counts, and what it would be if the object were true.
    held_out : (epochs,) float64
        That of the counts kept aside; NaN where none are.
    kept_epoch : int
        Epoch whose object and probe these are.
    stop_reason : str
    options : tuple of dict
        The library's options as used, each with the ``first_epoch`` that they were used in.
    seconds : float
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    loss: NDArray[np.float64]
    deviance: NDArray[np.float64]
    expected: NDArray[np.float64]
    held_out: NDArray[np.float64]
    kept_epoch: int
    stop_reason: str
    options: tuple[dict[str, Any], ...]
    seconds: float


def reconstruct(
    measurement: Measurement,
    settings: LsqmlSettings,
    execution: Execution,
    seed: int,
    progress: Progress,
    *,
    start: NDArray[np.complexfloating] | None = None,
) -> Reconstruction:
    """Reconstruct the object from all frames, starting from ones or from ``start``, (H, W), of the same frames.

    Raises
    ------
    EngineError
        If the measurement is unfit, or the loss is not finite at some epoch.
    """
    from fly64_assets.engines.torch_compat import declare_torchvision_operators

    check_measurement(measurement)
    check_scan(measurement)
    if start is not None and (start.shape != measurement.object_shape or not np.isfinite(start).all()):
        raise EngineError(
            f"the object to start from has the shape {start.shape} or values that are not finite; expected "
            f"{measurement.object_shape}, finite"
        )
    declare_torchvision_operators()
    with torch_settings(execution), faster_library(execution.fast_shift), warnings.catch_warnings():
        # The library reads positions, which it declares as variables, as plain numbers.
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")
        return _run(measurement, settings, execution, seed, progress, start)


def bilinear(settings: LsqmlSettings) -> bool:
    """Whether the object is read as the study's forward model does."""
    return settings.subpixel == "bilinear" and settings.engine not in WHOLE_PIXEL_ENGINES


@contextmanager
def torch_settings(execution: Execution) -> Iterator[None]:
    """Threads and determinism as asked for; what was set before, by us or by the library, comes back afterwards."""
    import torch

    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(execution.deterministic, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)


def _run(
    measurement: Measurement,
    settings: LsqmlSettings,
    execution: Execution,
    seed: int,
    progress: Progress,
    start: NDArray[np.complexfloating] | None,
) -> Reconstruction:
    obj, probe = np.ones(measurement.object_shape) if start is None else start, measurement.probe
    obj = obj.astype(np.complex64)
    photons = Photons(measurement, held_out_fraction(settings.stopping), seed)
    coverage = illumination(measurement.probe, measurement.scan)
    lit = coverage > 0
    rows: list[tuple[float, ...]] = []
    options: list[dict[str, Any]] = []
    watch = Watch(settings.stopping, settings.epochs)
    task, kept = None, (obj, probe)
    started = time.perf_counter()
    for epoch in range(1, settings.epochs + 1):
        if task is None or epoch == changes_noise_model(settings):
            task = None  # its counts, before those of the next one
            model = first_noise_model(settings) if epoch == 1 else settings.noise_model
            task = _task(measurement, photons, settings, execution, seed, obj, model, probe)
            options.append({"first_epoch": epoch, **_plain(task.options.get_dict())})
        task.run(1)
        loss = float(task.reconstructor.loss_tracker.table["loss"].iloc[-1])
        obj, probe = _state(task, measurement, photons, lit)
        if not (math.isfinite(loss) and np.isfinite(obj).all()):
            raise EngineError(f"the loss or the object is not finite after epoch {epoch}; the result was discarded")
        found = photons.judge(obj, probe)
        rows.append((loss, found.deviance, found.expected, found.held_out))
        if watch.better(epoch, found):
            kept = obj, probe
        progress(epoch, settings.epochs, _shown(rows[-1]))
        if watch.reason:
            break
    loss_, deviance, expected, held_out = np.asarray(rows, np.float64).T
    return Reconstruction(
        object=kept[0],
        probe=kept[1],
        coverage=coverage.astype(np.float32),
        loss=loss_,
        deviance=deviance,
        expected=expected,
        held_out=held_out,
        kept_epoch=watch.kept,
        stop_reason=watch.reason,
        options=tuple(options),
        seconds=time.perf_counter() - started,
    )


def _shown(row: tuple[float, ...]) -> dict[str, float]:
    named = zip(("loss", "deviance", "expected", "held_out"), row, strict=True)
    return {name: value for name, value in named if math.isfinite(value)}


def changes_noise_model(settings: LsqmlSettings) -> int:
    """Epoch from which another noise model holds than in the first; 0 if there is none."""
    changes = settings.noise_model != first_noise_model(settings)
    return settings.gaussian_epochs + 1 if changes else 0


def first_noise_model(settings: LsqmlSettings) -> str:
    """Noise model of the first epochs.

    From a flat object the Poisson gradient is unstable: where the model expects next to no photons, one count
    weighs without bound. A few Gaussian epochs lead to where it behaves.
    """
    return "gaussian" if settings.gaussian_epochs > 0 else settings.noise_model


def _task(
    measurement: Measurement,
    photons: Photons,
    settings: LsqmlSettings,
    execution: Execution,
    seed: int,
    obj: NDArray[np.complex64],
    noise_model: str,
    probe: NDArray[np.complex64],
) -> Any:
    """The library's task: counts with the DC in the corner, probe in absolute scale, an object to start from."""
    import torch
    from ptychi.api.task import PtychographyTask

    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    # The library's transform is not normalised: its probe carries mean counts / N^2.
    absolute = probe * (photons.scale / measurement.patch_size)
    task = PtychographyTask(
        engine_options(settings, execution, measurement.frames, seed, noise_model),
        diffraction_data=photons.fitted,
        object_data=np.pad(obj, MARGIN, constant_values=1)[None],
        probe_data=absolute[None, None].astype(np.complex64),
        probe_position_x_px=(measurement.x + MARGIN).astype(np.float32),
        probe_position_y_px=(measurement.y + MARGIN).astype(np.float32),
    )
    if bilinear(settings):
        from fly64_assets.lsqml.bilinear import use_bilinear_windows

        use_bilinear_windows(task)
    if task.options.object_options.total_variation.enabled:
        from fly64_assets.lsqml.total_variation import use_total_variation

        use_total_variation(task)
    return task


def _state(
    task: Any, measurement: Measurement, photons: Photons, lit: NDArray[np.bool_]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Object on the measurement's grid and probe in the measurement's scale, as they are now."""
    padded = task.get_data_to_cpu("object", as_numpy=True)[0]
    obj = np.where(lit, padded[MARGIN:-MARGIN, MARGIN:-MARGIN], 1).astype(np.complex64)
    probe = task.get_data_to_cpu("probe", as_numpy=True)[0, 0]
    return obj, (probe * (measurement.patch_size / photons.scale)).astype(np.complex64)


def _plain(value: Any) -> Any:
    """Options as plain JSON types, without the arrays that the library keeps among them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if not hasattr(item, "shape")}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
