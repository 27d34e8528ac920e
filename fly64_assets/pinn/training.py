"""Training by the photon likelihood with Lightning: no truth, seeded, the best weights by validation.

Belongs here: the Lightning module, its callbacks and :func:`train`. Does not belong here: files, figures, requests
(:mod:`fly64_assets.pinn.job`). Imported by engine processes only.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import fly64_assets.torch_compat  # noqa: F401  # isort: skip  (before lightning)
import lightning.pytorch as lightning
import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.design_fields import PinnSettings
from fly64_assets.errors import EngineError
from fly64_assets.execution import Execution
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.architectures import NetworkSpec, PatchNetwork, build_network
from fly64_assets.pinn.callbacks import BestWeights, History, Progress
from fly64_assets.pinn.canvas import shared_patches
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.samples import Batch, Samples

WARM_UP_STEPS: Final = 50
LEAST_RATE: Final = 0.02
"""Last learning rate, relative to the first."""
LEAST_PHASE_STD: Final = 0.01
"""Standard deviation of the predicted phase [rad] below which a network counts as collapsed."""


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Losses are mean negative log-likelihoods per frame in absolute counts, sum (lambda - c log lambda).

    Attributes
    ----------
    weights : dict of str to ndarray
        Those of the epoch with the lowest validation loss.
    history : list of dict
        One row per epoch: ``epoch``, ``train_loss``, ``validation_loss``, ``learning_rate``.
    flat_loss : float
        Validation loss of a flat object.
    phase_std : float
        Standard deviation of the predicted phase over the lit part of the validation patches [rad].
    """

    spec: NetworkSpec
    weights: dict[str, NDArray[Any]]
    history: list[dict[str, float]]
    flat_loss: float
    phase_std: float
    stop_reason: str
    parameters: int
    frames_trained: int
    seconds: float

    @property
    def best(self) -> dict[str, float]:
        """Row of the epoch whose weights were kept."""
        return min(self.history, key=lambda row: row["validation_loss"])

    @property
    def finding(self) -> str:
        """Why the network counts as collapsed (``PINN.collapsed``), or an empty text."""
        best = self.best["validation_loss"]
        if best >= self.flat_loss:
            return (
                f"PINN.collapsed: the held-out likelihood {best:.6g} is no better than the flat object's "
                f"{self.flat_loss:.6g}"
            )
        if self.phase_std < LEAST_PHASE_STD:
            return (
                f"PINN.collapsed: the predicted phase varies by {self.phase_std:.3g} rad, "
                f"less than {LEAST_PHASE_STD} rad"
            )
        return ""


def train(
    measurement: Measurement,
    settings: PinnSettings,
    gridsize: int,
    neighbor_count: int,
    seed: int,
    execution: Execution,
    progress: Progress,
) -> Trained:
    """Train a network on all frames of a measurement.

    The result is the same for the same arguments and number of threads, byte for byte.

    Parameters
    ----------
    seed : int
        Seed of samples, thinning and initial weights (``rng_seeds.grouping``).
    progress : callable
        Called after every epoch with (epochs done, epochs, losses).

    Raises
    ------
    EngineError
        If the groups cannot be formed (OVERSAMPLING-001), a loss is not finite or memory runs out, with the epoch
        and the batch.
    """
    if execution.devices != 1:
        raise EngineError(
            f"devices = {execution.devices}: a training runs on one device; run several cells at once instead"
        )
    samples = Samples.of(
        measurement,
        gridsize=gridsize,
        neighbor_count=neighbor_count,
        # A frame alone is the same sample every time; groups of the same seed differ.
        samples_per_position=settings.samples_per_position if gridsize > 1 else 1,
        frames_per_batch=settings.batch_size,
        validation_fraction=settings.validation_fraction,
        thinning_fraction=settings.thinning_fraction,
        seed=seed,
    )
    spec = NetworkSpec(
        architecture=settings.architecture,
        patch_size=measurement.patch_size,
        group_frames=gridsize**2,
        width=settings.width,
        n_filters_scale=settings.n_filters_scale,
        amplitude_max=settings.amplitude_max,
        input_scale=input_scale(measurement),
    )
    module = PatchTraining(build_network(spec, measurement.probe, seed), samples, settings)
    best, rows = BestWeights(), History(settings.epochs, progress)
    stopping = lightning.callbacks.EarlyStopping("validation_loss", patience=settings.patience, check_finite=False)
    start = time.perf_counter()
    with _quiet_and_restored():
        trainer = lightning.Trainer(
            accelerator="gpu" if execution.accelerator == "cuda" else execution.accelerator,
            devices=execution.devices,
            precision=cast(Any, execution.precision),
            deterministic=execution.deterministic,
            max_epochs=settings.epochs,
            gradient_clip_val=settings.gradient_clip,
            callbacks=[best, rows, stopping],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        _fit(trainer, module)
        seconds = time.perf_counter() - start
        module.network.load_state_dict(best.weights)
        flat_loss, phase_std = module.judge()
    early = len(rows.history) < settings.epochs
    return Trained(
        spec=spec,
        weights={name: value.cpu().numpy() for name, value in best.weights.items()},
        history=rows.history,
        flat_loss=flat_loss,
        phase_std=phase_std,
        stop_reason=f"no improvement in {settings.patience} epochs" if early else "all epochs done",
        parameters=sum(parameter.numel() for parameter in module.network.parameters()),
        frames_trained=len(rows.history) * samples.samples_per_epoch * gridsize**2,
        seconds=seconds,
    )


def input_scale(measurement: Measurement) -> float:
    """Scale alpha = sqrt((N/2)^2 / mean_j sum X_j^2) of a training split, for networks that see amplitudes."""
    energies = [counts.sum(axis=(1, 2)) for _, counts in measurement.count_blocks()]
    mean = float(np.concatenate(energies).mean()) / measurement.intensity_scale**2
    return measurement.patch_size / 2 / math.sqrt(mean)


class _Batches:
    """Batches for Lightning, which iterates it once per epoch."""

    def __init__(self, draw: Callable[[], list[Batch]]) -> None:
        self._draw = draw

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._draw())

    def __len__(self) -> int:
        return len(self._draw())


class PatchTraining(lightning.LightningModule):  # type: ignore[misc]
    """One network, the likelihood of its predictions, and its optimiser."""

    def __init__(self, network: PatchNetwork, samples: Samples, settings: PinnSettings) -> None:
        super().__init__()
        self.network = network
        self.samples = samples
        self.settings = settings
        self.position = "before the first batch"
        self._learned, self._validated, self._scales = (
            torch.from_numpy(array) for array in (samples.learned, samples.validated, samples.learned_scale)
        )
        # The optimiser sees losses of order one whatever the dose; the history holds absolute ones.
        self._photons = max(1.0, float(samples.learned.sum(dtype=np.float64)) / len(samples.learned))

    def on_fit_start(self) -> None:
        """Move the data to the device once and seed the division of its photons."""
        self._thinning = torch.Generator(self.device).manual_seed(self.samples.seed)
        self._learned, self._validated = self._learned.to(self.device), self._validated.to(self.device)

    def train_dataloader(self) -> _Batches:
        """Batches of the current epoch, drawn anew for every epoch."""
        return _Batches(lambda: self.samples.epoch(self.current_epoch))

    def val_dataloader(self) -> _Batches:
        """Validation batches."""
        return _Batches(self.samples.validation_batches)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches are indices; the counts are on the device already."""
        del device, dataloader_idx
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Poisson loss of the frames that the network was shown."""
        self.position = f"epoch {self.current_epoch + 1}, batch {batch_idx + 1}"
        counts, scale = self._shown(batch)
        counts, scale, target, target_scale = self._divided(counts, scale)
        patches = self._predict(batch, counts, scale)
        loss = poisson_loss(self.network.physics.rates(patches, target_scale), target)
        self._require_finite(loss)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch.frames))
        return loss / self._photons

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Poisson loss of the counts that were taken away from the frames."""
        self.position = f"epoch {self.current_epoch + 1}, validation batch {batch_idx + 1}"
        patches = self._predict(batch, *self._shown(batch))
        rates = self.network.physics.rates(patches, self.samples.validated_scale)
        loss = poisson_loss(rates, self._validated[torch.from_numpy(batch.frames)])
        self._require_finite(loss)
        self.log("validation_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.frames))

    def configure_optimizers(self) -> Any:
        """Adam with a short warm-up and a cosine decay over all steps."""
        steps = self.settings.epochs * self.samples.batches_per_epoch

        def relative_rate(step: int) -> float:
            decay = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
            return min(1.0, (step + 1) / WARM_UP_STEPS) * (LEAST_RATE + (1.0 - LEAST_RATE) * decay)

        optimizer = torch.optim.Adam(self.network.parameters(), self.settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, relative_rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @torch.no_grad()
    def judge(self) -> tuple[float, float]:
        """Validation loss of a flat object and standard deviation of the network's phase [rad]."""
        self.to(self._learned.device)
        self.network.eval()
        physics = self.network.physics
        losses, frames, phases = [], [], []
        lit = physics.weight > 0.1
        for batch in self.samples.validation_batches():
            patches = self._predict(batch, *self._shown(batch))
            taken = self._validated[torch.from_numpy(batch.frames)]
            flat = physics.rates(torch.ones_like(patches), self.samples.validated_scale)
            losses.append(float(poisson_loss(flat, taken)))
            frames.append(len(batch.frames))
            # Relative to each patch's own mean, since its global phase is free.
            mean = (patches * physics.weight).sum(dim=(-2, -1), keepdim=True)
            phases.append((patches * mean.conj())[..., lit].angle().square().mean().item())
        weights = np.array(frames) / sum(frames)
        return float(weights @ np.array(losses)), float(np.sqrt(weights @ np.array(phases)))

    def _shown(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Counts (b, C, N, N) that the network may see and their intensity scales (b, C, 1, 1)."""
        frames = torch.from_numpy(batch.frames)
        counts = self._learned[frames]
        return counts, self._scales[frames][..., None, None].to(counts.device)

    def _divided(
        self, counts: torch.Tensor, scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Counts and scale to show, counts and scale to predict: two independent parts, drawn anew for every batch."""
        fraction = self.settings.target_fraction
        if fraction == 0:
            return counts, scale, counts, scale
        # Most pixels hold no photon; drawing for the others alone is several times faster.
        lit = counts > 0
        target = torch.zeros_like(counts)
        target[lit] = torch.binomial(
            counts[lit], counts.new_full((), fraction).expand(counts[lit].shape), self._thinning
        )
        return counts - target, scale * math.sqrt(1.0 - fraction), target, scale * math.sqrt(fraction)

    def _predict(self, batch: Batch, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Patches (b, C, M, M) that the network makes of counts, one object per group."""
        patches: torch.Tensor = self.network(counts, scale)
        if batch.frames.shape[1] == 1:
            return patches
        offsets = torch.from_numpy(batch.offsets).to(counts.device)
        return shared_patches(patches, self.network.physics.weight, offsets)

    def _require_finite(self, loss: torch.Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            raise EngineError(
                f"the loss is {float(loss)} in {self.position}: the training diverged; lower learning_rate or "
                "gradient_clip, or check the counts"
            )


def _fit(trainer: lightning.Trainer, module: PatchTraining) -> None:
    """Fit, with memory errors in words."""
    try:
        trainer.fit(module)
    except (MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in text:
            raise EngineError(
                f"out of memory in {module.position} ({text[:200]}): lower batch_size or width, or free memory"
            ) from error
        raise


@contextmanager
def _quiet_and_restored() -> Iterator[None]:
    """Silence Lightning's advice, and put torch's global switches back afterwards."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
