"""Counts and samples of one training of ``cnn``: what is learned from, what is held out, in which order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.counts import thin_counts
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.cnn.grouping import Grouping, Indices, mean_offsets
from fly64_assets.pinn.settings import FEWEST_HELD_OUT, CnnSettings

_HELD_OUT, _THINNED, _VALIDATION, _TRAINING = range(4)
"""Streams of the seed."""


def held_out_frames(frames: int, gridsize: int, validation_fraction: float) -> int:
    """Number of frames that are never learned from."""
    return max(gridsize**2, round(validation_fraction * frames)) if frames >= FEWEST_HELD_OUT else 0


@dataclass(frozen=True)
class Batch:
    """Frames of a few samples: indices (b, C) into the frames and offsets (b, C, 2) from the groups' means [px]."""

    frames: Indices
    offsets: NDArray[np.float32]


@dataclass(frozen=True)
class Samples:
    """Samples of one training.

    The counts of every validation frame are thinned: the network is given the kept counts and validated on the taken
    ones, an independent measurement of the same rates, so that fitting the noise of a frame gains nothing. With at
    least 200 frames the validation frames are held out of training altogether; with fewer, all frames are
    validation frames, and training sees only their kept counts.

    ``learned`` (n, N, N) are counts that the network may learn from, of held-out frames those that it is given in
    validation; ``validated`` (v, N, N) are those that it is validated on, of the validation frames alone, in the rows
    ``validated_row`` (n,). Each has the intensity scale that belongs to it; thinned frames are fainter.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    learned: NDArray[np.float32]
    validated: NDArray[np.float32]
    validated_row: Indices
    learned_scale: NDArray[np.float32]
    validated_scale: float
    training: Indices
    validation: Indices
    grouping: Grouping
    neighbor_count: int
    samples_per_epoch: int
    samples_per_batch: int
    seed: int

    @classmethod
    def of(
        cls, measurement: Measurement, settings: CnnSettings, gridsize: int, neighbor_count: int, seed: int
    ) -> Samples:
        """The samples of a training split.

        Raises
        ------
        EngineError
            OVERSAMPLING-001, where groups or epochs cannot be filled from the positions.
        """
        n, size, scale = measurement.frames, measurement.patch_size, measurement.intensity_scale
        thinning_fraction = settings.thinning_fraction
        order = np.random.default_rng([seed, _HELD_OUT]).permutation(n)
        held_out = held_out_frames(n, gridsize, settings.validation_fraction)
        thinned = np.sort(order[:held_out]) if held_out else np.arange(n)
        training = np.sort(order[held_out:])
        learned = np.empty((n, size, size), np.float32)
        validated = np.empty((len(thinned), size, size), np.float32)
        is_thinned = np.zeros(n, bool)
        is_thinned[thinned] = True
        validated_row = np.cumsum(is_thinned) - 1
        generator = np.random.default_rng([seed, _THINNED])
        for part in blocks(n):
            counts = measurement.counts(part)
            learned[part] = counts
            rows = np.flatnonzero(is_thinned[part])
            kept, taken = thin_counts(counts[rows], thinning_fraction, generator)
            learned[part][rows], validated[validated_row[part][rows]] = kept, taken
        x, y = measurement.x, measurement.y
        grouping = Grouping.of(x[training], y[training], gridsize, neighbor_count)
        kept_scale = scale * float(np.sqrt(1.0 - thinning_fraction))
        frames = gridsize**2
        validation = Grouping.of(x[thinned], y[thinned], gridsize, neighbor_count).draw(
            max(1, len(thinned) // frames), neighbor_count, np.random.default_rng([seed, _VALIDATION])
        )
        return cls(
            x=x,
            y=y,
            learned=learned,
            validated=validated,
            validated_row=validated_row,
            learned_scale=np.where(is_thinned, kept_scale, scale).astype(np.float32),
            validated_scale=scale * float(np.sqrt(thinning_fraction)),
            training=training,
            validation=thinned[validation],
            grouping=grouping,
            neighbor_count=neighbor_count,
            # A frame alone is the same sample every time; groups of the same seed frame differ.
            samples_per_epoch=(settings.samples_per_position if gridsize > 1 else 1) * len(training),
            samples_per_batch=max(1, settings.batch_size // frames),
            seed=seed,
        )

    def epoch(self, number: int) -> list[Batch]:
        """Training batches of one epoch; the same for the same number, whatever came before."""
        generator = np.random.default_rng([self.seed, _TRAINING, number])
        groups = self.grouping.draw(self.samples_per_epoch, self.neighbor_count, generator)
        return self._batches(self.training[groups])

    def validation_batches(self) -> list[Batch]:
        """Batches of the validation samples, always the same."""
        return self._batches(self.validation)

    @property
    def batches_per_epoch(self) -> int:
        """Optimisation steps of one epoch."""
        return -(-self.samples_per_epoch // self.samples_per_batch)

    def _batches(self, groups: Indices) -> list[Batch]:
        offsets = mean_offsets(self.x, self.y, groups).astype(np.float32)
        return [Batch(groups[part], offsets[part]) for part in blocks(len(groups), self.samples_per_batch)]
