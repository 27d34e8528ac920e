"""Settings of the physics-informed network: one class for each architecture, with what they share in their base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict

from fly64_assets.physics.quantities import (
    NO_OTHER_FIELDS,
    Count,
    Falling,
    Number,
    Positive,
    Rule,
    Whole,
    at_least,
    at_most,
    unit,
    within,
)

NETWORK_PATCH_SIZES: Final = (64, 128, 256)
FEWEST_HELD_OUT: Final = 200
"""With fewer frames none is held out: all are needed for training, and a few would be no representative sample."""
WARM_UP_STEPS: Final = 50
"""Steps over which the learning rate rises."""
LEAST_RATE: Final = 0.02
"""Last learning rate, relative to the largest."""
LEAST_GAIN: Final = 0.11
"""Gain per cosine above which slow phases are added [nats]. Chosen for ``tv_ml`` on tuning objects: with more, slow
phases make errors smaller or change them little; with less, they often follow noise or details that are missing."""
LEAST_GAIN_OF_PRETRAINED: Final = 0.25
"""The same for the object of a network that is trained once, which leaves more of the details to be found; likewise
chosen on tuning objects."""
LEAST_FRAMES_PER_COSINE: Final = 1.0
"""Frames for each cosine with fewer of which such an object gets no slow phases: what its missing details change in the
counts of a frame would be taken for them."""


def relative_rate(step: int, steps: int) -> float:
    """Learning rate at a step, relative to the largest: a short warm-up and a cosine decay over all ``steps``.

    Examples
    --------
    >>> [round(relative_rate(step, 1000), 3) for step in (0, 49, 500, 1000)]
    [0.02, 0.994, 0.51, 0.02]
    """
    decay = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (LEAST_RATE + (1.0 - LEAST_RATE) * decay)


def _power_of_two(value: int) -> bool:
    return value >= 1 and not value & (value - 1)


@dataclass(frozen=True)
class PinnSettings:
    """What the trainings of all architectures share."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    epochs: Count = 50
    """Largest number of epochs; the learning rate falls to zero over them."""
    learning_rate: Positive = 1e-3
    """Largest step size of the Adam optimiser, after a short warm-up and before a cosine decay."""
    gradient_clip: Positive = 1.0
    """Largest norm of the gradient of one step; a longer one is shortened to it."""
    patience: Annotated[Count, unit("epochs")] = 15
    """Epochs without a better validation loss after which the training ends."""
    validation_fraction: Annotated[Number, within(0, 1, "()")] = 0.05
    """Part of the frames that is held out for validation, where there are at least 200 frames."""

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> UnrolledSettings | CnnSettings:
        """From plain JSON types, by the document's ``architecture``."""
        values: dict[str, Any] = dict(document)
        if "levels" in values:
            values["levels"] = tuple(values["levels"])
        return ARCHITECTURES[values.get("architecture", DEFAULT_ARCHITECTURE)](**values)

    def parameters(self) -> dict[str, Any]:
        """What a training depends on, in plain JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class UnrolledSettings(PinnSettings):
    """Hyperparameters of ``unrolled``: likelihood steps on the object plane, then a network that corrects them."""

    architecture: Literal["unrolled"] = "unrolled"
    """Which network."""
    width: Annotated[Whole, at_least(1), at_most(1024)] = 16
    """Filters of the network's first level."""
    start: Literal["likelihood", "slow_phases", "pretrained"] = "slow_phases"
    """The object to correct. `likelihood`: that of the TV weight that predicts counts kept aside best. `slow_phases`:
    the same with slowly varying phases added, which total variation holds back, where the counts become more likely
    by more than 0.11 nats for each of their cosines. `pretrained`: a mean of that and of the object of `general`, the
    network in the package that is trained once, which gets slow phases by limits of its own; counts kept aside choose
    the parts."""
    levels: Annotated[Falling, unit("√photons per pixel")] = (
        0.6, 0.3, 0.15, 0.075, 0.037, 0.019, 0.009
    )  # fmt: skip
    """Weights of total variation, in falling order, of the objects that the network is shown."""
    level_iterations: Count = 48
    """Most likelihood steps with each weight of total variation; fewer where the objective is at its minimum, twice as
    many with the first weight."""
    photon_parts: Annotated[
        Whole,
        Rule("must be at least 3: to see, to predict and to validate", lambda value: value >= 3, {"minimum": 3}),
        at_most(1000),
    ] = 8
    """Equal parts into which the counts of every frame are divided at random; one of them is for validation."""
    folds: Count = 4
    """Parts of the counts that the network learns to predict, each from the rest; fewer than there are parts."""
    steps_per_epoch: Count = 20
    """Optimiser steps in an epoch."""
    tile: Annotated[
        Whole,
        Rule("must be a multiple of 8", lambda value: value >= 8 and value % 8 == 0, {"minimum": 8, "multipleOf": 8}),
        unit("px"),
    ] = 160
    """Side of the square of the object on which one step is computed."""
    tile_frames: Count = 128
    """Largest number of frames in one step."""


@dataclass(frozen=True)
class CnnSettings(PinnSettings):
    """Hyperparameters of ``cnn``, the published network from frames to object patches, and of its TensorFlow form."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        # unrolled is what a section without an architecture means.
        **NO_OTHER_FIELDS,
        json_schema_extra={"required": ["architecture"]},
    )

    architecture: Literal["cnn"] = "cnn"
    """Which network."""
    batch_size: Annotated[
        Whole, Rule("must be a power of two", _power_of_two, {"minimum": 1}), at_most(2**20), unit("frames")
    ] = 16
    """Frames in one optimiser step."""
    samples_per_position: Count = 1
    """How often an epoch takes every position as the seed of a group of frames."""
    n_filters_scale: Annotated[Whole, at_least(1), at_most(1024)] = 2
    """Factor on the number of filters in every layer."""
    amplitude_max: Positive = 1.5
    """Upper bound of the amplitude that the network can predict."""
    target_fraction: Annotated[Number, within(0, 1, "[)")] = 0.2
    """Part of a frame's counts, drawn anew in every step, that is predicted from the rest; 0 shows and predicts all."""
    thinning_fraction: Annotated[Number, within(0, 1, "()")] = 0.1
    """Part of the counts of held-out frames (with fewer than 200 frames: of all) on which the network is validated."""


ARCHITECTURES: Final[Mapping[str, type[UnrolledSettings | CnnSettings]]] = {
    "unrolled": UnrolledSettings,
    "cnn": CnnSettings,
}
DEFAULT_ARCHITECTURE: Final = "unrolled"


def cnn_settings(settings: PinnSettings) -> CnnSettings:
    """Settings of the TensorFlow network, which is always ``cnn``: of another architecture it takes what is shared."""
    if isinstance(settings, CnnSettings):
        return settings
    return CnnSettings(**{field.name: getattr(settings, field.name) for field in fields(PinnSettings)})


def upgraded(section: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A section with its architecture, without the settings of the other one, and a sentence for each of these.

    Examples
    --------
    >>> upgraded({"architecture": "cnn", "tile": 160})
    ({'architecture': 'cnn'}, ['pinn.tile was left out: it is a setting of the architecture unrolled, not of cnn'])
    """
    document = {"architecture": DEFAULT_ARCHITECTURE, **section}
    own = document["architecture"]
    if not isinstance(own, str) or own not in ARCHITECTURES:
        return document, []
    notes = []
    known = {field.name for field in fields(ARCHITECTURES[own])}
    for other, settings in ARCHITECTURES.items():
        for name in sorted(
            {field.name for field in fields(settings)} & set(document) - known, key=list(document).index
        ):
            del document[name]
            legacy = " (legacy_pinn takes its default)" if other == "cnn" else ""
            notes.append(f"pinn.{name} was left out: it is a setting of the architecture {other}, not of {own}{legacy}")
    return document, notes
