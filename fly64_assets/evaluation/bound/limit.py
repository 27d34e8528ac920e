"""The photon limit of a scan: the Cramer-Rao bound on an object's amplitude and phase, pixel by pixel.

Belongs here: the bound of one split and view for s = 1, where there is none, and the bound as arrays of a file. Does
not belong here: the matrix (``information``), the diagonal of its inverse by iteration (``diagonal``), and the bound
compared with the error of a method (``efficiency``).

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
from typing import Any, Final

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.components import connected_components
from fly64_assets.evaluation.bound.diagonal import estimate_diagonal
from fly64_assets.evaluation.bound.information import ObjectInformation, Part
from fly64_assets.physics.illumination import illumination
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

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class LimitProblem:
    """Everything on which a bound depends; the dose is no part of it.

    Attributes
    ----------
    truth : (H, W) complex
    probe : (N, N) complex
    scan : Scan
        Positions, on the object's grid.
    mask : (H, W) bool
        Evaluated pixels.
    least_light : float
        Illumination W of the dimmest evaluated pixel, in units of |P|^2.
    """

    truth: NDArray[np.complexfloating]
    probe: NDArray[np.complexfloating]
    scan: Scan
    mask: NDArray[np.bool_]
    least_light: float

    def sha256(self) -> str:
        """Digest over all of it and the version of the code: equal digests, equal bounds."""
        digest = hashlib.sha256(f"{VERSION} {self.least_light!r}".encode())
        for array in (self.truth, self.probe, self.scan.x, self.scan.y, self.mask):
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
        The directions that the frames leave undetermined (besides the global phase), one sentence each; empty if
        regular.
    phase_map, amplitude_map : (H, W) float64 or None
        The bound on every evaluated pixel, 0 elsewhere; a local mean where it was estimated (``diagonal``).
    method : str
        ``dense``, ``conjugate gradients`` or ``structure`` (singular, found without the matrix).
    unknown_pixels, measured_values : int
        Object pixels taken as unknown; detector pixels of all frames.
    random_vectors, iterations : int
        Random vectors and, in all, applications of the matrix.
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
    if dark or not problem.mask.any():
        raise ValueError(
            f"{dark} evaluated pixels of the truth transmit no light: their phase is not defined"
            if dark
            else "the evaluated region is empty"
        )
    part = Part.of(problem.scan)
    unknown = _unknown(problem, part)
    facts = {
        "unknown_pixels": int(np.count_nonzero(unknown)),
        "measured_values": len(problem.scan) * problem.probe.size,
    }
    singular = _singular_by_structure(problem, part, unknown)
    if singular:
        return UnitLimit(None, None, singular, None, None, "structure", **facts)
    if 2 * facts["unknown_pixels"] <= DENSE_UNKNOWNS:
        return exact_limit(problem)
    return estimated_limit(problem)


def exact_limit(problem: LimitProblem) -> UnitLimit:
    """The bound from the eigenvectors of the whole matrix; the reference for :func:`estimated_limit`.

    A pixel with a component in an undetermined direction other than the global phase is singular; one such pixel makes
    the bound of the region infinite, and ``singular`` says where.
    """
    part, information, mask = _information(problem, np.complex128)
    pixels = np.flatnonzero(information.unknown)
    scale = np.tile(1 / np.sqrt(4 * information.photons.flat[pixels]), 2)
    values, vectors = scipy.linalg.eigh(scale[:, None] * information.dense() * scale[None, :])
    vectors *= scale[:, None]
    # What is left when the global factor has been fitted over the evaluated pixels.
    chosen = mask.flat[pixels]
    weights = _weights(problem, part, mask).flat[pixels]
    directions = vectors[: len(pixels)] + 1j * vectors[len(pixels) :]
    directions = (directions - weights @ directions)[chosen]
    facts = {"unknown_pixels": len(pixels), "measured_values": len(problem.scan) * problem.probe.size}
    null = values <= NULL
    undetermined = directions[:, null] * np.sqrt(4 * information.photons.flat[pixels][chosen])[:, None]
    singular = _singular_pixels(undetermined, np.argwhere(mask) + np.array(part.scan.origin))
    if singular:
        return UnitLimit(None, None, (singular,), None, None, "dense", **facts)
    known = directions[:, ~null] / np.sqrt(values[~null])
    phase, log_amplitude = (known.imag**2).sum(axis=1), (known.real**2).sum(axis=1)
    amplitude = log_amplitude * np.abs(part.cut(problem.truth)[mask]) ** 2
    maps = []
    for values_ in (phase, amplitude):
        picture = np.zeros(mask.shape)
        picture[mask] = values_
        maps.append(part.paste(picture, _shape(problem)))
    bounds = [Bound(float(v.mean()), 0.0, 0.0) for v in (phase, amplitude)]
    return UnitLimit(bounds[0], bounds[1], (), maps[0], maps[1], "dense", **facts)


def estimated_limit(problem: LimitProblem) -> UnitLimit:
    """The bound by conjugate gradients and a stochastic diagonal estimate; memory linear in frames and pixels."""
    part, information, mask = _information(problem, np.complex64)
    diagonal = estimate_diagonal(information, mask, _weights(problem, part, mask), int(problem.sha256()[:8], 16))
    facts: dict[str, int] = {
        "unknown_pixels": int(np.count_nonzero(information.unknown)),
        "measured_values": len(problem.scan) * problem.probe.size,
        "random_vectors": diagonal.random_vectors,
        "iterations": diagonal.iterations,
    }
    if diagonal.stuck_at is not None:
        row, column = diagonal.stuck_at
        reason = (
            f"the iteration did not converge: the frames determine next to nothing of a direction that is largest at "
            f"x = {column + part.scan.origin[1]}, y = {row + part.scan.origin[0]}"
        )
        return UnitLimit(None, None, (reason,), None, None, "conjugate gradients", **facts)
    transmission = np.abs(part.cut(problem.truth)) ** 2
    phase_map = part.paste(diagonal.phase, _shape(problem))
    amplitude_map = part.paste(diagonal.log_amplitude * transmission, _shape(problem))
    pairs = [
        (float(sample.imag[mask].mean()), float((transmission * sample.real)[mask].mean()))
        for sample in diagonal.samples
    ]
    phase, amplitude = _bounds(np.array(pairs), diagonal.truncation)
    return UnitLimit(phase, amplitude, (), phase_map, amplitude_map, "conjugate gradients", **facts)


def _bounds(samples: Real, truncation: float) -> tuple[Bound, Bound]:
    """Bounds of phase and amplitude from one mean of each per random vector (k, 2).

    Few samples say little about their own spread, so that both share the relative spread of all of them.
    """
    mean = samples.mean(axis=0)
    spread = float(np.sqrt(np.mean((samples / mean - 1) ** 2) * len(samples) / (len(samples) - 1)))
    error = spread / float(np.sqrt(len(samples)))
    return Bound(float(mean[0]), error, truncation), Bound(float(mean[1]), error, truncation)


# -- what the bounds share ----------------------------------------------------------------------------------------


def _unknown(problem: LimitProblem, part: Part) -> NDArray[np.bool_]:
    """Unknown pixels on the part's grid: all that are illuminated well enough and transmit light."""
    obj = part.cut(problem.truth)
    light = illumination(problem.probe, part.scan)
    unknown: NDArray[np.bool_] = (light >= KNOWN_BELOW * problem.least_light) & (obj != 0)
    return unknown


def _information(
    problem: LimitProblem, dtype: type[np.complex64] | type[np.complex128]
) -> tuple[Part, ObjectInformation, NDArray[np.bool_]]:
    part = Part.of(problem.scan)
    unknown = _unknown(problem, part)
    obj = part.cut(problem.truth).astype(np.complex128)
    information = ObjectInformation(obj, problem.probe, part.scan, unknown, dtype)
    return part, information, part.cut(problem.mask) & unknown


def _weights(problem: LimitProblem, part: Part, mask: NDArray[np.bool_]) -> Real:
    """Weights of the fitted factor: in first order it is the mean of the errors, weighted by |O|^2."""
    weights = np.where(mask, np.abs(part.cut(problem.truth).astype(np.complex128)) ** 2, 0)
    normalised: Real = weights / weights.sum()
    return normalised


def _shape(problem: LimitProblem) -> tuple[int, int]:
    return (problem.truth.shape[0], problem.truth.shape[1])


def _singular_by_structure(problem: LimitProblem, part: Part, unknown: NDArray[np.bool_]) -> tuple[str, ...]:
    """Directions that need no matrix: more unknowns than values, and the phases of several connected components."""
    found = []
    lit = int(np.count_nonzero(illumination(problem.probe, part.scan) > 0))
    values = len(problem.scan) * problem.probe.size
    if values < 2 * lit:
        found.append(
            f"{values:,} measured values for {2 * lit:,} unknowns: amplitude and phase of {lit:,} illuminated pixels"
        )
    components = connected_components(problem.probe, part.scan, unknown, KNOWN_BELOW * problem.least_light)
    count = components.within(part.cut(problem.mask))
    if count > 1:
        found.append(
            f"the frames fall into {count} groups that share no illuminated pixel, each with an undetermined phase: "
            f"{count - 1} free phases besides the global one"
        )
    return tuple(found)


def _singular_pixels(null: Complex, places: NDArray[np.int64]) -> str:
    """A sentence on what undetermined directions (pixels, directions) do to evaluated pixels; empty if nothing."""
    component = np.sqrt((np.abs(null) ** 2).sum(axis=1))
    touched = int(np.count_nonzero(component > TOUCHED))
    if not touched:
        return ""
    row, column = places[int(component.argmax())]
    return (
        f"{touched} of {len(component)} evaluated pixels have a component in {null.shape[1]} directions that the "
        f"frames leave undetermined, the largest at x = {column}, y = {row}"
    )


# -- the bound in a file, so that cells that differ in dose alone share it --------------------------------------------


def limit_arrays(limit: UnitLimit, digest: str) -> dict[str, NDArray[Any]]:
    """Arrays of a bound: ``phase_variance`` and ``amplitude_variance`` (H, W) float32 for s = 1, ``_metadata`` (JSON).

    Parameters
    ----------
    digest : str
        SHA256 of the problem, see ``LimitProblem.sha256``.
    """
    document = {"problem_sha256": digest, "limit": limit.to_dict()}
    arrays: dict[str, NDArray[Any]] = {"_metadata": np.array(json.dumps(document, sort_keys=True))}
    for name, values in (("phase_variance", limit.phase_map), ("amplitude_variance", limit.amplitude_map)):
        if values is not None:
            arrays[name] = values.astype(np.float32)
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
