"""What an object leaves unexplained in counts that it was not made from, as a smooth background on the detector.

A rate is quadratic in the object: details o that the object O lacks, and of which only the statistics are known, still
scatter photons, E |F P (O + o)|^2 = |F P O|^2 + E |F P o|^2. Light that the model does not hold (a second mode,
scattering by air) adds to the rate in the same way. Without the second term a single count where an object predicts
next to none would decide a comparison, and invented texture would beat a smooth object that is closer to the truth.
In the counts that an object was made from it would be too small the more noise the object has fitted.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.physics.counts import RATE_FLOOR

EM_ITERATIONS: Final = 60
"""Iterations of expectation maximisation."""
SMOOTHED_PX: Final = 9
"""Width of the box over which the background is averaged after every iteration."""
LEAST_NEAR: Final = 1e-3
"""Below the share that a single measured pixel has in a box: where none is measured, a background of 0 is divided."""


def fitted_background(
    rates: NDArray[np.floating], counts: NDArray[np.floating], bad_pixels: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Expected counts per detector pixel (N, N), the same in every frame, that an object leaves unexplained.

    Fitted by expectation maximisation (the multiplicative step of Richardson, J. Opt. Soc. Am. 62, 55, 1972, and Lucy,
    Astron. J. 79, 745, 1974) and averaged over 9 x 9 pixels after every iteration: what an object lacks is spread
    smoothly over the detector, noise is not.

    Parameters
    ----------
    rates, counts : (b, N, N)
        Expected and counted photons of some frames, DC in the centre.
    bad_pixels : (N, N) bool, optional
        Pixels that were not measured. They have no part in the result, which is there what the measured pixels around
        them have, or 0 where none is near.

    Examples
    --------
    Where the object explains half of the counts, the background holds the other half.

    >>> counts = np.full((4, 16, 16), 2.0)
    >>> bool(np.allclose(fitted_background(counts / 2, counts), 1, rtol=0.01))
    True
    """
    measured = np.ones(counts.shape[1:], bool) if bad_pixels is None else ~bad_pixels
    near = np.maximum(_box_mean(measured.astype(np.float64)), LEAST_NEAR)
    background = np.full(counts.shape[1:], 0.05 * counts[:, measured].mean() + 1e-12)
    for _ in range(EM_ITERATIONS):
        ratio = (counts / np.maximum(rates + background, RATE_FLOOR)).mean(axis=0)
        background = _box_mean(np.where(measured, background * ratio, 0.0)) / near
    return background


def _box_mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the box around each pixel; the edge goes on beyond itself."""
    mean: NDArray[np.float64] = scipy.ndimage.uniform_filter(image, SMOOTHED_PX, mode="nearest")
    return mean
