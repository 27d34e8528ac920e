"""What a training of ``unrolled`` works on: count splits, and the objects of the regularisation path without some.

The counts of every frame are divided at random into equal splits (Yaman et al., Magn. Reson. Med. 84, 3172, 2020,
divide k-space samples in this way for learned reconstructions without ground truth). Split 0 is for validation. Each
of the next ones is a fold: the network is given the objects that the path reaches without the fold and without the
validation split, and predicts the fold. It cannot win by learning noise. The counts of the held-out frames are never
learned from either. The paths of the other folds start from the objects of the first, and take enough steps to forget
nearly all that those knew of their fold's noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.pretrained.network import PretrainedNetwork
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.settings import FEWEST_HELD_OUT, UnrolledSettings
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.model_error import SplitLikelihood
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import Counts, RegularisedLikelihood, regularisation_path, search
from fly64_assets.pinn.unrolled.slow_phases import verdict, with_slow_phases, worth_adding
from fly64_assets.pinn.unrolled.starts import NetworkInput, Starts, further_objects

VALIDATION: Final = 0
"""The count split that is never learned from."""
FIRST_FOLD: Final = 1
"""The first of the count splits that the network learns to predict."""
JUDGED_FRAMES: Final = 1024
"""Learned frames on which losses are evaluated."""
WEAKER_LEVELS: Final = 2
"""Levels with a smaller TV weight than the best that are tried, and that the network is given."""
WARM_PART: Final = 0.5
"""Steps of the paths that start from the first path's objects, relative to its own."""
_HELD_OUT, _DIVISION = range(2)
"""Streams of the training's seed; the tiles use the next."""


@dataclass(frozen=True)
class TrainingData:
    """Count splits and the network's input for every fold.

    Attributes
    ----------
    inputs : dict of int to NetworkInput
        By fold: from the counts without that fold and without the validation split. By :data:`VALIDATION`: from all
        counts but the validation split.
    levels : tuple of float
        TV weights of the path, decreasing: those that were tried.
    start_level : int
        Index of the level whose object predicts the first fold best: the object to correct, but for:
    path_losses : list of float
        Losses of the first fold by level.
    pretrained : PretrainedNetwork or None
        The network that is trained once, where its object is used too.
    start_losses : dict of str to float
        Losses of the first fold by the object that may be corrected: ``likelihood``, and ``pretrained`` if it is used.
    gain_of_slow_phases : float or None
        Their gain per cosine [nats], extrapolated to all counts; None where they were not asked for.
    """

    likelihood: SplitLikelihood
    inputs: dict[int, NetworkInput]
    levels: tuple[float, ...]
    start_level: int
    path_losses: list[float]
    pretrained: PretrainedNetwork | None
    start_losses: dict[str, float]
    gain_of_slow_phases: float | None

    @property
    def slow_phases(self) -> bool:
        """Whether slow phases are added to the likelihood's object."""
        return self.gain_of_slow_phases is not None and worth_adding(self.gain_of_slow_phases)

    @property
    def corrects_pretrained(self) -> bool:
        """Whether the object to correct is that of the network that is trained once."""
        return min(self.start_losses, key=self.start_losses.__getitem__) == "pretrained"

    @property
    def folds(self) -> tuple[int, ...]:
        """The count splits that the network learns to predict."""
        return tuple(sorted(set(self.inputs) - {VALIDATION}))

    @property
    def judged(self) -> NDArray[np.int64]:
        """Learned frames on which losses are evaluated."""
        return evenly_spread(self.likelihood.plane.frames, JUDGED_FRAMES)

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Frames that are never learned from, in the plane's order."""
        return np.arange(self.likelihood.plane.frames, self.likelihood.counts.frames)


def _order(frames: int, validation_fraction: float, seed: int) -> tuple[NDArray[np.int64], int]:
    """Indices of the frames, those that may be learned from first, and how many these are."""
    held_out = round(validation_fraction * frames) if frames >= FEWEST_HELD_OUT else 0
    drawn = np.random.default_rng([seed, _HELD_OUT]).permutation(frames)
    return np.concatenate([np.sort(drawn[held_out:]), np.sort(drawn[:held_out])]), frames - held_out


def prepare(
    measurement: Measurement,
    settings: UnrolledSettings,
    seed: int,
    ranks: Ranks,
    scratch: Path,
    notify: Callable[[str], None],
) -> TrainingData:
    """Divide the counts of a measurement and compute the objects of all folds, each in one of the processes.

    The unnamed file of divided counts lies in the folder ``scratch``; ``notify`` gets a line about every path.
    """
    splits = settings.photon_parts
    order, learned = _order(measurement.frames, settings.validation_fraction, seed)
    folds = range(FIRST_FOLD, FIRST_FOLD + settings.folds)
    plane = ObjectPlane(measurement, ranks.device, order, learned)
    division = int(np.random.default_rng([seed, _DIVISION]).integers(2**63))
    counts = CountSplits.of(measurement, order, splits=splits, kept=folds.stop, seed=division, scratch=scratch)
    likelihood = SplitLikelihood(plane, counts, measurement.intensity_scale * math.sqrt(1.0 / splits))

    def without(*excluded: int) -> tuple[Counts, float]:
        """The counts of all splits but some, and their intensity scale."""
        scale = measurement.intensity_scale * math.sqrt(1.0 - len(excluded) / splits)
        return lambda rows: torch.from_numpy(counts.without(excluded, rows)).to(plane.device), scale

    # The best level is chosen once, for all folds, by counts that its path did not use, each loss with the background
    # that the object leaves.
    frames, steps = evenly_spread(plane.frames, JUDGED_FRAMES), settings.level_iterations
    of_first_fold = RegularisedLikelihood(plane, *without(VALIDATION, FIRST_FOLD))
    minimised = partial(of_first_fold.minimised, iterations=steps)

    def predicted(obj: torch.Tensor) -> float:
        background = likelihood.background(obj, FIRST_FOLD, frames)
        return float(likelihood.loss(obj, FIRST_FOLD, frames, background))

    first, losses = search(settings.levels, minimised, predicted, WEAKER_LEVELS)
    start_level, levels, paths = int(np.argmin(losses)), settings.levels[: len(losses)], settings.folds + 1
    notify(f"regularisation path 1 of {paths}: the TV weight {levels[start_level]:g} predicts best, of {len(losses)}")
    pretrained = general_network().to(plane.device) if settings.start == "pretrained" else None

    gain, slow = None, False
    if settings.start == "slow_phases":
        changed = with_slow_phases(plane, of_first_fold, first[start_level])
        found = torch.tensor(changed.gain * splits / (splits - 2), device=plane.device)
        gain = float(ranks.share(0, [found] if ranks.owns(0) else [])[0])  # one decision for all processes
        slow = worth_adding(gain)
        notify(verdict(gain))
    del minimised, of_first_fold  # and the counts that it keeps

    def further(path: list[torch.Tensor], *excluded: int) -> list[torch.Tensor]:
        return further_objects(plane, *without(*excluded), path[start_level], slow_phases=slow, pretrained=pretrained)

    def starts(objects: list[torch.Tensor]) -> Starts:
        path, others = objects[: len(levels)], objects[len(levels) :]
        return Starts.of(path, start_level, plane.relative_illumination, others, slow_phases=slow)

    first_further = [changed.object] if slow else further(first, VALIDATION, FIRST_FOLD)
    first_starts = starts([*first, *first_further])
    start_losses = {"likelihood": losses[start_level]}
    if first_starts.pretrained is not None:
        both = {"likelihood": first_starts.likelihood, "pretrained": first_starts.pretrained}
        start_losses = {name: predicted(obj) for name, obj in both.items()}
        notify(", ".join(f"{name}: loss {loss:.8g}" for name, loss in start_losses.items()))
    corrects_pretrained = min(start_losses, key=start_losses.__getitem__) == "pretrained"

    def path(*excluded: int) -> list[torch.Tensor]:
        # What its start knows of the excluded fold is forgotten: only slowly varying phases take more steps.
        short = max(1, round(WARM_PART * steps))
        found = regularisation_path(plane, *without(*excluded), levels, short, starts=first)
        return [*found, *further(found, *excluded)]

    objects: dict[int, list[torch.Tensor]] = {}
    others = {fold: (VALIDATION, fold) for fold in folds[1:]} | {VALIDATION: (VALIDATION,)}
    for number, (which, excluded) in enumerate(others.items()):
        objects[which] = path(*excluded) if ranks.owns(number) else []
        notify(f"regularisation path {number + 2} of {paths}")
    inputs = {FIRST_FOLD: first_starts.network_input(plane.illumination, corrects_pretrained)}
    # Shared after all are computed, so that no process waits for another in between.
    for number, (which, computed) in enumerate(objects.items()):
        shared = starts(ranks.share(number, computed))
        inputs[which] = shared.network_input(plane.illumination, corrects_pretrained)
    return TrainingData(likelihood, inputs, levels, start_level, losses, pretrained, start_losses, gain)
