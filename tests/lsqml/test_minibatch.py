"""The minibatch of the study's case against the library's own: its pieces, whole runs, and when it is used."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.lsqml.settings import LsqmlSettings


@pytest.fixture
def minibatch():
    """The module, imported after the operators of torchvision are declared."""
    return import_module("fly64_assets.lsqml.minibatch")


@pytest.fixture
def started(scanned):
    """Builder: ``started(noise, **settings)`` gives a reconstructor and its first minibatch (indices, counts)."""

    def build(noise: str = "gaussian", solver: str = "lsqml", **settings):
        scan = scanned(n=24, dose=1e5)
        rng = np.random.default_rng(4)
        obj = scan.object + 0.05 * rng.standard_normal(scan.object.shape)
        task = engine._task(
            scan.measurement,
            HeldOutCounts(scan.measurement, 0.0, 1),
            LsqmlSettings(batch_size=8, **settings),
            Execution(),
            1,
            obj.astype(np.complex64),
            noise,
            scan.measurement.probe,
            solver,
        )
        reconstructor = task.reconstructor
        reconstructor.run_pre_run_hooks()
        reconstructor.run_pre_epoch_hooks()
        indices = next(iter(reconstructor.dataloader.batch_sampler))
        return reconstructor, indices, reconstructor.dataset.patterns[indices]

    with torch.no_grad():
        yield build


def uses_fast_minibatches(reconstructor) -> bool:
    return "run_minibatch" in vars(reconstructor)


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float) -> None:
    """Equal to ``rtol`` of the greatest value."""
    assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=rtol * float(expected.abs().max()))


def test_the_exit_waves_change_like_the_librarys(started):
    reconstructor, indices, counts = started()
    model, fast = reconstructor.forward_model, reconstructor.run_minibatch.__self__
    y_pred = model(indices)
    waves = model.intermediate_variables["psi"]
    expected = (reconstructor.run_reciprocal_space_step(y_pred, counts, indices) - waves)[:, 0]
    found, (error, loss) = fast._exit_wave_change(waves[:, 0].clone(), counts)
    close(found, expected, rtol=1e-4)
    metric = reconstructor.loss_tracker.metric_function(y_pred, counts)
    assert float(loss) / counts.numel() == pytest.approx(float(metric), rel=1e-5)
    assert float(error) == pytest.approx(float(((y_pred.sqrt() - counts.sqrt()) ** 2).sum()), rel=1e-5)


def fields(indices, seed: int) -> torch.Tensor:
    shape = (len(indices), 64, 64)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)


def test_the_step_lengths_are_the_librarys(started, minibatch):
    reconstructor, indices, _ = started()
    patches, chi, probe = fields(indices, 1), fields(indices, 3), fields(indices, 2)[0]
    object_step, probe_step = fields(indices, 4) + chi * probe.conj(), fields(indices, 5)[0] + chi[0]
    expected = reconstructor.calculate_object_and_probe_update_step_sizes(
        chi[:, None], patches[:, None], object_step[:, None], probe_step[None], probe=probe.expand_as(chi)[:, None]
    )
    directions = chi * probe.conj(), chi * patches.conj()
    found = minibatch.step_lengths(minibatch.step_equations(object_step, probe_step, (patches, probe), directions))
    scalers = [getattr(reconstructor.parameter_group, name).options for name in ("object", "probe")]
    for lengths, reference, options in zip(found, expected, scalers, strict=True):
        assert (reference > 0).any()
        close(lengths * options.optimal_step_size_scaler, reference, rtol=1e-4)


def run(scan, *, epochs: int = 20, whole: bool = False, **settings):
    m = scan.measurement
    if whole:
        m = replace(m, x=np.round(m.x), y=np.round(m.y))
    chosen = LsqmlSettings(epochs=epochs, stopping="epochs", batch_size=16, **settings)
    return engine.reconstruct(m, chosen, Execution(), 1, lambda *_: None)


@pytest.mark.parametrize(
    ("whole", "probe", "variation"),
    [(False, "fixed", 0.0), (False, "refined", 0.0), (True, "fixed", 0.0), (False, "fixed", 0.02)],
)
def test_twenty_epochs_find_the_object_of_the_library(scanned, minibatch, monkeypatch, whole, probe, variation):
    # Fewer frames leave pixels so badly determined that the library itself turns 2e-7 in the probe into 1e-4 here.
    s = scanned(n=48, dose=1e5)
    settings = {"whole": whole, "probe": probe, "total_variation": variation}
    calls, ours = [], minibatch.FastMinibatches.run
    monkeypatch.setattr(minibatch.FastMinibatches, "run", lambda *arguments: (calls.append(1), ours(*arguments)))
    monkeypatch.setattr(minibatch, "BLOCK_BYTES", 2**17)  # four frames at a time
    fast = run(s, **settings)
    assert len(calls) == 20 * 3
    monkeypatch.setattr(minibatch, "use_fast_minibatches", lambda _task: None)
    stock = run(s, **settings)
    assert len(calls) == 20 * 3
    assert np.abs(stock.object - 1).max() > 0.1
    np.testing.assert_allclose(fast.object, stock.object, rtol=0, atol=1e-4)
    np.testing.assert_allclose(fast.probe, stock.probe, rtol=0, atol=1e-4 * np.abs(stock.probe).max())
    np.testing.assert_allclose(fast.loss, stock.loss, rtol=1e-4)
    assert s.phase_error(fast.object) == pytest.approx(s.phase_error(stock.object), abs=1e-5)


def test_two_runs_give_the_same_bytes(scanned):
    s = scanned(n=36, dose=1e5)
    first, second = (run(s, epochs=12, probe="refined") for _ in range(2))
    assert first.object.tobytes() == second.object.tobytes()
    assert first.probe.tobytes() == second.probe.tobytes()
    assert first.loss.tobytes() == second.loss.tobytes()


@pytest.mark.parametrize(
    ("noise", "settings"),
    [
        ("poisson", {}),
        ("gaussian", {"batching": "uniform"}),
        ("gaussian", {"subpixel": "fourier"}),
        ("gaussian", {"solver": "rpie"}),
    ],
)
def test_other_cases_run_the_librarys_minibatch(started, noise, settings):
    assert uses_fast_minibatches(started(probe="refined")[0])
    assert not uses_fast_minibatches(started(noise, **settings)[0])


@pytest.mark.parametrize("version", ["2.2.1", "2.20.0", "3.0.0"])
def test_another_version_of_the_library_keeps_its_own_and_the_log_says_so(
    started, minibatch, monkeypatch, caplog, version
):
    monkeypatch.setattr("ptychi.__version__", version)
    with caplog.at_level(logging.WARNING):
        assert not uses_fast_minibatches(started()[0])
    assert f"pty-chi {version} is not {minibatch.PINNED_VERSION}" in caplog.text


def test_the_pin_is_the_installed_library(minibatch):
    assert import_module("ptychi").__version__.split("+")[0] == minibatch.PINNED_VERSION


def test_the_cpu_is_not_declared_the_default_device(started):
    started()
    assert torch.get_default_device().type == "cpu"
    assert torch._C._len_torch_function_stack() == 0
