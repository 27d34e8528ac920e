"""Generators of the kinds on which settings may be chosen."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.random import Generator

from fly64_assets.simulation.objects.canvas import Canvas, Field, Pair, scaled


def bumps(canvas: Canvas, rng: Generator) -> Pair:
    """Phase of a few wide bumps and a tilt, over about 2 rad; weak polygons."""

    def sum_of(number: int) -> Field:
        total = canvas.zeros()
        for _ in range(number):
            (y, x), (tall, wide) = canvas.somewhere(rng), rng.uniform(35, 90, 2)
            total += rng.normal() * np.exp(-(((canvas.rows - y) / tall) ** 2) - ((canvas.columns - x) / wide) ** 2)
        return total

    number = canvas.number(40)
    phase = scaled(sum_of(number) + canvas.rows / canvas.size * rng.normal(), -1, 1)
    amplitude = scaled(sum_of(number), 0.82, 0.98)
    for _ in range(canvas.number(12)):
        place, angle = canvas.somewhere(rng), rng.uniform(0, np.pi)
        mark = canvas.polygon(*place, angle, int(rng.integers(3, 6)), rng.uniform(4, 15))
        phase += rng.choice([-0.15, 0.15]) * mark
        amplitude -= 0.04 * mark
    return amplitude, phase


def platelets(canvas: Canvas, rng: Generator) -> Pair:
    """Flat platelets with three to seven edges, each of one thickness, on an empty background."""
    thickness = canvas.zeros()
    for _ in range(canvas.number(45)):
        place, angle = canvas.somewhere(rng), rng.uniform(0, np.pi)
        shape = canvas.polygon(*place, angle, int(rng.integers(3, 8)), rng.uniform(6, 16))
        thickness += rng.uniform(0.3, 1) * shape
    return 1 - 0.2 * np.tanh(thickness), 0.8 * thickness


def grains(canvas: Canvas, rng: Generator) -> Pair:
    """Polygons around random points, about 5 px apart, each of random amplitude and phase."""
    number = canvas.size**2 // 25
    centres = scipy.spatial.cKDTree(rng.uniform(0, canvas.size, (number, 2)))
    nearest = centres.query(np.stack([canvas.rows, canvas.columns], axis=-1))[1]
    amplitude, phase = (scipy.ndimage.gaussian_filter(rng.uniform(size=number)[nearest], 0.5) for _ in range(2))
    return scaled(amplitude, 0.7, 1), scaled(phase, 0, 1)
