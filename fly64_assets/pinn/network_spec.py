"""What determines a network besides its weights, for every backend.

Belongs here: :class:`NetworkSpec` and the numbers that follow from it. Does not belong here: layers, torch, tensorflow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that determines a network but its weights; stored in the bundle.

    Fields of the other architecture have their defaults.

    Attributes
    ----------
    architecture : str
        ``unrolled`` or ``cnn``.
    patch_size : int
        N [px].
    group_frames : int
        C, frames per sample of ``cnn``.
    width : int
        Filters of the first level of ``unrolled``.
    levels : tuple of float
        TV weights of the objects that ``unrolled`` is given, decreasing.
    level_iterations : int
        Likelihood steps per level.
    base : int
        Index of the object that ``unrolled`` corrects.
    n_filters_scale : int
        Factor k on the filters of ``cnn``.
    amplitude_max : float
        Upper bound of the amplitude of ``cnn``.
    input_scale : float
        alpha of ``cnn``: the network is given alpha times the stored amplitude.
    """

    architecture: str
    patch_size: int
    group_frames: int
    width: int = UnrolledSettings.width
    levels: tuple[float, ...] = ()
    level_iterations: int = 0
    base: int = 0
    n_filters_scale: int = CnnSettings.n_filters_scale
    amplitude_max: float = CnnSettings.amplitude_max
    input_scale: float = 1.0

    @classmethod
    def of_unrolled(
        cls, measurement: Measurement, settings: UnrolledSettings, gridsize: int, levels: tuple[float, ...], base: int
    ) -> NetworkSpec:
        """``unrolled`` with the levels of a regularisation path, of which it corrects the object ``base``."""
        return cls(
            architecture="unrolled",
            patch_size=measurement.patch_size,
            group_frames=gridsize**2,
            width=settings.width,
            levels=levels,
            level_iterations=settings.level_iterations,
            base=base,
        )

    @classmethod
    def of_cnn(cls, measurement: Measurement, settings: CnnSettings, gridsize: int) -> NetworkSpec:
        """``cnn`` for a training split."""
        return cls(
            architecture="cnn",
            patch_size=measurement.patch_size,
            group_frames=gridsize**2,
            n_filters_scale=settings.n_filters_scale,
            amplitude_max=settings.amplitude_max,
            input_scale=input_scale(measurement),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; :meth:`from_dict` is the inverse."""
        return asdict(self) | {"levels": list(self.levels)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> NetworkSpec:
        """Inverse of :meth:`to_dict`. Raises KeyError or TypeError where fields are missing or unknown."""
        return cls(**{**document, "levels": tuple(document["levels"])})


def input_scale(measurement: Measurement) -> float:
    """Scale alpha = sqrt((N/2)^2 / mean_j sum X_j^2) of a training split, for networks that are given amplitudes X_j.

    Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023): amplitudes of order one whatever the dose.
    """
    energies = [counts.sum(axis=(1, 2)) for _, counts in measurement.count_blocks()]
    mean = float(np.concatenate(energies).mean()) / measurement.intensity_scale**2
    return measurement.patch_size / 2 / math.sqrt(mean)


def encoder_filters(patch_size: int, n_filters_scale: int) -> list[int]:
    """Filters of the encoder's blocks: 32k, 64k, 128k for N = 64, from 16k for N = 128, from 8k for N = 256.

    Examples
    --------
    >>> encoder_filters(128, 1)
    [16, 32, 64, 128]
    """
    first = {64: 32, 128: 16, 256: 8}[patch_size]
    filters = [first]
    while filters[-1] < 128:
        filters.append(2 * filters[-1])
    return [n_filters_scale * count for count in filters]
