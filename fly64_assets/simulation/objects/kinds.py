"""Kinds of generated objects and probes by name, as plain values, and which of them settings were chosen on.

**Settings of methods are chosen on the kinds in** :data:`TUNABLE` **and on no other.** Those in :data:`HELD_OUT` are
for results only: nothing is chosen by looking at them. Both have slow phases, sparse particles, fine texture and
pictures, made by different generators, so that a setting that is fitted to one generator shows on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, get_args

from pydantic import ConfigDict

from fly64_assets.physics.quantities import NO_OTHER_FIELDS, Number, Seed, Whole, at_least, at_most, unit, within
from fly64_assets.simulation.recipe import LARGEST_OBJECT_PX

ObjectKind = Literal[
    "grains", "platelets", "bumps", "camera_brick", "coins_grass", "moon_coffee",
    "texture", "particles", "smooth", "edges", "cells", "circuit", "siemens_star", "foam", "weak", "wrapped",
    "retina_rocket",
]  # fmt: skip
OBJECT_KINDS: Final[tuple[str, ...]] = get_args(ObjectKind)

TUNABLE: Final = ("grains", "platelets", "bumps", "camera_brick", "coins_grass", "moon_coffee")
"""Kinds on which settings were chosen; `camera_brick` is the object of the demo."""
HELD_OUT: Final = tuple(kind for kind in OBJECT_KINDS if kind not in TUNABLE)
"""Kinds that only results are for."""

MEANINGS: Final[Mapping[str, str]] = {
    "grains": "polygons around random points, about 5 px apart, each of random amplitude and phase",
    "platelets": "flat platelets with three to seven edges, each of one thickness, on an empty background",
    "bumps": "phase of a few wide bumps and a tilt, over about 2 rad; weak polygons",
    "camera_brick": "two pictures of the scikit-image wheel, those of the demo",
    "coins_grass": "two pictures of the scikit-image wheel",
    "moon_coffee": "two pictures of the scikit-image wheel",
    "texture": "random field with an exponential correlation of 2.5 px, amplitude and phase independent",
    "particles": "spheres on an empty background, phase and absorption in proportion to the thickness",
    "smooth": "phase of a Gaussian random field, correlation length 50 px, over 2 rad; weak sharp lines and discs",
    "edges": "polygons that hide each other, of all sizes from 4 to 40 px, amplitude and phase independent",
    "cells": "round bodies with a nucleus and granules, phase up to about 1.5 rad, hardly any absorption",
    "circuit": "wires and contacts of two layers on a square grid, one thickness each",
    "siemens_star": "spokes and rings of one thickness, up to the limit of the pixels",
    "foam": "projection of a volume of random blobs of one material, phase and absorption together",
    "weak": "the texture with a phase over 0.15 rad and 4 % absorption, both in proportion",
    "wrapped": "phase of a random field over 12 rad, which wraps; an independent amplitude",
    "retina_rocket": "two pictures of the scikit-image wheel",
}
"""What each kind looks like."""

ProbeKind = Literal["flat", "curved", "structured"]
PROBE_KINDS: Final[tuple[str, ...]] = get_args(ProbeKind)
PROBE_MEANINGS: Final[Mapping[str, str]] = {
    "flat": "a soft disc of one phase",
    "curved": "a soft disc with a defocus of 4 rad at its rim, as in the designs of this package",
    "structured": "a soft disc with the random phase of a diffuser, correlation length N / 16",
}
"""What each kind of probe is; all have the same intensity."""


@dataclass(frozen=True)
class GeneratedBase:
    """A base whose object and probe are generated; equal values give equal arrays."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    object: ObjectKind = "texture"
    """Kind of the object."""
    probe: ProbeKind = "curved"
    """Kind of the probe."""
    seed: Seed = 42
    """Seed of the object, of the diffuser and of the positions; pictures are the same for every seed."""
    object_size: Annotated[Whole, at_least(66), at_most(LARGEST_OBJECT_PX), unit("px")] = 448
    """Side of the square object; at least two pixels more than a diffraction pattern is wide."""
    positions: Annotated[Whole, at_least(4), at_most(10_000_000)] = 2000
    """Scan positions, of both halves together."""
    pattern: Literal["uniform", "raster", "fermat"] = "uniform"
    """How the positions of the base are placed."""
    probe_radius: Annotated[Number, within(0, 0.5, "()", ", a fraction of N"), unit("N")] = 0.25
    """Radius of the probe's disc, as a fraction of the width N of a diffraction pattern."""
    probe_edge: Annotated[Number, within(0, 0.5, "()", ", a fraction of N"), unit("N")] = 0.04
    """Width of the disc's soft edge, as a fraction of N."""
