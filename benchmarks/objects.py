"""Objects by name: those on which methods are judged, and those on which their settings are chosen.

They are made by the generators of :mod:`fly64_assets.simulation.objects`, whose module ``kinds`` says which kinds
settings may be chosen on. Names of here are older than those of there: ``slow`` is ``smooth``, ``tune_slow`` is
``bumps``, ``tune_particles`` is ``platelets``, ``tune_texture`` is ``grains``.

All generated objects are 400 px wide; probe and number of positions are those of the demo's recipe, by area. The values
of ``python benchmarks/objects.py`` are the ranges and correlation lengths.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.schema import Base
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.objects.kinds import GeneratedBase
from fly64_assets.simulation.objects.making import generated_base
from fly64_assets.simulation.recipe import BaseRecipe

Field = NDArray[np.float64]

SIZE = 400
POSITIONS = 1600
PATCH_SIZE = 64

GENERATED: dict[str, GeneratedBase] = {
    name: GeneratedBase(kind, seed=seed, object_size=SIZE, positions=POSITIONS)
    for name, kind, seed in (
        ("slow", "smooth", 7101),
        ("particles", "particles", 7102),
        ("texture", "texture", 7103),
        ("tune_slow", "bumps", 8201),
        ("tune_particles", "platelets", 8202),
        ("tune_texture", "grains", 8203),
    )
}
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
    return generated_base(GENERATED[name], PATCH_SIZE, name)


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
