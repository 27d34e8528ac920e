"""The regularisation path: maximum-likelihood objects of a scan at decreasing total-variation (TV) weights.

Belongs here: the accelerated, preconditioned solver, without a network. Does not belong here: networks, the division
of counts, the choice between the objects. Imported by engine processes only.

One step is the change of the amplitudes towards the measured ones, taken back to the object plane, as in the
reciprocal-space steps of error reduction; it is modified by

- variance-stabilising weights that do not bias dark pixels (:func:`_wave_change`),
- a preconditioner that gives slowly varying phases, which frames constrain weakly, long steps
  (:class:`_Preconditioner`),
- the momentum of Nesterov (Soviet Math. Dokl. 27, 372, 1983), reset at every weight,
- isotropic total variation of the complex object (Rudin, Osher and Fatemi, Physica D 60, 259, 1992), smoothed so
  that it has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import torch

from fly64_assets.engines.process import Progress
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane

Counts = Callable[[slice], torch.Tensor]
"""Counts (b, N, N) float32 of consecutive frames, DC in the corner."""

DARK_COUNTS: Final = 0.5
"""Added to counts and rates [photons]; it bounds the weight of single photons in dark pixels."""
EDGE: Final = 0.02
"""Change of the object from pixel to pixel above which the smoothed total variation is linear."""
STEEPEST: Final = 8.0
"""Largest curvature of the smoothed total variation, times :data:`EDGE`."""
LEAST_CURVATURE: Final = 0.02
"""Least curvature of the likelihood along slowly varying phases, relative to that along the amplitude: it bounds
the length of their steps."""
IN_MEMORY_BYTES: Final = 512 * 2**20
"""Counts up to this size stay in memory from step to step."""
LEAST_ILLUMINATION: Final = 0.02
"""Relative to the largest; steps are no longer where there is less."""


def regularisation_path(
    plane: ObjectPlane,
    counts: Counts,
    scale: float,
    levels: Sequence[float],
    iterations: int,
    progress: Progress = lambda _done, _total, _values: None,
) -> list[torch.Tensor]:
    """Objects (H, W) complex64, one per TV weight, each started from the one before.

    Parameters
    ----------
    counts : callable
        Counts (b, N, N) float32 of consecutive frames, DC in the corner, on the device of the plane; ``scale`` is the
        intensity scale that belongs to them.
    levels : sequence of float
        TV weights, decreasing, in units of the square root of the mean photons per object pixel: the statistical
        strength of the data grows in proportion to that, so that the same weights serve every dose.
    iterations : int
        Steps at each weight; every step uses all frames.
    progress : callable
        Called after every step with (steps done, steps, no values).
    """
    likelihood = RegularisedLikelihood(plane, counts, scale)
    obj, path = likelihood.constant(), []
    steps = 0
    for level in levels:
        for after, _ in islice(likelihood.steps(obj, level), iterations):
            obj = after
            steps += 1
            progress(steps, len(levels) * iterations, {})
        path.append(obj)
    return path


class RegularisedLikelihood:
    """Steps that minimise a stabilised negative log-likelihood plus total variation, for one set of counts.

    With the rates l = scale^2 |F P O|^2, the counts c, d = DARK_COUNTS and n photons per object pixel the objective is

        2 sum (sqrt(c + d) - sqrt(l + d))^2 + 2 level sqrt(n) sum sqrt(|d/dy O|^2 + |d/dx O|^2 + EDGE^2),

    whose first term is, for bright pixels, the negative Poisson log-likelihood up to a constant.

    Parameters
    ----------
    plane, counts, scale
        As for :func:`regularisation_path`.
    """

    def __init__(self, plane: ObjectPlane, counts: Counts, scale: float) -> None:
        self._plane, self._counts, self._scale = plane, counts, scale
        if 4 * plane.frames * plane.physics.probe.numel() <= IN_MEMORY_BYTES:
            cache = {rows.start: counts(rows) for rows in plane.blocks()}
            self._counts = lambda rows: cache[rows.start]
        illumination = plane.illumination
        # Weighted by the illumination itself: an object pixel counts as often as it is measured.
        self._photons = scale**2 * float(illumination.square().sum() / illumination.sum())
        self._preconditioner = _Preconditioner(plane)

    def constant(self) -> torch.Tensor:
        """Constant object (H, W) complex64 to start from: it explains as many photons as the frames hold on average."""
        plane = self._plane
        photons = sum(float(self._counts(rows).sum(dtype=torch.float64)) for rows in plane.blocks()) / plane.frames
        expected = self._scale**2 * float(plane.physics.probe.abs().square().sum())
        level = math.sqrt(max(photons, 1e-12) / expected)
        return torch.full(plane.shape, level, dtype=torch.complex64, device=plane.device)

    def steps(self, obj: torch.Tensor, level: float) -> Iterator[tuple[torch.Tensor, float]]:
        """Object (H, W) after every step from ``obj``, without end, and the objective at the point it started from."""
        # Half the weight, as the step minimises half the negative log-likelihood over scale^2.
        weight = 0.5 * level * math.sqrt(self._photons) / self._scale**2
        ahead, momentum = obj, 1.0
        while True:
            change, misfit = _likelihood_change(self._plane, self._counts, self._scale, ahead)
            gradient, variation = _variation_gradient(ahead)
            after = ahead + self._preconditioner(change - weight * gradient, ahead, STEEPEST * weight / EDGE)
            later = 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * momentum**2))
            ahead = after + (momentum - 1.0) / later * (after - obj)
            obj, momentum = after, later
            yield obj, 2.0 * (misfit + level * math.sqrt(self._photons) * variation)


def _likelihood_change(
    plane: ObjectPlane, counts: Counts, scale: float, obj: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Sums over all frames of P* F^-1 (change of the waves at the detector), (H, W), and of the misfit."""
    physics = plane.physics
    total, misfit = torch.zeros_like(obj), 0.0
    for rows in plane.blocks():
        field = torch.fft.fft2(physics.waves(plane.read(obj, rows)), norm="ortho")
        wave_change, misfit_of_block = _wave_change(field, counts(rows), scale)
        misfit += misfit_of_block
        change = torch.fft.ifft2(wave_change, norm="ortho")
        plane.add(total, physics.on_window(change) * physics.on_window(physics.probe).conj(), rows)
    return total, misfit


def _wave_change(field: torch.Tensor, counts: torch.Tensor, scale: float) -> tuple[torch.Tensor, float]:
    """Change of the waves (b, N, N) at the detector towards the counts, and the misfit that it decreases.

    (c - l) / ((sqrt(c + d) + sqrt(l + d)) sqrt(l + d)) times the wave, with the rate l and d = DARK_COUNTS. For
    bright pixels this is the projection on the measured amplitude; in dark ones, where the mean of sqrt(c) is far
    below sqrt(l), it stays nearly linear in the counts and so nearly without bias. The misfit, of which it is the
    negative gradient over scale^2, is the sum of (sqrt(c + d) - sqrt(l + d))^2.
    """
    rates = scale**2 * (field.real.square() + field.imag.square())
    root = (rates + DARK_COUNTS).sqrt()
    measured = (counts + DARK_COUNTS).sqrt()
    misfit = float((measured - root).square().sum(dtype=torch.float64))
    return (counts - rates) / ((measured + root) * root) * field, misfit


def _variation_gradient(obj: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Gradient (H, W) of the sum of sqrt(|d/dy O|^2 + |d/dx O|^2 + EDGE^2), and that sum."""
    down = torch.diff(obj, dim=0, append=obj[-1:])
    right = torch.diff(obj, dim=1, append=obj[:, -1:])
    inverse = (down.abs().square() + right.abs().square() + EDGE**2).rsqrt()
    down, right = down * inverse, right * inverse
    gradient = -down - right
    gradient[1:] += down[:-1]
    gradient[:, 1:] += right[:, :-1]
    return gradient, float(inverse.reciprocal().sum(dtype=torch.float64))


class _Preconditioner:
    """Approximate inverse of the likelihood's curvature around a constant object.

    The global phase of a frame is undetermined, so that phases which vary little across the probe hardly change the
    counts: around a constant object the curvature along a phase of spatial frequency k is proportional to
    1 - |w(k)|^2, along a log-amplitude to 1 + |w(k)|^2, where w is the transform of the probe's normalised intensity.
    Plain steps would take thousands of iterations to build such phases up; divided by their curvature, they take as
    long as any other. Both curvatures are diagonal in spatial frequency, and the illumination's is diagonal in
    position: the illumination's square root on either side keeps the product symmetric.
    """

    def __init__(self, plane: ObjectPlane) -> None:
        illumination = plane.illumination
        self._illumination = illumination + LEAST_ILLUMINATION * illumination.max()
        spot = torch.zeros(plane.shape, device=plane.device)
        weight = plane.physics.weight
        spot[: weight.shape[0], : weight.shape[1]] = weight / weight.sum()
        transfer = torch.fft.fft2(spot).abs().square()
        self._phase = 1.0 / (1.0 - transfer + LEAST_CURVATURE)
        self._amplitude = 1.0 / (1.0 + transfer)

    def __call__(self, change: torch.Tensor, obj: torch.Tensor, variation: float) -> torch.Tensor:
        """Scaled change (H, W) at ``obj``, with the curvature of total variation added to the likelihood's."""
        # Real and imaginary part along the object's own direction are changes of log-amplitude and of phase.
        direction = torch.sgn(obj)
        root = (self._illumination + variation).rsqrt()
        local = change * direction.conj() * root
        amplitude = torch.fft.ifft2(torch.fft.fft2(local.real) * self._amplitude).real
        phase = torch.fft.ifft2(torch.fft.fft2(local.imag) * self._phase).real
        return torch.complex(amplitude, phase) * direction * root
