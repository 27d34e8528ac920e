"""The diagonal of the inverse of an information matrix that is too large to be written down.

Belongs here: preconditioned conjugate gradients and the stochastic estimate of a diagonal. Does not belong here: the
matrix (``information``) and what its inverse means (``limit``).

For a vector v of independent random signs the expectation of v (B v), taken pixel by pixel, is the diagonal of B
(Hutchinson, Commun. Stat. 19, 433, 1990; Bekas, Kokiopoulou and Saad, Appl. Numer. Math. 57, 1214, 2007). Here
B = G I^-1 G^T, where G subtracts the weighted mean that the evaluation fits; I^-1 is applied by conjugate gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.information import Field, ObjectInformation

RANDOM_VECTORS: Final = 5
"""Random vectors; their spread is the error estimate."""

SPECTRUM_VECTORS: Final = 3
"""Random vectors from which the preconditioner is estimated."""

TRUNCATION: Final = 0.01
"""Part of v B v that is still missing, by extrapolation, at which the iteration stops."""

STRIDE: Final = 10
"""Iterations between two estimates of that part."""

MOST_ITERATIONS: Final = 600
"""Iterations after which a matrix counts as singular."""

SMOOTHING_PX: Final = 4.0
"""Gaussian width [px] of the local mean that makes a map of a few random vectors."""

SPECTRAL_SMOOTHING: Final = 0.33
"""Gaussian width, in units of the spectrum of one window, over which the preconditioner's spectrum is averaged."""

LEAST_SPECTRUM: Final = 0.01
"""Least information in the preconditioner relative to its largest: noise must not make it indefinite."""


@dataclass(frozen=True)
class DiagonalEstimate:
    """A diagonal on the grid (h, w) of the information, estimated with random vectors.

    The samples are v (B v) of every random vector: real part for the logarithm of the amplitude, imaginary for the
    phase. Both maps are local means of them: 1 / (4 n_r) times the smoothed ratio of the samples to it, never below it.
    ``truncation`` is the largest part of v B v that an iteration left out; ``stuck_at`` (row, column) is where the
    solution was largest if the iteration did not converge, and the maps are zero then.
    """

    samples: list[NDArray[np.complex128]]
    phase: NDArray[np.float64]
    log_amplitude: NDArray[np.float64]
    truncation: float
    iterations: int
    stuck_at: tuple[int, int] | None


def estimate_diagonal(
    information: ObjectInformation, mask: NDArray[np.bool_], weights: NDArray[np.float64], seed: int
) -> DiagonalEstimate:
    """Diagonal of G I^-1 G^T over a mask (h, w), with G d = d - sum(weights d)."""
    random = np.random.default_rng(seed)
    preconditioner = Preconditioner(information, random)
    samples: list[NDArray[np.complex128]] = []
    truncation, iterations = 0.0, 0
    for _ in range(RANDOM_VECTORS):
        signs = _signs(random, mask)
        right = (signs - weights * signs.sum()).astype(np.complex64)
        solution, count, remaining = _solve(information, preconditioner, right)
        iterations += count
        x = solution.astype(np.complex128)
        if remaining > TRUNCATION:
            size = np.abs(x) * np.sqrt(information.photons)
            row, column = np.unravel_index(int(size.argmax()), size.shape)
            nothing = np.zeros(mask.shape)
            return DiagonalEstimate(samples, nothing, nothing, np.inf, iterations, (int(row), int(column)))
        truncation = max(truncation, remaining)
        x -= (weights * x).sum()
        samples.append(np.where(mask, signs.real * x.real + 1j * signs.imag * x.imag, 0))
    mean: Field = np.mean(samples, axis=0)
    phase, log_amplitude = (_local(part, information.photons, mask) for part in (mean.imag, mean.real))
    return DiagonalEstimate(samples, phase, log_amplitude, truncation, iterations, None)


def _signs(random: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.complex128]:
    signs = random.integers(0, 2, (2, *mask.shape)) * 2 - 1
    return np.where(mask, signs[0] + 1j * signs[1], 0)


def _local(sample: NDArray[np.float64], photons: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Map from noisy values: their ratio to 1 / (4 n) averaged over neighbours inside the mask, at least 1."""
    ratio = scipy.ndimage.gaussian_filter(np.where(mask, 4 * photons * sample, 0), SMOOTHING_PX, mode="constant")
    share = scipy.ndimage.gaussian_filter(mask.astype(np.float64), SMOOTHING_PX, mode="constant")
    smooth = np.divide(ratio, share, out=np.ones(mask.shape), where=mask)
    return np.divide(np.maximum(smooth, 1), 4 * photons, out=np.zeros(mask.shape), where=mask)


def _solve(information: ObjectInformation, preconditioner: Preconditioner, right: Field) -> tuple[Field, int, float]:
    """Conjugate gradients: x with I x = b for a b without a part in the null space, iterations, and what is left.

    b x grows with every step by a known positive amount (Golub and Meurant, BIT 37, 687, 1997), so that the gain of the
    last steps relative to that of the steps before gives the part of b x that further iterations would add.
    """
    x = np.zeros_like(right)
    residual = right.copy()
    z = preconditioner.apply(residual)
    step = z.copy()
    energy = _inner(residual, z)
    gains: list[float] = []
    for count in range(1, MOST_ITERATIONS + 1):
        image = information.apply(step)
        curvature = _inner(step, image)
        if curvature <= 0:  # the frames say nothing at all about this direction
            return x, count, math.inf
        length = energy / curvature
        x += length * step
        residual -= length * image
        gains.append(length * energy)
        z = preconditioner.apply(residual)
        energy, last = _inner(residual, z), energy
        if energy <= 1e-10 * _inner(right, right):
            return x, count, 0.0
        if count % STRIDE == 0 and count >= 2 * STRIDE:
            remaining = _remaining(gains)
            if remaining <= TRUNCATION:
                return x, count, remaining
        step = z + (energy / last) * step
    return x, MOST_ITERATIONS, _remaining(gains)


def _remaining(gains: list[float]) -> float:
    """What a geometric series through the last two strides would still add, relative to the sum so far."""
    before, now = sum(gains[-2 * STRIDE : -STRIDE]), sum(gains[-STRIDE:])
    return float("inf") if now >= before else now * now / (before - now) / sum(gains)


def _inner(a: Field, b: Field) -> float:
    return float(np.vdot(a, b).real)


class Preconditioner:
    """Approximate inverse: the photons of each pixel, and between pixels one kernel for the whole scan.

    With D the diagonal 2 n_r, the matrix D^-1/2 I D^-1/2 is nearly the same everywhere in a scan; its spectrum (2 x 2,
    amplitude and phase) is estimated from what the matrix does to random vectors, and inverted frequency by frequency.
    """

    def __init__(self, information: ObjectInformation, random: np.random.Generator) -> None:
        unknown = information.unknown
        self._root = np.where(unknown, np.sqrt(2 * np.where(unknown, information.photons, 1)), 1).astype(np.float32)
        self._unknown = unknown
        self._grid = tuple(int(scipy.fft.next_fast_len(n)) for n in unknown.shape)
        spectrum = np.zeros((2, 2, *self._grid), dtype=np.complex128)
        for _ in range(SPECTRUM_VECTORS):
            signs = _signs(random, unknown)
            image = information.apply((signs / self._root).astype(np.complex64)) / self._root
            cause, effect = (
                [scipy.fft.fft2(part, self._grid) for part in (f.real, f.imag)]
                for f in (signs, image.astype(np.complex128))
            )
            for row in range(2):
                for column in range(2):
                    spectrum[row, column] += effect[row] * cause[column].conj()
        spectrum /= SPECTRUM_VECTORS * np.count_nonzero(unknown)
        width = [SPECTRAL_SMOOTHING * n / information.patch_size for n in self._grid]
        smooth = scipy.ndimage.gaussian_filter(spectrum, (0, 0, *width), mode="wrap")
        matrices = np.moveaxis(smooth, (0, 1), (2, 3))
        values, vectors = np.linalg.eigh((matrices + matrices.conj().swapaxes(2, 3)) / 2)
        values = np.maximum(values, LEAST_SPECTRUM * values.max())
        inverse = np.einsum("yxab,yxb,yxcb->acyx", vectors, 1 / values, vectors.conj())
        self._inverse = inverse[..., : self._grid[1] // 2 + 1].astype(np.complex64)

    def apply(self, residual: Field) -> Field:
        """Approximate I^-1 r; zero on known pixels, like r."""
        scaled = residual / self._root
        parts = [scipy.fft.rfft2(np.ascontiguousarray(f), self._grid, workers=2) for f in (scaled.real, scaled.imag)]
        height, width = self._unknown.shape
        real, imaginary = (
            scipy.fft.irfft2(row[0] * parts[0] + row[1] * parts[1], self._grid, workers=2)[:height, :width]
            for row in self._inverse
        )
        result: Field = np.where(self._unknown, (real + 1j * imaginary) / self._root, 0).astype(np.complex64)
        return result
