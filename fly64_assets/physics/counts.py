"""Photon counting: seeded Poisson noise, stored amplitudes, binomial thinning, the Poisson likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE_FLOOR = 1e-8
"""Least expected counts per pixel in a likelihood (the logarithm of zero is of no use)."""


def frame_generator(seed: int, dose: int, frame: int, repeat: int = 1) -> np.random.Generator:
    """Random generator of one frame: depends on (seed, dose, frame, repeat) and on nothing else.

    A counter-based generator (Salmon et al., SC'11): the frame selects the counter, so that blocks, threads
    and the order of work cannot change a frame's noise.
    """
    return np.random.Generator(np.random.Philox(key=[seed, dose], counter=[0, 0, frame, repeat - 1]))


def poisson_counts(
    rates: NDArray[np.float64], frames: NDArray[np.int64], seed: int, dose: int, repeat: int = 1
) -> NDArray[np.int64]:
    """Photon counts of the frames with indices ``frames`` in the unsplit scan.

    Parameters
    ----------
    rates : (b, N, N) float64
        Expected photons per pixel.
    frames : (b,) int64
        Index of each frame in the whole scan.

    Returns
    -------
    (b, N, N) int64
    """
    counts = np.empty(rates.shape, dtype=np.int64)
    for row, frame in enumerate(frames):
        counts[row] = frame_generator(seed, dose, int(frame), repeat).poisson(rates[row])
    return counts


def stored_amplitude(counts: NDArray[np.integer], scale: float) -> NDArray[np.float32]:
    """Amplitude as stored in a data set: float32(sqrt(counts) / s)."""
    amplitude: NDArray[np.float32] = (np.sqrt(counts.astype(np.float64)) / scale).astype(np.float32)
    return amplitude


def counts_from_amplitude(amplitude: NDArray[np.float32], scale: float) -> NDArray[np.float64]:
    """Integer counts behind stored amplitudes, rint((s X)^2) in float64."""
    counts: NDArray[np.float64] = np.rint((scale * amplitude.astype(np.float64)) ** 2)
    return counts


def thin_counts(
    counts: NDArray[np.floating], fraction: float, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split counts binomially into two independent Poisson sets with means (1 - f) lambda and f lambda.

    Returns (kept, taken), float64, with kept + taken = counts.
    """
    taken = generator.binomial(counts.astype(np.int64), fraction).astype(np.float64)
    return counts - taken, taken


def poisson_loss(rates: NDArray[np.floating], counts: NDArray[np.floating]) -> float:
    """Mean over frames of sum (lambda - c log lambda), the negative log-likelihood up to a constant of the data."""
    clamped = np.maximum(rates.astype(np.float64), RATE_FLOOR)
    return float((clamped - counts * np.log(clamped)).sum(axis=(-2, -1)).mean())
