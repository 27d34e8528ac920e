"""Objects by name: those on which methods are judged, and those on which their settings are chosen.

**Settings are tuned on the objects of** :data:`TUNING` **and on no other.** Those of :data:`JUDGED` are for results
only: nothing is chosen by looking at them. Both have slow phases, sparse particles and fine texture, made by different
generators with different seeds, so that a setting that is fitted to one generator shows on the other.

===================  =================================================================================================
slow                 phase of a Gaussian random field, correlation length 50 px, over 2 rad; weak sharp lines and discs
particles            spheres on an empty background, phase and absorption in proportion to the thickness
texture              random field with an exponential correlation of 2.5 px, amplitude and phase independent
tune_slow            phase of a few wide bumps and a tilt, over about 2 rad; weak polygons
tune_particles       flat platelets with three to seven edges, each of one thickness, on an empty background
tune_texture         grains: polygons around random points, about 5 px apart, each of random amplitude and phase
coins_grass          two pictures of the scikit-image wheel
moon_coffee          two others
===================  =================================================================================================

All generated objects are 400 px wide; probe and number of positions are those of the demo's recipe, by area. The values
of ``python benchmarks/objects.py`` are the ranges and correlation lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from fly64_assets.contract.schema import Base
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe

Field = NDArray[np.float64]

SIZE = 400
POSITIONS = 1600
PATCH_SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float64)


def scaled(values: Field, low: float, high: float) -> Field:
    """Values linearly from ``low`` to ``high``; the outermost 0.5 % on both sides are cut off."""
    black, white = np.percentile(values, (0.5, 99.5))
    return low + (high - low) * np.clip((values - black) / (white - black), 0, 1)


def random_field(rng: Generator, spectrum: Callable[[Field], Field]) -> Field:
    """Real Gaussian field whose power falls with the wave number [rad/px] as ``spectrum`` says; not periodic."""
    side = 2 * SIZE
    wave_number = 2 * np.pi * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    white = np.fft.rfft2(rng.normal(size=(side, side)))
    return np.fft.irfft2(white * np.sqrt(spectrum(wave_number)), (side, side))[:SIZE, :SIZE]


def disc(y: float, x: float, radius: float) -> Field:
    """A disc with an edge of one pixel."""
    return np.clip(radius + 0.5 - np.hypot(ROWS - y, COLUMNS - x), 0, 1)


def line(y: float, x: float, angle: float, length: float, width: float) -> Field:
    """A straight line with edges of one pixel."""
    along = (COLUMNS - x) * np.cos(angle) + (ROWS - y) * np.sin(angle)
    across = (ROWS - y) * np.cos(angle) - (COLUMNS - x) * np.sin(angle)
    return np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(width / 2 + 0.5 - np.abs(across), 0, 1)


def polygon(y: float, x: float, angle: float, corners: int, radius: float) -> Field:
    """A regular polygon whose sides are ``radius`` away from its centre, with edges of one pixel."""
    normals = angle + 2 * np.pi * np.arange(corners) / corners
    sides = [(COLUMNS - x) * np.cos(normal) + (ROWS - y) * np.sin(normal) for normal in normals]
    return np.clip(radius + 0.5 - np.max(sides, axis=0), 0, 1)


def somewhere(rng: Generator) -> tuple[float, float]:
    return float(rng.uniform(0, SIZE)), float(rng.uniform(0, SIZE))


# -- judged -----------------------------------------------------------------------------------------------------------


def slow(rng: Generator) -> tuple[Field, Field]:
    def gaussian(k: Field) -> Field:
        return np.exp(-((50 * k) ** 2) / 4)  # the correlation is exp(-(distance / 50)^2)

    phase, amplitude = scaled(random_field(rng, gaussian), 0, 2), scaled(random_field(rng, gaussian), 0.8, 1)
    for _ in range(10):
        phase += rng.choice([-0.2, 0.2]) * disc(*somewhere(rng), rng.uniform(4, 14))
        mark = line(*somewhere(rng), rng.uniform(0, np.pi), rng.uniform(40, 160), rng.uniform(2, 4))
        phase += rng.choice([-0.2, 0.2]) * mark
        amplitude -= 0.05 * mark
    return amplitude, phase


def particles(rng: Generator) -> tuple[Field, Field]:
    thickness = np.zeros((SIZE, SIZE))
    for _ in range(60):
        (y, x), radius = somewhere(rng), rng.uniform(6, 20)
        thickness += 2 * np.sqrt(np.clip(radius**2 - (ROWS - y) ** 2 - (COLUMNS - x) ** 2, 0, None))
    return np.exp(-0.006 * thickness), 0.025 * thickness


def texture(rng: Generator) -> tuple[Field, Field]:
    def exponential(k: Field) -> Field:
        return (1 + (2.5 * k) ** 2) ** -1.5

    return scaled(random_field(rng, exponential), 0.7, 1), scaled(random_field(rng, exponential), 0, 1)


# -- for tuning -------------------------------------------------------------------------------------------------------


def tune_slow(rng: Generator) -> tuple[Field, Field]:
    def bumps(number: int) -> Field:
        total = np.zeros((SIZE, SIZE))
        for _ in range(number):
            (y, x), (tall, wide) = somewhere(rng), rng.uniform(35, 90, 2)
            total += rng.normal() * np.exp(-(((ROWS - y) / tall) ** 2) - ((COLUMNS - x) / wide) ** 2)
        return total

    phase = scaled(bumps(40) + ROWS / SIZE * rng.normal(), -1, 1)
    amplitude = scaled(bumps(40), 0.82, 0.98)
    for _ in range(12):
        mark = polygon(*somewhere(rng), rng.uniform(0, np.pi), int(rng.integers(3, 6)), rng.uniform(4, 15))
        phase += rng.choice([-0.15, 0.15]) * mark
        amplitude -= 0.04 * mark
    return amplitude, phase


def tune_particles(rng: Generator) -> tuple[Field, Field]:
    thickness = np.zeros((SIZE, SIZE))
    for _ in range(45):
        shape = polygon(*somewhere(rng), rng.uniform(0, np.pi), int(rng.integers(3, 8)), rng.uniform(6, 16))
        thickness += rng.uniform(0.3, 1) * shape
    return 1 - 0.2 * np.tanh(thickness), 0.8 * thickness


def tune_texture(rng: Generator) -> tuple[Field, Field]:
    number = SIZE**2 // 25
    nearest = cKDTree(rng.uniform(0, SIZE, (number, 2))).query(np.stack([ROWS, COLUMNS], axis=-1))[1]
    amplitude, phase = (gaussian_filter(rng.uniform(size=number)[nearest], 0.5) for _ in range(2))
    return scaled(amplitude, 0.7, 1), scaled(phase, 0, 1)


GENERATORS: dict[str, tuple[Callable[[Generator], tuple[Field, Field]], int]] = {
    "slow": (slow, 7101),
    "particles": (particles, 7102),
    "texture": (texture, 7103),
    "tune_slow": (tune_slow, 8201),
    "tune_particles": (tune_particles, 8202),
    "tune_texture": (tune_texture, 8203),
}
"""How an object is made, and its seed."""
PICTURES = {
    "coins_grass": BaseRecipe("coins", "grass", 448, 2000),
    "moon_coffee": BaseRecipe("moon", "coffee", 448, 2000),
}
JUDGED = ("slow", "particles", "texture")
TUNING = ("tune_slow", "tune_particles", "tune_texture", *PICTURES)
NAMES = (*JUDGED, *TUNING)


def base(name: str) -> Base:
    """Object (S, S) complex64, probe (64, 64) complex64 and positions; the same at every call."""
    if name in PICTURES:
        return make_base(PICTURES[name], PATCH_SIZE)
    generator, seed = GENERATORS[name]
    amplitude, phase = generator(np.random.default_rng(seed))
    recipe = BaseRecipe("coins", "grass", SIZE, POSITIONS, seed=seed)  # for its probe and its positions
    return replace(make_base(recipe, PATCH_SIZE), object=(amplitude * np.exp(1j * phase)).astype(np.complex64))


def correlation_length(values: Field) -> float:
    """Distance [px] at which the correlation, averaged over both axes, falls to 1/e."""
    centred = values - values.mean()
    lags = range(1, SIZE // 2)
    falls = ((centred[lag:] * centred[:-lag]).mean() + (centred[:, lag:] * centred[:, :-lag]).mean() for lag in lags)
    return next((float(lag) for lag, fall in zip(lags, falls, strict=True) if fall < 2 * centred.var() / np.e), np.inf)


def main() -> None:
    print("object           size  amplitude         std     phase [rad]       std     1/e of the phase's correlation")
    for name in NAMES:
        values = base(name).object.astype(np.complex128)
        amplitude, phase = np.abs(values), np.angle(values)
        ranges = (
            f"{part.min():6.2f} to {part.max():5.2f}   {part.std():.3f}" for part in (amplitude, phase - phase.mean())
        )
        print(f"{name:16} {len(values):4}  " + "   ".join(ranges) + f"   {correlation_length(phase):.0f} px")


if __name__ == "__main__":
    main()
