"""Weights of ``cnn`` between the backends: one set of names and layouts, that of the bundle.

A bundle names tensors by their place in the network (``encoder.0.0.weight``) and stores convolutions as (out, in,
row, column). Keras keeps them as (row, column, in, out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.pinn.network_spec import NetworkSpec, encoder_filters

OUTER_CHANNELS: Final = 4
"""Channels of a decoder that its outer head, for the border of the patch, works on."""
PARTS: Final = ("amplitude", "phase")


@dataclass(frozen=True)
class Convolution:
    """One 3 x 3 convolution: its place in the network and its channels."""

    name: str
    channels_in: int
    channels_out: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of its tensors in a bundle."""
        return {
            f"{self.name}.weight": (self.channels_out, self.channels_in, 3, 3),
            f"{self.name}.bias": (self.channels_out,),
        }


def convolutions(spec: NetworkSpec) -> tuple[Convolution, ...]:
    """Every convolution of the network, encoder first."""
    filters = encoder_filters(spec.patch_size, spec.n_filters_scale)
    rows: list[Convolution] = []
    for index, (before, after) in enumerate(zip([spec.group_frames, *filters[:-1]], filters, strict=True)):
        rows += _pair(f"encoder.{2 * index}", before, after)
    for part in PARTS:
        for index, (before, after) in enumerate(zip(filters[:0:-1], filters[-2::-1], strict=True)):
            rows += _pair(f"{part}.ups.{index}", before, after)
        rows.append(Convolution(f"{part}.centre", filters[0], spec.group_frames))
        rows += _pair(f"{part}.outer_up", OUTER_CHANNELS, OUTER_CHANNELS)
        rows.append(Convolution(f"{part}.outer", OUTER_CHANNELS, spec.group_frames))
    return tuple(rows)


def weight_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in a bundle."""
    return {name: shape for row in convolutions(spec) for name, shape in row.shapes.items()}


def initial_weights(spec: NetworkSpec, seed: int) -> dict[str, NDArray[np.float32]]:
    """Uniform in +- 1 / sqrt(inputs of a pixel), as convolutions of the other backend start; from the seed alone."""
    generator = np.random.default_rng([seed, len(PARTS)])
    weights: dict[str, NDArray[np.float32]] = {}
    for row in convolutions(spec):
        bound = 1.0 / np.sqrt(9.0 * row.channels_in)
        weights |= {k: generator.uniform(-bound, bound, s).astype(np.float32) for k, s in row.shapes.items()}
    return weights


def to_keras(name: str, weights: Mapping[str, NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Kernel and bias of the convolution ``name`` as Keras wants them."""
    return [np.transpose(weights[f"{name}.weight"], (2, 3, 1, 0)), weights[f"{name}.bias"]]


def from_keras(name: str, arrays: Sequence[NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """Inverse of :func:`to_keras`."""
    kernel, bias = arrays
    return {f"{name}.weight": np.ascontiguousarray(np.transpose(kernel, (3, 2, 0, 1))), f"{name}.bias": bias}


def _pair(name: str, before: int, after: int) -> list[Convolution]:
    """Two convolutions, each followed by an activation, which counts as a place of its own."""
    return [Convolution(f"{name}.0", before, after), Convolution(f"{name}.2", after, after)]
