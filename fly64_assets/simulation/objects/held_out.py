"""Generators of the kinds that only results are for: no setting is chosen by looking at them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy
from numpy.random import Generator

from fly64_assets.simulation.objects.canvas import Canvas, Field, Pair, scaled


def gaussian(length: float) -> Callable[[Field], Field]:
    """Spectrum of a field whose correlation is exp(-(distance / length)^2)."""
    return lambda k: np.exp(-((length * k) ** 2) / 4)


def exponential(length: float) -> Callable[[Field], Field]:
    """Spectrum of a field whose correlation is exp(-distance / length)."""
    return lambda k: (1 + (length * k) ** 2) ** -1.5


def smooth(canvas: Canvas, rng: Generator) -> Pair:
    """Phase of a Gaussian random field, correlation length 50 px, over 2 rad; weak sharp lines and discs."""
    phase = scaled(canvas.random_field(rng, gaussian(50)), 0, 2)
    amplitude = scaled(canvas.random_field(rng, gaussian(50)), 0.8, 1)
    for _ in range(canvas.number(10)):
        phase += rng.choice([-0.2, 0.2]) * canvas.disc(*canvas.somewhere(rng), rng.uniform(4, 14))
        mark = canvas.line(*canvas.somewhere(rng), rng.uniform(0, np.pi), rng.uniform(40, 160), rng.uniform(2, 4))
        phase += rng.choice([-0.2, 0.2]) * mark
        amplitude -= 0.05 * mark
    return amplitude, phase


def particles(canvas: Canvas, rng: Generator) -> Pair:
    """Spheres on an empty background, phase and absorption in proportion to the thickness."""
    thickness = canvas.zeros()
    for _ in range(canvas.number(60)):
        (y, x), radius = canvas.somewhere(rng), rng.uniform(6, 20)
        squared = radius**2 - (canvas.rows - y) ** 2 - (canvas.columns - x) ** 2
        thickness += 2 * np.sqrt(np.clip(squared, 0, None))
    return np.exp(-0.006 * thickness), 0.025 * thickness


def texture(canvas: Canvas, rng: Generator) -> Pair:
    """Random field with an exponential correlation of 2.5 px, amplitude and phase independent."""
    amplitude = scaled(canvas.random_field(rng, exponential(2.5)), 0.7, 1)
    return amplitude, scaled(canvas.random_field(rng, exponential(2.5)), 0, 1)


def edges(canvas: Canvas, rng: Generator) -> Pair:
    """Polygons that hide each other, of all sizes from 4 to 40 px, amplitude and phase independent (dead leaves)."""
    amplitude, phase = canvas.zeros() + 0.85, canvas.zeros() + 0.5
    for _ in range(canvas.number(600)):
        radius = 4 * 10 ** rng.uniform(0, 1) ** 2  # more of the small ones
        leaf = canvas.polygon(*canvas.somewhere(rng), rng.uniform(0, np.pi), int(rng.integers(3, 8)), radius)
        amplitude += leaf * (rng.uniform(0.7, 1) - amplitude)
        phase += leaf * (rng.uniform(0, 1) - phase)
    return amplitude, phase


def cells(canvas: Canvas, rng: Generator) -> Pair:
    """Round bodies with a nucleus and granules, phase up to about 1.5 rad, hardly any absorption."""
    phase = canvas.zeros()
    for _ in range(canvas.number(28)):
        (y, x), radius = canvas.somewhere(rng), rng.uniform(18, 34)
        angle = np.arctan2(canvas.rows - y, canvas.columns - x)
        waves = sum(rng.normal(0, 0.12 / order) * np.cos(order * angle + rng.uniform(0, 6)) for order in (2, 3, 5))
        inside = np.clip(1 - (canvas.distance(y, x) / (radius * (1 + waves))) ** 2, 0, None)
        body = 0.5 * np.sqrt(inside)
        nucleus = canvas.disc(y + rng.normal(0, 4), x + rng.normal(0, 4), 0.35 * radius)
        body += 0.25 * scipy.ndimage.gaussian_filter(nucleus, 1) * (inside > 0)
        for _ in range(12):
            reach, turn = 0.8 * radius * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
            granule = canvas.disc(y + reach * np.sin(turn), x + reach * np.cos(turn), rng.uniform(1, 2.5))
            body += 0.2 * granule * (inside > 0)
        phase = np.maximum(phase, body) + 0.3 * np.minimum(phase, body)
    return np.exp(-0.04 * phase), 1.4 * phase


def circuit(canvas: Canvas, rng: Generator) -> Pair:
    """Wires and contacts of two layers on a square grid, one thickness each."""
    layers = [canvas.zeros(), canvas.zeros()]
    for _ in range(canvas.number(110)):
        layer = int(rng.integers(2))
        y, x = (8 * round(place / 8) for place in canvas.somewhere(rng))
        width = float(rng.choice([2.0, 3.0, 5.0]))
        wire = canvas.line(y, x, layer * np.pi / 2, rng.uniform(24, 140), width)
        layers[layer] = np.maximum(layers[layer], wire)
    contacts = canvas.zeros()
    for _ in range(canvas.number(160)):
        y, x = (8 * round(place / 8) for place in canvas.somewhere(rng))
        contacts = np.maximum(contacts, canvas.line(y, x, 0.0, 4.0, 4.0))
    metal = 0.45 * layers[0] + 0.55 * layers[1] + 0.3 * contacts
    return np.exp(-0.12 * metal), -0.9 * metal


def siemens_star(canvas: Canvas, rng: Generator) -> Pair:
    """Spokes and rings of one thickness, up to the limit of the pixels; the seed moves and turns it."""
    middle, spokes = canvas.size / 2 + rng.uniform(-6, 6, 2), int(rng.integers(28, 41))
    distance = canvas.distance(*middle)
    angle = np.arctan2(canvas.rows - middle[0], canvas.columns - middle[1]) + rng.uniform(0, 2 * np.pi)
    # Half the width of a spoke is pi r / (2 spokes); edges of one pixel.
    edge = np.sin(spokes * angle) * distance / spokes
    metal = np.clip(0.5 + edge, 0, 1)
    for ring in np.arange(1, 6) * canvas.size / 12:
        metal *= np.clip(np.abs(distance - ring) - 0.5, 0, 1)
    return 1 - 0.15 * metal, -0.7 * metal


def foam(canvas: Canvas, rng: Generator) -> Pair:
    """Projection of a volume of random blobs of one material, phase and absorption together."""
    depth, length = 40, 4.0
    noise = rng.normal(size=(depth, canvas.size, canvas.size))
    field = scipy.ndimage.gaussian_filter(noise, length, mode=("nearest", "wrap", "wrap"))
    thickness = (field > np.quantile(field, 0.72)).sum(axis=0) / depth
    return np.exp(-0.35 * thickness), 2.2 * thickness


def weak(canvas: Canvas, rng: Generator) -> Pair:
    """The texture with a phase over 0.15 rad and 4 % absorption, both in proportion."""
    thickness = scaled(canvas.random_field(rng, exponential(2.5)), 0, 1)
    return 1 - 0.04 * thickness, 0.15 * thickness


def wrapped(canvas: Canvas, rng: Generator) -> Pair:
    """Phase of a random field over 12 rad, which wraps; an independent amplitude."""
    phase = scaled(canvas.random_field(rng, gaussian(28)), 0, 12)
    return scaled(canvas.random_field(rng, exponential(4)), 0.8, 1), phase
