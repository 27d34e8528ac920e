"""The regularisation path: maximum-likelihood objects of a scan at decreasing total-variation (TV) weights.

Belongs here: the objective, its preconditioner, when a minimum is reached; no network. Does not belong here: the
minimisation itself (:mod:`fly64_assets.pinn.unrolled.minimiser`), networks, the division of counts, the choice between
the objects. Imported by engine processes only.

The objective is the Poisson likelihood of the counts with isotropic total variation of the complex object (Rudin,
Osher and Fatemi, Physica D 60, 259, 1992), smoothed so that it has a gradient. Two things make it tractable:

- a background for the detail that a smooth object lacks (:mod:`fly64_assets.pinn.unrolled.model_error`), which
  bounds the weight of photons in detector pixels where the object so far predicts none;
- a preconditioner that gives slowly varying phases, which frames constrain weakly, long steps
  (:class:`_Preconditioner`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Final

import torch

from fly64_assets.engines.process import Progress
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.pinn.unrolled.minimiser import Function, Preconditioner, descent
from fly64_assets.pinn.unrolled.model_error import EM_ITERATIONS, fitted_background
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane

Counts = Callable[[slice], torch.Tensor]
"""Counts (b, N, N) float32 of consecutive frames, DC in the corner."""

FIRST_PART: Final = 2
"""Steps at the first weight, which starts from a constant, relative to the others."""
EDGE: Final = 0.02
"""Change of the object from pixel to pixel above which the smoothed total variation is linear."""
LEAST_BACKGROUND: Final = 1e-3
"""Added to the rates at least [photons per detector pixel]."""
BACKGROUND_FRAMES: Final = 128
"""Frames from which the background is fitted, evenly spread over the scan."""
REFIT_ITERATIONS: Final = 20
"""Iterations with which the background follows the object from weight to weight."""
LEAST_CURVATURE: Final = 0.02
"""Least curvature of the likelihood along slowly varying phases, relative to that along the amplitude: it bounds
the length of their steps."""
JUDGED_STEPS: Final = 10
"""Steps over which the objective must decrease for a minimisation to go on."""
LEAST_DECREASE: Final = 1.0
"""That decrease [nats]: counts can hardly tell objects apart whose likelihood differs by less."""
ROUNDING: Final = 1e-7
"""Accuracy of the objective [nats per photon], as rates are sums in single precision."""
LEAST_VISIBLE: Final = 0.5
"""Part of the light of a constant object that is taken to reach measured pixels at least: where a beamstop hides more,
most of the photons beside it come from details."""
LEAST_ILLUMINATION: Final = 0.02
"""Relative to the largest; steps are no longer where there is less."""


def regularisation_path(
    plane: ObjectPlane,
    counts: Counts,
    scale: float,
    levels: Sequence[float],
    iterations: int,
    progress: Progress = lambda _done, _total, _values: None,
    starts: Sequence[torch.Tensor] = (),
) -> list[torch.Tensor]:
    """Objects (H, W) complex64, one per TV weight: the first from a constant, each of the others from the one before.

    Parameters
    ----------
    counts : callable
        Counts (b, N, N) float32 of consecutive frames, DC in the corner, on the device of the plane; ``scale`` is the
        intensity scale that belongs to them.
    levels : sequence of float
        TV weights, decreasing, in units of the square root of the mean photons per object pixel: the statistical
        strength of the data grows in proportion to that, so that the same weights serve every dose.
    iterations : int
        Most steps at each weight, :data:`FIRST_PART` times as many at the first; every step uses all frames. Fewer are
        taken where the objective is at its minimum.
    progress : callable
        Called after every step with (steps done, most steps, no values).
    starts : sequence of (H, W) complex64, optional
        An object for every weight to start from, instead of the one before.
    """
    likelihood = RegularisedLikelihood(plane, counts, scale)
    path: list[torch.Tensor] = []
    most = (len(levels) - 1 + (1 if starts else FIRST_PART)) * iterations
    done = count(1)
    for index, level in enumerate(levels):
        start = starts[index] if starts else path[-1] if path else None
        path.append(likelihood.minimised(level, start, iterations, lambda _value: progress(next(done), most, {})))
    return path


def search(
    levels: Sequence[float],
    minimised: Callable[[float, torch.Tensor | None], torch.Tensor],
    held_out_loss: Callable[[torch.Tensor], float],
    patience: int,
) -> tuple[list[torch.Tensor], list[float]]:
    """Objects of decreasing TV weights, and their held-out losses, until ``patience`` in a row predict worse.

    Weaker weights fit ever more noise, so that the loss is taken to have one minimum.

    Parameters
    ----------
    minimised : callable
        The object with a weight, started from another object, or (None) from a constant.
    """
    objects: list[torch.Tensor] = []
    losses: list[float] = []
    for level in levels:
        objects.append(minimised(level, objects[-1] if objects else None))
        losses.append(held_out_loss(objects[-1]))
        if len(losses) - 1 - losses.index(min(losses)) >= patience:
            break
    return objects, losses


class RegularisedLikelihood:
    """Steps that minimise a negative log-likelihood plus total variation, for one set of counts.

    With the rates l = scale^2 |F P O|^2, the counts c, a background b and n photons per object pixel the objective is

        sum (l + b - c + c log(c / (l + b))) + 2 level sqrt(n) sum sqrt(|d/dy O|^2 + |d/dx O|^2 + EDGE^2),

    whose first term is the negative Poisson log-likelihood less its least value. In the form NLL + mu sqrt(n) TV, mu
    is twice the level. The background is the same for all frames; it is fitted anew before each minimisation.

    The first sum is over the measured pixels of the detector alone. Details scatter photons all over it, so that the
    photons n are those of the illumination times the part of the pixels that are measured.

    Parameters
    ----------
    plane, counts, scale
        As for :func:`regularisation_path`.
    """

    def __init__(self, plane: ObjectPlane, counts: Counts, scale: float) -> None:
        self._plane, self._counts, self._scale = plane, counts, scale
        if plane.holds_counts:
            cache = {rows.start: counts(rows) for rows in plane.blocks()}
            self._counts = lambda rows: cache[rows.start]
        illumination = plane.illumination
        # Weighted by the illumination itself: an object pixel counts as often as it is measured.
        self._photons = scale**2 * float(illumination.square().sum() / illumination.sum())
        if plane.bad_pixels is not None:
            self._photons *= 1 - float(plane.bad_pixels.double().mean())
        self._rounding = ROUNDING * sum(float(self._counts(rows).sum(dtype=torch.float64)) for rows in plane.blocks())
        self._background: torch.Tensor | None = None

    def constant(self) -> torch.Tensor:
        """Constant object (H, W) complex64 to start from: it explains as many photons as the frames hold on average."""
        plane = self._plane
        photons = sum(float(self._counts(rows).sum(dtype=torch.float64)) for rows in plane.blocks()) / plane.frames
        expected = self._scale**2 * float(plane.physics.probe.abs().square().sum())
        if plane.bad_pixels is not None:
            expected *= max(LEAST_VISIBLE, float(_measured_part(plane.physics.probe, plane.bad_pixels)[0, 0]))
        level = math.sqrt(max(photons, 1e-12) / expected)
        return torch.full(plane.shape, level, dtype=torch.complex64, device=plane.device)

    def minimised(
        self,
        level: float,
        start: torch.Tensor | None,
        iterations: int,
        after_step: Callable[[float], None] = lambda _value: None,
    ) -> torch.Tensor:
        """The object (H, W) after at most so many steps from another, or :data:`FIRST_PART` as many from a constant.

        ``after_step`` gets the objective after every step.
        """
        obj = self.constant() if start is None else start
        for after, value in islice(self.steps(obj, level), iterations * (FIRST_PART if start is None else 1)):
            obj = after
            after_step(value)
        return obj

    def steps(self, obj: torch.Tensor, level: float) -> Iterator[tuple[torch.Tensor, float]]:
        """Object (H, W) and objective after every step from ``obj``, until ten steps gain less than a nat."""
        self._background = self.fitted_background(obj)
        function = self.objective(level, self._background)
        passed: list[float] = []
        for after, value in descent(function, self._preconditioner(obj, level), obj, self._rounding):
            yield after, value
            passed.append(value)
            if len(passed) > JUDGED_STEPS and passed[-1 - JUDGED_STEPS] - value < LEAST_DECREASE:
                return

    def objective(self, level: float, background: torch.Tensor) -> Function:
        """The objective with a TV weight and a background (N, N): its value, its gradient with respect to O*."""
        weight = level * math.sqrt(self._photons)

        def function(obj: torch.Tensor) -> tuple[float, torch.Tensor]:
            misfit, gradient = self.misfit(obj, background)
            variation, slope = _variation(obj)
            return misfit + 2.0 * weight * variation, gradient + weight * slope

        return function

    def misfit(self, obj: torch.Tensor, background: torch.Tensor) -> tuple[float, torch.Tensor]:
        """First term of the objective and its gradient (H, W)."""
        plane, physics, scale = self._plane, self._plane.physics, self._scale
        back = (scale * physics.on_window(physics.probe)).conj()
        total, misfit = torch.zeros_like(obj), 0.0
        for rows in plane.blocks():
            waves = scale * torch.fft.fft2(physics.waves(plane.read(obj, rows)), norm="ortho")
            counts = self._counts(rows)
            rates = _squared(waves) + background
            ratio = counts / rates
            if plane.bad_pixels is not None:
                # Counts are 0 there: neither a misfit nor a gradient is left.
                rates, ratio = rates.masked_fill(plane.bad_pixels, 0.0), ratio.masked_fill(plane.bad_pixels, 1.0)
            # c log(c / l) as the function that is 0 at c = 0.
            misfit += float((rates - counts + torch.special.xlogy(counts, ratio)).sum(dtype=torch.float64))
            change = torch.fft.ifft2(waves * (1.0 - ratio), norm="ortho")
            plane.add(total, physics.on_window(change) * back, rows)
        return misfit, total

    def fitted_background(self, obj: torch.Tensor) -> torch.Tensor:
        """The background that this object leaves, from the counts that are minimised."""
        plane = self._plane
        wanted = set(evenly_spread(plane.frames, BACKGROUND_FRAMES).tolist())
        rates, counts = [], []
        for rows in plane.blocks():
            inside = [frame - rows.start for frame in range(rows.start, rows.stop) if frame in wanted]
            if inside:
                windows = plane.read(obj, torch.tensor([rows.start + frame for frame in inside], device=plane.device))
                rates.append(plane.physics.corner_rates(windows, self._scale))
                counts.append(self._counts(rows)[inside])
        iterations = EM_ITERATIONS if self._background is None else REFIT_ITERATIONS
        seen = torch.cat(rates), torch.cat(counts)
        fitted = fitted_background(*seen, iterations, self._background, plane.bad_pixels)
        return fitted.clamp_min(LEAST_BACKGROUND)

    def _preconditioner(self, obj: torch.Tensor, level: float) -> Preconditioner:
        return _Preconditioner(self._plane, obj, self._scale, level * math.sqrt(self._photons))


def _variation(obj: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Sum of sqrt(|d/dy O|^2 + |d/dx O|^2 + EDGE^2), and its gradient (H, W): twice that to the conjugate."""
    down = torch.diff(obj, dim=0, append=obj[-1:])
    right = torch.diff(obj, dim=1, append=obj[:, -1:])
    inverse = _inverse_variation(down, right)
    down, right = down * inverse, right * inverse
    gradient = -down - right
    gradient[1:] += down[:-1]
    gradient[:, 1:] += right[:, :-1]
    return float(inverse.reciprocal().sum(dtype=torch.float64)), gradient


def _inverse_variation(down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    squares = _squared(down) + _squared(right)
    return (squares + EDGE**2).rsqrt()


def _squared(field: torch.Tensor) -> torch.Tensor:
    """|field|^2; over the last axis of ``view_as_real`` a sum takes five times as long."""
    return field.real.square() + field.imag.square()


class _Preconditioner:
    """Approximate inverse of the objective's curvature around an object.

    The global phase of a frame is undetermined, so that phases which vary little across the probe hardly change the
    counts: around a constant object the curvature along a phase of spatial frequency k is proportional to
    1 - |w(k)|^2, along a log-amplitude to 1 + |w(k)|^2, where w is the transform of the probe's normalised intensity.
    Plain steps would take thousands of iterations to build such phases up. Total variation adds a curvature
    proportional to k^2 and to the inverse of the variation. All three are diagonal in spatial frequency, and the
    illumination's is diagonal in position: the illumination's square root on either side keeps the product symmetric.
    Where detector pixels are not measured, the likelihood's curvature is less by the part of the scattered photons that
    they would have got, which depends on the spatial frequency, too (:func:`_measured_part`).
    """

    def __init__(self, plane: ObjectPlane, obj: torch.Tensor, scale: float, weight: float) -> None:
        # Real and imaginary part along the object's own direction are changes of log-amplitude and of phase.
        self._direction = torch.sgn(obj)
        illumination = scale**2 * plane.illumination
        self._root = (illumination + LEAST_ILLUMINATION * illumination.max()).rsqrt()
        spot = torch.zeros(plane.shape, device=plane.device)
        probe = plane.physics.weight
        spot[: probe.shape[0], : probe.shape[1]] = probe / probe.sum()
        transfer = torch.fft.rfft2(spot).abs().square()
        inverse = _inverse_variation(
            torch.diff(obj, dim=0, append=obj[-1:]), torch.diff(obj, dim=1, append=obj[:, -1:])
        )
        mean = float((inverse * illumination).sum() / illumination.square().sum())
        rows = torch.fft.fftfreq(plane.shape[0], device=plane.device)[:, None]
        columns = torch.fft.rfftfreq(plane.shape[1], device=plane.device)
        variation = 4.0 * weight * mean * ((math.pi * rows).sin().square() + (math.pi * columns).sin().square())
        along_phase, along_amplitude = 1.0 - transfer, 1.0 + transfer
        if plane.bad_pixels is not None:
            part = _measured_part(plane.physics.probe, plane.bad_pixels)
            size = len(part)
            part = _between(rows[:, 0] * size, size) @ part @ _between(columns * size, size).T
            along_phase, along_amplitude = part * along_phase, (part * along_amplitude).clamp_min(LEAST_CURVATURE)
        self._phase = 1.0 / (along_phase + LEAST_CURVATURE + variation)
        self._amplitude = 1.0 / (along_amplitude + variation)

    def __call__(self, change: torch.Tensor) -> torch.Tensor:
        """Scaled change (H, W)."""
        local = change * self._direction.conj() * self._root
        amplitude = _filtered(local.real, self._amplitude)
        phase = _filtered(local.imag, self._phase)
        return torch.complex(amplitude, phase) * self._direction * self._root


def _measured_part(probe: torch.Tensor, bad_pixels: torch.Tensor) -> torch.Tensor:
    """Part of the photons scattered by a detail that measured pixels get, by the detail's spatial frequency (N, N).

    A detail of the spatial frequency k moves the far field of the probe by k. Of a real phase or absorption both k and
    -k do; the result is the mean of both. At [0, 0] it is the part of the direct beam. ``probe`` (N, N) complex64,
    ``bad_pixels`` (N, N) bool with the DC in the corner, as in the result (float32).
    """
    beam = _squared(torch.fft.fft2(probe, norm="ortho"))
    good = torch.fft.rfft2((~bad_pixels).to(beam.dtype))
    part = torch.fft.irfft2(good * torch.fft.rfft2(beam).conj(), s=beam.shape) / beam.sum()
    both: torch.Tensor = 0.5 * (part + part.flip((0, 1)).roll((1, 1), (0, 1)))
    return both.clamp(0.0, 1.0)


def _between(places: torch.Tensor, size: int) -> torch.Tensor:
    """Matrix (k, size) that interpolates a periodic sequence of ``size`` values linearly at places (k,)."""
    low = torch.floor(places)
    weights = torch.zeros(len(places), size, device=places.device)
    for whole, weight in ((low, 1 - (places - low)), (low + 1, places - low)):
        weights.scatter_add_(1, whole.long()[:, None] % size, weight[:, None])
    return weights


def _filtered(image: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
    filtered: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=image.shape)
    return filtered
