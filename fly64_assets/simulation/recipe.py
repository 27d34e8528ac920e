"""The recipe of a base: which pictures become amplitude and phase, how large, with which probe and positions."""

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
