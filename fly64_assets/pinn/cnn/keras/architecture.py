"""``cnn`` in Keras: from measured frames to patches, with the arithmetic of the PyTorch network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import fly64_assets.engines.tensorflow_compat  # noqa: F401  # isort: skip  (before tensorflow)
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fly64_assets.pinn.cnn.keras.weights import OUTER_CHANNELS, PARTS, convolutions, from_keras, to_keras
from fly64_assets.pinn.network_spec import NetworkSpec, encoder_filters

Tensor = Any


class FramesNetwork:
    """One encoder, a decoder for the amplitude and one for the phase.

    Hoidn, Mishra and Mehta, Sci. Rep. 13, 22789 (2023). The frames of a group are input channels; amplitudes lie in
    (0, amplitude_max), phases in (-pi, pi). Outside, frames come first, as everywhere in this project; inside, channels
    come last, which is the order that TensorFlow's convolutions have on every device.

    ``weights`` are named as in a bundle; ``dtype`` is ``float32`` or ``float64``.
    """

    def __init__(self, spec: NetworkSpec, weights: Mapping[str, NDArray[np.floating]], dtype: str = "float32") -> None:
        self.spec = spec
        self._layers = {
            row.name: keras.layers.Conv2D(row.channels_out, 3, padding="same", name=row.name, dtype=dtype)
            for row in convolutions(spec)
        }
        self._border = _border(spec.patch_size, dtype)
        frames = keras.Input((spec.patch_size, spec.patch_size, spec.group_frames), dtype=dtype)
        self.model = keras.Model(frames, self._maps(frames), name="diffraction_to_obj")
        self.load(weights)

    def __call__(self, counts: Tensor, scale: Tensor) -> Tensor:
        """Patches (b, C, N, N) complex from counts (b, C, N, N) with intensity scales (b, C, 1, 1)."""
        amplitudes = self.spec.input_scale / scale * tf.sqrt(tf.maximum(counts, 0.0))
        amplitude, phase = self.model(tf.transpose(amplitudes, (0, 2, 3, 1)))
        patches = tf.complex(amplitude * tf.cos(phase), amplitude * tf.sin(phase))
        return tf.transpose(patches, (0, 3, 1, 2))

    def load(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        """Take over weights as a bundle holds them."""
        for name, layer in self._layers.items():
            layer.set_weights(to_keras(name, weights))

    def weights(self) -> dict[str, NDArray[np.floating]]:
        """The weights as a bundle holds them."""
        return {k: v for name, layer in self._layers.items() for k, v in from_keras(name, layer.get_weights()).items()}

    @property
    def variables(self) -> list[Tensor]:
        """The trainable variables, in the order of the layers."""
        return [variable for layer in self._layers.values() for variable in layer.trainable_variables]

    # -- layers ------------------------------------------------------------------------------------------------

    def _maps(self, frames: Tensor) -> list[Tensor]:
        """Amplitude and phase, (b, N, N, C) each."""
        filters = encoder_filters(self.spec.patch_size, self.spec.n_filters_scale)
        images = frames
        for index in range(len(filters)):
            images = keras.layers.MaxPooling2D(2, dtype=images.dtype)(self._two(f"encoder.{2 * index}", images))
        bound = self.spec.amplitude_max
        bounds = (lambda logits: bound * keras.ops.sigmoid(logits), lambda logits: math.pi * keras.ops.tanh(logits))
        return [self._decoder(p, images, len(filters) - 1, b) for p, b in zip(PARTS, bounds, strict=True)]

    def _decoder(self, part: str, images: Tensor, ups: int, bound: Any) -> Tensor:
        """C bounded maps: the centre at N/2, the border by the outer head."""
        for index in range(ups):
            images = self._two(f"{part}.ups.{index}", _doubled(images))
        edge = self.spec.patch_size // 4
        centre = keras.layers.ZeroPadding2D(edge, dtype=images.dtype)(bound(self._layers[f"{part}.centre"](images)))
        outer = self._two(f"{part}.outer_up", _doubled(images[..., -OUTER_CHANNELS:]))
        return centre + keras.ops.multiply(bound(self._layers[f"{part}.outer"](outer)), self._border)

    def _two(self, name: str, images: Tensor) -> Tensor:
        """Two convolutions with ReLU."""
        for place in (0, 2):
            images = keras.ops.relu(self._layers[f"{name}.{place}"](images))
        return images


def _doubled(images: Tensor) -> Tensor:
    return keras.layers.UpSampling2D(2, interpolation="nearest", dtype=images.dtype)(images)


def _border(size: int, dtype: str) -> NDArray[np.floating]:
    """One outside the central N/2, zero inside, (1, N, N, 1)."""
    border = np.ones((1, size, size, 1), dtype)
    inner = slice(size // 4, size - size // 4)
    border[:, inner, inner] = 0.0
    return border
