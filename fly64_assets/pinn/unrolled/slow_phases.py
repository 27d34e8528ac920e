"""Slowly varying phases, which total variation holds back, found from all counts with an expectation of their size.

Total variation costs as much for a phase that rises over the whole field as for an edge of that height, and counts
hardly tell a slow phase: with the weight that suits its details an object has slow phases that are too flat. Here its
amplitudes and details stay, and a sum of cosines is added to its phase. Half the square of each cosine's size, in units
of the expected one, is added to the negative log-likelihood: a Gaussian prior with the same variance in every octave of
wavelengths that are well below the field's sides. They are worth adding where that sum becomes clearly smaller
(:class:`Rule`). An object in two parts with a penalty each, of which one leaves edges
alone and the other slow changes, is an infimal convolution (Chambolle and Lions, Numer. Math. 76, 167, 1997); here the
second part follows the first.

Belongs here: the cosines, how they are found, and when they are worth adding. Does not belong here: the object that
they are added to (:mod:`fly64_assets.pinn.unrolled.regularisation_path`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize

from fly64_assets.errors import EngineError
from fly64_assets.pinn.settings import LEAST_FRAMES_PER_COSINE, LEAST_GAIN, LEAST_GAIN_OF_PRETRAINED
from fly64_assets.pinn.unrolled.network import LEAST_ILLUMINATION
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood

SHORTEST: Final = 64
"""Shortest wavelength of a slow phase [px]."""
PER_OCTAVE: Final = 0.06
"""Root mean square that is expected of the slow phases between a wavelength and its double [rad]; chosen on tuning
objects, like :data:`SHORTEST`."""
MOST_STEPS: Final = 40
"""Steps of the minimisation, at most."""
LEAST_DECREASE: Final = 0.03
"""Decrease of the objective in one step [nats] below which the minimisation ends."""
LINE_SEARCH: Final = 6
"""Most evaluations along one direction: where rates are rounded no step may decrease the objective any more."""


class SlowPhases:
    """Sums of cosines over the illuminated part of an object plane.

    Each has a standard deviation of (wavelength) x :data:`PER_OCTAVE` / sqrt(2 pi ln 2 area) [rad]; ``number`` says how
    many there are.

    Examples
    --------
    >>> import numpy as np
    >>> from fly64_assets.physics.measurement import Measurement
    >>> probe = np.zeros((16, 16), np.complex64)
    >>> probe[4:12, 4:12] = 1
    >>> x, y = (places.ravel() for places in np.mgrid[20:180:4, 20:180:4] + 0.5)
    >>> scan = Measurement(np.ones((1600, 16, 16), np.float32), 1.0, probe, x, y, (200, 200), np.arange(1600))
    >>> slow = SlowPhases(ObjectPlane(scan))
    >>> slow.number, tuple(slow.phase(np.ones(slow.number)).shape)
    (27, (176, 176))
    """

    def __init__(self, plane: ObjectPlane) -> None:
        lit = plane.relative_illumination > LEAST_ILLUMINATION
        frequencies, cosines, sides = [], [], []
        for dim in (0, 1):
            (inside,) = torch.where(lit.any(dim=1 - dim))
            first, side = int(inside[0]), int(inside[-1] - inside[0]) + 1
            orders = torch.arange(2 * side // SHORTEST + 1, device=lit.device)[:, None]
            places = ((torch.arange(plane.shape[dim], device=lit.device) - first + 0.5) / side).clamp(0.0, 1.0)
            cosines.append((math.pi * orders * places).cos() * torch.where(orders > 0, math.sqrt(2.0), 1.0))
            frequencies.append(orders[:, 0].double().cpu().numpy() / (2.0 * side))
            sides.append(side)
        frequency = np.hypot(frequencies[0][:, None], frequencies[1])
        self._slow = (frequency > 0) & (frequency <= 1.0 / SHORTEST)
        area = float(sides[0] * sides[1])
        self._deviation = PER_OCTAVE / (math.sqrt(2.0 * math.pi * math.log(2.0) * area) * frequency[self._slow])
        self._rows, self._columns = cosines
        self.number = int(self._slow.sum())

    def phase(self, values: NDArray[np.float64]) -> torch.Tensor:
        """The phase (H, W) float32 [rad] of values (n,), in units of the standard deviations."""
        amplitudes = np.zeros(self._slow.shape)
        amplitudes[self._slow] = self._deviation * values
        return self._rows.T @ torch.from_numpy(amplitudes).to(self._rows) @ self._columns

    def slope(self, slope: torch.Tensor) -> NDArray[np.float64]:
        """Derivatives (n,) with respect to those values, from the derivatives with respect to a phase (H, W)."""
        along: NDArray[np.float64] = (self._rows @ slope @ self._columns.T).double().cpu().numpy()
        return along[self._slow] * self._deviation


@dataclass(frozen=True)
class Changed:
    """An object with slow phases.

    Attributes
    ----------
    object : (H, W) complex64
    gain : float
        Decrease of the objective per cosine [nats], 0 where none were sought: the objective is the negative
        log-likelihood plus half the sum of the squares of the cosines' sizes.
    """

    object: torch.Tensor
    gain: float


def with_slow_phases(
    plane: ObjectPlane, likelihood: RegularisedLikelihood, obj: torch.Tensor, least_frames_per_cosine: float = 0.0
) -> Changed:
    """An object (H, W) complex64 with the slow phases that its counts make most likely, given what is expected of them.

    Minimised by L-BFGS in units of the standard deviations, with the background of ``obj``; with fewer frames than
    ``least_frames_per_cosine`` asks for, none are sought. Raises :class:`EngineError` where they or the objective are
    not finite.
    """
    slow = SlowPhases(plane)
    if not slow.number or plane.frames < least_frames_per_cosine * slow.number:
        return Changed(obj, 0.0)
    background = likelihood.fitted_background(obj)

    def changed(values: NDArray[np.float64]) -> torch.Tensor:
        phase = slow.phase(values)
        return obj * torch.polar(torch.ones_like(phase), phase)

    passed: list[float] = []

    def function(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        trial = changed(values)
        misfit, gradient = likelihood.misfit(trial, background)
        slope = slow.slope(2.0 * (gradient * trial.conj()).imag)
        value = misfit + 0.5 * float(values @ values)
        if not passed:
            passed.append(value)
        return value, slope + values

    def report(intermediate_result: OptimizeResult) -> None:
        passed.append(float(intermediate_result.fun))
        if passed[-2] - passed[-1] < LEAST_DECREASE:
            raise StopIteration

    start = np.zeros(slow.number)
    found = minimize(
        function, start, method="L-BFGS-B", jac=True, callback=report,
        options={"maxiter": MOST_STEPS, "maxls": LINE_SEARCH, "ftol": 0.0, "gtol": 1e-2},
    )  # fmt: skip
    # Where no step decreases it any more, ``found.fun`` may be that of a step that was not taken.
    gain = (passed[0] - passed[-1]) / slow.number
    if not (np.isfinite(found.x).all() and np.isfinite(gain)):
        raise EngineError("the slow phases are not finite; no result is kept")
    return Changed(changed(found.x), gain)


@dataclass(frozen=True)
class Rule:
    """When slow phases are worth adding to an object.

    Attributes
    ----------
    least_gain : float
        Gain per cosine above which they are added [nats].
    least_frames_per_cosine : float
        With fewer frames none are sought.
    """

    least_gain: float = LEAST_GAIN
    least_frames_per_cosine: float = 0.0

    def worth_adding(self, gain: float) -> bool:
        """Whether a gain per cosine [nats] is one with which slow phases are added."""
        return gain > self.least_gain

    def applied(self, plane: ObjectPlane, likelihood: RegularisedLikelihood, obj: torch.Tensor) -> Changed:
        """An object (H, W) complex64 with slow phases where they are worth adding, and what they gain in any case."""
        changed = with_slow_phases(plane, likelihood, obj, self.least_frames_per_cosine)
        return changed if self.worth_adding(changed.gain) else Changed(obj, changed.gain)

    def verdict(self, gain: float) -> str:
        """What a gain per cosine [nats] means for slow phases, for humans."""
        if gain == 0:
            few = "has fewer frames than cosines, " if self.least_frames_per_cosine else ""
            return f"no slow phases are added: the scan is too small for any, {few}or none improves the objective"
        what = "slow phases are added" if self.worth_adding(gain) else "no slow phases are added"
        return f"{what}: they improve the objective by {gain:.4g} nats per cosine (limit {self.least_gain:g})"


OF_LIKELIHOOD: Final = Rule()
"""For an object of maximum likelihood, whose details the counts have determined."""
OF_PRETRAINED: Final = Rule(LEAST_GAIN_OF_PRETRAINED, LEAST_FRAMES_PER_COSINE)
"""For the object of a network that is trained once. It lacks details, and what these change in the counts of a frame is
taken for slow phases, unless many frames average it out."""
