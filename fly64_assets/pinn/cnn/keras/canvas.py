"""The overlap canvas in TensorFlow: the frames of a group share one object, with gradients.

The bilinear weights, those of :mod:`fly64_assets.physics.windows`, are separable: reading and adding are two products
with matrices of hat functions, which needs no scattered additions, whose order would not be the same every time on a
GPU.
"""

from __future__ import annotations

from typing import Any

import fly64_assets.engines.tensorflow_compat  # noqa: F401  # isort: skip  (before tensorflow)
import tensorflow as tf

from fly64_assets.physics.illumination import LEAST_COVERAGE

Tensor = Any


class OverlapCanvas:
    """Canvases of b groups of C patches, one canvas per group, as large as the offsets need.

    ``offsets`` (b, C, 2) are window centres relative to the canvas centre as (y, x) [px].
    """

    def __init__(self, offsets: Tensor, patch_side: int) -> None:
        reach = tf.cast(tf.math.ceil(tf.reduce_max(tf.abs(offsets))), tf.int32)
        self.rows, self.columns = (_hats(offsets[..., axis], patch_side, reach) for axis in (0, 1))

    def place(self, patches: Tensor) -> Tensor:
        """Add real patches (b, C, N, N) onto canvases (b, side, side)."""
        return tf.reduce_sum(tf.matmul(self.rows, tf.matmul(patches, self.columns), transpose_a=True), axis=1)

    def read(self, canvas: Tensor) -> Tensor:
        """Windows (b, C, N, N) of real canvases (b, side, side): the adjoint of :meth:`place`."""
        return tf.matmul(self.rows, tf.matmul(canvas[:, None], self.columns, transpose_b=True))


def _hats(offsets: Tensor, patch_side: int, reach: Tensor) -> Tensor:
    """Weights (b, C, N, side) of each canvas pixel for each patch pixel along one axis."""
    pixels = tf.cast(tf.range(patch_side), offsets.dtype)[:, None]
    grid = tf.cast(tf.range(patch_side + 2 * reach) - reach, offsets.dtype)
    return tf.nn.relu(1.0 - tf.abs(offsets[..., None, None] + (pixels - grid)))


def shared_patches(patches: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """Replace each patch of a group by the group's common object at its position: the overlap constraint.

    The same object as the PyTorch network's: the weighted mean of the patches where they overlap, their free global
    phases aligned to the mean first, the mean corrected once by the residual of the patches against it; 1 where no
    patch reaches.

    For ``patches`` (b, C, N, N) complex, ``weight`` (N, N), the probe's intensity, 1 at its peak, and ``offsets``
    (b, C, 2), positions relative to the group's mean as (y, x) [px].
    """
    canvas = OverlapCanvas(offsets, int(weight.shape[-1]))
    spread = tf.broadcast_to(weight, tf.shape(patches))
    coverage = canvas.place(spread)
    measured = coverage >= LEAST_COVERAGE
    inverse = tf.where(measured, 1.0 / tf.maximum(coverage, LEAST_COVERAGE), tf.zeros_like(coverage))
    uniform = tf.cast(tf.where(measured, tf.zeros_like(coverage), tf.ones_like(coverage)), patches.dtype)

    def mean(values: Tensor) -> Tensor:
        real, imaginary = (inverse * canvas.place(spread * part(values)) for part in (tf.math.real, tf.math.imag))
        return tf.complex(real, imaginary)

    def window(values: Tensor) -> Tensor:
        return tf.complex(canvas.read(tf.math.real(values)), canvas.read(tf.math.imag(values)))

    # The best phase of a patch must not change its content: no gradient goes through it.
    match = tf.reduce_sum(
        window(mean(patches)) * tf.math.conj(patches) * tf.cast(weight, patches.dtype), axis=(-2, -1), keepdims=True
    )
    size = tf.maximum(tf.abs(match), 1e-12)
    aligned = tf.stop_gradient(match / tf.cast(size, patches.dtype)) * patches
    obj = mean(aligned) + uniform
    return window(obj + mean(aligned - window(obj)))
