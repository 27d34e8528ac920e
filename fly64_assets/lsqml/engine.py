"""One iterative reconstruction: the measurement is checked, epochs run one by one, a rule says which is the result."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.preview import Preview
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.count_split import Deviances, HeldOutCounts
from fly64_assets.lsqml.options import WHOLE_PIXEL_ENGINES, engine_options
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.lsqml.stopping import StoppingCriterion, held_out_fraction
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import check_scan, checked
from fly64_assets.physics.probe_modes import MODES_AXES, orthogonal_modes
from fly64_assets.physics.windows import Scan

MARGIN: Final = 2
"""Pixels around the object: the library's sub-pixel windows may extend beyond it."""
POSITION_MARGIN: Final = 12
"""Pixels more where positions are refined, and by how many one may move."""
POSITION_STEP: Final = 1.0
"""Step of refined positions, of at most 0.1 px in an epoch; with the library's 0.3 they lag behind the object."""


@dataclass(frozen=True)
class Reconstruction:
    """Result of a reconstruction; deviances are mean Poisson deviances per measured pixel after every epoch.

    Where counts were held out, the epochs until the end were run without them, and choose only how many epochs of all
    counts give the object.

    Attributes
    ----------
    object : (H, W) complex64
        On the measurement's grid; 1 where nothing was illuminated.
    probe : (N, N) or (M, N, N) complex64
        In the unit of the measurement's probe, with all its incoherent modes; refined ones are made orthogonal, the
        strongest first.
    coverage : (H, W) float32 or float64
        Illumination by all frames, sum of |P|^2 (:meth:`Measurement.coverage`).
    loss : (epochs,) float64
        The library's loss after every epoch.
    deviance, expected, held_out : (epochs,) float64
        Of the fitted counts; what it would be on average if the object were true; of the held-out counts (NaN if none).
    kept_epoch : int
        Number of epochs that object and probe come from.
    refit_loss : (kept_epoch,) or (0,) float64
        The library's loss after every epoch with all counts, where counts were held out to choose ``kept_epoch``.
    final_loss : float
    final_deviances : Deviances
        Of the object, for the counts that it was fitted to.
    options : tuple of dict
        The library's options as used, each with the ``first_epoch`` that they were used in.
    seconds : float
        Wall-clock time of all epochs.
    positions : (n, 2) float64
        Window centres x, y [px] that belong to the object: those of the measurement, or the refined ones.
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complexfloating]
    coverage: NDArray[np.floating]
    loss: NDArray[np.float64]
    deviance: NDArray[np.float64]
    expected: NDArray[np.float64]
    held_out: NDArray[np.float64]
    kept_epoch: int
    refit_loss: NDArray[np.float64]
    final_loss: float
    final_deviances: Deviances
    stop_reason: str
    options: tuple[dict[str, Any], ...]
    seconds: float
    positions: NDArray[np.float64]


def reconstruct(
    measurement: Measurement,
    settings: LsqmlSettings,
    execution: Execution,
    seed: int,
    progress: Progress,
    *,
    start: NDArray[np.complexfloating] | None = None,
    engine: str = "lsqml",
    refine_positions: bool = False,
    refit: bool = True,
    preview: Preview | None = None,
) -> Reconstruction:
    """Reconstruct the object from all frames of a measurement with an iterative algorithm of pty-chi.

    ``seed`` decides which counts are held out, and the order of batches. ``progress`` is called after every epoch with
    its number, the largest number, and its deviances and loss. ``start`` (H, W) complex is an object to start from
    instead of ones, on the grid of the measurement. ``engine`` is one of pty-chi's that
    :data:`fly64_assets.lsqml.options.ENGINES` names; a study runs LSQML, benchmarks compare it with the others.
    ``refine_positions`` moves the positions with the object, at most by :data:`POSITION_MARGIN` pixels. Without
    ``refit`` the result is the kept epoch of the run without the held-out counts. ``preview`` draws the
    object now and then.

    Raises
    ------
    EngineError
        If the measurement or the start is unfit, or the loss, the object or the probe is not finite after some epoch.
    """
    from fly64_assets.engines.torch_compat import declare_torchvision_operators

    measurement = checked(measurement, modes=True)
    check_scan(measurement)
    if measurement.further_modes is not None and (settings.subpixel == "fourier" or engine != "lsqml"):
        raise EngineError(
            f"{engine} with subpixel = {settings.subpixel} moves only the first of the probe's "
            f"{len(measurement.modes)} modes between pixels; expected LSQML with subpixel = bilinear"
        )
    if start is not None and (start.shape != measurement.object_shape or not np.isfinite(start).all()):
        raise EngineError(
            f"the object to start from has the shape {start.shape} or values that are not finite; expected "
            f"{measurement.object_shape}, finite"
        )
    declare_torchvision_operators()
    with torch_settings(execution), warnings.catch_warnings():
        # The library reads positions, which it declares as variables, as plain numbers.
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")
        run = _Run(measurement, settings, execution, seed, start, engine, refine_positions)
        return _run(run, progress, refit, preview)


@dataclass(frozen=True)
class _Run:
    """What all epochs of a reconstruction have in common."""

    measurement: Measurement
    settings: LsqmlSettings
    execution: Execution
    seed: int
    start: NDArray[np.complexfloating] | None
    engine: str
    refine_positions: bool

    @property
    def margin(self) -> int:
        """Pixels around the object in the library."""
        return MARGIN + (POSITION_MARGIN if self.refine_positions else 0)


def _run(run: _Run, progress: Progress, refit_kept: bool, preview: Preview | None) -> Reconstruction:
    """Epochs until a rule ends them; then, where counts were held out, as many epochs as were kept with all counts."""
    started = time.perf_counter()
    measurement, settings = run.measurement, run.settings
    fraction = held_out_fraction(settings.stopping)
    split = HeldOutCounts(measurement, fraction, run.seed)
    rows: list[tuple[float, ...]] = []
    options: list[dict[str, Any]] = []
    criterion = StoppingCriterion(settings.stopping, settings.epochs)
    kept = None
    for state in _epochs(run, split):
        epoch, deviances = len(rows) + 1, split.deviances(state.object, state.probe, state.scan)
        rows.append((state.loss, deviances.fitted, deviances.expected, deviances.held_out))
        options += state.options
        if criterion.update(epoch, deviances):
            kept = state, deviances
        values = zip(("loss", "deviance", "expected", "held_out"), rows[-1], strict=True)
        if preview:
            preview.update(epoch, settings.epochs, partial(getattr, state, "object"))
        progress(epoch, settings.epochs, {name: value for name, value in values if math.isfinite(value)})
        if criterion.reason:
            break
    assert kept is not None
    final, deviances = kept
    refit: list[float] = []
    if fraction and refit_kept:
        del split  # frees its counts before they are copied again
        split = HeldOutCounts(measurement, 0.0, run.seed)
        for final in islice(_epochs(run, split), criterion.kept_epoch):
            refit.append(final.loss)
            progress(len(rows) + len(refit), len(rows) + criterion.kept_epoch, {"loss": final.loss})
        deviances = split.deviances(final.object, final.probe, final.scan)
    loss, deviance, expected, held_out = np.asarray(rows, np.float64).T
    return Reconstruction(
        object=final.object,
        probe=measurement.in_stored_unit(_ordered(final.probe) if settings.probe == "refined" else final.probe),
        coverage=measurement.coverage(),
        loss=loss,
        deviance=deviance,
        expected=expected,
        held_out=held_out,
        kept_epoch=criterion.kept_epoch,
        refit_loss=np.asarray(refit, np.float64),
        final_loss=final.loss,
        final_deviances=deviances,
        stop_reason=criterion.reason,
        options=tuple(options),
        seconds=time.perf_counter() - started,
        positions=np.c_[final.scan.x, final.scan.y],
    )


@dataclass(frozen=True)
class _State:
    """Object, probe and positions after an epoch, the library's loss, and its options if they changed with it."""

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    scan: Scan
    loss: float
    options: list[dict[str, Any]]


def _epochs(run: _Run, split: HeldOutCounts) -> Iterator[_State]:
    """One epoch after the other on the fitted counts of a split, up to the largest number."""
    measurement, settings, start = run.measurement, run.settings, run.start
    obj = np.ones(measurement.object_shape, np.complex64) if start is None else start.astype(np.complex64)
    probe, scan, task, models = measurement.modes, measurement.scan, None, noise_models(settings)
    illuminated = illumination(measurement.modes, measurement.scan) > 0
    for epoch in range(1, settings.epochs + 1):
        options = []
        if epoch in models:
            task = None  # frees its counts before the next task copies them
            moving = scan if run.refine_positions else None
            task = _task(
                measurement, split, settings, run.execution, run.seed, obj, models[epoch], probe, run.engine, moving
            )
            options.append({"first_epoch": epoch, **_plain(task.options.get_dict())})
        assert task is not None
        task.run(1)
        loss = float(task.reconstructor.loss_tracker.table["loss"].iloc[-1])
        obj, probe, scan = _state(task, run, split, illuminated)
        if not (math.isfinite(loss) and np.isfinite(obj).all() and np.isfinite(probe).all()):
            raise EngineError(
                f"the loss, the object or the probe is not finite after epoch {epoch}; the result was discarded"
            )
        yield _State(obj, probe, scan, loss, options)


def noise_models(settings: LsqmlSettings) -> dict[int, str]:
    """Noise models, each by the epoch from which it is assumed.

    From a uniform object the Poisson gradient is unstable: where the model expects next to no photons, a single count
    has a weight without bound. A few epochs with the Gaussian model lead to where it is stable.

    Examples
    --------
    >>> noise_models(LsqmlSettings(noise_model="poisson", gaussian_epochs=5))
    {1: 'gaussian', 6: 'poisson'}
    """
    if settings.noise_model == "gaussian" or settings.gaussian_epochs == 0:
        return {1: settings.noise_model}
    return {1: "gaussian", settings.gaussian_epochs + 1: settings.noise_model}


def _task(
    measurement: Measurement,
    split: HeldOutCounts,
    settings: LsqmlSettings,
    execution: Execution,
    seed: int,
    obj: NDArray[np.complex64],
    noise_model: str,
    probe: NDArray[np.complexfloating],
    engine: str = "lsqml",
    moving: Scan | None = None,
) -> Any:
    """The library's task, with the study's windows and total variation, and a faster minibatch where there is one.

    ``moving`` holds positions that are refined; by default those of the measurement are kept.
    """
    import torch
    from ptychi.api.task import PtychographyTask

    from fly64_assets.lsqml.batches import quick_batches

    scan, margin = (measurement.scan, MARGIN) if moving is None else (moving, MARGIN + POSITION_MARGIN)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    # The library's transform is not normalised, so that the sum of |P|^2 is the mean count of a frame over N^2.
    waves = (probe * (split.scale / measurement.patch_size)).reshape(-1, *probe.shape[-2:])
    bad = measurement.bad_pixels
    options = engine_options(engine, settings, execution, measurement.frames, seed, noise_model, len(waves))
    options.probe_position_options.optimizable = moving is not None
    options.probe_position_options.step_size = POSITION_STEP
    with quick_batches(measurement.frames):
        task = PtychographyTask(
            options,
            diffraction_data=split.fitted,
            object_data=np.pad(obj, margin, constant_values=1)[None],
            probe_data=waves[None].astype(np.complex64),
            probe_position_x_px=(scan.x + margin).astype(np.float32),
            probe_position_y_px=(scan.y + margin).astype(np.float32),
            valid_pixel_mask=None if bad is None else np.fft.ifftshift(~bad),
        )
    if execution.accelerator == "cpu":
        # Declared by the library. Undeclared it is the CPU all the same, without a Python call in every torch call.
        torch.set_default_device(None)
    if bad is not None and engine == "lsqml":
        from fly64_assets.lsqml.bad_pixels import judge_measured_pixels

        judge_measured_pixels(task)
    if settings.subpixel == "bilinear" and engine not in WHOLE_PIXEL_ENGINES:
        from fly64_assets.lsqml.bilinear import use_bilinear_windows

        use_bilinear_windows(task)
        case = engine, settings.batching, noise_model, moving
        if case == ("lsqml", "compact", "gaussian", None) and probe.ndim != MODES_AXES:
            from fly64_assets.lsqml import minibatch

            minibatch.use_fast_minibatches(task)
    if settings.total_variation and engine == "lsqml":
        from fly64_assets.lsqml.total_variation import use_total_variation

        use_total_variation(task, settings.total_variation)
    return task


def _state(
    task: Any, run: _Run, split: HeldOutCounts, illuminated: NDArray[np.bool_]
) -> tuple[NDArray[np.complex64], NDArray[np.complex64], Scan]:
    """Present object on the measurement's grid, probe in the measurement's scale, and positions."""
    measurement = run.measurement
    inner = slice(run.margin, -run.margin)
    obj = np.where(illuminated, task.get_data_to_cpu("object", as_numpy=True)[0][inner, inner], 1).astype(np.complex64)
    modes = task.get_data_to_cpu("probe", as_numpy=True)[0]
    probe = modes[0] if measurement.further_modes is None else modes
    probe = (probe * (measurement.patch_size / split.scale)).astype(np.complex64)
    return obj, probe, _moved(task, run) if run.refine_positions else measurement.scan


def _moved(task: Any, run: _Run) -> Scan:
    """Refined positions. Raises :class:`EngineError` where one has moved further than the library's margin."""
    own = run.measurement
    y, x = (task.get_data_to_cpu("probe_positions", as_numpy=True).T - run.margin).astype(np.float64)
    largest = float(np.hypot(x - own.x, y - own.y).max())
    if not largest < POSITION_MARGIN:
        raise EngineError(
            f"a position moved by {largest:.3g} px while it was refined; expected less than {POSITION_MARGIN} px: the "
            "positions of the file, their unit or the orientation of the frames are wrong"
        )
    return Scan(x, y, own.object_shape, own.patch_size)


def _ordered(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Modes (M, N, N) that a refinement left, as orthogonal ones by falling power; one mode (N, N) as it is."""
    return orthogonal_modes(probe).astype(np.complex64) if probe.ndim == MODES_AXES else probe


def _plain(value: Any) -> Any:
    """Options in plain JSON types, without the arrays among them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if not hasattr(item, "shape")}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
