from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fly64_assets.design import PinnSettings
from fly64_assets.errors import EngineError
from fly64_assets.execution import Execution
from fly64_assets.physics.counts import poisson_loss
from fly64_assets.pinn import training
from fly64_assets.pinn.architectures import PatchNetwork, build_network
from fly64_assets.pinn.canvas import shared_patches
from fly64_assets.pinn.samples import Samples
from fly64_assets.pinn.training import input_scale, train

SETTINGS = PinnSettings(epochs=5, width=8)
DIVISION = {
    "samples_per_position": SETTINGS.samples_per_position,
    "frames_per_batch": SETTINGS.batch_size,
    "validation_fraction": SETTINGS.validation_fraction,
    "thinning_fraction": SETTINGS.thinning_fraction,
}


def run(measurement, settings=SETTINGS, gridsize=2, seed=1):
    rows = []
    result = train(measurement, settings, gridsize, 7, seed, Execution(), lambda *row: rows.append(row))
    return result, rows


@pytest.fixture(scope="module")
def trained(measurement):
    return run(measurement)


class Flat(PatchNetwork):
    """A network that answers with the same constant whatever it sees."""

    joint = False

    def __init__(self, spec, physics):
        super().__init__(physics)
        self.value = torch.nn.Parameter(torch.zeros(()))

    def forward(self, counts, scale):
        window = self.physics.window
        patches = torch.ones((*counts.shape[:2], window, window), dtype=torch.complex64)
        return patches * torch.exp(1j * self.value)


def test_training_on_64_frames_lowers_the_loss(trained):
    result, rows = trained
    losses = [row["validation_loss"] for row in result.history]
    # Thinned to a tenth: 10 000 photons, of which the flat object misplaces enough for thousands in likelihood.
    assert result.best["validation_loss"] < result.flat_loss - 50
    assert losses[-1] < losses[0] - 1.0
    assert [done for done, _, _ in rows] == [1, 2, 3, 4, 5]
    assert all(total == 5 for _, total, _ in rows)
    assert result.finding == ""
    assert result.stop_reason == "all epochs done"
    assert result.frames_trained == 5 * 64 * 4


def test_a_training_that_does_not_improve_ends_and_keeps_its_best_weights(measurement):
    result, _ = run(measurement, replace(SETTINGS, learning_rate=0.5, epochs=12, patience=2, gradient_clip=1e6))
    assert len(result.history) < 12
    assert result.stop_reason == "no improvement in 2 epochs"
    assert result.best["epoch"] == len(result.history) - 2
    network = build_network(result.spec, measurement.probe, 0)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in result.weights.items()})
    samples = Samples.of(measurement, gridsize=2, neighbor_count=7, seed=1, **DIVISION)
    losses = []
    for group, offsets in ((b.frames, b.offsets) for b in samples.validation_batches()):
        scale = torch.from_numpy(samples.learned_scale[group])[..., None, None]
        patches = network(torch.from_numpy(samples.learned[group]), scale)
        patches = shared_patches(patches, network.physics.weight, torch.from_numpy(offsets))
        rates = network.physics.rates(patches, samples.validated_scale).detach().numpy()
        losses.append(poisson_loss(rates, samples.validated[group]))
    assert np.mean(losses) == pytest.approx(result.best["validation_loss"], rel=1e-4)


def test_a_constant_network_is_reported_as_collapsed(measurement, monkeypatch):
    monkeypatch.setitem(training.build_network.__globals__["ARCHITECTURES"], "unrolled", (Flat, lambda probe: 32))
    result, _ = run(measurement, replace(SETTINGS, epochs=1))
    assert result.finding.startswith("PINN.collapsed")
    assert result.phase_std < 1e-3


def test_either_sign_of_collapse_is_reported(trained):
    result, _ = trained
    assert "no better than the flat object's" in replace(result, flat_loss=result.best["validation_loss"]).finding
    assert "varies by 0.005 rad" in replace(result, phase_std=0.005).finding


def test_a_loss_that_is_not_finite_names_epoch_and_batch(measurement):
    with pytest.raises(EngineError, match=r"loss is (nan|inf) in epoch 1, batch \d+"):
        run(measurement, replace(SETTINGS, learning_rate=1e30))


def test_counts_that_are_not_finite_are_refused(measurement):
    amplitude = measurement.amplitude.copy()
    amplitude[5, 3, 3] = np.nan
    with pytest.raises(EngineError, match="frames 0 to 63 hold counts that are not finite"):
        run(replace(measurement, amplitude=amplitude))


def test_memory_that_runs_out_names_epoch_and_batch(measurement, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("out of memory: tried to allocate 9 TiB")

    monkeypatch.setattr(training, "shared_patches", exhausted)
    with pytest.raises(EngineError, match="out of memory in epoch 1, batch 1"):
        run(measurement)


def test_cnn_learns_from_frames_and_groups(measured):
    padded = measured(n=16)
    size = 64
    amplitude = np.pad(padded.amplitude, ((0, 0), (16, 16), (16, 16)))
    probe = np.pad(padded.probe, 16)
    wide = replace(padded, amplitude=amplitude, probe=probe)
    assert input_scale(wide) == pytest.approx((size / 2) / np.sqrt((amplitude**2).sum() / 16), rel=1e-5)
    settings = replace(SETTINGS, architecture="cnn", n_filters_scale=1, epochs=2)
    for gridsize in (1, 2):
        result, _ = run(wide, settings, gridsize)
        assert result.history[-1]["validation_loss"] < result.history[0]["validation_loss"]


def test_several_devices_are_refused(measurement):
    with pytest.raises(EngineError, match="devices = 2"):
        train(measurement, SETTINGS, 2, 7, 1, Execution(devices=2), lambda *_: None)


def test_torch_is_left_as_it_was(trained):
    assert not torch.are_deterministic_algorithms_enabled()
