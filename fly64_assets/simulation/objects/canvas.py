"""Shapes and random fields on a square grid of pixels, of which generators compose objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float64]
Pair = tuple[Field, Field]
"""Amplitude and phase [rad] of an object, each (size, size)."""

REFERENCE_PX = 400
"""Side of the object for which numbers of things are given; others have as many per area."""


def scaled(values: Field, low: float, high: float) -> Field:
    """Values linearly from ``low`` to ``high``; the outermost 0.5 % on both sides are cut off."""
    black, white = np.percentile(values, (0.5, 99.5))
    found: Field = low + (high - low) * np.clip((values - black) / (white - black), 0, 1)
    return found


class Canvas:
    """A square of ``size`` x ``size`` pixels; lengths and places are in pixels, y before x."""

    def __init__(self, size: int) -> None:
        self.size = size

    @cached_property
    def rows(self) -> Field:
        """Row of every pixel."""
        return np.repeat(np.arange(self.size, dtype=np.float64)[:, None], self.size, axis=1)

    @cached_property
    def columns(self) -> Field:
        """Column of every pixel."""
        return np.repeat(np.arange(self.size, dtype=np.float64)[None, :], self.size, axis=0)

    def zeros(self) -> Field:
        """Nothing anywhere."""
        return np.zeros((self.size, self.size))

    def number(self, count: float) -> int:
        """As many things as an object of 400 px has ``count``, by area; at least one."""
        return max(1, round(count * (self.size / REFERENCE_PX) ** 2))

    def somewhere(self, rng: Generator) -> tuple[float, float]:
        """A random place."""
        return float(rng.uniform(0, self.size)), float(rng.uniform(0, self.size))

    def random_field(self, rng: Generator, spectrum: Callable[[Field], Field]) -> Field:
        """Real Gaussian field whose power falls with the wave number [rad/px] as ``spectrum`` says; not periodic."""
        side = 2 * self.size
        wave_number = 2 * np.pi * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
        white = np.fft.rfft2(rng.normal(size=(side, side)))
        field: Field = np.fft.irfft2(white * np.sqrt(spectrum(wave_number)), (side, side))
        return field[: self.size, : self.size]

    def distance(self, y: float, x: float) -> Field:
        """Distance of every pixel from a place."""
        found: Field = np.hypot(self.rows - y, self.columns - x)
        return found

    def disc(self, y: float, x: float, radius: float) -> Field:
        """A disc with an edge of one pixel."""
        return np.clip(radius + 0.5 - self.distance(y, x), 0, 1)

    def line(self, y: float, x: float, angle: float, length: float, width: float) -> Field:
        """A straight line with edges of one pixel."""
        along = (self.columns - x) * np.cos(angle) + (self.rows - y) * np.sin(angle)
        across = (self.rows - y) * np.cos(angle) - (self.columns - x) * np.sin(angle)
        inside: Field = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(
            width / 2 + 0.5 - np.abs(across), 0, 1
        )
        return inside

    def polygon(self, y: float, x: float, angle: float, corners: int, radius: float) -> Field:
        """A regular polygon whose sides are ``radius`` away from its centre, with edges of one pixel."""
        normals = angle + 2 * np.pi * np.arange(corners) / corners
        sides = [(self.columns - x) * np.cos(normal) + (self.rows - y) * np.sin(normal) for normal in normals]
        inside: Field = np.clip(radius + 0.5 - np.max(sides, axis=0), 0, 1)
        return inside
