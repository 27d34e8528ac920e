"""What a study simulates, as plain values: the recipe of a base, and the rule of an overlap view.

Belongs here: value types, so that a study can hold them without loading what computes with them (``bases``, ``views``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PICTURES: Final = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "clock_motion",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "microaneurysms",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)
"""Photographs and micrographs that the scikit-image wheel carries, by file stem."""


@dataclass(frozen=True)
class BaseRecipe:
    """How to make a base from the pictures in the scikit-image wheel.

    ``amplitude`` and ``phase`` name pictures; the object is ``object_size`` pixels square with amplitude in
    ``amplitude_range`` and phase in ``phase_range`` (rad). The probe is a disc of radius ``probe_radius``
    times N with soft edges (``probe_edge`` times N) and ``probe_curvature`` radians of defocus at its rim.
    The base's own positions follow ``pattern``: ``uniform`` (drawn with ``seed``) or ``raster`` (a grid over the
    object with a random jitter of a quarter step).
    """

    amplitude: str = "camera"
    phase: str = "brick"
    object_size: int = 448
    positions: int = 2000
    amplitude_range: tuple[float, float] = (0.7, 1.0)
    phase_range: tuple[float, float] = (0.0, 1.0)
    probe_radius: float = 0.25
    probe_edge: float = 0.04
    probe_curvature: float = 4.0
    pattern: str = "uniform"
    seed: int = 42


@dataclass(frozen=True)
class ViewRule:
    """Which positions a view keeps, and how its overlap is measured.

    Attributes
    ----------
    view : str
        Name of the view.
    spacing_px : float or None
        Least distance between two positions [px]; None keeps every frame.
    least_frames : int
        Fewest frames with which the view exists.
    gridsize, neighbor_count : int
        g and K of the groups in the overlap metrics: g^2 frames, drawn from the K nearest.
    seed : int
        Seed of the sampled groups.
    """

    view: str
    spacing_px: float | None
    least_frames: int
    gridsize: int
    neighbor_count: int
    seed: int
