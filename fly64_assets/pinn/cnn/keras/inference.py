"""From a bundle of ``cnn``, trained by either backend, to an object, in TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fly64_assets.engines.tensorflow_compat  # noqa: F401  # isort: skip  (before tensorflow)
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fly64_assets.engines.process import Progress
from fly64_assets.errors import ArtifactError
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.cnn.keras.architecture import FramesNetwork
from fly64_assets.pinn.cnn.keras.forward import ForwardModel
from fly64_assets.pinn.cnn.keras.weights import weight_shapes
from fly64_assets.pinn.cnn.stitching import stitched_patches
from fly64_assets.pinn.results import Reconstruction

Run = Callable[[Any, Any], Any]
"""Patches of groups of frames, as tensors, from their counts and intensity scales."""


def reconstructor(bundle: Bundle) -> Callable[[Measurement, Path, Progress], Reconstruction]:
    """The network of a bundle as a method, whose graph TensorFlow traces once for all measurements with one probe.

    It gives the object of all frames of a measurement, in memory that does not grow with their number.

    Raises
    ------
    ArtifactError
        When called, if the bundle holds another network, or was trained for another frame size.
    EngineError
        When called, if a patch is not finite, or groups cannot be filled (OVERSAMPLING-001).
    """

    @functools.cache
    def traced(unit: float) -> Run:
        network = FramesNetwork(bundle.spec().in_unit(unit), bundle.weights)
        run: Run = tf.function(network.__call__, reduce_retracing=True)
        return run

    return functools.partial(_reconstruct, bundle, traced)


def _reconstruct(
    bundle: Bundle, traced: Callable[[float], Run], measurement: Measurement, scratch: Path, progress: Progress
) -> Reconstruction:
    spec = bundle.spec()
    if spec.architecture != "cnn":
        raise ArtifactError(f"the bundle's architecture is {spec.architecture}; TensorFlow runs cnn only")
    bundle.require_patch_size(measurement.patch_size)
    measurement = checked(measurement)
    bundle.require_shapes(weight_shapes(spec))
    run = traced(measurement.unit)

    def predict(counts: NDArray[np.float32], scale: float) -> NDArray[np.complex64]:
        scales = np.full((*counts.shape[:2], 1, 1), scale, np.float32)
        patches: NDArray[np.complex64] = run(tf.constant(counts), tf.constant(scales))[:, 0].numpy()
        return patches

    illumination = ForwardModel(measurement.probe).weight.numpy().astype(np.float64)
    return stitched_patches(predict, illumination, spec, measurement, scratch, progress)
