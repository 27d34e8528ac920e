"""The photon limit of a scan: the Cramer-Rao bound on an object's amplitude and phase, pixel by pixel.

Belongs here: the bound of one split and view for s = 1, or why there is none, and its arrays in a file. Does not belong
here: the bound at a dose and beside the error of a method (``scores.photons``).

The bound is that of the evaluation: an unbiased estimate, its global complex factor fitted over the evaluated pixels as
for every method, which removes the one direction that a connected scan leaves undetermined. Pixels with less than a
tenth of the illumination of the dimmest evaluated one are taken as known; with them as unknowns the bound could only be
higher.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.diagonal import estimate_diagonal
from fly64_assets.evaluation.bound.information import ObjectInformation, connected_components, cut, paste
from fly64_assets.physics.illumination import illumination, in_single
from fly64_assets.physics.measurement import power_of_two, times
from fly64_assets.physics.windows import Scan

VERSION: Final = 1
"""Raised when the code gives other bounds for the same problem."""

KNOWN_BELOW: Final = 0.1
"""Illumination of the dimmest unknown pixel, relative to the dimmest evaluated one."""

DENSE_UNKNOWNS: Final = 1200
"""Unknowns up to which the matrix is inverted as an array."""

NULL: Final = 1e-9
"""Information relative to that of a pixel's own photons below which a direction counts as undetermined."""

TOUCHED: Final = 1e-3
"""Component of a pixel in undetermined directions of unit length from which the pixel counts as singular."""

Real = NDArray[np.float64]


@dataclass(frozen=True)
class LimitProblem:
    """Everything on which a bound depends; it does not depend on the dose.

    Truth (H, W) complex, probe (N, N) complex, positions on the object's grid, evaluated pixels (H, W) bool, the
    illumination W of the dimmest of these in units of |P|^2, and the detector's bad pixels (N, N) bool, DC in the
    centre, which tell nothing.
    """

    truth: NDArray[np.complexfloating]
    probe: NDArray[np.complexfloating]
    scan: Scan
    mask: NDArray[np.bool_]
    least_light: float
    bad_pixels: NDArray[np.bool_] | None = None

    @cached_property
    def tight(self) -> Scan:
        """The positions on the smallest grid (h, w) that holds every frame's window."""
        return self.scan.tight()

    @cached_property
    def unknown(self) -> NDArray[np.bool_]:
        """Unknown pixels on the tight grid (h, w): all that are illuminated well enough and transmit light."""
        light = illumination(self.probe, self.tight)
        unknown: NDArray[np.bool_] = (light >= KNOWN_BELOW * self.least_light) & (cut(self.truth, self.tight) != 0)
        return unknown

    @property
    def evaluated(self) -> NDArray[np.bool_]:
        """Evaluated pixels on the tight grid (h, w)."""
        return cut(self.mask, self.tight) & self.unknown

    @property
    def transmission(self) -> Real:
        """|O|^2 on the tight grid (h, w), with the digits of the truth."""
        unit = power_of_two(self.truth)
        transmission: Real = np.abs(times(cut(self.truth, self.tight), 1 / unit)) ** 2
        return transmission.astype(np.float64) * unit**2

    @property
    def weights(self) -> Real:
        """Weights (h, w) of the fitted factor: in first order it is the mean of the errors, weighted by |O|^2."""
        obj = cut(self.truth, self.tight).astype(np.complex128)
        weights: Real = np.where(self.evaluated, np.abs(obj) ** 2, 0)
        weights /= weights.sum()
        return weights

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of unknown pixels and of measured values."""
        unknown = int(np.count_nonzero(self.unknown))
        bad = 0 if self.bad_pixels is None else int(np.count_nonzero(self.bad_pixels))
        return {"unknown_pixels": unknown, "measured_values": len(self.scan) * (self.probe.size - bad)}

    def information(self, dtype: type[np.complex64] | type[np.complex128]) -> ObjectInformation:
        """The information matrix on the tight grid, in units of :attr:`unit`.

        There single precision holds it, whatever the units of truth and probe; both are powers of two.
        """
        obj = times(cut(self.truth, self.tight).astype(np.complex128), 1 / power_of_two(self.truth))
        probe = times(self.probe, 1 / power_of_two(self.probe))
        return ObjectInformation(obj, probe, self.tight, self.unknown, dtype, self.bad_pixels)

    @property
    def unit(self) -> float:
        """Unit of the information, and one over that of the variances."""
        return (power_of_two(self.truth) * power_of_two(self.probe)) ** 2

    def map(self, values: Real) -> Real:
        """Values on the tight grid as a map (H, W), zero outside it."""
        return paste(values, self.tight, (self.truth.shape[0], self.truth.shape[1]))

    def sha256(self) -> str:
        """Digest over all of it and the version of the code: equal digests, equal bounds."""
        more = () if self.bad_pixels is None else (self.bad_pixels,)
        return self._sha256(self.least_light, self.probe, *more)

    @property
    def seed(self) -> int:
        """Seed of the random vectors; another unit of the probe that is a power of two does not change it.

        Nor do bad pixels: with the same vectors an estimate tells what a mask costs from what chance does.
        """
        unit = power_of_two(self.probe)
        return int(self._sha256(self.least_light / unit**2, times(self.probe, 1 / unit))[:8], 16)

    def _sha256(self, least_light: float, probe: NDArray[np.complexfloating], *more: NDArray[Any]) -> str:
        digest = hashlib.sha256(f"{VERSION} {least_light!r}".encode())
        for array in (self.truth, probe, self.scan.x, self.scan.y, self.mask, *more):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Bound:
    """Mean over the evaluated pixels of the least variance, for s = 1, with its own error estimate.

    ``variance`` is of the phase [rad^2] or of the amplitude |O|; ``standard_error`` is that of the stochastic estimate,
    and ``truncation`` the part that the iteration was still adding when it stopped (the bound is low by about as much),
    both relative to ``variance`` and 0 where the matrix was inverted as an array.
    """

    variance: float
    standard_error: float
    truncation: float


@dataclass(frozen=True)
class UnitLimit:
    """The bound of a problem for s = 1; at an intensity scale s variances are divided by s^2.

    Attributes
    ----------
    phase, amplitude : Bound or None
        None where the matrix is singular.
    singular : tuple of str
        The directions that the frames leave undetermined (besides the global phase), one sentence each.
    phase_map, amplitude_map : (H, W) float64 or None
        The bound on every evaluated pixel, 0 elsewhere; a local mean where it was estimated (``diagonal``).
    method : str
        ``dense``, ``conjugate gradients`` or ``structure`` (singular, found without the matrix).
    iterations : int
        Applications of the matrix, in all.
    """

    phase: Bound | None
    amplitude: Bound | None
    singular: tuple[str, ...]
    phase_map: Real | None
    amplitude_map: Real | None
    method: str
    unknown_pixels: int
    measured_values: int
    random_vectors: int = 0
    iterations: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the maps."""
        document = asdict(self)
        del document["phase_map"], document["amplitude_map"]
        return document | {"singular": list(self.singular), "probes": document.pop("random_vectors")}


def dose_limit(problem: LimitProblem) -> UnitLimit:
    """Bound of a problem: *singular* where structure says so, dense where it is small, else by iteration.

    Raises
    ------
    ValueError
        If no pixel is evaluated, or an evaluated pixel transmits no light (its phase is not defined).
    """
    dark = int(np.count_nonzero(problem.mask & (problem.truth == 0)))
    if dark:
        raise ValueError(f"{dark} evaluated pixels of the truth transmit no light: their phase is not defined")
    if not problem.mask.any():
        raise ValueError("the evaluated region is empty")
    if singular := _singular_by_structure(problem):
        return _singular(problem, "structure", *singular)
    dense = 2 * problem.sizes["unknown_pixels"] <= DENSE_UNKNOWNS
    return exact_limit(problem) if dense else estimated_limit(problem)


def exact_limit(problem: LimitProblem) -> UnitLimit:
    """The bound from the eigenvectors of the whole matrix; the reference for :func:`estimated_limit`.

    A pixel with a component in an undetermined direction other than the global phase is singular; one such pixel makes
    the bound of the region infinite, and ``singular`` says where.
    """
    information, mask = problem.information(np.complex128), problem.evaluated
    pixels = np.flatnonzero(problem.unknown)
    photons, chosen = information.photons.flat[pixels], mask.flat[pixels]
    scale = np.tile(1 / np.sqrt(4 * photons), 2)
    values, vectors = scipy.linalg.eigh(scale[:, None] * information.dense() * scale[None, :])
    vectors *= scale[:, None]
    # What is left when the global factor has been fitted over the evaluated pixels.
    directions = vectors[: len(pixels)] + 1j * vectors[len(pixels) :]
    directions = (directions - problem.weights.flat[pixels] @ directions)[chosen]
    null = values <= NULL
    undetermined = directions[:, null] * np.sqrt(4 * photons[chosen])[:, None]
    component = np.sqrt((np.abs(undetermined) ** 2).sum(axis=1))
    if touched := int(np.count_nonzero(component > TOUCHED)):
        row, column = np.argwhere(mask)[int(component.argmax())] + np.array(problem.tight.origin)
        reason = (
            f"{touched} of {len(component)} evaluated pixels have a component in {undetermined.shape[1]} directions "
            f"that the frames leave undetermined, the largest at x = {column}, y = {row}"
        )
        return _singular(problem, "dense", reason)
    known = directions[:, ~null] / np.sqrt(values[~null])
    maps = np.zeros((2, *mask.shape))
    maps[:, mask] = (known.imag**2).sum(axis=1), (known.real**2).sum(axis=1)
    maps /= problem.unit
    maps[1] *= problem.transmission
    phase, amplitude = (Bound(float(values[mask].mean()), 0.0, 0.0) for values in maps)
    return UnitLimit(phase, amplitude, (), problem.map(maps[0]), problem.map(maps[1]), "dense", **problem.sizes)


def estimated_limit(problem: LimitProblem) -> UnitLimit:
    """The bound by conjugate gradients and a stochastic diagonal estimate; memory linear in frames and pixels."""
    information, mask = problem.information(np.complex64), problem.evaluated
    diagonal = estimate_diagonal(information, mask, problem.weights, problem.seed)
    effort = {"random_vectors": len(diagonal.samples), "iterations": diagonal.iterations}
    if diagonal.stuck_at is not None:
        row, column = (i + start for i, start in zip(diagonal.stuck_at, problem.tight.origin, strict=True))
        reason = (
            f"the iteration did not converge: the frames determine next to nothing of a direction that is largest at "
            f"x = {column}, y = {row}"
        )
        return _singular(problem, "conjugate gradients", reason, **effort)
    transmission = problem.transmission
    samples = np.array([(v.imag[mask].mean(), (transmission * v.real)[mask].mean()) for v in diagonal.samples])
    samples /= problem.unit
    mean = samples.mean(axis=0)
    # Few samples say little about their own spread, so that phase and amplitude share the relative spread of all.
    spread = float(np.sqrt(np.mean((samples / mean - 1) ** 2) * len(samples) / (len(samples) - 1)))
    error = spread / float(np.sqrt(len(samples)))
    phase, amplitude = (Bound(float(value), error, diagonal.truncation) for value in mean)
    phase_map, amplitude_map = problem.map(diagonal.phase), problem.map(diagonal.log_amplitude * transmission)
    phase_map, amplitude_map = phase_map / problem.unit, amplitude_map / problem.unit
    sizes = problem.sizes | effort
    return UnitLimit(phase, amplitude, (), phase_map, amplitude_map, "conjugate gradients", **sizes)


def _singular(problem: LimitProblem, method: str, *reasons: str, **effort: int) -> UnitLimit:
    return UnitLimit(None, None, reasons, None, None, method, **problem.sizes, **effort)


def _singular_by_structure(problem: LimitProblem) -> tuple[str, ...]:
    """Directions that need no matrix: more unknowns than values, and the phases of several connected components."""
    reasons = []
    lit = int(np.count_nonzero(illumination(problem.probe, problem.tight) > 0))
    values = problem.sizes["measured_values"]
    if values < 2 * lit:
        reasons.append(
            f"{values:,} measured values for {2 * lit:,} unknowns: amplitude and phase of {lit:,} illuminated pixels"
        )
    least = KNOWN_BELOW * problem.least_light
    _, component = connected_components(problem.probe.astype(np.complex128), problem.tight, problem.unknown, least)
    count = len(np.unique(component[cut(problem.mask, problem.tight) & (component >= 0)]))
    if count > 1:
        reasons.append(
            f"the frames fall into {count} groups that share no illuminated pixel, each with an undetermined phase: "
            f"{count - 1} free phases besides the global one"
        )
    return tuple(reasons)


def limit_arrays(limit: UnitLimit, digest: str) -> dict[str, NDArray[Any]]:
    """Arrays of a bound: ``phase_variance`` and ``amplitude_variance`` (H, W) for s = 1, ``_metadata`` (JSON).

    ``digest`` is that of the problem, see ``LimitProblem.sha256``.
    """
    document = {"problem_sha256": digest, "limit": limit.to_dict()}
    arrays: dict[str, NDArray[Any]] = {"_metadata": np.array(json.dumps(document, sort_keys=True))}
    for name, values in (("phase_variance", limit.phase_map), ("amplitude_variance", limit.amplitude_map)):
        if values is not None:
            arrays[name] = in_single(values)
    return arrays


def limit_from_arrays(arrays: Mapping[str, NDArray[Any]], digest: str) -> UnitLimit | None:
    """The bound of the problem with this digest; None if the arrays are those of another problem."""
    document = json.loads(str(arrays["_metadata"][()]))
    if document["problem_sha256"] != digest:
        return None
    facts = document["limit"]
    facts["random_vectors"] = facts.pop("probes")
    for quantity in ("phase", "amplitude"):
        facts[quantity] = None if facts[quantity] is None else Bound(**facts[quantity])
        values = arrays.get(f"{quantity}_variance")
        facts[f"{quantity}_map"] = None if values is None else np.asarray(values, dtype=np.float64)
    return UnitLimit(**(facts | {"singular": tuple(facts["singular"])}))
