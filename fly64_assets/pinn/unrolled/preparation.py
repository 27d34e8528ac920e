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
from collections.abc import Callable, Mapping, Sequence
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
from fly64_assets.pinn.unrolled.slow_phases import OF_LIKELIHOOD, OF_PRETRAINED, with_slow_phases
from fly64_assets.pinn.unrolled.starts import NetworkInput, SlowPhasesOf, Starts, pretrained_object, start_objects

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
PARTS: Final = (0.0, 0.5, 1.0)
"""Parts of the pretrained object, in a mean of it and the likelihood's, whose losses choose the part that is used."""
RULES: Final = {"likelihood": OF_LIKELIHOOD, "pretrained": OF_PRETRAINED}
"""When slow phases are worth adding, by the object that they may be added to."""
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
        Index of the level whose object predicts the first fold best: the likelihood's object to start from.
    path_losses : list of float
        Losses of the first fold by level.
    pretrained : PretrainedNetwork or None
        The network that is trained once, where its object is used too.
    start_losses : list of float
        Losses of the first fold by the object to correct, where the pretrained network is used: of means in which its
        object has the parts :data:`PARTS`. Otherwise empty.
    pretrained_part : float
        The part with the least loss, by a parabola through them; 0 where the pretrained network is not used.
    gains : dict of str to float
        Gain of slow phases per cosine [nats], extrapolated to all counts, by the object that they may be added to:
        ``likelihood``, and ``pretrained`` if it is used; empty where they were not asked for.
    """

    likelihood: SplitLikelihood
    inputs: dict[int, NetworkInput]
    levels: tuple[float, ...]
    start_level: int
    path_losses: list[float]
    pretrained: PretrainedNetwork | None
    start_losses: list[float]
    pretrained_part: float
    gains: dict[str, float]

    @property
    def slow_phases(self) -> SlowPhasesOf:
        """To which objects slow phases are added."""
        return _worth_adding(self.gains)

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

    best, counted = first[start_level], without(VALIDATION, FIRST_FOLD)
    tried = {"likelihood": best}
    if pretrained is not None:
        tried["pretrained"] = pretrained_object(pretrained, plane, *counted, best)
    gains: dict[str, float] = {}
    if settings.start != "likelihood":
        tried, gains = _with_slow_phases(plane, of_first_fold, tried, 1.0 - 2.0 / splits, ranks)
        for sentence in verdicts(gains):
            notify(sentence)
    del minimised, of_first_fold  # and the counts that it keeps
    slow_phases = _worth_adding(gains)

    starts = Starts(first, *tried.values())
    start_losses: list[float] = []
    pretrained_part = 0.0
    if pretrained is not None:
        start_losses = [predicted(starts.network_input(plane.illumination, part).obj) for part in PARTS]
        found = torch.tensor([lowest(PARTS, start_losses)], device=plane.device)
        pretrained_part = float(ranks.share(0, [found] if ranks.owns(0) else [])[0])
        notify(
            f"the object to correct is a mean; the part of the network that is trained once is {pretrained_part:.2f}"
        )

    def path(*excluded: int) -> list[torch.Tensor]:
        # What its start knows of the excluded fold is forgotten: only slowly varying phases take more steps.
        short = max(1, round(WARM_PART * steps))
        found = regularisation_path(plane, *without(*excluded), levels, short, starts=first)
        return [*found, *start_objects(plane, *without(*excluded), found[start_level], slow_phases, pretrained)]

    objects: dict[int, list[torch.Tensor]] = {}
    others = {fold: (VALIDATION, fold) for fold in folds[1:]} | {VALIDATION: (VALIDATION,)}
    for number, (which, excluded) in enumerate(others.items()):
        objects[which] = path(*excluded) if ranks.owns(number) else []
        notify(f"regularisation path {number + 2} of {paths}")
    inputs = {FIRST_FOLD: starts.network_input(plane.illumination, pretrained_part)}
    # Shared after all are computed, so that no process waits for another in between.
    for number, (which, computed) in enumerate(objects.items()):
        shared_objects = ranks.share(number, computed)
        starts = Starts(shared_objects[: len(levels)], *shared_objects[len(levels) :])
        inputs[which] = starts.network_input(plane.illumination, pretrained_part)
    return TrainingData(
        likelihood, inputs, levels, start_level, losses, pretrained, start_losses, pretrained_part, gains
    )


def lowest(places: tuple[float, float, float], values: Sequence[float]) -> float:
    """Where between the first and the last of three places in rising order the parabola through their values is lowest.

    Examples
    --------
    >>> lowest((0.0, 0.5, 1.0), [0.09, 0.04, 0.49])
    0.3
    >>> lowest((0.0, 0.5, 1.0), [3.0, 2.0, 1.0]), lowest((0.0, 0.5, 1.0), [2.0, 2.0, 2.0])
    (1.0, 0.0)
    """
    curvature, slope, _ = np.polyfit(places, np.subtract(values, min(values)), 2)
    if curvature <= 1e-9 * abs(slope):
        return places[0] if values[0] <= values[-1] else places[-1]
    return round(float(np.clip(-0.5 * slope / curvature, places[0], places[-1])), 6)


def _with_slow_phases(
    plane: ObjectPlane,
    likelihood: RegularisedLikelihood,
    objects: Mapping[str, torch.Tensor],
    part: float,
    ranks: Ranks,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Objects, with slow phases where they are worth adding, and their gains extrapolated from a part of the counts."""
    changed = {
        name: with_slow_phases(plane, likelihood, obj, RULES[name].least_frames_per_cosine)
        for name, obj in objects.items()
    }
    found = torch.tensor([one.gain / part for one in changed.values()], device=plane.device)
    # One decision for all processes.
    (shared,) = ranks.share(0, [found] if ranks.owns(0) else [])
    gains = dict(zip(objects, shared.tolist(), strict=True))
    added = {
        name: changed[name].object if RULES[name].worth_adding(gain) else objects[name] for name, gain in gains.items()
    }
    return added, gains


def verdicts(gains: Mapping[str, float]) -> list[str]:
    """What the gains of slow phases mean, a sentence for each object; it is named where there are several."""
    named = len(gains) > 1
    return [
        f"{name}: {RULES[name].verdict(gain)}" if named else RULES[name].verdict(gain) for name, gain in gains.items()
    ]


def _worth_adding(gains: Mapping[str, float]) -> SlowPhasesOf:
    """To which objects slow phases are added, by their gains."""
    return SlowPhasesOf(**{name: RULES[name].worth_adding(gain) for name, gain in gains.items()})
