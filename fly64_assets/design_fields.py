"""Sections of a study design: base recipe, evaluation, and the hyperparameters of both engines.

Belongs here: values with their defaults. Does not belong here: rules about them (``design_rules``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BASELINE: Final = "baseline"
"""The view that keeps every position."""

NETWORK_PATCH_SIZES: Final = (64, 128, 256)
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
class MetricsConfig:
    """Settings of the image metrics (spec 07)."""

    ms_ssim_sigma: float = 1.0
    emphasize_phase: bool = True
    report_amplitude: bool = True
    frc_threshold: float = 0.5


@dataclass(frozen=True)
class EvaluationSettings:
    """The common evaluation frame: where pixels count and how far arms may be shifted to register."""

    coverage_threshold: float = 0.1
    max_shift_px: float = 2.0


@dataclass(frozen=True)
class PinnSettings:
    """Hyperparameters of the physics-informed network (spec 05).

    ``batch_size`` counts frames per optimisation step (a group of C frames is one sample of C frames). An epoch takes
    every position once as the seed of a sample, groups (g = 2) ``samples_per_position`` times. ``target_fraction`` of
    a frame's photons, drawn anew in every step, is what the network must predict from the others, so that it cannot
    learn a frame's noise; 0 shows it all photons and predicts the same. ``validation_fraction`` of the frames is held
    out, of their counts the ``thinning_fraction`` is judged (with fewer than 200 frames: of all frames' counts).
    ``width`` belongs to ``unrolled``, ``n_filters_scale`` and ``amplitude_max`` to ``cnn``.
    """

    architecture: str = "unrolled"
    epochs: int = 50
    batch_size: int = 16
    learning_rate: float = 1e-3
    samples_per_position: int = 1
    n_filters_scale: int = 2
    width: int = 24
    amplitude_max: float = 1.5
    gradient_clip: float = 1.0
    patience: int = 15
    target_fraction: float = 0.2
    validation_fraction: float = 0.05
    thinning_fraction: float = 0.1


@dataclass(frozen=True)
class LsqmlSettings:
    """Hyperparameters of the iterative arm (spec 06)."""

    engine: str = "lsqml"
    epochs: int = 100
    stopping: str = "discrepancy"
    probe: str = "fixed"
    batch_size: int = 64
    momentum: float = 0.8
    noise_model: str = "poisson"
    gaussian_epochs: int = 5
    fast_shift: bool = True
