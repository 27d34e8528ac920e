"""What a user can know of a specimen, measured on an object: for advice that goes by such numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BAND = (0.02, 0.35)
"""Spatial frequencies [cycles/px] over which the exponent of the spectrum is fitted."""


@dataclass(frozen=True)
class ObjectDescription:
    """An object in five numbers.

    Attributes
    ----------
    spectrum_exponent : float
        b of a power spectrum that falls as k^-b, fitted between 0.02 and 0.35 cycles/px: about 3 for sharp edges, 0 for
        white noise, large for smooth objects.
    bandwidth : float [cycles/px]
        Spatial frequency below which 90 % of the variance lies.
    phase_range : float [rad]
        Between the 1st and the 99th percentile of the unwrapped phase.
    amplitude_phase_correlation : float
        Pearson's correlation of amplitude and unwrapped phase; 0 where either is constant.
    gradient_sparsity : float
        1 - (mean |g|)^2 / mean |g|^2 of the gradient's magnitude: 0 if it is the same everywhere, near 1 for few sharp
        edges on an empty background.
    """

    spectrum_exponent: float
    bandwidth: float
    phase_range: float
    amplitude_phase_correlation: float
    gradient_sparsity: float


def describe_object(obj: NDArray[np.complexfloating]) -> ObjectDescription:
    """Describe an object (H, W) complex.

    Raises ``ValueError`` for one that is constant or not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> white = describe_object(np.exp(0.1j * rng.normal(size=(128, 128))))
    >>> abs(white.spectrum_exponent) < 0.3, round(white.gradient_sparsity, 1)
    (True, 0.2)
    """
    from skimage.restoration import unwrap_phase

    values = obj.astype(np.complex128)
    if not np.isfinite(values).all() or np.ptp(values.real) == np.ptp(values.imag) == 0:
        raise ValueError("the object is constant or holds NaN or infinite values: it cannot be described")
    exponent, bandwidth = _spectrum(values)
    amplitude, phase = np.abs(values), np.asarray(unwrap_phase(np.angle(values)), dtype=np.float64)
    low, high = np.percentile(phase, (1, 99))
    correlated = amplitude.std() > 1e-9 and phase.std() > 1e-9
    correlation = float(np.corrcoef(amplitude.ravel(), phase.ravel())[0, 1]) if correlated else 0.0
    rows, columns = np.diff(values, axis=0)[:, :-1], np.diff(values, axis=1)[:-1]
    gradient = np.sqrt(np.abs(rows) ** 2 + np.abs(columns) ** 2)
    sparsity = 1 - float(gradient.mean() ** 2 / (gradient**2).mean())
    return ObjectDescription(exponent, bandwidth, float(high - low), correlation, sparsity)


def _spectrum(values: NDArray[np.complex128]) -> tuple[float, float]:
    """Exponent and bandwidth of the power spectrum of a windowed object, its mean removed."""
    window = np.hanning(values.shape[0])[:, None] * np.hanning(values.shape[1])[None, :]
    centred = (values - (values * window).sum() / window.sum()) * window
    power = np.abs(np.fft.fft2(centred)) ** 2
    frequency = np.hypot(np.fft.fftfreq(values.shape[0])[:, None], np.fft.fftfreq(values.shape[1])[None, :])
    edges = np.geomspace(*BAND, 13)
    ring = np.digitize(frequency.ravel(), edges)
    rings = [index for index in range(1, len(edges)) if (ring == index).any()]
    mean = [power.ravel()[ring == index].mean() for index in rings]
    middle = [frequency.ravel()[ring == index].mean() for index in rings]
    exponent = -float(np.polyfit(np.log(middle), np.log(np.maximum(mean, 1e-300)), 1)[0])
    order = np.argsort(frequency.ravel(), kind="stable")
    total = np.cumsum(power.ravel()[order])
    at = int(np.searchsorted(total, 0.9 * total[-1]))
    return exponent, float(frequency.ravel()[order][at])
