"""Simulated scans of generated objects on which the network is trained, a batch at a time on one device.

Belongs here: what a training scan looks like. Objects are drawn by rules of this module; no picture and no generator
that results are judged on is used. Does not belong here: the losses, the network.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.torch_windows import Windows
from fly64_assets.pinn.pretrained.direction import returned_waves
from fly64_assets.pinn.pretrained.fields import KINDS, SIDE, log_uniform
from fly64_assets.pinn.pretrained.network import Illuminated

PATCH: Final = 64
"""Side N of the training frames [px]. The network works on the object plane and does not depend on it."""
FEWEST_FRAMES: Final = 8
AT_ONCE: Final = 32
"""Fields that are made together."""
PROBES: Final = 512
SCANS: Final = 600
"""Probes and sets of positions that are made; a scan takes one of each."""


@dataclass(frozen=True)
class Family:
    """Ranges from which a training scan is drawn; stored in the bundle.

    Attributes
    ----------
    photons_per_frame : (low, high)
        Mean photons per frame, logarithmically uniform.
    area_per_frame : (low, high)
        Object pixels per frame [px^2], logarithmically uniform.
    probe_diameter : (low, high)
        Diameter of the probe's disc [px].
    curvature : (low, high)
        Phase of the defocus at the rim of the disc [rad].
    phase_range : (low, high)
        Range of the object's phase [rad], logarithmically uniform.
    absorption : (low, high)
        Largest decrease of the object's amplitude.
    """

    photons_per_frame: tuple[float, float] = (2e2, 1e6)
    area_per_frame: tuple[float, float] = (60.0, 3000.0)
    probe_diameter: tuple[float, float] = (16.0, 44.0)
    curvature: tuple[float, float] = (-9.0, 9.0)
    phase_range: tuple[float, float] = (0.2, 3.0)
    absorption: tuple[float, float] = (0.0, 0.5)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain JSON types."""
        return {name: list(ends) for name, ends in asdict(self).items()}


class Pool:
    """Fields, probes and positions from which scans are put together, made once.

    Parameters
    ----------
    fields : int
        Number of fields (SIDE, SIDE) in [0, 1]; an object takes one for its phase and one for its amplitude.
    """

    def __init__(self, family: Family, fields: int, seed: int, device: torch.device) -> None:
        self.family, self.device = family, device
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self.numbers = np.random.default_rng([seed, 1])
        blocks = range(math.ceil(fields / AT_ONCE))
        kinds = [KINDS[block % len(KINDS)] for block in blocks]
        self.fields = torch.cat([kind(AT_ONCE, self.numbers, self.generator, device) for kind in kinds])
        self.probes = torch.from_numpy(np.stack([_probe(family, self.numbers) for _ in range(PROBES)])).to(device)
        self.positions = [_positions(family, self.numbers) for _ in range(SCANS)]

    @staticmethod
    def probes_of(family: Family, seed: int) -> list[NDArray[np.complex64]]:
        """Probes (N, N) complex64 of a family."""
        numbers = np.random.default_rng(seed)
        return [_probe(family, numbers) for _ in range(PROBES)]

    def scans(self, batch: int) -> Scans:
        """A batch of new scans, with counts drawn."""
        family, numbers = self.family, self.numbers
        objects = torch.stack([self._object() for _ in range(batch)])
        positions = [self._positions() for _ in range(batch)]
        which = torch.from_numpy(np.repeat(np.arange(batch), [len(p) for p in positions])).to(self.device)
        probes = self.probes[torch.from_numpy(numbers.integers(len(self.probes), size=batch)).to(self.device)]
        doses = log_uniform(numbers, family.photons_per_frame, batch)
        return Scans.simulated(objects, np.concatenate(positions), which, probes, doses, self.generator)

    def _object(self) -> torch.Tensor:
        numbers, family = self.numbers, self.family
        phase = self._field()
        other = self._field() if numbers.random() < 0.6 else phase
        mixed = numbers.random()
        if numbers.random() < 0.3:
            phase = (1 - 0.4 * mixed) * phase + 0.4 * mixed * self._field()
        radians = float(log_uniform(numbers, family.phase_range, 1)[0]) * (1 if numbers.random() < 0.7 else -1)
        amplitude = 1.0 - numbers.uniform(*family.absorption) * other
        return torch.polar(amplitude, radians * phase)

    def _positions(self) -> NDArray[np.float64]:
        positions = self.positions[int(self.numbers.integers(SCANS))]
        positions = positions[:, ::-1] if self.numbers.random() < 0.5 else positions
        return np.where(self.numbers.random(2) < 0.5, positions, SIDE - PATCH - 2 - positions)

    def _field(self) -> torch.Tensor:
        field = self.fields[int(self.numbers.integers(len(self.fields)))]
        field = torch.rot90(field, int(self.numbers.integers(4)))
        field = field.flip(0) if self.numbers.random() < 0.5 else field
        return 1 - field if self.numbers.random() < 0.3 else field


@dataclass(frozen=True)
class Scans:
    """A batch of b scans of n frames in all.

    Attributes
    ----------
    objects : (b, SIDE, SIDE) complex64
        The truth.
    windows : Windows
        Of all frames, on the objects below each other, (b SIDE, SIDE).
    which : (n,) int64
        The scan of each frame.
    probes : (b, N, N) complex64
    scales : (b,) float32
        Intensity scales s.
    counts : (n, N, N) float32
        DC in the corner.
    """

    objects: torch.Tensor
    windows: Windows
    which: torch.Tensor
    probes: torch.Tensor
    scales: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def simulated(
        cls,
        objects: torch.Tensor,
        positions: NDArray[np.float64],
        which: torch.Tensor,
        probes: torch.Tensor,
        doses: NDArray[np.float64],
        generator: torch.Generator,
    ) -> Scans:
        """Scans with Poisson counts: ``positions`` (n, 2) [px] are window corners, row and column, of the objects."""
        device, batch = objects.device, len(objects)
        corners = torch.from_numpy(np.floor(positions).astype(np.int64)).to(device)
        fractions = torch.from_numpy((positions - np.floor(positions)).astype(np.float32)).to(device)
        corners[:, 0] += which * SIDE
        windows = Windows(corners, PATCH, fractions, fused=True)
        grid = objects.reshape(batch * SIDE, SIDE)
        rates = torch.fft.fft2(probes[which] * windows.read(grid), norm="ortho").abs().square()
        energy = rates.sum((1, 2))
        frames = torch.bincount(which, minlength=batch)
        mean = torch.zeros(batch, device=device).index_add_(0, which, energy) / frames
        scales = (torch.from_numpy(doses.astype(np.float32)).to(device) / mean).sqrt()
        counts = torch.poisson(rates * scales[which, None, None].square(), generator=generator)
        return cls(objects, windows, which, probes, scales, counts)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(b, SIDE, SIDE)."""
        return (len(self.objects), SIDE, SIDE)

    def illumination(self) -> torch.Tensor:
        """Sum of |P|^2 over the positions, (b, SIDE, SIDE) float32."""
        total = torch.zeros(self.shape[0] * SIDE, SIDE, dtype=torch.complex64, device=self.which.device)
        intensity = self.probes.abs().square().to(torch.complex64)[self.which]
        self.windows.add(total, intensity)
        return total.real.reshape(self.shape).contiguous()

    def illuminated(self, illumination: torch.Tensor) -> Illuminated:
        """What the network is told of the dose."""
        scale = self.scales.square()
        return Illuminated(illumination * scale[:, None, None], scale)

    def start(self, illumination: torch.Tensor) -> torch.Tensor:
        """Objects of the constant modulus that gives as many photons as were counted."""
        batch = self.shape[0]
        counted = torch.zeros(batch, device=self.which.device).index_add_(0, self.which, self.counts.sum((1, 2)))
        modulus = (counted / (illumination.sum((1, 2)) * self.scales.square())).sqrt()
        return modulus[:, None, None].expand(self.shape).to(torch.complex64)

    def direction(self, objects: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """Direction of the likelihood (b, SIDE, SIDE), with gradients."""
        grid = objects.reshape(-1, SIDE)
        patches = _Read.apply(grid, self.windows)  # type: ignore[no-untyped-call]
        probes, scales = self.probes[self.which], self.scales[self.which, None, None]
        waves = returned_waves(probes * patches, self.counts, scales, background)
        changes = probes.conj() * waves
        total: torch.Tensor = _Add.apply(changes, self.windows, grid.shape)  # type: ignore[no-untyped-call]
        return total.reshape(self.shape)


class _Read(torch.autograd.Function):
    """Windows of a grid; adding windows is its adjoint, and much faster than the derivative of an index."""

    @staticmethod
    def forward(ctx: Any, grid: torch.Tensor, windows: Windows) -> torch.Tensor:
        ctx.windows, ctx.shape = windows, grid.shape
        return windows.read(grid)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = torch.zeros(ctx.shape, dtype=gradient.dtype, device=gradient.device)
        ctx.windows.add(total, gradient)
        return total, None


class _Add(torch.autograd.Function):
    """Windows added to a grid of zeros, the adjoint of :class:`_Read`."""

    @staticmethod
    def forward(ctx: Any, patches: torch.Tensor, windows: Windows, shape: tuple[int, int]) -> torch.Tensor:
        ctx.windows = windows
        total = torch.zeros(shape, dtype=patches.dtype, device=patches.device)
        windows.add(total, patches)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.windows.read(gradient.contiguous()), None, None


def _positions(family: Family, numbers: np.random.Generator) -> NDArray[np.float64]:
    """Corners of windows (n, 2) [px]: anywhere, anywhere but apart, on a raster with jitter, or on a spiral."""
    side = SIDE - PATCH - 2
    area = float(log_uniform(numbers, family.area_per_frame, 1)[0])
    kind = numbers.integers(4)
    wanted = max(FEWEST_FRAMES, round(side**2 / area))
    if kind == 0:
        return numbers.uniform(0, side, (wanted, 2))
    if kind == 1:
        return _apart(numbers, side, math.sqrt(area) * 0.8, 4 * wanted)
    if kind == 2:
        number = max(3, round(side / math.sqrt(area)))
        step = side / number
        rows, columns = np.mgrid[:number, :number].reshape(2, -1)
        jitter = numbers.uniform(-0.25, 0.25, (number**2, 2))
        return np.clip((np.stack([rows, columns], 1) + 0.5 + jitter) * step, 0, side)
    index = np.arange(2 * wanted)
    radius, angle = math.sqrt(area / math.pi) * np.sqrt(index), index * math.pi * (3 - math.sqrt(5))
    points = side / 2 + np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1)
    inside = points[np.all((points >= 0) & (points <= side), axis=1)]
    return inside if len(inside) >= FEWEST_FRAMES else numbers.uniform(0, side, (wanted, 2))


def _apart(numbers: np.random.Generator, side: float, distance: float, tries: int) -> NDArray[np.float64]:
    """Random points no two of which are nearer than a distance, in the order in which they are tried."""
    points = numbers.uniform(0, side, (tries, 2))
    kept = np.empty((0, 2))
    for point in points:
        if not len(kept) or np.min(np.sum((kept - point) ** 2, axis=1)) >= distance**2:
            kept = np.append(kept, point[None], axis=0)
    return kept if len(kept) >= FEWEST_FRAMES else points[:FEWEST_FRAMES]


def _probe(family: Family, numbers: np.random.Generator) -> NDArray[np.complex64]:
    """A disc with a soft edge and a defocus, a Gaussian, a ring, or a disc through a diffuser; |P| is 1 at most."""
    rows, columns = (np.mgrid[:PATCH, :PATCH] - PATCH / 2 + numbers.uniform(-0.5, 0.5)).astype(np.float64)
    radius = numbers.uniform(*family.probe_diameter) / 2
    distance = np.hypot(rows, columns)
    edge = numbers.uniform(1.0, 4.0)
    disc = 1 / (1 + np.exp((distance - radius) * 4 / edge))
    phase = numbers.uniform(*family.curvature) * (distance / radius) ** 2
    kind = numbers.random()
    if kind < 0.2:
        disc = np.exp(-((distance / (0.8 * radius)) ** 2))
    elif kind < 0.35:
        disc = disc * (1 - 0.9 * np.exp(-((distance / (numbers.uniform(0.2, 0.5) * radius)) ** 2)))
    elif kind < 0.55:
        spectrum = np.exp(-((np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(PATCH)])) * numbers.uniform(4, 14)) ** 2))
        field = np.fft.ifft2(np.fft.fft2(numbers.normal(size=(PATCH, PATCH))) * spectrum).real
        phase = phase + numbers.uniform(0.5, 3) * field / field.std()
    probe = disc * np.exp(1j * phase)
    normal: NDArray[np.complex64] = (probe / np.abs(probe).max()).astype(np.complex64)
    return normal
