"""Settings of the physics-informed network, for both architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

NETWORK_PATCH_SIZES: Final = (64, 128, 256)


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


def cnn_settings(settings: PinnSettings) -> dict[str, Any]:
    """All settings as a mapping, those that do not concern ``cnn`` at their defaults, the architecture ``cnn``."""
    fixed = asdict(PinnSettings(architecture="cnn"))
    return fixed | {name: getattr(settings, name) for name in CNN_SETTINGS}
