"""Tiles: the pieces of the object plane from which the optimisation steps of ``unrolled`` are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.settings import UnrolledSettings
from fly64_assets.pinn.unrolled.object_plane import STEP, ObjectPlane

TILES_STREAM: Final = 2
"""Stream of the training's seed from which tiles are drawn; the preparation uses the smaller ones."""


@dataclass(frozen=True)
class Tile:
    """One optimisation step: a rectangle of the plane, frames whose windows lie in it, and a symmetry.

    ``frames`` (k,) int64 are numbers in the plane's order. ``fold`` is the count split that the step predicts.
    ``symmetry`` says which of the eight symmetries of the square the network's input goes through
    (:func:`transformed`): noise and details have no preferred direction, so that each serves as further training data;
    the likelihood is that of the network's object transformed back.
    """

    fold: int
    top: int
    left: int
    side: tuple[int, int]
    frames: NDArray[np.int64]
    symmetry: int

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns on the plane."""
        return slice(self.top, self.top + self.side[0]), slice(self.left, self.left + self.side[1])


@dataclass(frozen=True)
class TileSampler:
    """Draws the tiles of every epoch."""

    plane: ObjectPlane
    settings: UnrolledSettings
    folds: tuple[int, ...]
    seed: int
    ranks: Ranks

    def epoch(self, number: int) -> list[Tile]:
        """Tiles of one epoch for this process; they depend on the seed and the number alone."""
        generator = np.random.default_rng([self.seed, TILES_STREAM, number])
        tiles = [self._tile(generator) for _ in range(self.settings.steps_per_epoch * self.ranks.count)]
        return tiles[self.ranks.rank :: self.ranks.count]

    def _tile(self, generator: np.random.Generator) -> Tile:
        """A tile around the window of a random frame.

        Choosing a frame first gives no empty tile, however the scan is shaped. The tile lies anywhere around that
        window, so that pixels at its border, of which the network sees less, differ from step to step.
        """
        frame = int(generator.integers(self.plane.frames))
        reach = self.plane.window + 1
        corner, side = [], []
        for window, limit in zip((self.plane.top, self.plane.left), self.plane.shape, strict=True):
            # Multiples of STEP, as the network halves the tile twice; at least one window, at most the plane.
            length = min(max(self.settings.tile, -(-reach // STEP) * STEP), limit)
            low = max(0, int(window[frame]) + reach - length)
            high = min(limit - length, int(window[frame]))
            corner.append(int(generator.integers(low, high + 1)))
            side.append(length)
        inside = self.plane.inside(*corner, *side)
        frames = np.sort(generator.permutation(inside)[: self.settings.tile_frames])
        fold = self.folds[int(generator.integers(len(self.folds)))]
        return Tile(fold, corner[0], corner[1], (side[0], side[1]), frames, int(generator.integers(8)))


def transformed(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Images (..., h, w) rotated by ``symmetry % 4`` quarter turns and, from 4 on, mirrored.

    Examples
    --------
    >>> images = torch.tensor([[1, 2], [3, 4]])
    >>> transformed(images, 5)
    tensor([[4, 2],
            [3, 1]])
    >>> all(torch.equal(transformed_back(transformed(images, k), k), images) for k in range(8))
    True
    """
    rotated = torch.rot90(images, symmetry % 4, (-2, -1))
    return rotated.flip(-1) if symmetry >= 4 else rotated


def transformed_back(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Inverse of :func:`transformed`."""
    return torch.rot90(images.flip(-1) if symmetry >= 4 else images, -(symmetry % 4), (-2, -1))
