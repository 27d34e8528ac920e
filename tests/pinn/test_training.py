from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.scan import in_unit

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.physics.counts import negative_log_likelihood
from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.cnn import training as cnn_training
from fly64_assets.pinn.cnn.samples import Samples
from fly64_assets.pinn.network_spec import input_scale
from fly64_assets.pinn.optimisation import TrainingSetup
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.settings import CnnSettings, cnn_settings
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled import preparation
from fly64_assets.pinn.unrolled.network import UnrolledNetwork
from fly64_assets.pinn.unrolled.training import UnrolledTraining

COLUMNS = ["epoch", "generalisation_gap", "train_loss", "validation_loss", "learning_rate"]


@pytest.fixture
def run(settings, tmp_path):
    def build(measurement, settings=settings, gridsize=2, seed=1):
        rows = []
        result = train(
            measurement, settings, gridsize, 7, seed, Execution(), lambda *row: rows.append(row), scratch=tmp_path
        )
        return result, rows

    return build


@pytest.fixture(scope="module")
def trained(measurement, settings, tmp_path_factory):
    rows = []
    result = train(
        measurement,
        replace(settings, epochs=5, levels=(1.0,)),
        2,
        7,
        1,
        Execution(),
        lambda *row: rows.append(row),
        scratch=tmp_path_factory.mktemp("trained"),
    )
    return result, rows


@pytest.fixture
def cnn():
    return CnnSettings(n_filters_scale=1, epochs=2)


def test_training_on_64_frames_gains_on_the_likelihood_path(trained):
    result, rows = trained
    losses = [row["validation_loss"] for row in result.history]
    before = result.facts["validation_loss_before"]
    assert before < result.flat_loss - 100, "the likelihood path has found the object"
    assert result.best["validation_loss"] < before - 0.5
    assert losses[-1] < losses[0]
    assert [done for done, _, _ in rows] == [1, 2, 3, 4, 5]
    assert all(total == 5 for _, total, _ in rows)
    assert [list(row) for row in result.history] == [COLUMNS] * 5
    assert result.finding == ""
    assert result.stop_reason == "all epochs done"
    assert result.parameters == sum(value.size for value in result.weights.values())
    assert 50 <= result.frames_trained <= 50 * 32
    assert result.facts["preparation_seconds"] <= result.seconds


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**66])
def test_the_unit_of_the_probe_changes_no_weight(run, measurement, wide, settings, cnn, unit):
    for m, chosen in ((measurement, replace(settings, epochs=1)), (wide, replace(cnn, epochs=1))):
        one, other = (run(measured, chosen)[0] for measured in (m, in_unit(m, unit)))
        assert other.history == one.history
        assert all(np.array_equal(other.weights[name], value) for name, value in one.weights.items())
        assert other.spec == one.spec.in_unit(1 / unit)


def test_learning_rates_warm_up_and_decay(trained, settings):
    rates = [row["learning_rate"] / settings.learning_rate for row in trained[0].history]
    steps = np.arange(1, 6) * 10
    decay = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * steps / 50))
    assert rates == pytest.approx(np.minimum(1, (steps + 1) / 50) * decay)


def test_trainings_repeat_byte_by_byte(run, measurement, settings):
    one, again, other = (run(measurement, replace(settings, epochs=1), seed=seed)[0] for seed in (1, 1, 2))
    assert {k: v.tobytes() for k, v in one.weights.items()} == {k: v.tobytes() for k, v in again.weights.items()}
    assert one.history == again.history
    assert one.flat_loss == again.flat_loss
    assert any((one.weights[name] != other.weights[name]).any() for name in one.weights)


def test_held_out_frames_have_a_column(run, measured, settings):
    result, _ = run(measured(n=200, dose=1e3), replace(settings, epochs=1))
    row = result.history[0]
    assert list(row) == sorted([*COLUMNS[:-1], "held_out_frames_loss"]) + COLUMNS[-1:]
    assert result.facts["frames_held_out"] == 10
    assert result.finding == ""


def test_a_training_that_does_not_improve_ends_and_keeps_its_best_weights(run, wide, cnn):
    diverging = replace(cnn, learning_rate=0.5, epochs=12, patience=2, gradient_clip=1e6)
    result, _ = run(wide, diverging, gridsize=1)
    assert len(result.history) < 12
    assert result.stop_reason == "no improvement in 2 epochs"
    assert result.best["epoch"] == len(result.history) - 2
    network = build_network(result.spec, wide.probe, 0)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in result.weights.items()})
    samples = Samples.of(wide, cnn, gridsize=1, neighbor_count=7, seed=1)
    losses = []
    for batch in samples.validation_batches():
        scale = torch.from_numpy(samples.learned_scale[batch.frames])[..., None, None]
        patches = network(torch.from_numpy(samples.learned[batch.frames]), scale)
        rates = network.physics.rates(patches, samples.validated_scale).detach().numpy()
        losses.append(negative_log_likelihood(rates, samples.validated[samples.validated_row[batch.frames]]).mean())
    assert np.mean(losses) == pytest.approx(result.best["validation_loss"], rel=1e-4)


def test_a_plane_that_does_not_improve_ends_early_too(run, measurement, settings):
    diverging = replace(settings, learning_rate=0.3, epochs=12, patience=1, gradient_clip=1e6)
    result, _ = run(measurement, diverging)
    assert result.stop_reason == "no improvement in 1 epochs"
    assert result.best["epoch"] == len(result.history) - 1 < 12


def test_a_constant_network_is_reported_as_collapsed(run, measurement, settings, monkeypatch):
    def constant(network, _channels, obj):
        return torch.ones_like(obj) * torch.exp(1j * network.last.bias[0])

    monkeypatch.setattr(UnrolledNetwork, "forward", constant)
    result, _ = run(measurement, replace(settings, epochs=1))
    assert result.finding.startswith("PINN.collapsed")
    assert result.phase_std < 1e-3


def test_either_sign_of_collapse_is_reported(trained):
    result, _ = trained
    assert "no better than the uniform object's" in replace(result, flat_loss=result.best["validation_loss"]).finding
    assert "varies by 0.005 rad" in replace(result, phase_std=0.005).finding


def test_a_loss_that_is_not_finite_names_epoch_and_batch(run, measurement, settings):
    with pytest.raises(EngineError, match=r"loss is (nan|inf) in epoch 1, batch \d+"):
        run(measurement, replace(settings, learning_rate=1e30))


@pytest.mark.parametrize("architecture", ["unrolled", "cnn"])
def test_an_unfit_measurement_is_refused_in_words(run, wide, settings, architecture):
    amplitude, x = wide.amplitude.copy(), wide.x.copy()
    amplitude[5, 3, 3], x[2] = np.nan, np.nan
    with pytest.raises(EngineError, match=r"frame 5 holds negative, NaN or infinite amplitudes; nothing was computed"):
        run(replace(wide, amplitude=amplitude), settings if architecture == "unrolled" else cnn_settings(settings))
    with pytest.raises(EngineError, match=r"position x\[2\] = nan is not finite \(1 such"):
        run(replace(wide, x=x), settings if architecture == "unrolled" else cnn_settings(settings))


@pytest.mark.parametrize(("architecture", "step"), [("unrolled", "regularisation_path"), ("cnn", "initialised")])
def test_memory_that_runs_out_in_the_preparation_says_so(run, wide, settings, monkeypatch, architecture, step):
    def exhausted(*_, **__):
        raise MemoryError("Unable to allocate 9 TiB")

    module = preparation if architecture == "unrolled" else cnn_training
    monkeypatch.setattr(module, step, exhausted)
    with pytest.raises(EngineError, match=r"out of memory in the preparation \(Unable to allocate 9 TiB\)"):
        run(wide, settings if architecture == "unrolled" else cnn_settings(settings))


def test_memory_that_runs_out_names_epoch_and_batch(run, measurement, wide, cnn, monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("out of memory: tried to allocate 9 TiB")

    monkeypatch.setattr(cnn_training, "shared_patches", exhausted)
    with pytest.raises(EngineError, match=r"out of memory in epoch 1, batch 1 \(out of memory: tried"):
        run(wide, cnn)
    calls = []

    def third(network, channels, obj):
        calls.append(obj)
        if len(calls) == 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return obj * torch.exp(1j * network.last.bias[0])

    monkeypatch.setattr(UnrolledNetwork, "forward", third)
    with pytest.raises(EngineError, match=r"out of memory in epoch 1, batch 3 .*lower batch_size, tile or width"):
        run(measurement)


def test_other_errors_are_passed_on(run, measurement, monkeypatch):
    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(UnrolledNetwork, "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        run(measurement)


def test_cnn_learns_from_frames_and_groups(run, wide, cnn):
    assert input_scale(wide) == pytest.approx(32 / np.sqrt((wide.amplitude**2).sum() / 16), rel=1e-5)
    for gridsize in (1, 2):
        result, _ = run(wide, cnn, gridsize)
        assert result.history[-1]["validation_loss"] < result.history[0]["validation_loss"]
        assert result.frames_trained == 2 * 16 * gridsize**2
        assert [name for name in COLUMNS if name != "generalisation_gap"] == list(result.history[0])


def test_torch_is_left_as_it_was(trained):
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_training_loss_is_taken_on_the_same_frames_in_every_epoch(run, measurement, settings):
    still = replace(settings, learning_rate=1e-12, epochs=4, tile=40, tile_frames=4, steps_per_epoch=2)
    result, _ = run(measurement, still)
    losses = [row["train_loss"] for row in result.history]
    # The scatter settles; four frames of a random tile would differ by hundreds.
    assert np.ptp(losses) < 5


def test_losses_are_not_rounded_to_single_precision(trained):
    result, _ = trained
    losses = np.array([row["validation_loss"] for row in result.history])
    assert (losses != losses.astype(np.float32)).all()


def test_the_verdict_is_on_the_weights_that_are_kept(run, measurement, settings, tmp_path):
    wild = replace(settings, learning_rate=0.3, epochs=8, levels=(1.0,))
    result, _ = run(measurement, wild)
    assert result.best["epoch"] < len(result.history)
    setup = TrainingSetup(measurement, wild, 2, 7, 1, Ranks(0, 1, "cpu"), tmp_path, lambda _line: None)
    task = UnrolledTraining(setup)
    task.network.load_state_dict({name: torch.from_numpy(value) for name, value in result.weights.items()})
    assert task.judge() == pytest.approx((result.flat_loss, result.phase_std), rel=1e-6)
