"""What a study simulates, as plain values: the recipe of a base, the detector, and the rule of an overlap view.

Belongs here: value types, so that a study can hold them without loading what computes with them (``bases``, ``views``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from fly64_assets.contract.masks import has_too_few_good
from fly64_assets.physics.quantities import (
    LISTED,
    NO_OTHER_FIELDS,
    Finite,
    Number,
    Rule,
    Seed,
    Text,
    Whole,
    at_least,
    at_most,
    unit,
    within,
)

Picture = Literal[
    "astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "ihc", "microaneurysms", "moon", "page", "retina", "rocket", "text",
]  # fmt: skip
PICTURES: Final[tuple[str, ...]] = get_args(Picture)
"""Photographs and micrographs that the scikit-image wheel carries, by file stem."""

LARGEST_OBJECT_PX: Final = 32768
"""Side of an object whose copies in double precision fill the memory of a large machine."""

Interval = Annotated[tuple[Number, Number], *LISTED]


@dataclass(frozen=True)
class BaseRecipe:
    """How to make a base from two pictures in the scikit-image wheel: a square object, a disc as probe, positions."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    amplitude: Picture = "camera"
    """Picture that becomes the amplitude of the object."""
    phase: Picture = "brick"
    """Picture that becomes the phase of the object."""
    object_size: Annotated[Whole, at_most(LARGEST_OBJECT_PX), unit("px")] = 448
    """Side of the square object; at least two pixels more than a diffraction pattern is wide."""
    positions: Annotated[Whole, at_least(4), at_most(10_000_000)] = 2000
    """Scan positions, of both halves together."""
    amplitude_range: Annotated[
        Interval, Rule("must be 0 <= low < high", lambda ends: 0 <= ends[0] < ends[1] < math.inf)
    ] = (0.7, 1.0)
    """Amplitude of the darkest and of the brightest pixel."""
    phase_range: Annotated[
        Interval, Rule("must be low < high, in rad", lambda ends: -math.inf < ends[0] < ends[1] < math.inf), unit("rad")
    ] = (0.0, 1.0)
    """Phase of the darkest and of the brightest pixel."""
    probe_radius: Annotated[Number, within(0, 0.5, "()", ", a fraction of N"), unit("N")] = 0.25
    """Radius of the probe's disc, as a fraction of the width N of a diffraction pattern."""
    probe_edge: Annotated[Number, within(0, 0.5, "()", ", a fraction of N"), unit("N")] = 0.04
    """Width of the disc's soft edge, as a fraction of N."""
    probe_curvature: Annotated[Finite, unit("rad")] = 4.0
    """Phase of the defocus at the rim of the disc."""
    pattern: Literal["uniform", "raster", "fermat"] = "uniform"
    """Positions drawn uniformly, a raster with a random jitter of a quarter step, or a Fermat spiral."""
    seed: Seed = 42
    """Seed of the positions that are drawn."""


Strip = Annotated[
    tuple[Whole, Whole],
    *LISTED,
    Rule("must be [first, width], first from 0 and width from 1 on", lambda ends: ends[0] >= 0 and ends[1] >= 1),
]
Displacement = Annotated[tuple[Number, Number], *LISTED, Rule("must be finite", lambda at: all(map(math.isfinite, at)))]


@dataclass(frozen=True)
class DetectorSettings:
    """What the simulated detector does not measure, and what it adds; as it is, it counts every photon.

    The dose counts the photons that reach the detector, before bad pixels and saturation lose some of them. Methods
    are told which pixels are bad, and take every other count for a Poisson number.
    """

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    mask: Text = ""
    """Path of a file (NPY, NPZ, TIFF) with the bad pixels, 0 = good, relative to the design's file; none by default."""
    gap_rows: Annotated[tuple[Strip, ...], *LISTED, unit("px")] = ()
    """Gaps between modules along rows: each [first row, width]."""
    gap_columns: Annotated[tuple[Strip, ...], *LISTED, unit("px")] = ()
    """Gaps between modules along columns: each [first column, width]."""
    beamstop_radius: Annotated[Number, within(0, 128), unit("px")] = 0.0
    """Radius of a disc that hides the direct beam; 0 without one."""
    beamstop_offset: Annotated[Displacement, unit("px")] = (0.0, 0.0)
    """Displacement [x, y] of the beamstop from the direct beam, the pixel (N/2, N/2)."""
    saturation: Annotated[Whole, at_least(0), at_most(10**15), unit("counts")] = 0
    """Largest count that a pixel gives: higher ones are cut to it and not marked; 0 without a limit."""
    read_noise: Annotated[Number, within(0, 100), unit("counts")] = 0.0
    """Standard deviation of Gaussian noise added to each pixel, then rounded, and cut at zero."""

    @property
    def counts_every_photon(self) -> bool:
        """Whether nothing is set, so that every pixel gives the number of its photons."""
        return self == DetectorSettings()

    def problems(self, size: int) -> Iterator[str]:
        """What does not fit frames of N pixels, N = ``size``: the name of a field, and the broken rule."""
        for name in ("gap_rows", "gap_columns"):
            for first, width in getattr(self, name):
                if first + width > size:
                    yield f".{name} = {[first, width]}: must end within the {size} pixels of a frame"
        bad = self.pattern(size)
        if has_too_few_good(bad):
            yield f": gaps and beamstop hide {np.count_nonzero(bad)} of {bad.size} pixels, must be at most half"

    def pattern(self, size: int) -> NDArray[np.bool_]:
        """Pixels (N, N) hidden by gaps and beamstop, for N = ``size``; the mask file is not among them."""
        bad = np.zeros((size, size), np.bool_)
        for first, width in self.gap_rows:
            bad[first : first + width] = True
        for first, width in self.gap_columns:
            bad[:, first : first + width] = True
        if self.beamstop_radius:
            rows, columns = np.mgrid[:size, :size] - size // 2
            x, y = self.beamstop_offset
            bad |= np.hypot(rows - y, columns - x) <= self.beamstop_radius
        return bad


@dataclass(frozen=True)
class ViewRule:
    """Which positions a view keeps, and how its overlap is measured.

    ``spacing_px`` is the least distance between two positions [px]; instead of it, ``probe_overlap`` is the linear
    overlap that nearest probes shall have on average, for the ``probe_diameter`` of that name
    (:data:`~fly64_assets.physics.probe_overlap.DIAMETERS`); with neither, every frame is kept. The view exists with at
    least ``least_frames`` frames, for the sake of ``needed_for`` (names of settings). In the overlap metrics, groups
    hold ``gridsize``^2 frames, drawn from the ``neighbor_count`` nearest with ``seed``. With ``keeps_photons`` fewer
    frames have more photons each, so that all views spend as many on an object pixel.
    """

    view: str
    spacing_px: float | None
    least_frames: int
    needed_for: str
    gridsize: int
    neighbor_count: int
    seed: int
    probe_overlap: float | None = None
    probe_diameter: str = ""
    keeps_photons: bool = False

    @property
    def keeps_all(self) -> bool:
        """Whether every frame is kept."""
        return self.spacing_px is None and self.probe_overlap is None


def diameter_problems(overlap_of: str, probe_diameter: str) -> Iterator[str]:
    """Why a design cannot name a diameter of the probe, if it cannot."""
    if overlap_of == "windows" and probe_diameter != "half_energy":
        yield f"probe_diameter = {probe_diameter!r}: is for views of the probe; expected overlap_of: probe"


def exposure_problems(dose_per: str, scan: str) -> Iterator[str]:
    """Why the photons per object pixel cannot be the same in all views, if they cannot."""
    if dose_per == "pixel" and scan == "measured":
        yield "dose_per = 'pixel': is for simulated frames; measured ones cannot be exposed anew"
