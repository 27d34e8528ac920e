"""Sections of a study design: base recipe, evaluation, and the hyperparameters of both engines.

Belongs here: values with their defaults. Does not belong here: rules about them (``design_rules``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

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

    Of both architectures: ``epochs``, ``learning_rate``, ``gradient_clip``, ``patience`` (epochs without a better
    validation loss) and ``validation_fraction`` of the frames, held out where there are at least 200.

    Of ``unrolled``: ``width``, filters of its first level; ``levels`` of smoothing, falling, of the objects that it is
    shown, each after ``level_iterations`` likelihood steps; ``photon_parts`` into which the photons of every frame are
    divided, one of them for validation and ``folds`` of the others to predict from the rest; ``steps_per_epoch``, each
    on a square of ``tile`` pixels and at most ``tile_frames`` frames.

    Of ``cnn``: ``batch_size`` in frames; ``samples_per_position``, how often an epoch takes every position as the seed
    of a group; ``n_filters_scale`` and ``amplitude_max`` of the network; ``target_fraction`` of a frame's photons,
    drawn anew in every step, that it must predict from the others (0 shows it all and predicts the same);
    ``thinning_fraction`` of the counts of held-out frames that are judged (with fewer than 200 frames: of all).
    """

    architecture: str = "unrolled"
    epochs: int = 50
    learning_rate: float = 1e-3
    gradient_clip: float = 1.0
    patience: int = 15
    validation_fraction: float = 0.05
    width: int = 16
    levels: tuple[float, ...] = (1.2, 0.4, 0.13, 0.04, 0.013, 0.004)
    level_iterations: int = 12
    photon_parts: int = 8
    folds: int = 4
    steps_per_epoch: int = 20
    tile: int = 160
    tile_frames: int = 128
    batch_size: int = 16
    samples_per_position: int = 1
    n_filters_scale: int = 2
    amplitude_max: float = 1.5
    target_fraction: float = 0.2
    thinning_fraction: float = 0.1

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PinnSettings:
        """From plain JSON types."""
        return cls(**{**document, "levels": tuple(document["levels"])})


CNN_SETTINGS: Final = (
    "epochs",
    "learning_rate",
    "gradient_clip",
    "patience",
    "validation_fraction",
    "batch_size",
    "samples_per_position",
    "n_filters_scale",
    "amplitude_max",
    "target_fraction",
    "thinning_fraction",
)
"""Fields of :class:`PinnSettings` on which ``cnn`` depends."""

ENGINES: Final = ("lsqml", "epie", "rpie", "dm", "autodiff")
"""Engines of pty-chi by which the iterative arm can be computed; LSQML is the study's."""


def cnn_settings(settings: PinnSettings) -> dict[str, Any]:
    """All settings as a mapping, those that do not concern ``cnn`` at their defaults, the architecture ``cnn``."""
    fixed = asdict(PinnSettings(architecture="cnn"))
    return fixed | {name: getattr(settings, name) for name in CNN_SETTINGS}


@dataclass(frozen=True)
class LsqmlSettings:
    """Hyperparameters of the iterative arm (spec 06).

    Of all engines: ``epochs``, the most there may be; ``stopping`` (``held_out``, ``discrepancy``, ``epochs``);
    ``probe`` (``fixed``, ``refined``); ``windows``, how the object is read between pixels: ``bilinear`` as in the
    forward model of the study, or ``fourier``, the library's own shift of the probe. ``fast_shift`` replaces inner
    loops of the library by faster ones of the same result.

    Of ``lsqml``: ``batching`` (``compact``, ``random``, ``uniform``), ``batch_size`` in frames, ``momentum``, the gain
    of the acceleration; ``noise_model`` (``gaussian``, or ``poisson`` after ``gaussian_epochs`` epochs of the Gaussian
    one); ``total_variation``, the weight of a total variation of the object after every epoch (0: none).
    """

    engine: str = "lsqml"
    epochs: int = 100
    stopping: str = "held_out"
    probe: str = "fixed"
    windows: str = "bilinear"
    batching: str = "compact"
    batch_size: int = 64
    momentum: float = 2.0
    noise_model: str = "gaussian"
    gaussian_epochs: int = 5
    total_variation: float = 0.0
    fast_shift: bool = True
