"""The reference: probe, object and positions found from all counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.engine import POSITION_MARGIN, reconstruct
from fly64_assets.measured.calibration.reference import calibrate, poisson_settings


def quiet(_done, _total, _values):
    """No progress."""


def errors(measurement, truth):
    """Distances of positions from the true ones without a common shift, which the object takes up [px]."""
    x, y = measurement.x - truth.x, measurement.y - truth.y
    return np.hypot(x - x.mean(), y - y.mean())


@pytest.fixture(scope="module")
def jittered(measurement):
    """Positions that are off by 0.6 px, root mean square of each coordinate."""
    wrong = np.random.default_rng(4).normal(0, 0.6, (2, measurement.frames))
    half, (height, width) = measurement.patch_size / 2, measurement.object_shape
    x, y = measurement.x + wrong[0], measurement.y + wrong[1]
    return replace(measurement, x=np.clip(x, half, width - half), y=np.clip(y, half, height - half))


def test_positions_are_refined_towards_the_truth(jittered, truth):
    found = calibrate(jittered, Execution(), quiet, epochs=30, refine_positions=True)
    before, after = (np.sqrt((errors(one, truth) ** 2).mean()) for one in (jittered, found.measurement))
    assert after < 0.5 * before
    assert found.object.shape == jittered.object_shape
    assert found.shifts.max() == pytest.approx(
        np.hypot(found.measurement.x - jittered.x, found.measurement.y - jittered.y).max()
    )
    assert found.measurement.scan.tight().object_shape <= jittered.object_shape


def test_positions_that_move_too_far_are_refused(jittered, monkeypatch):
    monkeypatch.setattr("fly64_assets.measured.calibration.reference.MOST_SHIFT", 1e-4)
    with pytest.raises(EngineError, match=r"moved the position of frame \d+ by .*expected at most 0\.0064 px: the pos"):
        calibrate(jittered, Execution(), quiet, epochs=3, refine_positions=True)


def test_positions_stay_without_the_option(measurement):
    found = calibrate(measurement, Execution(), quiet, epochs=3, refine_positions=False)
    assert np.array_equal(found.measurement.x, measurement.x)
    assert not found.shifts.any()
    assert not np.array_equal(found.measurement.probe, measurement.probe)


def test_without_a_refit_the_result_is_the_kept_epoch(measurement):
    run = reconstruct(measurement, poisson_settings(4), Execution(), 1, quiet, refit=False)
    assert not len(run.refit_loss)
    assert run.final_deviances.held_out == run.held_out[run.kept_epoch - 1]


def test_the_margin_holds_every_shift_that_is_accepted():
    """256 is the largest side of a frame, of which a sixteenth may be moved; the library's margin refuses before."""
    assert POSITION_MARGIN < 256 / 16
    assert POSITION_MARGIN > 128 / 16


def test_poisson_noise_follows_a_gaussian_beginning():
    assert [poisson_settings(epochs).gaussian_epochs for epochs in (1, 9, 100)] == [1, 3, 20]
