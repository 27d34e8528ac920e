"""TensorFlow form of ``physics.forward`` and of the likelihood in ``physics.counts``, with gradients."""

from __future__ import annotations

from typing import Any

import fly64_assets.engines.tensorflow_compat  # noqa: F401  # isort: skip  (before tensorflow)
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fly64_assets.physics.counts import RATE_FLOOR

Tensor = Any


class ForwardModel:
    """Patches to expected counts for one probe (equations 2-4 of the study's forward model).

    ``weight`` (N, N) is the probe intensity, 1 at the probe's peak.
    """

    def __init__(self, probe: NDArray[np.complexfloating], dtype: str = "float32") -> None:
        self.real = np.dtype(dtype)
        self.complex = np.dtype(f"c{2 * self.real.itemsize}")
        values = np.asarray(probe, np.complex64)
        self.probe = tf.constant(values, self.complex)
        self._norm = values.shape[0]
        intensity = np.abs(values) ** 2
        self.weight = tf.constant(intensity / intensity.max(), self.real)

    def rates(self, patches: Tensor, scale: Tensor) -> Tensor:
        """Expected counts fftshift |F(s P O)|^2, (..., N, N), of complex patches (..., N, N)."""
        field = tf.signal.fft2d(tf.cast(scale, self.complex) * self.probe * patches) / self._norm
        return tf.signal.fftshift(tf.square(tf.math.real(field)) + tf.square(tf.math.imag(field)), axes=(-2, -1))


def poisson_loss(rates: Tensor, counts: Tensor, bad_pixels: NDArray[np.bool_] | None = None) -> Tensor:
    """Mean over frames of sum (lambda - c log lambda), rates clamped to at least 1e-8; a float64 scalar.

    ``bad_pixels`` (N, N) names pixels that were not measured: they are not summed.
    """
    clamped = tf.maximum(rates, RATE_FLOOR)
    # In float64: at high doses the differences between epochs are smaller than the steps of float32.
    terms = tf.cast(clamped - counts * tf.math.log(clamped), tf.float64)
    if bad_pixels is not None:
        terms = tf.where(bad_pixels, tf.constant(0.0, tf.float64), terms)
    return tf.reduce_mean(tf.reduce_sum(terms, axis=(-2, -1)))
