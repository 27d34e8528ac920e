"""Settings of regularised maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict

from fly64_assets.physics.quantities import NO_OTHER_FIELDS, Count, Falling, Flag, Whole, at_least, at_most, unit


@dataclass(frozen=True)
class TvMlSettings:
    """Hyperparameters of regularised maximum likelihood."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    levels: Annotated[Falling, unit("square root of the photons per object pixel")] = (
        0.6, 0.3, 0.15, 0.075, 0.037, 0.019, 0.009, 0.0045
    )  # fmt: skip
    """Weights of total variation to try, in falling order; each starts from the object of the one before."""
    steps: Annotated[Count, unit("likelihood steps")] = 48
    """Most likelihood steps over all frames at each weight; fewer where the objective is at its minimum, twice as many
    at the first weight and for the last reconstruction."""
    count_splits: Annotated[Whole, at_least(2), at_most(1000)] = 10
    """Equal splits of the counts of every frame, of which one is held out and chooses the weight."""

    patience: Annotated[Count, unit("weights")] = 2
    """Weights in a row that predict the held-out counts worse than the best, after which no weaker one is tried."""
    slow_phases: Flag = True
    """Whether slowly varying phases, which total variation holds back, are added where the counts become more likely by
    more than 0.11 nats for each of their cosines."""

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TvMlSettings:
        """From plain JSON types."""
        return cls(**{**document, "levels": tuple(document["levels"])})

    def parameters(self) -> dict[str, Any]:
        """What a reconstruction depends on, in plain JSON types."""
        return {**asdict(self), "levels": list(self.levels)}

    @property
    def most_steps(self) -> int:
        """Most likelihood steps of a reconstruction: the first and the last minimisation are twice as long."""
        return (len(self.levels) + 3) * self.steps
