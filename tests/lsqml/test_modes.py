"""LSQML with a probe of several incoherent modes, fixed and refined, on frames that were made of two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.scan import soft_probe

from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.lsqml import engine, minibatch
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.lsqml.engine import _task, reconstruct
from fly64_assets.lsqml.job import _write
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics import counts, forward, scan
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import in_order, orthogonal_modes

N, SIDE, FRAMES = 32, 72, 64


@pytest.fixture(scope="module")
def truth():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    phase = 0.6 * np.sin(rows / 4.0) * np.cos(columns / 5.0) + 0.4 * (np.hypot(rows - 36, columns - 30) < 14)
    return ((0.9 + 0.1 * np.cos(columns / 3.0)) * np.exp(1j * phase)).astype(np.complex64)


@pytest.fixture(scope="module")
def measured(truth):
    """Poisson counts of two modes with 70 and 30 % of the power."""
    first = soft_probe(N).astype(np.complex128)
    second = first * (np.arange(N) - N // 2)
    modes = orthogonal_modes(
        np.stack([first, second * np.sqrt(3 / 7) / np.linalg.norm(second) * np.linalg.norm(first)])
    )
    modes = modes.astype(np.complex64)
    at = scan.uniform_scan(5, FRAMES, truth.shape, N)
    scale = forward.intensity_scale(1e5, forward.exit_wave_energies(truth, modes, at))
    values = counts.poisson_counts(forward.patch_counts(truth, modes, at, scale), np.arange(FRAMES), 3, 1)
    amplitude = counts.stored_amplitude(values, scale)
    return Measurement(amplitude, scale, modes[0], at.x, at.y, truth.shape, np.arange(FRAMES), further_modes=modes[1:])


def run(measured, epochs, probe="fixed", **more):
    settings = LsqmlSettings(epochs=epochs, stopping="epochs", probe=probe, batch_size=32, **more)
    return reconstruct(measured, settings, Execution(), 1, lambda *_: None)


def phase_error(found, truth, measured):
    light = illumination(measured.modes, measured.scan)
    lit = light > 0.2 * light.max()
    ratio = found[lit] * truth[lit].conj()
    return float(np.sqrt(np.mean(np.angle(ratio * np.exp(-1j * np.angle(ratio.sum()))) ** 2)))


def alone(measured):
    """The measurement with only the first mode, which then has all the power."""
    modes = measured.modes.astype(np.complex128)
    power = np.sqrt((np.abs(modes) ** 2).sum() / (np.abs(modes[0]) ** 2).sum())
    return replace(measured, probe=(measured.probe * power).astype(np.complex64), further_modes=None)


def test_two_modes_explain_what_one_does_not(measured, truth):
    both, first = run(measured, 14), run(alone(measured), 14)
    errors = [phase_error(found.object, truth, measured) for found in (both, first)]
    assert errors[0] < 0.5 * errors[1]
    assert both.deviance[-1] < 1.5 * both.expected[-1]
    assert first.deviance[-1] > 4 * first.expected[-1]
    assert both.probe.shape == (2, N, N)
    np.testing.assert_allclose(both.probe, measured.modes, rtol=1e-5, atol=1e-6 * np.abs(measured.modes).max())


def test_refinement_improves_a_wrong_second_mode(measured, truth):
    wrong = replace(measured, further_modes=0.7 * measured.further_modes)
    fixed, refined = run(wrong, 10), run(wrong, 10, "refined")
    assert refined.deviance[-1] < 0.9 * fixed.deviance[-1]
    assert refined.probe.shape == (2, N, N)
    assert in_order(refined.probe)
    powers = [(np.abs(modes[1]) ** 2).sum() for modes in (wrong.modes, refined.probe, measured.modes)]
    assert powers[0] < powers[1] <= powers[2]
    errors = [phase_error(found.object, truth, measured) for found in (fixed, refined)]
    assert errors[1] < 0.85 * errors[0]


@pytest.mark.parametrize("algorithm", ["lsqml", "epie"])
def test_modes_that_would_stay_at_rounded_positions_are_refused(measured, algorithm):
    settings = LsqmlSettings(subpixel="fourier" if algorithm == "lsqml" else "bilinear")
    with pytest.raises(EngineError, match="moves only the first of the probe's 2 modes"):
        reconstruct(measured, settings, Execution(), 1, lambda *_: None, engine=algorithm)


def test_the_photons_of_total_variation_are_those_of_all_modes(measured):
    obj, split = np.ones(measured.object_shape, np.complex64), HeldOutCounts(measured, 0.0, 1)
    photons = []
    for one in (measured, replace(measured, further_modes=None)):
        task = _task(one, split, LsqmlSettings(), Execution(), 1, obj, "gaussian", one.modes)
        task.reconstructor.run_pre_run_hooks()
        task.reconstructor.run_pre_epoch_hooks()
        photons.append(float(task.reconstructor.forward_model.get_probe_grid_preconditioner().sum()))
    assert photons[1] / photons[0] == pytest.approx(0.7, abs=0.01)


def test_a_probe_of_several_modes_runs_the_minibatches_of_the_library(measured, monkeypatch):
    used = []
    monkeypatch.setattr(minibatch, "use_fast_minibatches", used.append)
    run(measured, 1)
    assert not used
    run(alone(measured), 1)
    assert len(used) == 1


def test_bad_pixels_and_total_variation_go_with_modes(measured):
    bad = np.zeros((N, N), bool)
    bad[:, 20:22] = True
    results = [
        run(
            replace(measured, amplitude=np.where(bad, np.float32(v), measured.amplitude), bad_pixels=bad),
            2,
            total_variation=0.1,
        )
        for v in (0, 1e3)
    ]
    np.testing.assert_array_equal(results[0].object, results[1].object)
    assert np.abs(results[0].object - run(measured, 2, total_variation=0.1).object).max() > 1e-3


def test_the_unit_of_the_modes_changes_no_digit(measured):
    def in_unit(unit):
        return replace(
            measured,
            probe=measured.probe * np.complex64(unit),
            further_modes=measured.further_modes * np.complex64(unit),
            amplitude=measured.amplitude * np.float32(unit),
            intensity_scale=measured.intensity_scale / unit,
        )

    one, other = run(measured, 2), run(in_unit(2.0**40), 2)
    np.testing.assert_array_equal(other.object, one.object)
    np.testing.assert_allclose(other.probe, one.probe * np.complex64(2.0**40), rtol=1e-6)


def test_the_result_file_holds_all_modes(measured, tmp_path):
    result = run(measured, 1)
    _write(tmp_path / "result.npz", result, {})
    assert open_npz(tmp_path / "result.npz")["reconstructed_probe"].shape == (2, N, N)


def test_a_probe_that_is_not_finite_is_an_error(measured, monkeypatch):
    state = engine._state

    def spoilt(*arguments):
        obj, probe, *rest = state(*arguments)
        return obj, probe * np.nan, *rest

    monkeypatch.setattr(engine, "_state", spoilt)
    with pytest.raises(EngineError, match="the probe is not finite after epoch 1"):
        run(measured, 2, "refined")
