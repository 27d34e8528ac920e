"""Training of the network of the object plane: photons divided into folds, tiles, the photon likelihood.

Belongs here: the task of ``unrolled``. Does not belong here: the loop (:mod:`fly64_assets.pinn.training`), the solver
(:mod:`fly64_assets.pinn.unrolled.regularisation_path`). Imported by engine processes only.

The photons of every frame are divided at random into independent equal parts (Yaman et al., Magn. Reson. Med. 84,
3172, 2020, divide k-space samples in this way for learned reconstructions without ground truth). For each fold the
network sees the objects that likelihood steps reach without one part and without the validation part, and predicts
that one part: it cannot win by learning noise. The validation part, and all photons of some frames, are never learned
from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.pinn.architectures import UnrolledNetwork, build_network
from fly64_assets.pinn.cnn.grouping import Indices
from fly64_assets.pinn.cnn.samples import FEWEST_HELD_OUT
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.inference import WHOLE_TILE
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.optimisation import Batches, TrainingTask
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.model_error import fitted_background
from fly64_assets.pinn.unrolled.object_plane import STEP, ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import regularisation_path

VALIDATION: Final = 0
"""The part of the photons that is never learned from."""
FIRST_FOLD: Final = 1
JUDGED_FRAMES: Final = 1024
"""Learned frames on which the losses of an epoch are evaluated."""
SCATTER_FRAMES: Final = 256
FIRST_ROUNDS: Final = 60
ROUNDS: Final = 10
SHARPER_LEVELS: Final = 1
"""Levels beyond the best that the network is shown."""
_HELD_OUT, _DIVISION, _TRAINING = range(3)
"""Streams of the seed."""


@dataclass(frozen=True)
class Tile:
    """One optimisation step: a square of the plane, frames with their windows in it, and a symmetry.

    ``turn`` is one of the eight symmetries of the square under which the plane is shown to the network: noise and
    details have no preferred direction in it, while the likelihood is taken of the plane turned back.
    """

    fold: int
    top: int
    left: int
    side: tuple[int, int]
    frames: Indices
    turn: int


@dataclass(frozen=True)
class Shown:
    """What the network is shown, (channels, H, W) float32, and the object that it changes, (H, W) complex64."""

    channels: torch.Tensor
    obj: torch.Tensor


@dataclass(frozen=True)
class SplitLosses:
    """Mean losses per frame: of photons that were learned from, of unseen photons, of held-out frames (if any)."""

    learned: float
    unseen: float
    held_out: float | None

    @property
    def validation(self) -> float:
        """What decides which epoch is best: unseen photons and held-out frames weigh the same."""
        return self.unseen if self.held_out is None else 0.5 * (self.unseen + self.held_out)


class UnrolledTraining(TrainingTask):
    """A network of the object plane and the likelihood of the frames that its object predicts."""

    network: UnrolledNetwork
    settings: UnrolledSettings

    def __init__(
        self,
        network: UnrolledNetwork,
        spec: NetworkSpec,
        settings: UnrolledSettings,
        scene: ObjectPlane,
        photons: CountSplits,
        scale: float,
        shown: dict[int, Shown],
        path_losses: list[float],
        seed: int,
        ranks: Ranks,
    ) -> None:
        super().__init__(network, settings, settings.steps_per_epoch)
        self.spec = spec
        self.scene = scene
        self.photons = photons
        self.scale = scale * math.sqrt(1.0 / photons.splits)
        self.shown = shown
        self.path_losses = path_losses
        self.seed = seed
        self.ranks = ranks
        self.frames_trained = 0
        self.judged = evenly_spread(scene.frames, JUDGED_FRAMES)
        self.held_out = np.arange(scene.frames, photons.frames)
        self._folds = sorted(fold for fold in shown if fold != VALIDATION)
        self._scatter = self._fitted_scatter(shown[FIRST_FOLD].obj, FIRST_FOLD, FIRST_ROUNDS, None)
        with torch.no_grad():
            self._before = self._split_losses(shown[VALIDATION].obj, shown[FIRST_FOLD].obj)

    @classmethod
    def of(
        cls,
        measurement: Measurement,
        settings: UnrolledSettings,
        gridsize: int,
        seed: int,
        ranks: Ranks,
        scratch: Path,
        say: Callable[[str], None],
    ) -> UnrolledTraining:
        """The task of a measurement: photons divided, objects of all folds found, each by one of the processes."""
        n = measurement.frames
        hidden = round(settings.validation_fraction * n) if n >= FEWEST_HELD_OUT else 0
        drawn = np.random.default_rng([seed, _HELD_OUT]).permutation(n)
        order = np.concatenate([np.sort(drawn[hidden:]), np.sort(drawn[:hidden])])
        scene = ObjectPlane(measurement, ranks.device, order, n - hidden)
        parts, folds = settings.photon_parts, range(FIRST_FOLD, FIRST_FOLD + settings.folds)
        photons = CountSplits.of(
            measurement,
            order,
            splits=parts,
            kept=FIRST_FOLD + settings.folds,
            seed=int(np.random.default_rng([seed, _DIVISION]).integers(2**63)),
            scratch=scratch,
        )

        def path(without: tuple[int, ...], levels: tuple[float, ...]) -> list[torch.Tensor]:
            part_scale = measurement.intensity_scale * math.sqrt(1.0 - len(without) / parts)
            return regularisation_path(
                scene,
                lambda rows: _tensor(photons.without(without, rows), scene),
                part_scale,
                levels,
                settings.level_iterations,
            )

        first = path((VALIDATION, FIRST_FOLD), settings.levels)
        target_scale = measurement.intensity_scale * math.sqrt(1.0 / parts)
        losses = [_path_loss(scene, photons, obj, target_scale) for obj in first]
        base = int(np.argmin(losses))
        levels = settings.levels[: base + 1 + SHARPER_LEVELS]
        say(f"likelihood path, 1 of {settings.folds + 1}: best of {len(losses)} levels is {levels[base]:g}")
        spec = NetworkSpec(
            architecture=settings.architecture,
            patch_size=measurement.patch_size,
            group_frames=gridsize**2,
            width=settings.width,
            levels=levels,
            level_iterations=settings.level_iterations,
            base=base,
            n_filters_scale=CnnSettings.n_filters_scale,
            amplitude_max=CnnSettings.amplitude_max,
            input_scale=1.0,
        )
        network = build_network(spec, measurement.probe, seed)
        assert isinstance(network, UnrolledNetwork)

        def shown(objects: list[torch.Tensor]) -> Shown:
            return Shown(network.channels(objects, scene.illumination), objects[base])

        made: dict[int, list[torch.Tensor]] = {}
        others = {fold: (VALIDATION, fold) for fold in folds[1:]} | {VALIDATION: (VALIDATION,)}
        for number, (which, without) in enumerate(others.items()):
            made[which] = path(without, levels) if ranks.owns(number) else []
            say(f"likelihood path, {number + 2} of {len(others) + 1}")
        found = {FIRST_FOLD: shown(first[: len(levels)])}
        found |= {which: shown(ranks.share(number, one)) for number, (which, one) in enumerate(made.items())}
        return cls(network, spec, settings, scene, photons, measurement.intensity_scale, found, losses, seed, ranks)

    def facts(self) -> dict[str, Any]:
        """How far the objects were before the network, and what it gained."""
        return {
            "levels": list(self.spec.levels),
            "base_level": self.spec.levels[self.spec.base],
            "path_losses": self.path_losses,
            "validation_loss_before": self._before.validation,
            "frames_held_out": len(self.held_out),
        }

    def close(self) -> None:
        """Give the file of the divided photons back."""
        self.photons.close()

    def train_dataloader(self) -> Batches:
        """Tiles of the current epoch, drawn anew for every epoch."""
        return Batches(lambda: self.tiles(self.current_epoch))

    def val_dataloader(self) -> Batches:
        """One batch: the whole plane."""
        return Batches(lambda: [None])

    def tiles(self, epoch: int) -> list[Tile]:
        """Tiles of one epoch for this process; the same for the same number, whatever came before."""
        generator = np.random.default_rng([self.seed, _TRAINING, epoch])
        drawn = [self._tile(generator) for _ in range(self.settings.steps_per_epoch * self.ranks.count)]
        return drawn[self.ranks.rank :: self.ranks.count]

    def _tile(self, generator: np.random.Generator) -> Tile:
        """A tile around the window of a random frame."""
        frame = int(generator.integers(self.scene.frames))
        corner, side = [], []
        for window, limit in zip((self.scene.top, self.scene.left), self.scene.shape, strict=True):
            length = min(max(self.settings.tile, -(-(self.scene.window + 1) // STEP) * STEP), limit)
            low = max(0, int(window[frame]) + self.scene.window + 1 - length)
            high = min(limit - length, int(window[frame]))
            corner.append(int(generator.integers(low, high + 1)))
            side.append(length)
        inside = self.scene.inside(*corner, *side)
        chosen = np.sort(generator.permutation(inside)[: self.settings.tile_frames])
        fold = self._folds[int(generator.integers(len(self._folds)))]
        return Tile(fold, corner[0], corner[1], (side[0], side[1]), chosen, int(generator.integers(8)))

    def training_step(self, batch: Tile, batch_idx: int) -> torch.Tensor:
        """Poisson loss of the photons that were taken from the frames in the tile."""
        self.position = f"epoch {self.current_epoch + 1}, batch {batch_idx + 1}"
        shown = self.shown[batch.fold]
        part = (slice(batch.top, batch.top + batch.side[0]), slice(batch.left, batch.left + batch.side[1]))
        channels, obj = shown.channels[:, *part], shown.obj[part]
        turned = self.network(turn(channels, batch.turn), turn(obj, batch.turn))
        plane = turn_back(turned, batch.turn)
        frames = torch.from_numpy(batch.frames).to(plane.device)
        windows = self.scene.read(plane.contiguous(), frames, (batch.top, batch.left))
        loss = self._poisson(self._rates(windows), self._counts(batch.fold, batch.frames))
        self.require_finite(loss)
        self.frames_trained += len(batch.frames) * self.ranks.count
        return (loss * self.photons.splits / max(1.0, self.photons.photons)).float()

    def validation_step(self, batch: None, batch_idx: int) -> None:
        """Poisson loss of photons that were never learned from, and how much more the network gained on others."""
        del batch, batch_idx
        self.position = f"epoch {self.current_epoch + 1}, validation"
        now = self._split_losses(self.predicted(VALIDATION), self.predicted(FIRST_FOLD))
        gap = (self._before.learned - now.learned) - (self._before.unseen - now.unseen)
        self.require_finite(torch.tensor(now.validation))
        # On the same frames in every epoch: the tiles of an epoch differ by more in brightness than training gains.
        losses = {"train_loss": now.learned, "validation_loss": now.validation, "generalisation_gap": gap}
        if now.held_out is not None:
            losses["held_out_frames_loss"] = now.held_out
        for name, value in losses.items():
            # Lightning would round plain numbers to single precision.
            self.log(name, torch.tensor(value, dtype=torch.float64), on_step=False, on_epoch=True, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Follow the network with the part of the light that its object leaves unexplained."""
        fold = self._folds[self.current_epoch % len(self._folds)]
        with torch.no_grad():
            self._scatter = self._fitted_scatter(self.predicted(fold), fold, ROUNDS, self._scatter)

    @torch.no_grad()
    def predicted(self, which: int) -> torch.Tensor:
        """The network's object (H, W) of a fold, or of all photons but the validation's."""
        shown = self.shown[which]
        return self.network.whole(shown.channels, shown.obj, WHOLE_TILE)

    @torch.no_grad()
    def judge(self) -> tuple[float, float]:
        """Validation loss of a flat object and standard deviation of the network's phase [rad]."""
        self.network.to(self.scene.device).eval()
        flat = torch.ones_like(self.shown[VALIDATION].obj)
        own, self._scatter = self._scatter, self._fitted_scatter(flat, FIRST_FOLD, FIRST_ROUNDS, None)
        loss = self._split_losses(flat, flat).validation
        self._scatter = own
        plane, light = self.predicted(VALIDATION), self.scene.illumination
        mean = (plane * light).sum()
        phases = (plane * mean.conj())[light > 0.1 * light.max()].angle()
        return loss, float(phases.square().mean().sqrt())

    def _split_losses(self, plane: torch.Tensor, first: torch.Tensor) -> SplitLosses:
        """Losses of the object without the validation photons, and of the first fold's object."""
        return SplitLosses(
            learned=self._loss(first, FIRST_FOLD, self.judged),
            unseen=self._loss(plane, VALIDATION, self.judged),
            held_out=self._loss(plane, VALIDATION, self.held_out) if len(self.held_out) else None,
        )

    def _loss(self, plane: torch.Tensor, which: int, frames: Indices) -> float:
        """Mean loss of a part of the photons of some frames."""
        total = 0.0
        for start in range(0, len(frames), SCATTER_FRAMES):
            some = frames[start : start + SCATTER_FRAMES]
            windows = self.scene.read(plane, torch.from_numpy(some).to(plane.device))
            total += float(self._poisson(self._rates(windows), self._counts(which, some))) * len(some)
        return total / len(frames)

    def _rates(self, windows: torch.Tensor) -> torch.Tensor:
        return self.scene.physics.corner_rates(windows, self.scale)

    def _poisson(self, rates: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        return poisson_loss(rates + self._scatter, counts)

    def _counts(self, which: int, frames: Indices) -> torch.Tensor:
        return _tensor(self.photons.split(which, frames), self.scene)

    def _fitted_scatter(self, plane: torch.Tensor, fold: int, rounds: int, start: torch.Tensor | None) -> torch.Tensor:
        some = self.judged[:: -(-len(self.judged) // SCATTER_FRAMES)]
        windows = self.scene.read(plane, torch.from_numpy(some).to(plane.device))
        return fitted_background(self._rates(windows), self._counts(fold, some), rounds, start)


def turn(plane: torch.Tensor, which: int) -> torch.Tensor:
    """One of the eight symmetries of the square, of the last two axes."""
    turned = torch.rot90(plane, which % 4, (-2, -1))
    return turned.flip(-1) if which >= 4 else turned


def turn_back(plane: torch.Tensor, which: int) -> torch.Tensor:
    """Inverse of :func:`turn`."""
    return torch.rot90(plane.flip(-1) if which >= 4 else plane, -(which % 4), (-2, -1))


def _path_loss(scene: ObjectPlane, photons: CountSplits, plane: torch.Tensor, scale: float) -> float:
    """Loss of the first fold's photons, with the scatter that this object leaves unexplained."""
    some = evenly_spread(scene.frames, JUDGED_FRAMES)
    counts = _tensor(photons.split(FIRST_FOLD, some), scene)
    rates = scene.physics.corner_rates(scene.read(plane, torch.from_numpy(some).to(plane.device)), scale)
    return float(poisson_loss(rates + fitted_background(rates, counts, FIRST_ROUNDS), counts))


def _tensor(counts: np.ndarray[Any, np.dtype[np.float32]], scene: ObjectPlane) -> torch.Tensor:
    return torch.from_numpy(counts).to(scene.device)
