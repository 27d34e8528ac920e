"""Photon counting: seeded Poisson noise, stored amplitudes, binomial thinning, the Poisson likelihood."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE_FLOOR = 1e-8
"""Least expected counts per pixel in a likelihood (the logarithm of zero is infinite)."""


READ_OUT = 1
"""Stream of a frame's generator for the noise of the read-out; its photons have stream 0."""


def frame_generator(seed: int, dose: int, frame: int, repeat: int = 1, stream: int = 0) -> np.random.Generator:
    """Random generator of one frame; it depends on (seed, dose, frame, repeat, stream) and on nothing else.

    A counter-based generator (Salmon et al., SC'11): the frame selects the counter, so that blocks, threads
    and the order of work cannot change a frame's noise.
    """
    return np.random.Generator(np.random.Philox(key=[seed, dose], counter=[0, stream, frame, repeat - 1]))


def frame_generators(
    seed: int, dose: int, frames: Iterable[int], repeat: int = 1, stream: int = 0
) -> Iterator[np.random.Generator]:
    """Random generators of several frames, each as :func:`frame_generator` makes it, in a fraction of the time.

    It is one generator, set to the next frame when that is asked for: use each before the next.

    Examples
    --------
    >>> alone = [frame_generator(42, 1000, frame).poisson(9.0) for frame in (5, 3)]
    >>> [generator.poisson(9.0) for generator in frame_generators(42, 1000, (5, 3))] == alone
    True
    """
    generator = frame_generator(seed, dose, 0, repeat, stream)
    bits = generator.bit_generator
    state: Any = bits.state  # of a generator that has drawn nothing
    for frame in frames:
        state["state"]["counter"][2] = frame
        bits.state = state
        yield generator


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
    for row, generator in enumerate(frame_generators(seed, dose, frames.tolist(), repeat)):
        counts[row] = generator.poisson(rates[row])
    return counts


def stored_amplitude(counts: NDArray[np.integer], scale: float) -> NDArray[np.float32]:
    """Amplitude as stored in a data set: float32(sqrt(counts) / s)."""
    most = int(counts.max(initial=0))
    if most < counts.size and counts.min(initial=0) >= 0:
        # Of few different counts a table holds every root.
        return _amplitudes(np.arange(most + 1), scale).take(counts)
    return _amplitudes(counts, scale)


def _amplitudes(counts: NDArray[np.integer], scale: float) -> NDArray[np.float32]:
    amplitude: NDArray[np.float32] = (np.sqrt(counts.astype(np.float64)) / scale).astype(np.float32)
    return amplitude


def counts_from_amplitude(amplitude: NDArray[np.float32], scale: float) -> NDArray[np.float64]:
    """Integer counts behind stored amplitudes, rint((s X)^2) in float64."""
    counts: NDArray[np.float64] = np.rint((scale * amplitude.astype(np.float64)) ** 2)
    return counts


def thin_counts(
    counts: NDArray[np.floating], fraction: float, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Divide counts at random into two independent Poisson sets with means (1 - f) lambda and f lambda.

    Every photon is taken with the probability f (binomial thinning, Lewis and Shedler, Naval Research Logistics
    Quarterly 26, 403, 1979). k equal independent sets come from thinning what is left by 1/k, 1/(k - 1), ...

    Returns
    -------
    kept, taken : float64, shape of ``counts``
        Whole numbers with kept + taken = counts.

    Examples
    --------
    >>> import numpy as np
    >>> kept, taken = thin_counts(np.full((2, 3), 1000.0), 0.25, np.random.default_rng(1))
    >>> (kept + taken).tolist()
    [[1000.0, 1000.0, 1000.0], [1000.0, 1000.0, 1000.0]]
    >>> bool(abs(taken.mean() - 250) < 30)
    True
    """
    # Most detector pixels hold no photon, and nothing is drawn for them: leaving them out gives the same counts sooner.
    filled = counts > 0
    taken = np.zeros(counts.shape)
    taken[filled] = generator.binomial(counts[filled].astype(np.int64), fraction)
    return counts - taken, taken


def negative_log_likelihood(
    rates: NDArray[np.floating], counts: NDArray[np.floating], bad_pixels: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Sum over the measured pixels of every frame of lambda - c log lambda, (n,), up to a constant of the data.

    Parameters
    ----------
    rates, counts : (n, N, N)
        Expected and counted photons; rates are raised to at least 1e-8.
    bad_pixels : (N, N) bool, optional
        Pixels that were not measured, which do not count.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.full((1, 2, 2), 3.0)
    >>> [float(negative_log_likelihood(np.full_like(counts, rate), counts)[0].round(3)) for rate in (2, 3, 4)]
    [-0.318, -1.183, -0.636]
    """
    clamped = np.maximum(rates.astype(np.float64, copy=False), RATE_FLOOR)
    terms = clamped - counts * np.log(clamped)
    if bad_pixels is not None:
        terms[..., bad_pixels] = 0.0
    total: NDArray[np.float64] = terms.sum(axis=(-2, -1))
    return total
