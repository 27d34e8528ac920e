"""What determines a network besides its weights, for every backend. One registry of architectures for all.

Belongs here: :class:`NetworkSpec` and the numbers that follow from it. Does not belong here: layers, torch, tensorflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

ARCHITECTURES: Final = ("unrolled", "cnn")


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that determines a network but its weights; stored in the bundle.

    Attributes
    ----------
    architecture : str
        Name in :data:`ARCHITECTURES`.
    patch_size : int
        N [px].
    group_frames : int
        C, frames per sample of ``cnn``.
    width : int
        Filters of the first level of ``unrolled``.
    levels : tuple of float
        Strengths of smoothing of the objects that ``unrolled`` is shown, falling.
    level_iterations : int
        Likelihood steps per level.
    base : int
        Which of these objects ``unrolled`` changes.
    n_filters_scale : int
        Factor k on the filters of ``cnn``.
    amplitude_max : float
        Bound of the amplitude of ``cnn``.
    input_scale : float
        alpha of ``cnn``: the network sees alpha times the stored amplitude.
    """

    architecture: str
    patch_size: int
    group_frames: int
    width: int
    levels: tuple[float, ...]
    level_iterations: int
    base: int
    n_filters_scale: int
    amplitude_max: float
    input_scale: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; :meth:`from_dict` is the inverse."""
        return asdict(self) | {"levels": list(self.levels)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> NetworkSpec:
        """Inverse of :meth:`to_dict`. Raises KeyError or TypeError where fields are missing or unknown."""
        return cls(**{**document, "levels": tuple(document["levels"])})


def encoder_filters(patch_size: int, n_filters_scale: int) -> list[int]:
    """Filters of the encoder's blocks: 32k, 64k, 128k for N = 64, from 16k for N = 128, from 8k for N = 256."""
    first = {64: 32, 128: 16, 256: 8}[patch_size]
    filters = [first]
    while filters[-1] < 128:
        filters.append(2 * filters[-1])
    return [n_filters_scale * count for count in filters]
