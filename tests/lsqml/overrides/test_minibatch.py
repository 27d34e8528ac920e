from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils import deterministic

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.overrides.installation import faster_library
from fly64_assets.lsqml.settings import LsqmlSettings


@pytest.fixture
def minibatch(started):
    """The module, imported after the library."""
    from fly64_assets.lsqml.overrides import minibatch

    return minibatch


def run(scan, fast: bool, *, whole: bool = False, epochs: int = 20, **settings):
    m = scan.measurement
    if whole:
        m = replace(m, x=np.round(m.x), y=np.round(m.y))
    chosen = LsqmlSettings(epochs=epochs, stopping="epochs", batch_size=16, **settings)
    return reconstruct(m, chosen, Execution(fast_shift=fast), 1, lambda *_: None)


@pytest.mark.parametrize(
    ("windows", "whole", "probe", "noise", "gaussian_epochs", "variation"),
    [
        ("fourier", False, "fixed", "gaussian", 20, 0.0),
        ("fourier", False, "fixed", "poisson", 5, 0.0),
        ("fourier", False, "refined", "poisson", 5, 0.0),
        ("fourier", True, "fixed", "poisson", 5, 0.0),
        ("fourier", True, "refined", "gaussian", 20, 0.0),
        ("bilinear", False, "fixed", "gaussian", 20, 0.0),
        ("bilinear", False, "refined", "poisson", 5, 0.0),
        ("bilinear", True, "fixed", "gaussian", 20, 0.0),
        ("bilinear", False, "fixed", "gaussian", 20, 0.02),
    ],
)
def test_twenty_epochs_find_the_object_of_the_library(
    scanned, minibatch, monkeypatch, windows, whole, probe, noise, gaussian_epochs, variation
):
    calls = []
    ours = minibatch._minibatch
    monkeypatch.setattr(minibatch, "_minibatch", lambda *arguments: (calls.append(1), ours(*arguments)))
    # Fewer frames leave pixels so badly determined that the library itself turns 2e-7 in the probe into 1e-4 here.
    s = scanned(n=48, dose=1e5)
    settings = {
        "subpixel": windows,
        "whole": whole,
        "probe": probe,
        "noise_model": noise,
        "gaussian_epochs": gaussian_epochs,
        "total_variation": variation,
    }
    stock = run(s, False, **settings)
    assert not calls
    fast = run(s, True, **settings)
    assert len(calls) == 20 * 3
    assert np.abs(stock.object - 1).max() > 0.1
    np.testing.assert_allclose(fast.object, stock.object, rtol=0, atol=1e-4)
    np.testing.assert_allclose(fast.probe, stock.probe, rtol=0, atol=1e-4 * np.abs(stock.probe).max())
    np.testing.assert_allclose(fast.loss, stock.loss, rtol=1e-4)
    assert s.phase_error(fast.object) == pytest.approx(s.phase_error(stock.object), abs=1e-5)


def test_two_runs_give_the_same_bytes(scanned, minibatch):
    s = scanned(n=36, dose=1e5)
    first, second = (run(s, True, epochs=12, probe="refined") for _ in range(2))
    assert first.object.tobytes() == second.object.tobytes()
    assert first.probe.tobytes() == second.probe.tobytes()
    assert first.loss.tobytes() == second.loss.tobytes()


def test_fresh_memory_is_filled_again_after_a_minibatch(minibatch):
    assert deterministic.fill_uninitialized_memory
    with minibatch.unfilled_memory():
        assert not deterministic.fill_uninitialized_memory
    assert deterministic.fill_uninitialized_memory
    with pytest.raises(ZeroDivisionError), minibatch.unfilled_memory():
        _ = 1 / 0
    assert deterministic.fill_uninitialized_memory


@pytest.mark.parametrize("windows", ["bilinear", "fourier"])
def test_the_studys_own_case_has_no_obstacle(started, minibatch, windows):
    reconstructor, *_ = started("POISSON", windows, probe="refined")
    assert minibatch.obstacle(reconstructor) is None


def set_random(reconstructor):
    from ptychi.api import enums

    reconstructor.options.batching_mode = enums.BatchingModes.RANDOM


def set_masked(reconstructor):
    reconstructor.dataset.valid_pixel_mask[3, 4] = False


def set_bilinear(reconstructor):
    reconstructor.parameter_group.object.options.patch_interpolation_method = "bilinear"


def set_refined_positions(reconstructor):
    reconstructor.parameter_group.probe_positions.optimizable = True


def set_outside(reconstructor):
    reconstructor.parameter_group.probe_positions.tensor[2, 0] = -40.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_random, "batches are not COMPACT"),
        (set_masked, "detector pixels are masked"),
        (set_bilinear, "shifts are not plain Fourier shifts of the probe"),
        (set_refined_positions, "positions are refined"),
        (set_outside, "windows reach out of the object"),
    ],
)
def test_other_cases_run_the_librarys_minibatch_and_the_log_says_why(started, minibatch, caplog, change, reason):
    reconstructor, indices, counts = started()
    change(reconstructor)
    calls = []
    with caplog.at_level(logging.WARNING):
        minibatch.run_minibatch(lambda *arguments: calls.append(arguments))(reconstructor, [indices], counts)
    assert calls == [(reconstructor, [indices], counts)]
    assert f"{reason}; the library's own minibatches run" in caplog.text


def test_moved_positions_are_seen_at_the_next_epoch(started, minibatch):
    reconstructor, *_ = started()
    minibatch.begin_epoch(reconstructor)
    before = reconstructor.fast_epoch.scan
    minibatch.begin_epoch(reconstructor)
    assert reconstructor.fast_epoch.scan is before
    reconstructor.parameter_group.probe_positions.tensor += 1.0
    minibatch.begin_epoch(reconstructor)
    assert torch.equal(reconstructor.fast_epoch.scan.windows.corners, before.windows.corners + 1)


def test_the_overrides_do_not_outlive_a_reconstruction(scanned):
    from ptychi.reconstructors.lsqml import LSQMLReconstructor

    stock = LSQMLReconstructor.run_minibatch
    with faster_library(True):
        assert LSQMLReconstructor.run_minibatch is not stock
    run(scanned(n=12, dose=1e5), True, epochs=1)
    assert LSQMLReconstructor.run_minibatch is stock
