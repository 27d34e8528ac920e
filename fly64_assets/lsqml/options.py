"""Options of pty-chi for LSQML and, for comparison, its other engines, chosen so that they converge on photon counts.

A study runs LSQML. How good each engine is: docs/explanation/results/lsqml.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.settings import LsqmlSettings

LEAST_BATCHES: Final = 3
"""Least number of batches in an epoch; fewer frames make smaller batches."""
DM_CHUNK: Final = 64
"""Frames that the difference map handles at once; it changes memory, not the result."""


def engine_options(
    engine: str, settings: LsqmlSettings, execution: Execution, frames: int, seed: int, noise_model: str, modes: int = 1
) -> Any:
    """Options (``ptychi.api`` options) of an engine of :data:`ENGINES` for a scan of ``frames`` frames.

    Positions count from the object's first pixel (the origin of -0.5 makes window centres of this project and of the
    library agree for even and odd objects alike). The library's periodic rescaling of object against probe
    (``remove_object_probe_ambiguity``, on by default) is off: with a known probe there is no such ambiguity, and the
    rescaled object no longer fits the counts.

    LSQML solves the object's step for all ``modes`` of the probe together, and the library divides it by their number,
    so that it would be that many times too short; this is undone. The illumination by which it scales steps, and from
    which total variation takes its photons, is that of all modes.
    """
    from ptychi import api

    options = ENGINES[engine](settings, frames, noise_model)
    options.data_options.fft_shift = False

    options.object_options.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    options.object_options.position_origin_coords = [-0.5, -0.5]
    options.object_options.optimizable = True
    options.object_options.remove_object_probe_ambiguity.enabled = False

    if engine == "lsqml" and modes > 1:
        options.object_options.optimal_step_size_scaler *= modes
        options.object_options.build_preconditioner_with_all_modes = True

    options.probe_options.optimizable = settings.probe == "refined"
    options.probe_options.orthogonalize_incoherent_modes.enabled = False
    options.probe_options.orthogonalize_opr_modes.enabled = False

    reconstructor = options.reconstructor_options
    reconstructor.num_epochs = settings.epochs
    reconstructor.random_seed = seed
    reconstructor.default_device = api.Devices.GPU if execution.accelerator == "cuda" else api.Devices.CPU
    return options


def _batch(size: int, frames: int) -> int:
    return max(1, min(size, frames // LEAST_BATCHES))


def _lsqml(settings: LsqmlSettings, frames: int, noise_model: str) -> Any:
    """Least-squares maximum likelihood (Odstrcil et al., Opt. Express 26, 3108, 2018).

    ``compact`` batches update the object once per epoch, accelerated with the gain ``momentum``; ``random`` and
    ``uniform`` ones update it after every batch, where the library has no acceleration.
    """
    from ptychi import api

    options = api.LSQMLOptions()
    for parameter in (options.object_options, options.probe_options):
        parameter.optimizer = api.Optimizers.SGD
        parameter.step_size = 1
    reconstructor = options.reconstructor_options
    reconstructor.batching_mode = api.BatchingModes[settings.batching.upper()]
    reconstructor.batch_size = _batch(settings.batch_size, frames)
    reconstructor.momentum_acceleration_gain = settings.momentum
    reconstructor.momentum_acceleration_gradient_mixing_factor = 1
    reconstructor.noise_model = api.NoiseModels[noise_model.upper()]
    reconstructor.solve_step_sizes_only_using_first_probe_mode = False
    reconstructor.rescale_probe_intensity_in_first_epoch = False
    return options


def _epie(_settings: LsqmlSettings, _frames: int, _noise_model: str) -> Any:
    """Extended ptychographic iterative engine (Maiden and Rodenburg, Ultramicroscopy 109, 1256, 2009)."""
    from ptychi import api

    return _pie(api.EPIEOptions(), alpha=0.3)


def _rpie(_settings: LsqmlSettings, _frames: int, _noise_model: str) -> Any:
    """Regularised iterative engine (Maiden, Johnson and Li, Optica 4, 736, 2017).

    The library's alpha of 0.1 divides by the dim rim of the probe and amplifies noise.
    """
    from ptychi import api

    return _pie(api.RPIEOptions(), alpha=0.6)


def _pie(options: Any, alpha: float) -> Any:
    """One frame at a time: the library adds the updates of a batch, and overlapping ones diverge."""
    from ptychi import api

    for parameter in (options.object_options, options.probe_options):
        parameter.optimizer = api.Optimizers.SGD
        parameter.step_size = 1
        parameter.alpha = alpha
    options.reconstructor_options.batching_mode = api.BatchingModes.RANDOM
    options.reconstructor_options.batch_size = 1
    return options


def _dm(_settings: LsqmlSettings, _frames: int, _noise_model: str) -> Any:
    """Difference map (Thibault et al., Ultramicroscopy 109, 338, 2009), relaxed: at 1 it never settles on counts."""
    from ptychi import api

    options = api.DMOptions()
    options.reconstructor_options.exit_wave_update_relaxation = 0.3
    options.reconstructor_options.chunk_length = DM_CHUNK
    options.object_options.inertia = 0.1
    return options


def _autodiff(settings: LsqmlSettings, frames: int, noise_model: str) -> Any:
    """Gradient descent by automatic differentiation, with Adam on the object (Kingma and Ba, arXiv 1412.6980)."""
    from ptychi import api

    options = api.AutodiffPtychographyOptions()
    losses = {"gaussian": api.LossFunctions.MSE_SQRT, "poisson": api.LossFunctions.POISSON}
    options.reconstructor_options.loss_function = losses[noise_model]
    options.reconstructor_options.batching_mode = api.BatchingModes.UNIFORM
    options.reconstructor_options.batch_size = _batch(settings.batch_size, frames)
    for parameter in (options.object_options, options.probe_options):
        parameter.optimizer = api.Optimizers.ADAM
    options.object_options.step_size = 0.01
    options.probe_options.step_size = 0.01
    return options


Builder = Callable[[LsqmlSettings, int, str], Any]

ENGINES: Final[Mapping[str, Builder]] = MappingProxyType(
    {"lsqml": _lsqml, "epie": _epie, "rpie": _rpie, "dm": _dm, "autodiff": _autodiff}
)
"""Engines by name, each with the function that makes its options."""

WHOLE_PIXEL_ENGINES: Final = ("dm",)
"""Engines that divide by the illumination of every pixel: they need the library's own windows of whole pixels."""
