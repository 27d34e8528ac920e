"""Network-free objects of a scan: likelihood steps from a constant, at several strengths of smoothing.

Belongs here: the accelerated, preconditioned solver that feeds the ``unrolled`` network. Does not belong here:
networks, the division of photons, the choice between the objects. Imported by engine processes only.

One step is the change of the amplitudes towards the measured ones, taken back to the object plane, as in the
reciprocal-space steps of error reduction; in front of it stand

- variance-stabilising weights that do not bias dark pixels (:func:`_wave_change`),
- a preconditioner that gives slow, long-ranged phases long steps (:class:`_Preconditioner`),
- the momentum of Nesterov (1983), begun anew at every level,
- isotropic total variation of the complex object (Rudin, Osher, Fatemi 1992), smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch

from fly64_assets.pinn.callbacks import Progress
from fly64_assets.pinn.unrolled.object_plane import Scene

Frames = Callable[[slice], torch.Tensor]
"""Counts (b, N, N) float32 of consecutive frames, DC in the corner."""

DARK_COUNTS: Final = 0.5
"""Added to counts and rates [photons], so that single photons in dark pixels do not weigh without bound."""
EDGE: Final = 0.02
"""Change of the object between pixels from which total variation is linear."""
STEEPEST: Final = 8.0
"""Largest curvature of the smoothed total variation, times EDGE."""
LEAST_CURVATURE: Final = 0.02
"""Of the likelihood along long-ranged phases, relative to that along the amplitude."""
KEPT_BYTES: Final = 512 * 2**20
"""Counts up to this size stay in memory from step to step."""
LEAST_LIGHT: Final = 0.02
"""Illumination below which steps get no longer, relative to the largest."""


def constant_object(scene: Scene, frames: Frames, scale: float) -> torch.Tensor:
    """Constant plane (H, W) complex64 whose frames hold as many photons as the measured ones do on average."""
    photons = sum(float(frames(rows).sum(dtype=torch.float64)) for rows in scene.blocks()) / scene.frames
    expected = scale**2 * float(scene.physics.probe.abs().square().sum())
    level = math.sqrt(max(photons, 1e-12) / expected)
    return torch.full(scene.shape, level, dtype=torch.complex64, device=scene.device)


def likelihood_path(
    scene: Scene,
    frames: Frames,
    scale: float,
    levels: Sequence[float],
    iterations: int,
    progress: Progress = lambda _done, _total, _values: None,
) -> list[torch.Tensor]:
    """Objects (H, W) complex64, one per level, each started from the one before.

    Parameters
    ----------
    frames : callable
        Counts of the frames.
    scale : float
        Intensity scale that belongs to these counts.
    levels : sequence of float
        Strengths of total variation, falling; in units of the square root of the mean photons per object pixel,
        with which the statistical strength of the data grows.
    iterations : int
        Steps per level, each over all frames.
    progress : callable
        Called after every step with (steps done, steps, nothing).
    """
    frames = _kept(scene, frames)
    light = scene.illumination
    photons = scale**2 * float(light.square().sum() / light.sum())
    preconditioner = _Preconditioner(scene)
    obj, path = constant_object(scene, frames, scale), []
    steps = 0
    for level in levels:
        # Half the weight, as the step minimises half the negative log-likelihood over scale^2.
        weight = 0.5 * level * math.sqrt(photons) / scale**2
        ahead, momentum = obj, 1.0
        for _ in range(iterations):
            steps += 1
            change = _likelihood_change(scene, frames, scale, ahead) - weight * _variation_gradient(ahead)
            after = ahead + preconditioner(change, ahead, STEEPEST * weight / EDGE)
            later = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum**2))
            ahead = after + (momentum - 1.0) / later * (after - obj)
            obj, momentum = after, later
            progress(steps, len(levels) * iterations, {})
        path.append(obj)
    return path


def _kept(scene: Scene, frames: Frames) -> Frames:
    """The same frames, asked for only once if all of them fit into :data:`KEPT_BYTES`."""
    if 4 * scene.frames * scene.physics.probe.numel() > KEPT_BYTES:
        return frames
    kept = {rows.start: frames(rows) for rows in scene.blocks()}
    return lambda rows: kept[rows.start]


def _likelihood_change(scene: Scene, frames: Frames, scale: float, plane: torch.Tensor) -> torch.Tensor:
    """Sum over all frames of P* F^-1 (change of the waves at the detector), (H, W)."""
    physics = scene.physics
    total = torch.zeros_like(plane)
    for rows in scene.blocks():
        field = torch.fft.fft2(physics.waves(scene.read(plane, rows)), norm="ortho")
        change = torch.fft.ifft2(_wave_change(field, frames(rows), scale), norm="ortho")
        scene.add(total, physics.on_window(change) * physics.on_window(physics.probe).conj(), rows)
    return total


def _wave_change(field: torch.Tensor, counts: torch.Tensor, scale: float) -> torch.Tensor:
    """Change of the waves towards the counts.

    (c - l) / ((sqrt(c + d) + sqrt(l + d)) sqrt(l + d)) times the wave, with the rate l and d = DARK_COUNTS. For
    bright pixels this is the projection on the measured amplitude; in dark ones, where the mean of sqrt(c) is far
    below sqrt(l), it stays nearly linear in the counts and so nearly without bias.
    """
    rates = scale**2 * (field.real.square() + field.imag.square())
    root = (rates + DARK_COUNTS).sqrt()
    return (counts - rates) / (((counts + DARK_COUNTS).sqrt() + root) * root) * field


def _variation_gradient(plane: torch.Tensor) -> torch.Tensor:
    """Gradient of the sum of sqrt(|d/dy O|^2 + |d/dx O|^2 + EDGE^2), (H, W)."""
    down = torch.diff(plane, dim=0, append=plane[-1:])
    right = torch.diff(plane, dim=1, append=plane[:, -1:])
    inverse = (down.abs().square() + right.abs().square() + EDGE**2).rsqrt()
    down, right = down * inverse, right * inverse
    gradient = -down - right
    gradient[1:] += down[:-1]
    gradient[:, 1:] += right[:, :-1]
    return gradient


class _Preconditioner:
    """Approximate inverse of the likelihood's curvature around a constant object.

    A frame does not know its own global phase, so that phases which vary little across the probe are hardly seen:
    around a constant object the curvature along a phase of spatial frequency k is proportional to 1 - |w(k)|^2, along
    a log-amplitude to 1 + |w(k)|^2, where w is the transform of the probe's normalised intensity.
    """

    def __init__(self, scene: Scene) -> None:
        light = scene.illumination
        self._light = light + LEAST_LIGHT * light.max()
        spot = torch.zeros(scene.shape, device=scene.device)
        weight = scene.physics.weight
        spot[: weight.shape[0], : weight.shape[1]] = weight / weight.sum()
        seen = torch.fft.fft2(spot).abs().square()
        self._phase = 1.0 / (1.0 - seen + LEAST_CURVATURE)
        self._amplitude = 1.0 / (1.0 + seen)

    def __call__(self, change: torch.Tensor, plane: torch.Tensor, more: float) -> torch.Tensor:
        """Scaled change, with ``more`` curvature than the likelihood's alone."""
        turn = torch.sgn(plane)
        root = (self._light + more).rsqrt()
        local = change * turn.conj() * root
        amplitude = torch.fft.ifft2(torch.fft.fft2(local.real) * self._amplitude).real
        phase = torch.fft.ifft2(torch.fft.fft2(local.imag) * self._phase).real
        return torch.complex(amplitude, phase) * turn * root
