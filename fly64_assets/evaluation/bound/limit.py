"""The photon limit of a scan: the Cramer-Rao bound on an object's amplitude and phase, pixel by pixel.

Belongs here: the bound of one split and view for s = 1, and where there is none. Does not belong here: the matrix
(``information``), its inverse by iteration (``probing``), and what an arm's error has to do with it (``efficiency``).

The bound is that of the evaluation: an unbiased estimate, its global complex factor fitted over the evaluated pixels as
for every arm, so that the one direction that a connected scan leaves open is gone. Pixels that get less than a tenth
of the light of the dimmest evaluated one are taken as known; with them as unknowns the bound could only be higher.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.components import find_islands
from fly64_assets.evaluation.bound.diagonal import probe_diagonal
from fly64_assets.evaluation.bound.information import ObjectInformation, Window, scan_window
from fly64_assets.physics.illumination import illumination

VERSION: Final = 1
"""Raised when the code gives other bounds for the same problem."""

KNOWN_BELOW: Final = 0.1
"""Light of the dimmest unknown pixel, relative to the dimmest evaluated one."""

DENSE_UNKNOWNS: Final = 1200
"""Unknowns up to which the matrix is inverted as an array."""

NULL: Final = 1e-9
"""Information relative to that of a pixel's own photons below which a direction counts as unknowable."""

TOUCHED: Final = 1e-3
"""Part that a pixel has in unknowable directions of unit length from which it counts as singular."""

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class LimitProblem:
    """Everything on which a bound depends; the dose is no part of it.

    Attributes
    ----------
    truth : (H, W) complex
    probe : (N, N) complex
    x, y : (n,) float64 [px]
    mask : (H, W) bool
        Evaluated pixels.
    least_light : float
        Illumination W of the dimmest evaluated pixel, in units of |P|^2.
    """

    truth: NDArray[np.complexfloating]
    probe: NDArray[np.complexfloating]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    mask: NDArray[np.bool_]
    least_light: float

    def sha256(self) -> str:
        """Digest over all of it and the version of the code: equal digests, equal bounds."""
        digest = hashlib.sha256(f"{VERSION} {self.least_light!r}".encode())
        for array in (self.truth, self.probe, self.x, self.y, self.mask):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Bound:
    """Mean over the evaluated pixels of the least variance, for s = 1, with its own error estimate.

    ``variance`` is of the phase [rad^2] or of the amplitude |O|; ``standard_error`` is that of the random probing, and
    ``truncation`` the share that the iteration was still adding when it stopped (the bound is low by about as much),
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
        The directions about which the frames say nothing (besides the global phase), each in words; empty if regular.
    phase_map, amplitude_map : (H, W) float64 or None
        The bound on every evaluated pixel, 0 elsewhere; from probing a local mean (see ``probing``).
    method : str
        ``dense``, ``conjugate gradients`` or ``structure`` (singular without a look at the matrix).
    unknown_pixels, measured_values : int
        Object pixels taken as unknown; detector pixels of all frames.
    probes, iterations : int
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
    probes: int = 0
    iterations: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the maps."""
        document = asdict(self)
        del document["phase_map"], document["amplitude_map"]
        return document | {"singular": list(self.singular)}


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
    window = scan_window(problem.x, problem.y, problem.probe.shape[0])
    unknown = _unknown(problem, window)
    facts = {
        "unknown_pixels": int(np.count_nonzero(unknown)),
        "measured_values": len(problem.x) * problem.probe.size,
    }
    singular = _singular_by_structure(problem, window, unknown)
    if singular:
        return UnitLimit(None, None, singular, None, None, "structure", **facts)
    if 2 * facts["unknown_pixels"] <= DENSE_UNKNOWNS:
        return exact_limit(problem)
    return estimated_limit(problem)


def exact_limit(problem: LimitProblem) -> UnitLimit:
    """The bound from the eigenvectors of the whole matrix; the reference for :func:`estimated_limit`.

    A pixel that has a part in an unknowable direction other than the global phase is singular; one such pixel makes
    the bound of the region infinite, and ``singular`` says where.
    """
    window, information, mask = _information(problem, np.complex128)
    pixels = np.flatnonzero(information.unknown)
    scale = np.tile(1 / np.sqrt(4 * information.photons.flat[pixels]), 2)
    values, vectors = scipy.linalg.eigh(scale[:, None] * information.dense() * scale[None, :])
    vectors *= scale[:, None]
    # What is left when the global factor has been fitted over the evaluated pixels.
    chosen = mask.flat[pixels]
    weights = _weights(problem, window, mask).flat[pixels]
    directions = vectors[: len(pixels)] + 1j * vectors[len(pixels) :]
    directions = (directions - weights @ directions)[chosen]
    facts = {"unknown_pixels": len(pixels), "measured_values": len(problem.x) * problem.probe.size}
    null = values <= NULL
    part = directions[:, null] * np.sqrt(4 * information.photons.flat[pixels][chosen])[:, None]
    singular = _singular_pixels(part, np.argwhere(mask) + np.array([window.top, window.left]))
    if singular:
        return UnitLimit(None, None, (singular,), None, None, "dense", **facts)
    known = directions[:, ~null] / np.sqrt(values[~null])
    phase, log_amplitude = (known.imag**2).sum(axis=1), (known.real**2).sum(axis=1)
    amplitude = log_amplitude * np.abs(window.cut(problem.truth)[mask]) ** 2
    maps = []
    for values_ in (phase, amplitude):
        picture = np.zeros(mask.shape)
        picture[mask] = values_
        maps.append(window.paste(picture, _shape(problem)))
    bounds = [Bound(float(v.mean()), 0.0, 0.0) for v in (phase, amplitude)]
    return UnitLimit(bounds[0], bounds[1], (), maps[0], maps[1], "dense", **facts)


def estimated_limit(problem: LimitProblem) -> UnitLimit:
    """The bound by conjugate gradients and random probing of the diagonal; memory linear in frames and pixels."""
    window, information, mask = _information(problem, np.complex64)
    probing = probe_diagonal(information, mask, _weights(problem, window, mask), int(problem.sha256()[:8], 16))
    facts: dict[str, int] = {
        "unknown_pixels": int(np.count_nonzero(information.unknown)),
        "measured_values": len(problem.x) * problem.probe.size,
        "probes": probing.probes,
        "iterations": probing.iterations,
    }
    if probing.stuck_at is not None:
        row, column = probing.stuck_at
        words = (
            f"the iteration did not settle: the frames say next to nothing about a direction that is largest at "
            f"x = {column + window.left}, y = {row + window.top}"
        )
        return UnitLimit(None, None, (words,), None, None, "conjugate gradients", **facts)
    transmission = np.abs(window.cut(problem.truth)) ** 2
    phase_map = window.paste(probing.phase, _shape(problem))
    amplitude_map = window.paste(probing.log_amplitude * transmission, _shape(problem))
    pairs = [
        (float(sample.imag[mask].mean()), float((transmission * sample.real)[mask].mean()))
        for sample in probing.samples
    ]
    phase, amplitude = _bounds(np.array(pairs), probing.truncation)
    return UnitLimit(phase, amplitude, (), phase_map, amplitude_map, "conjugate gradients", **facts)


def _bounds(samples: Real, truncation: float) -> tuple[Bound, Bound]:
    """Bounds of phase and amplitude from one mean of each per probe (probes, 2).

    Few samples say little about their own spread, so that both share the relative spread of all of them.
    """
    mean = samples.mean(axis=0)
    spread = float(np.sqrt(np.mean((samples / mean - 1) ** 2) * len(samples) / (len(samples) - 1)))
    error = spread / float(np.sqrt(len(samples)))
    return Bound(float(mean[0]), error, truncation), Bound(float(mean[1]), error, truncation)


# -- what the bounds share ----------------------------------------------------------------------------------------


def _unknown(problem: LimitProblem, window: Window) -> NDArray[np.bool_]:
    """Unknown pixels on the window's grid: all that are lit well enough and transmit light."""
    obj = window.cut(problem.truth)
    light = illumination(problem.probe, window.x, window.y, window.shape)
    unknown: NDArray[np.bool_] = (light >= KNOWN_BELOW * problem.least_light) & (obj != 0)
    return unknown


def _information(
    problem: LimitProblem, dtype: type[np.complex64] | type[np.complex128]
) -> tuple[Window, ObjectInformation, NDArray[np.bool_]]:
    window = scan_window(problem.x, problem.y, problem.probe.shape[0])
    unknown = _unknown(problem, window)
    obj = window.cut(problem.truth).astype(np.complex128)
    information = ObjectInformation(obj, problem.probe, window.x, window.y, unknown, dtype)
    return window, information, window.cut(problem.mask) & unknown


def _weights(problem: LimitProblem, window: Window, mask: NDArray[np.bool_]) -> Real:
    """Weights of the fitted factor: in first order it is the mean of the errors, weighted by |O|^2."""
    weights = np.where(mask, np.abs(window.cut(problem.truth).astype(np.complex128)) ** 2, 0)
    normalised: Real = weights / weights.sum()
    return normalised


def _shape(problem: LimitProblem) -> tuple[int, int]:
    return (problem.truth.shape[0], problem.truth.shape[1])


def _singular_by_structure(problem: LimitProblem, window: Window, unknown: NDArray[np.bool_]) -> tuple[str, ...]:
    """Directions that need no matrix: more unknowns than values, and phases of groups without common light."""
    found = []
    lit = int(np.count_nonzero(illumination(problem.probe, window.x, window.y, window.shape) > 0))
    values = len(problem.x) * problem.probe.size
    if values < 2 * lit:
        found.append(
            f"{values:,} measured values for {2 * lit:,} unknowns: amplitude and phase of {lit:,} pixels that light "
            "reaches"
        )
    islands = find_islands(problem.probe, window.x, window.y, unknown, KNOWN_BELOW * problem.least_light)
    groups = islands.inside(window.cut(problem.mask))
    if groups > 1:
        found.append(
            f"the frames fall into {groups} groups without common light, and each may turn its phase by itself: "
            f"{groups - 1} free phases besides the global one"
        )
    return tuple(found)


def _singular_pixels(null: Complex, places: NDArray[np.int64]) -> str:
    """What unknowable directions (pixels, directions) do to evaluated pixels, in words; empty if nothing."""
    part = np.sqrt((np.abs(null) ** 2).sum(axis=1))
    touched = int(np.count_nonzero(part > TOUCHED))
    if not touched:
        return ""
    row, column = places[int(part.argmax())]
    return (
        f"{touched} of {len(part)} evaluated pixels have a part in {null.shape[1]} directions about which the frames "
        f"say nothing, the largest at x = {column}, y = {row}"
    )
