"""Training of ``cnn`` in TensorFlow, inside a legacy session only: the loop, the optimiser, the guards."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import fly64_assets.engines.tensorflow_compat  # noqa: F401  # isort: skip  (before tensorflow)
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.physics.counts import thin_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.pinn.cnn.keras.architecture import FramesNetwork
from fly64_assets.pinn.cnn.keras.canvas import shared_patches
from fly64_assets.pinn.cnn.keras.forward import ForwardModel, poisson_loss
from fly64_assets.pinn.cnn.keras.weights import initial_weights
from fly64_assets.pinn.cnn.samples import Batch, Samples
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Trained, diverged, stop_reason
from fly64_assets.pinn.settings import CnnSettings, relative_rate
from fly64_assets.ptychopinn.configuration import LegacyConfigError
from fly64_assets.ptychopinn.dictionary import require_supported
from fly64_assets.ptychopinn.session import LegacySession

Tensor = Any
Counts = NDArray[np.floating]

_DIVISION: Final = 4
"""Stream of the training's seed for the division of counts; the samples use the smaller ones."""


def train(session: LegacySession, measurement: Measurement, settings: CnnSettings, progress: Progress) -> Trained:
    """Train the network with the parameters of an open legacy session.

    N, gridsize, neighbor_count, n_groups, nepochs, batch_size, n_filters_scale and npseed are those of the session;
    ``settings`` has the rest, for which the dictionary has no key. The result is the same for the same arguments and
    number of threads on one kind of machine, byte for byte.

    Raises
    ------
    LegacyConfigError
        Without an open session (CONFIG-001), for values that the network cannot honour, or where the session's N is
        not that of the frames.
    EngineError
        If the measurement is unfit; if the groups cannot be formed (OVERSAMPLING-001), a loss is not finite or memory
        runs out, with the epoch and the batch.
    """
    start = time.perf_counter()
    scale, measurement = float(measurement.intensity_scale), checked(measurement)
    settings = session_settings(session, measurement, settings)
    session.record("intensity_scale", scale)
    gridsize, seed = session["gridsize"], session["npseed"]
    samples = replace(
        Samples.of(measurement, settings, gridsize, session["neighbor_count"], seed),
        samples_per_epoch=session["n_groups"],
    )
    spec = NetworkSpec.of_cnn(measurement, settings, gridsize)
    network = FramesNetwork(spec, initial_weights(spec, seed))
    learner = _Learner(network, ForwardModel(measurement.probe), samples, settings, measurement.bad_pixels)
    history: list[dict[str, float]] = []
    best, waited = math.inf, 0
    best_weights: dict[str, NDArray[Any]] = {}
    try:
        for epoch in range(settings.epochs):
            row: dict[str, float] = {"epoch": epoch + 1, **learner.epoch(epoch)}
            history.append(row)
            progress(epoch + 1, settings.epochs, row)
            waited += 1
            if row["validation_loss"] < best:
                best, waited, best_weights = row["validation_loss"], 0, network.weights()
            elif waited >= settings.patience:
                break
        network.load(best_weights)
        flat_loss, phase_std = learner.judge()
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise EngineError(
            f"out of memory in {learner.position} ({' '.join(str(error).split())[:200]}): lower batch_size, or free "
            "memory"
        ) from error
    return Trained(
        spec=spec.in_unit(1 / measurement.unit),
        weights=best_weights,
        history=history,
        flat_loss=flat_loss,
        phase_std=phase_std,
        stop_reason=stop_reason(history, settings.epochs, settings.patience),
        parameters=sum(value.size for value in best_weights.values()),
        frames_trained=learner.frames_trained,
        seconds=time.perf_counter() - start,
        facts={"n_groups": samples.samples_per_epoch},
    )


def session_settings(session: LegacySession, measurement: Measurement, settings: CnnSettings) -> CnnSettings:
    """The settings with everything that the session decides; refuses a session that does not fit."""
    if not isinstance(session, LegacySession):
        raise LegacyConfigError(
            f"the TensorFlow network trains inside a legacy session only, found {type(session).__name__}: use "
            "`with legacy_session(config) as session:` and hand it over (CONFIG-001)"
        )
    session.require_open()
    require_supported(session)
    if session["N"] != measurement.patch_size:
        raise LegacyConfigError(
            f"the session says N = {session['N']}, the frames are {measurement.patch_size} px wide: set N (CONFIG-001)"
        )
    return replace(
        settings,
        epochs=session["nepochs"],
        batch_size=session["batch_size"],
        n_filters_scale=session["n_filters_scale"],
    )


class _Learner:
    """A network, its data and its optimiser: Adam with a short warm-up and a cosine decay over all steps."""

    def __init__(
        self,
        network: FramesNetwork,
        physics: ForwardModel,
        samples: Samples,
        settings: CnnSettings,
        bad_pixels: NDArray[np.bool_] | None,
    ) -> None:
        self.network, self.physics, self.samples, self.settings = network, physics, samples, settings
        self._bad_pixels = bad_pixels
        self.position = "before the first batch"
        self.frames_trained = 0
        # The optimiser gets losses of order one at every dose; the history holds absolute ones.
        self._photons = max(1.0, float(samples.learned.sum(dtype=np.float64)) / len(samples.learned))
        self._steps = settings.epochs * samples.batches_per_epoch
        self._step = 0
        self._optimizer = keras.optimizers.Adam(settings.learning_rate, epsilon=1e-8)
        self._optimizer.build(network.variables)
        real = tf.TensorSpec((None, network.spec.group_frames, None, None), tf.float32)
        offsets = tf.TensorSpec((None, network.spec.group_frames, 2), tf.float32)
        self._learn = tf.function(self._train_step, input_signature=(*[real] * 4, offsets))
        self._predict = tf.function(self._patches, input_signature=(real, real, offsets))

    def epoch(self, number: int) -> dict[str, float]:
        """Train on all samples once, then validate; losses and the learning rate after the last step."""
        generator = np.random.default_rng([self.samples.seed, _DIVISION, number])
        losses: list[tuple[int, float]] = []
        for index, batch in enumerate(self.samples.epoch(number)):
            self.position = f"epoch {number + 1}, batch {index + 1}"
            self._optimizer.learning_rate = self._rate()
            given, target = self._divided(batch, generator)
            loss = float(self._learn(*given, *target, batch.offsets))
            losses.append((len(batch.frames), self._finite(loss)))
            self.frames_trained += batch.frames.size
            self._step += 1
        return {
            "train_loss": _mean(losses),
            "validation_loss": _mean(list(self._validated(number))),
            "learning_rate": self._rate(),
        }

    def judge(self) -> tuple[float, float]:
        """Validation loss of the uniform object and standard deviation of the network's phase [rad]."""
        losses, phases = [], []
        weight = self.physics.weight.numpy()
        for batch, patches in self._validation_patches():
            taken = self._taken(batch)
            uniform = self.physics.rates(tf.ones_like(patches), self.samples.validated_scale)
            losses.append((len(batch.frames), float(self._loss(uniform, taken))))
            # Relative to each patch's own mean, since its global phase is free.
            values = patches.numpy()
            mean = (values * weight).sum(axis=(-2, -1), keepdims=True)
            angles = np.angle(values * mean.conj())[..., weight > 0.1]
            phases.append((len(batch.frames), float(np.square(angles).mean())))
        return _mean(losses), math.sqrt(_mean(phases))

    # -- steps -------------------------------------------------------------------------------------------------

    def _train_step(
        self, counts: Tensor, scale: Tensor, target: Tensor, target_scale: Tensor, offsets: Tensor
    ) -> Tensor:
        with tf.GradientTape() as tape:
            loss = self._loss(self.physics.rates(self._patches(counts, scale, offsets), target_scale), target)
            relative = loss / self._photons
        variables = self.network.variables
        gradients, _ = tf.clip_by_global_norm(tape.gradient(relative, variables), self.settings.gradient_clip)
        self._optimizer.apply(gradients, variables)
        return loss

    def _loss(self, rates: Tensor, counts: Tensor) -> Tensor:
        """Poisson loss over the measured pixels. At the others the counts are 0, and so is the network's input."""
        return poisson_loss(rates, counts, self._bad_pixels)

    def _patches(self, counts: Tensor, scale: Tensor, offsets: Tensor) -> Tensor:
        """Patches that the network makes of counts, one object per group."""
        patches = self.network(counts, scale)
        if self.network.spec.group_frames == 1:
            return patches
        return shared_patches(patches, self.physics.weight, offsets)

    def _rate(self) -> float:
        return self.settings.learning_rate * relative_rate(self._step, self._steps)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise diverged(loss, self.position)
        return loss

    # -- data --------------------------------------------------------------------------------------------------

    def _divided(
        self, batch: Batch, generator: np.random.Generator
    ) -> tuple[tuple[Counts, Counts], tuple[Counts, Counts]]:
        """Counts and scale for the input and to predict: two independent splits, drawn anew for every batch."""
        counts, scale = self._learned_counts(batch)
        fraction = self.settings.target_fraction
        if fraction == 0:
            return (counts, scale), (counts, scale)
        kept, taken = thin_counts(counts, fraction, generator)
        scales = [scale * np.float32(math.sqrt(part)) for part in (1.0 - fraction, fraction)]
        return (kept.astype(np.float32), scales[0]), (taken.astype(np.float32), scales[1])

    def _learned_counts(self, batch: Batch) -> tuple[Counts, Counts]:
        """Counts (b, C, N, N) that may be learned from and their intensity scales (b, C, 1, 1)."""
        return self.samples.learned[batch.frames], self.samples.learned_scale[batch.frames][..., None, None]

    def _taken(self, batch: Batch) -> Counts:
        return self.samples.validated[self.samples.validated_row[batch.frames]]

    def _validation_patches(self) -> Iterator[tuple[Batch, Tensor]]:
        for batch in self.samples.validation_batches():
            yield batch, self._predict(*self._learned_counts(batch), batch.offsets)

    def _validated(self, number: int) -> Iterator[tuple[int, float]]:
        """Poisson loss of the counts that were taken away from the frames, batch by batch."""
        for index, (batch, patches) in enumerate(self._validation_patches()):
            self.position = f"epoch {number + 1}, validation batch {index + 1}"
            rates = self.physics.rates(patches, self.samples.validated_scale)
            yield len(batch.frames), self._finite(float(self._loss(rates, self._taken(batch))))


def _mean(rows: list[tuple[int, float]]) -> float:
    """Mean of values with weights."""
    return sum(weight * value for weight, value in rows) / sum(weight for weight, _ in rows)
