"""Training of the network of frames: groups of neighbours, thinned targets, the photon likelihood."""

from __future__ import annotations

import math

import numpy as np
import torch

from fly64_assets.pinn.cnn.canvas import shared_patches
from fly64_assets.pinn.cnn.network import EncoderDecoder
from fly64_assets.pinn.cnn.samples import Batch, Samples
from fly64_assets.pinn.forward import ForwardModel, poisson_loss
from fly64_assets.pinn.layers import initialised
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.optimisation import Batches, TrainingSetup, TrainingTask
from fly64_assets.pinn.settings import CnnSettings


class CnnTraining(TrainingTask):
    """A network of frames and the likelihood of its patches."""

    network: EncoderDecoder
    settings: CnnSettings

    def __init__(self, setup: TrainingSetup) -> None:
        measurement, settings = setup.measurement, setup.settings
        assert isinstance(settings, CnnSettings)
        samples = Samples.of(measurement, settings, setup.gridsize, setup.neighbor_count, setup.seed)
        spec = NetworkSpec.of_cnn(measurement, settings, setup.gridsize)
        physics = ForwardModel(measurement.probe, measurement.patch_size)
        network = initialised(lambda: EncoderDecoder(spec, physics), setup.seed)
        super().__init__(network, spec, settings, samples.batches_per_epoch)
        self.samples = samples
        self._learned, self._validated, self._scales = (
            torch.from_numpy(array) for array in (samples.learned, samples.validated, samples.learned_scale)
        )
        bad = measurement.bad_pixels
        self._bad_pixels = None if bad is None else torch.from_numpy(np.array(bad))
        # The optimiser gets losses of order one at every dose; the history holds absolute ones.
        self._photons = max(1.0, float(samples.learned.sum(dtype=np.float64)) / len(samples.learned))

    def on_fit_start(self) -> None:
        """Move the data to the device once and seed the division of its photons."""
        self._thinning = torch.Generator(self.device).manual_seed(self.samples.seed)
        self._learned, self._validated = self._learned.to(self.device), self._validated.to(self.device)
        if self._bad_pixels is not None:
            self._bad_pixels = self._bad_pixels.to(self.device)

    def train_dataloader(self) -> Batches:
        """Batches of the current epoch, drawn anew for every epoch."""
        return Batches(self.samples.epoch(self.current_epoch))

    def val_dataloader(self) -> Batches:
        """Validation batches."""
        return Batches(self.samples.validation_batches())

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Poisson loss of the target counts of the frames."""
        self.position = f"epoch {self.current_epoch + 1}, batch {batch_idx + 1}"
        counts, scale = self._learned_counts(batch)
        counts, scale, target, target_scale = self._divided(counts, scale)
        patches = self._predict(batch, counts, scale)
        loss = self._loss(self.network.physics.rates(patches, target_scale), target)
        self.require_finite(loss)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch.frames))
        self.frames_trained += batch.frames.size
        return loss / self._photons

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Poisson loss of the counts that were taken away from the frames."""
        self.position = f"epoch {self.current_epoch + 1}, validation batch {batch_idx + 1}"
        patches = self._predict(batch, *self._learned_counts(batch))
        rates = self.network.physics.rates(patches, self.samples.validated_scale)
        loss = self._loss(rates, self._validated[torch.from_numpy(self.samples.validated_row[batch.frames])])
        self.require_finite(loss)
        self.log("validation_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.frames))

    @torch.no_grad()
    def judge(self) -> tuple[float, float]:
        """Validation loss of the uniform object and standard deviation of the network's phase [rad]."""
        self.to(self._learned.device)
        self.network.eval()
        physics = self.network.physics
        losses, frames, phases = [], [], []
        illuminated = physics.weight > 0.1
        for batch in self.samples.validation_batches():
            patches = self._predict(batch, *self._learned_counts(batch))
            taken = self._validated[torch.from_numpy(self.samples.validated_row[batch.frames])]
            uniform = physics.rates(torch.ones_like(patches), self.samples.validated_scale)
            losses.append(float(self._loss(uniform, taken)))
            frames.append(len(batch.frames))
            # Relative to each patch's own mean, since its global phase is free.
            mean = (patches * physics.weight).sum(dim=(-2, -1), keepdim=True)
            phases.append((patches * mean.conj())[..., illuminated].angle().square().mean().item())
        weights = np.array(frames) / sum(frames)
        return float(weights @ np.array(losses)), float(np.sqrt(weights @ np.array(phases)))

    def _loss(self, rates: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Poisson loss over the measured pixels. At the others the counts are 0, and so is the network's input."""
        return poisson_loss(rates, counts, self._bad_pixels)

    def _learned_counts(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Counts (b, C, N, N) that may be learned from and their intensity scales (b, C, 1, 1)."""
        frames = torch.from_numpy(batch.frames)
        counts = self._learned[frames]
        return counts, self._scales[frames][..., None, None].to(counts.device)

    def _divided(
        self, counts: torch.Tensor, scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Counts and scale for the input and to predict: two independent splits, drawn anew for every batch."""
        fraction = self.settings.target_fraction
        if fraction == 0:
            return counts, scale, counts, scale
        # Most pixels hold no photon; drawing for the others alone is several times faster.
        lit = counts > 0
        target = torch.zeros_like(counts)
        target[lit] = torch.binomial(counts[lit], torch.full_like(counts[lit], fraction), self._thinning)
        return counts - target, scale * math.sqrt(1.0 - fraction), target, scale * math.sqrt(fraction)

    def _predict(self, batch: Batch, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Patches (b, C, N, N) that the network makes of counts, one object per group."""
        patches: torch.Tensor = self.network(counts, scale)
        if batch.frames.shape[1] == 1:
            return patches
        offsets = torch.from_numpy(batch.offsets).to(counts.device)
        return shared_patches(patches, self.network.physics.weight, offsets)
