"""Fields with values in [0, 1] from which the objects of training scans are made, many at a time on one device.

No picture is among them, and no generator of the objects on which results are judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

SIDE: Final = 256
"""Side of the fields [px]."""

Kind = Callable[[int, np.random.Generator, torch.Generator, torch.device], torch.Tensor]
"""So many fields (count, SIDE, SIDE) float32, from generators on the CPU and on the device."""


def log_uniform(numbers: np.random.Generator, ends: Sequence[float], count: int) -> NDArray[np.float64]:
    """Numbers whose logarithm is uniform between those of both ends."""
    low, high = np.log(ends)
    return np.exp(numbers.uniform(low, high, count))


def _scaled(fields: torch.Tensor) -> torch.Tensor:
    """Fields (b, h, w) linearly to [0, 1]; a hundredth of the pixels on both sides is cut off."""
    sample = fields.flatten(1)[:, ::37]
    low, high = torch.quantile(sample, 0.01, dim=1), torch.quantile(sample, 0.99, dim=1)
    span = (high - low).clamp_min(1e-6)
    return ((fields - low[:, None, None]) / span[:, None, None]).clamp(0, 1)


def power_law(
    count: int, numbers: np.random.Generator, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Random fields whose spectrum falls with a power of the frequency, some with a smallest detail."""
    side = 2 * SIDE
    exponents = torch.from_numpy(numbers.uniform(0.8, 2.6, count).astype(np.float32)).to(device)[:, None, None]
    smooth = torch.from_numpy((numbers.uniform(0, 3, count) * (numbers.random(count) < 0.5)).astype(np.float32))
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).to(device)
    spectrum = (frequency + 1 / side) ** -exponents
    spectrum = spectrum * torch.exp(-((2 * math.pi * frequency * smooth.to(device)[:, None, None]) ** 2) / 2)
    white = torch.fft.rfft2(torch.randn(count, side, side, generator=generator, device=device))
    return _scaled(torch.fft.irfft2(white * spectrum, (side, side))[:, :SIDE, :SIDE])


def _shapes(count: int, number: int, sizes: tuple[float, float], numbers: np.random.Generator) -> NDArray[np.float32]:
    """Parameters (number, 7, count, 1, 1) of random shapes: place, size, elongation, angle, corners, value."""
    size = log_uniform(numbers, sizes, number * count).reshape(number, count)
    parts = [
        numbers.uniform(0, SIDE, (number, count)), numbers.uniform(0, SIDE, (number, count)), size,
        numbers.uniform(0.5, 2, (number, count)), numbers.uniform(0, math.pi, (number, count)),
        numbers.integers(2, 7, (number, count)), numbers.uniform(0, 1, (number, count)),
    ]  # fmt: skip
    return np.stack(parts, axis=1).astype(np.float32)[..., None, None]


def _inside(shape: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """1 inside shapes (count, h, w), 0 outside, with an edge of a pixel: ellipses, or polygons with 3 to 6 corners."""
    y, x, size, stretch, angle, corners, _ = shape
    dy, dx = rows - y, columns - x
    along, across = dx * torch.cos(angle) + dy * torch.sin(angle), dy * torch.cos(angle) - dx * torch.sin(angle)
    along, across = along / stretch, across * stretch
    distance = torch.hypot(along, across)
    direction = torch.atan2(across, along)
    sector = 2 * math.pi / corners
    polygon = distance * torch.cos(torch.remainder(direction, sector) - sector / 2)
    extent = torch.where(corners > 2, polygon, distance)
    inside: torch.Tensor = (size - extent + 0.5).clamp(0, 1)
    return inside


def _grid(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.meshgrid(
        torch.arange(SIDE, device=device, dtype=torch.float32), torch.arange(SIDE, device=device, dtype=torch.float32),
        indexing="ij",
    )  # fmt: skip
    return rows, columns


def leaves(count: int, numbers: np.random.Generator, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Shapes of all sizes that cover each other (dead leaves), some with texture on them."""
    rows, columns = _grid(device)
    fields = torch.full((count, SIDE, SIDE), 0.5, device=device)
    for shape in torch.from_numpy(_shapes(count, 220, (4.0, 60.0), numbers)).to(device):
        inside = _inside(shape, rows, columns)
        fields = fields * (1 - inside) + inside * shape[6]
    texture = power_law(count, numbers, generator, device)
    strength = torch.from_numpy((numbers.uniform(0, 0.5, count) * (numbers.random(count) < 0.6)).astype(np.float32))
    return _scaled(fields + strength.to(device)[:, None, None] * (texture - 0.5))


def particles(
    count: int, numbers: np.random.Generator, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Particles on an empty background, flat or domed, added where they overlap."""
    del generator
    rows, columns = _grid(device)
    fields = torch.zeros(count, SIDE, SIDE, device=device)
    shapes = _shapes(count, int(numbers.integers(12, 60)), (4.0, 22.0), numbers)
    for shape in torch.from_numpy(shapes).to(device):
        inside = _inside(shape, rows, columns)
        y, x, size = shape[:3]
        dome = (1 - ((rows - y).square() + (columns - x).square()) / (2.2 * size).square()).clamp(0, 1).sqrt()
        fields = fields + inside * torch.where(shape[5] > 4, torch.ones_like(dome), dome) * (0.3 + shape[6])
    return (fields / fields.amax((1, 2), keepdim=True).clamp_min(1e-6)).clamp(0, 1)


def strokes(count: int, numbers: np.random.Generator, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Lines and gratings of different widths and directions, as in circuits, fibres and test patterns."""
    del generator
    rows, columns = _grid(device)
    fields = torch.zeros(count, SIDE, SIDE, device=device)
    for shape in torch.from_numpy(_shapes(count, 60, (1.0, 6.0), numbers)).to(device):
        y, x, size, stretch, angle, corners, value = shape
        angle = torch.where(corners > 3, torch.round(angle / (math.pi / 2)) * (math.pi / 2), angle)
        along = (columns - x) * torch.cos(angle) + (rows - y) * torch.sin(angle)
        across = (rows - y) * torch.cos(angle) - (columns - x) * torch.sin(angle)
        period = 4 * size
        wave = torch.remainder(across, period) - period / 2
        width = torch.where(corners > 5, wave.abs(), across.abs())
        extent = torch.where(corners > 5, 4 * period, 0 * period)
        inside = (size + 0.5 - width).clamp(0, 1) * (20 * stretch + extent + 0.5 - along.abs()).clamp(0, 1)
        inside = inside * (torch.where(corners > 5, extent, 1e4 + 0 * extent) + 0.5 - across.abs()).clamp(0, 1)
        fields = torch.maximum(fields, inside * (0.4 + 0.6 * value))
    return fields


def bumps(count: int, numbers: np.random.Generator, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """Slowly varying fields, some with weak sharp marks on them."""
    rows, columns = _grid(device)
    fields = torch.zeros(count, SIDE, SIDE, device=device)
    for shape in torch.from_numpy(_shapes(count, 24, (20.0, 80.0), numbers)).to(device):
        y, x, size, stretch, _, _, value = shape
        fields = fields + (value - 0.5) * torch.exp(
            -(((rows - y) / (size * stretch)) ** 2) - (((columns - x) / size * stretch) ** 2)
        )
    fields = _scaled(fields)
    marks = leaves(count, numbers, generator, device)
    strength = torch.from_numpy((numbers.uniform(0, 0.25, count) * (numbers.random(count) < 0.7)).astype(np.float32))
    return _scaled(fields + strength.to(device)[:, None, None] * marks)


KINDS: Final[tuple[Kind, ...]] = (power_law, leaves, particles, strokes, bumps)
