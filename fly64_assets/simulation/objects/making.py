"""Bases of generated objects and probes; equal values give equal arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fly64_assets.contract.metadata import build_metadata, transformation
from fly64_assets.contract.schema import Base
from fly64_assets.physics.scan import SCANS
from fly64_assets.simulation.bases import picture, soft_disc_probe
from fly64_assets.simulation.objects import held_out, tunable
from fly64_assets.simulation.objects.canvas import Canvas, Pair
from fly64_assets.simulation.objects.kinds import GeneratedBase
from fly64_assets.simulation.recipe import BaseRecipe

GENERATORS: Final[Mapping[str, Callable[[Canvas, Generator], Pair]]] = {
    "grains": tunable.grains,
    "platelets": tunable.platelets,
    "bumps": tunable.bumps,
    "texture": held_out.texture,
    "particles": held_out.particles,
    "smooth": held_out.smooth,
    "edges": held_out.edges,
    "cells": held_out.cells,
    "circuit": held_out.circuit,
    "siemens_star": held_out.siemens_star,
    "foam": held_out.foam,
    "weak": held_out.weak,
    "wrapped": held_out.wrapped,
}
"""How an object of each kind is made; the other kinds are two pictures, whose names they carry."""

CURVATURE: Final = 4.0
"""Phase of the curved probe at its rim [rad]."""
DIFFUSER_RAD: Final = 1.5
"""Standard deviation of the diffuser's phase."""


def make_object(kind: str, size: int, seed: int) -> NDArray[np.complex64]:
    """An object (size, size) complex64 of one of :data:`~fly64_assets.simulation.objects.kinds.OBJECT_KINDS`.

    Raises ``KeyError`` for another kind.

    Examples
    --------
    >>> made = make_object("platelets", 120, seed=1)
    >>> made.shape, made.dtype, bool(np.array_equal(made, make_object("platelets", 120, seed=1)))
    ((120, 120), dtype('complex64'), True)
    """
    if kind in GENERATORS:
        amplitude, phase = GENERATORS[kind](Canvas(size), np.random.default_rng(seed))
    else:
        # Two pictures in the ranges of a recipe.
        names, ranges = kind.split("_"), (BaseRecipe.amplitude_range, BaseRecipe.phase_range)
        if len(names) != len(ranges):
            raise KeyError(kind)
        amplitude, phase = (
            low + (high - low) * picture(name, size) for name, (low, high) in zip(names, ranges, strict=True)
        )
    made: NDArray[np.complex64] = (amplitude * np.exp(1j * phase)).astype(np.complex64)
    return made


def make_probe(kind: str, patch_size: int, radius: float, edge: float, seed: int) -> NDArray[np.complex64]:
    """A probe (N, N) complex64 of one of :data:`~fly64_assets.simulation.objects.kinds.PROBE_KINDS`.

    ``radius`` and ``edge`` of its disc are fractions of N = ``patch_size``; the seed is that of the diffuser.
    """
    if kind != "structured":
        return soft_disc_probe(patch_size, radius, edge, CURVATURE if kind == "curved" else 0.0)
    flat = soft_disc_probe(patch_size, radius, edge, 0.0)
    field = Canvas(patch_size).random_field(np.random.default_rng([seed, 1]), held_out.gaussian(patch_size / 16))
    phase = DIFFUSER_RAD * (field - field.mean()) / field.std()
    made: NDArray[np.complex64] = (flat * np.exp(1j * phase)).astype(np.complex64)
    return made


def generated_base(
    recipe: GeneratedBase, patch_size: int, name: str, probe: NDArray[np.complexfloating] | None = None
) -> Base:
    """A base with a generated object, with its history in the metadata.

    Parameters
    ----------
    recipe : GeneratedBase
    patch_size : int
        Side N of the probe [px].
    name : str
        Name of the base, for its metadata.
    probe : (N, N) complex, optional
        A given probe instead of a generated one.

    Examples
    --------
    >>> base = generated_base(GeneratedBase("cells", "structured", object_size=100, positions=20), 64, "example")
    >>> base.object.shape, base.probe.shape, len(base.x)
    ((100, 100), (64, 64), 20)
    """
    size, seed = recipe.object_size, recipe.seed
    scan = SCANS[recipe.pattern](seed, recipe.positions, (size, size), patch_size)
    said = asdict(recipe) | {"patch_size": patch_size}
    if probe is None:
        probe = make_probe(recipe.probe, patch_size, recipe.probe_radius, recipe.probe_edge, seed)
    else:
        said |= {"probe": "given", "probe_radius": None, "probe_edge": None}
    entry = transformation("generate_base", said)
    return Base(
        object=make_object(recipe.object, size, seed),
        probe=probe.astype(np.complex64),
        x=scan.x,
        y=scan.y,
        metadata=build_metadata(patch_size, entry, fields={"base": {"name": name, "sha256": None}}),
    )
