"""What a training of ``cnn`` works on, for every backend: its samples and its network's specification.

Belongs here: the way from settings to samples and numbers. Does not belong here: torch, tensorflow, losses.
"""

from __future__ import annotations

import math

import numpy as np

from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.cnn.samples import Samples
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings


def input_scale(measurement: Measurement) -> float:
    """Scale alpha = sqrt((N/2)^2 / mean_j sum X_j^2) of a training split, for networks that see amplitudes."""
    energies = [counts.sum(axis=(1, 2)) for _, counts in measurement.count_blocks()]
    mean = float(np.concatenate(energies).mean()) / measurement.intensity_scale**2
    return measurement.patch_size / 2 / math.sqrt(mean)


def patch_spec(measurement: Measurement, settings: CnnSettings, gridsize: int) -> NetworkSpec:
    """The specification of ``cnn`` for a training split."""
    return NetworkSpec(
        architecture="cnn",
        patch_size=measurement.patch_size,
        group_frames=gridsize**2,
        width=UnrolledSettings.width,
        levels=(),
        level_iterations=0,
        base=0,
        n_filters_scale=settings.n_filters_scale,
        amplitude_max=settings.amplitude_max,
        input_scale=input_scale(measurement),
    )


def patch_samples(
    measurement: Measurement, settings: CnnSettings, gridsize: int, neighbor_count: int, seed: int
) -> Samples:
    """The samples of a training split.

    Raises
    ------
    EngineError
        OVERSAMPLING-001.
    """
    return Samples.of(
        measurement,
        gridsize=gridsize,
        neighbor_count=neighbor_count,
        # A frame alone is the same sample every time; groups of the same seed differ.
        samples_per_position=settings.samples_per_position if gridsize > 1 else 1,
        frames_per_batch=settings.batch_size,
        validation_fraction=settings.validation_fraction,
        thinning_fraction=settings.thinning_fraction,
        seed=seed,
    )
