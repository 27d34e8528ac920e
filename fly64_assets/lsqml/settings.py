"""pty-chi's options for a job of this study.

Belongs here: the mapping from :class:`~fly64_assets.design.LsqmlSettings`, and why it is as it is. Does not belong
here: running.
"""

from __future__ import annotations

from typing import Any, Final

from fly64_assets.design_fields import LsqmlSettings
from fly64_assets.execution import Execution

LEAST_BATCHES: Final = 3
"""COMPACT batches with momentum need at least so many per epoch."""


def lsqml_options(settings: LsqmlSettings, execution: Execution, frames: int, seed: int, noise_model: str) -> Any:
    """``ptychi.api.LSQMLOptions`` for ``frames`` frames.

    Positions count from the object's first pixel (the origin of -0.5 makes window centres of this project and of the
    library agree for even and odd objects alike). The library's periodic rescaling of object against probe
    (``remove_object_probe_ambiguity``, on by default) is off: with a known probe there is no such ambiguity, and the
    rescaled object no longer fits the counts.
    """
    from ptychi import api

    options = api.LSQMLOptions()
    options.data_options.fft_shift = False

    options.object_options.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    options.object_options.position_origin_coords = [-0.5, -0.5]
    options.object_options.optimizable = True
    options.object_options.optimizer = api.Optimizers.SGD
    options.object_options.step_size = 1
    options.object_options.remove_object_probe_ambiguity.enabled = False

    refined = settings.probe == "refined"
    options.probe_options.optimizable = refined
    options.probe_options.optimizer = api.Optimizers.SGD
    options.probe_options.step_size = 1
    options.probe_options.orthogonalize_incoherent_modes.enabled = False
    options.probe_options.orthogonalize_opr_modes.enabled = False

    reconstructor = options.reconstructor_options
    reconstructor.num_epochs = settings.epochs
    reconstructor.batching_mode = api.BatchingModes.COMPACT
    reconstructor.batch_size = max(1, min(settings.batch_size, frames // LEAST_BATCHES))
    reconstructor.momentum_acceleration_gain = settings.momentum
    reconstructor.momentum_acceleration_gradient_mixing_factor = 1
    reconstructor.noise_model = api.NoiseModels[noise_model.upper()]
    reconstructor.solve_step_sizes_only_using_first_probe_mode = False
    reconstructor.rescale_probe_intensity_in_first_epoch = False
    reconstructor.random_seed = seed
    reconstructor.default_device = api.Devices.GPU if execution.accelerator == "cuda" else api.Devices.CPU
    return options
