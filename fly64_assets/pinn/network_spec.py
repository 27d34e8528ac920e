"""What determines a network besides its weights, for every backend; layers are elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that determines a network but its weights; stored in the bundle.

    Fields of the other architecture have their defaults. ``levels`` are decreasing TV weights; ``base`` is the index of
    the one whose object ``unrolled`` corrects (``start_level`` elsewhere; bundles keep the name); ``pretrained``
    describes the network that is trained once whose object ``unrolled`` is shown too (None: it is not), and
    ``pretrained_part`` is its part in the object to correct, a mean of both; ``slow_phases`` says whether slow phases
    are added to the likelihood's object, ``pretrained_slow_phases`` whether to that one; ``cnn`` is given
    ``input_scale`` times the stored amplitude, in the unit in which it is stored (:meth:`in_unit`).
    """

    architecture: str
    patch_size: int
    group_frames: int
    width: int = UnrolledSettings.width
    levels: tuple[float, ...] = ()
    level_iterations: int = 0
    base: int = 0
    pretrained: Mapping[str, Any] | None = None
    pretrained_part: float = 0.0
    slow_phases: bool = False
    pretrained_slow_phases: bool = False
    n_filters_scale: int = CnnSettings.n_filters_scale
    amplitude_max: float = CnnSettings.amplitude_max
    input_scale: float = 1.0

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

    def in_unit(self, unit: float) -> NetworkSpec:
        """The network for amplitudes that are counted in a unit so many times as large: it is given the same values."""
        return replace(self, input_scale=self.input_scale * unit) if self.architecture == "cnn" else self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; :meth:`from_dict` is the inverse."""
        document = asdict(self) | {"levels": list(self.levels)}
        if self.pretrained is None:
            # As in bundles of versions without them.
            del document["pretrained"], document["pretrained_part"], document["pretrained_slow_phases"]
        if not self.slow_phases:
            del document["slow_phases"]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> NetworkSpec:
        """Inverse of :meth:`to_dict`. Raises KeyError or TypeError where fields are missing, unknown or wrong."""
        if not isinstance(document.get("slow_phases", False), bool):
            raise TypeError("slow_phases is no longer a choice of a weight: the network must be trained again")
        if document.get("pretrained") is not None and "pretrained_part" not in document:
            raise TypeError("the start is a mean of two objects now, no longer one of them: train the network again")
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
