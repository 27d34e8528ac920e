"""The reconstruction itself: checked input, epoch by epoch, stopped in time.

Belongs here: one job in this process. Does not belong here: files (``job``), the library's options (``settings``).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.design_fields import LsqmlSettings
from fly64_assets.errors import EngineError
from fly64_assets.execution import Execution
from fly64_assets.lsqml.deviance import mean_deviances
from fly64_assets.lsqml.settings import lsqml_options
from fly64_assets.lsqml.shift import fast_shift
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement

Progress = Callable[[int, int, Mapping[str, float]], None]

JUDGED_FRAMES: Final = 256
"""Frames on which the deviance is evaluated after every epoch."""
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
        Mean Poisson deviance per pixel, and what it would be if the object were true.
    stop_reason : str
    options : dict
        The library's options as used.
    seconds : float
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    coverage: NDArray[np.float32]
    loss: NDArray[np.float64]
    deviance: NDArray[np.float64]
    expected: NDArray[np.float64]
    stop_reason: str
    options: dict[str, Any]
    seconds: float


def check_measurement(measurement: Measurement) -> None:
    """Refuse what the library would silently turn into nonsense. Raises :class:`EngineError`."""
    if measurement.frames == 0:
        raise EngineError("the measurement holds no frames; nothing can be reconstructed")
    size = measurement.patch_size
    height, width = measurement.object_shape
    for name, centre, limit in (("x", measurement.x, width), ("y", measurement.y, height)):
        bad = ~(np.isfinite(centre) & (centre - size / 2 >= 0) & (centre + size / 2 <= limit))
        if bad.any():
            j = int(np.flatnonzero(bad)[0])
            raise EngineError(
                f"position {name}[{j}] = {centre[j]:g} puts a window of {size} px outside the object of {limit} px "
                f"({int(bad.sum())} such positions)"
            )
    if not np.isfinite(measurement.probe).all():
        raise EngineError("the probe holds NaN or infinite values")
    for start in range(0, measurement.frames, 256):
        amplitude = np.asarray(measurement.amplitude[start : start + 256])
        unfit = np.any(~(np.isfinite(amplitude) & (amplitude >= 0)), axis=(1, 2))
        if unfit.any():
            j = start + int(np.flatnonzero(unfit)[0])
            raise EngineError(f"frame {j} holds negative, NaN or infinite amplitudes; no reconstruction was started")


def reconstruct(
    measurement: Measurement, settings: LsqmlSettings, execution: Execution, seed: int, progress: Progress
) -> Reconstruction:
    """Reconstruct the object from all frames, starting from ones.

    Raises
    ------
    EngineError
        If the measurement is unfit, or the loss is not finite at some epoch.
    """
    from fly64_assets.torch_compat import declare_torchvision_operators

    check_measurement(measurement)
    declare_torchvision_operators()
    with torch_settings(execution), fast_shift(settings.fast_shift), warnings.catch_warnings():
        # The library reads positions, which it declares as variables, as plain numbers.
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")
        return _run(measurement, settings, execution, seed, progress)


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
    measurement: Measurement, settings: LsqmlSettings, execution: Execution, seed: int, progress: Progress
) -> Reconstruction:
    obj = np.ones(measurement.object_shape, dtype=np.complex64)
    task = _task(measurement, settings, execution, seed, obj, first_noise_model(settings))
    judged = np.unique(np.linspace(0, measurement.frames - 1, JUDGED_FRAMES).astype(np.int64))
    coverage = illumination(measurement.probe, measurement.x, measurement.y, measurement.object_shape)
    lit = coverage > 0
    found: list[float] = []
    expected: list[float] = []
    losses: list[float] = []
    stop = f"all {settings.epochs} epochs done"
    started = time.perf_counter()
    probe = measurement.probe
    for epoch in range(1, settings.epochs + 1):
        if epoch == settings.gaussian_epochs + 1 and settings.noise_model != "gaussian":
            task = _task(measurement, settings, execution, seed, obj, settings.noise_model, probe)
        task.run(1)
        losses.append(float(task.reconstructor.loss_tracker.table["loss"].iloc[-1]))
        obj, probe = _state(task, measurement, lit)
        if not (math.isfinite(losses[-1]) and np.isfinite(obj).all()):
            raise EngineError(f"the loss or the object is not finite after epoch {epoch}; the result was discarded")
        now, aim = mean_deviances(obj, probe, measurement, judged)
        found.append(now)
        expected.append(aim)
        progress(epoch, settings.epochs, {"loss": losses[-1], "deviance": now, "expected": aim})
        if settings.stopping == "discrepancy" and now <= aim:
            stop = f"discrepancy: deviance {now:.4f} per pixel reached its expectation {aim:.4f} at epoch {epoch}"
            break
    return Reconstruction(
        object=obj,
        probe=probe,
        coverage=coverage.astype(np.float32),
        loss=np.asarray(losses),
        deviance=np.asarray(found),
        expected=np.asarray(expected),
        stop_reason=stop,
        options=_plain(task.options.get_dict()),
        seconds=time.perf_counter() - started,
    )


def first_noise_model(settings: LsqmlSettings) -> str:
    """Noise model of the first epochs.

    From a flat object the Poisson gradient is unstable: where the model expects next to no photons, one count
    weighs without bound. A few Gaussian epochs lead to where it behaves.
    """
    return "gaussian" if settings.gaussian_epochs > 0 else settings.noise_model


def _task(
    measurement: Measurement,
    settings: LsqmlSettings,
    execution: Execution,
    seed: int,
    obj: NDArray[np.complex64],
    noise_model: str,
    refined: NDArray[np.complex64] | None = None,
) -> Any:
    """The library's task: counts with the DC in the corner, probe in absolute scale, an object to start from."""
    import torch
    from ptychi.api.task import PtychographyTask

    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    counts = np.fft.ifftshift(measurement.counts(), axes=(-2, -1)).astype(np.float32)
    # The library's transform is not normalised: its probe carries mean counts / N^2.
    known = measurement.probe if refined is None else refined
    probe = known * (measurement.intensity_scale / measurement.patch_size)
    return PtychographyTask(
        lsqml_options(settings, execution, measurement.frames, seed, noise_model),
        diffraction_data=counts,
        object_data=np.pad(obj, MARGIN, constant_values=1)[None],
        probe_data=probe[None, None].astype(np.complex64),
        probe_position_x_px=(measurement.x + MARGIN).astype(np.float32),
        probe_position_y_px=(measurement.y + MARGIN).astype(np.float32),
    )


def _state(
    task: Any, measurement: Measurement, lit: NDArray[np.bool_]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Object on the measurement's grid and probe in the measurement's scale, as they are now."""
    padded = task.get_data_to_cpu("object", as_numpy=True)[0]
    obj = np.where(lit, padded[MARGIN:-MARGIN, MARGIN:-MARGIN], 1).astype(np.complex64)
    probe = task.get_data_to_cpu("probe", as_numpy=True)[0, 0]
    scale = measurement.patch_size / measurement.intensity_scale
    return obj, (probe * scale).astype(np.complex64)


def _plain(value: Any) -> Any:
    """Options as plain JSON types, without the arrays that the library keeps among them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if not hasattr(item, "shape")}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
