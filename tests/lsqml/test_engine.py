from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.scan import in_unit

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.lsqml.engine import Reconstruction, reconstruct
from fly64_assets.lsqml.options import ENGINES, engine_options
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement


def run(measurement: Measurement, progress=lambda *_: None, engine="lsqml", **settings) -> Reconstruction:
    chosen = LsqmlSettings(**{"stopping": "epochs", "noise_model": "gaussian", **settings})
    return reconstruct(measurement, chosen, Execution(), 1, progress, engine=engine)


def displacement(found: np.ndarray, truth: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Sub-pixel shift (y, x) of ``found`` against ``truth`` [px]: found = c (truth - d . grad truth), least squares."""
    columns = [truth, *np.gradient(truth)]
    c, along_y, along_x = np.linalg.lstsq(np.stack([a[where] for a in columns], axis=1), found[where], rcond=None)[0]
    return np.array([(-along_y / c).real, (-along_x / c).real])


def test_the_measure_of_displacement_measures(scanned):
    s = scanned((140, 131))
    fy, fx = np.fft.fftfreq(140)[:, None], np.fft.fftfreq(131)[None]
    moved = np.fft.ifft2(np.fft.fft2(s.object) * np.exp(-2j * np.pi * (0.2 * fy - 0.1 * fx)))
    np.testing.assert_allclose(displacement(1j * moved, s.object, s.lit()), [0.2, -0.1], atol=0.02)


@pytest.mark.parametrize("shape", [(140, 131), (131, 140)])
def test_the_object_stands_where_the_truth_stands_in_absolute_scale(scanned, shape):
    s = scanned(shape, n=64, dose=1e6)
    lit = s.lit()
    found = run(s.measurement, epochs=14, batch_size=16)
    assert (found.object.shape, found.object.dtype) == (shape, np.complex64)
    assert np.abs(displacement(found.object, s.object, lit)).max() < 0.05
    assert s.phase_error(found.object) < 0.1 * s.phase_error(np.ones(shape))
    assert np.abs(found.object[lit]).mean() == pytest.approx(np.abs(s.object[lit]).mean(), rel=0.02)


def test_outside_the_light_the_object_is_one_and_the_coverage_zero(scanned):
    s = scanned((150, 160), n=12)
    probe = s.measurement.probe.copy()
    probe[np.hypot(*(np.mgrid[:64, :64] - 32)) > 20] = 0
    m = replace(s.measurement, probe=probe, x=np.minimum(s.measurement.x, 90))
    found = run(m, epochs=3)
    light = illumination(m.probe, m.scan)
    dark = light == 0
    assert 0.1 < dark.mean() < 0.9
    assert (found.object[dark] == 1).all()
    assert (found.object[~dark] != 1).any()
    np.testing.assert_allclose(found.coverage, light, rtol=1e-6)


def test_only_the_counts_matter_not_the_units_of_the_probe(scanned):
    s = scanned(n=24, dose=1e5)
    m = s.measurement
    same = replace(m, amplitude=4 * m.amplitude, probe=4 * m.probe, intensity_scale=m.intensity_scale / 4)
    one, other = run(m, epochs=4, probe="refined"), run(same, epochs=4, probe="refined")
    np.testing.assert_allclose(other.object, one.object, atol=1e-5)
    np.testing.assert_allclose(other.probe / 4, one.probe, atol=1e-5)


@pytest.mark.parametrize(("unit", "probe"), [(2.0**-90, "fixed"), (2.0**66, "refined"), (2.0**100, "fixed")])
def test_the_unit_of_the_probe_changes_no_digit(scanned, unit, probe):
    m = scanned().measurement
    one, other = (run(measured, epochs=2, probe=probe) for measured in (m, in_unit(m, unit)))
    np.testing.assert_array_equal(other.object, one.object)
    np.testing.assert_array_equal(other.loss, one.loss)
    np.testing.assert_allclose(other.probe, one.probe * np.complex64(unit), rtol=1e-6)
    np.testing.assert_allclose(other.coverage / np.float64(unit) ** 2, one.coverage, rtol=1e-6, atol=1e-9)


def test_a_fixed_probe_stays_and_a_refined_one_corrects_its_scale(scanned):
    s = scanned(n=24, dose=1e5)
    wrong = replace(s.measurement, probe=(s.measurement.probe * np.complex64(1.1)))
    fixed, refined = run(wrong, epochs=10), run(wrong, epochs=10, probe="refined")
    np.testing.assert_allclose(fixed.probe, wrong.probe, rtol=1e-6)
    assert np.abs(refined.probe - wrong.probe).max() > 0.01
    assert refined.deviance[-1] < fixed.deviance[-1]


def test_few_photons_stop_early_by_discrepancy_and_never_by_epochs(scanned):
    s = scanned(n=40, dose=1e3)
    poisson = {"noise_model": "poisson"}
    stopped = run(s.measurement, epochs=24, stopping="discrepancy", **poisson)
    n = len(stopped.loss)
    assert n < 24
    assert stopped.stop_reason.startswith("discrepancy: ")
    assert f"at epoch {n}" in stopped.stop_reason
    assert stopped.deviance[-1] <= stopped.expected[-1]
    assert (stopped.deviance[:-1] > stopped.expected[:-1]).all()
    whole = run(s.measurement, epochs=24, **poisson)
    assert (len(whole.loss), whole.stop_reason) == (24, "all 24 epochs done")
    assert whole.deviance[-1] < whole.expected[-1]
    # The same work, only longer.
    np.testing.assert_array_equal(whole.deviance[:n], stopped.deviance)


@pytest.mark.parametrize("probe", ["fixed", "refined"])
def test_the_change_of_the_noise_model_goes_on_from_what_was_found_so_far(scanned, probe):
    s = scanned(n=24, dose=1e4)
    m = s.measurement if probe == "fixed" else replace(s.measurement, probe=s.measurement.probe * np.complex64(1.3))
    mixed = run(m, epochs=9, gaussian_epochs=6, probe=probe, noise_model="poisson")
    gaussian = run(m, epochs=9, gaussian_epochs=6, probe=probe, noise_model="gaussian")
    np.testing.assert_array_equal(mixed.deviance[:6], gaussian.deviance[:6])
    assert mixed.deviance[6] < 1.1 * mixed.deviance[5] < 0.5 * mixed.deviance[0]
    assert mixed.deviance[-1] < gaussian.deviance[-1]
    used = [(o["first_epoch"], o["reconstructor_options"]["noise_model"]) for o in mixed.options]
    assert used == [(1, "gaussian"), (7, "poisson")]
    assert [o["first_epoch"] for o in gaussian.options] == [1]


@pytest.mark.parametrize(("frames", "size"), [(1000, 64), (192, 64), (30, 10), (7, 2), (2, 1), (1, 1)])
def test_a_batch_is_at_most_a_third_of_the_frames(frames, size):
    options = engine_options("lsqml", LsqmlSettings(batch_size=64), Execution(), frames, 1, "poisson")
    assert options.reconstructor_options.batch_size == size


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_handful_of_frames_is_enough_to_run(scanned, n):
    s = scanned(n=n, dose=1e4)
    found = run(s.measurement, epochs=10)
    assert np.isfinite(found.object).all()
    assert found.deviance[-1] < 0.8 * found.deviance[0]


def test_the_seed_decides_whatever_was_drawn_before(scanned):
    m = scanned(n=24).measurement

    def with_seed(seed: int) -> np.ndarray:
        settings = LsqmlSettings(epochs=3, gaussian_epochs=2, stopping="epochs", batch_size=6, noise_model="poisson")
        found = reconstruct(m, settings, Execution(), seed, lambda *_: None).object
        np.random.random(7)
        return found

    first = with_seed(1)
    np.testing.assert_array_equal(with_seed(1), first)
    assert (with_seed(2) != first).any()


def bright(s) -> Measurement:
    """The same scan with 10 000 times the photons and no noise but rounding."""
    m = s.measurement
    scale = 100 * m.intensity_scale
    rates = patch_counts(s.object, m.probe, m.scan, scale)
    return replace(m, amplitude=np.sqrt(np.rint(rates)) / scale, intensity_scale=scale)


def test_held_out_counts_choose_the_number_of_epochs(scanned):
    s = scanned(n=40, dose=200)
    poisson = {"noise_model": "poisson"}
    found = run(s.measurement, epochs=40, stopping="held_out", **poisson)
    assert found.kept_epoch == np.argmin(found.held_out) + 1 < len(found.loss) < 40
    assert found.stop_reason.startswith(f"held out: no epoch after {found.kept_epoch} predicted")
    # The same counts are held out in a run that ends there.
    short = run(s.measurement, epochs=found.kept_epoch, stopping="held_out", **poisson)
    np.testing.assert_array_equal(short.held_out, found.held_out[: found.kept_epoch])
    np.testing.assert_array_equal(short.object, found.object)
    # What is kept predicts the expected counts of the truth better than the last epoch does.
    whole = run(s.measurement, epochs=len(found.loss), **poisson)
    judge, probe = HeldOutCounts(bright(s), 0, 1), s.measurement.probe
    assert judge.deviances(found.object, probe).fitted < judge.deviances(whole.object, probe).fitted
    assert np.isnan(whole.held_out).all()


@pytest.mark.parametrize(
    "settings", [{}, {"probe": "refined"}, {"total_variation": 0.1}, {"noise_model": "poisson", "gaussian_epochs": 2}]
)
def test_the_object_is_that_of_as_many_epochs_with_all_counts(scanned, settings):
    m = scanned(n=40, dose=1e4).measurement
    found = run(m, epochs=30, stopping="held_out", **settings)
    every = run(m, epochs=found.kept_epoch, **settings)
    for name in ("object", "probe"):
        np.testing.assert_array_equal(getattr(found, name), getattr(every, name))
    np.testing.assert_array_equal(found.refit_loss, every.loss)
    assert found.final_loss == every.final_loss == every.loss[-1]
    assert found.final_deviances.fitted == every.deviance[-1] > found.deviance[found.kept_epoch - 1]
    assert found.final_deviances.expected == every.expected[-1]
    assert len(every.refit_loss) == 0
    assert len(found.loss) > found.kept_epoch == len(found.refit_loss) > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_finds_the_object_and_gives_the_same_twice(scanned, engine):
    s = scanned((100, 104), n=30, dose=1e5)
    found, again = (run(s.measurement, engine=engine, epochs=15, batch_size=10) for _ in range(2))
    assert s.phase_error(found.object) < 0.6 * s.phase_error(np.ones_like(s.object))
    assert found.deviance[-1] < 0.8 * found.deviance[0]
    np.testing.assert_array_equal(found.object, again.object)


def test_every_epoch_is_reported(scanned):
    s = scanned(n=7)
    seen = []
    found = run(s.measurement, lambda *row: seen.append(row), epochs=3)
    assert [row[:2] for row in seen] == [(1, 3), (2, 3), (3, 3)]
    for name, series in (("loss", found.loss), ("deviance", found.deviance), ("expected", found.expected)):
        assert [row[2][name] for row in seen] == series.tolist()


def test_the_epochs_with_all_counts_are_reported_too(scanned):
    s = scanned(n=7)
    seen = []
    found = run(s.measurement, lambda *row: seen.append(row), epochs=3, stopping="held_out")
    kept = found.kept_epoch
    assert [row[:2] for row in seen] == [(1, 3), (2, 3), (3, 3), *((3 + k, 3 + kept) for k in range(1, kept + 1))]
    assert [row[2]["loss"] for row in seen] == [*found.loss, *found.refit_loss]


def with_value(array: np.ndarray, where, value: float) -> np.ndarray:
    copy = array.copy()
    copy[where] = value
    return copy


def empty(m: Measurement) -> Measurement:
    return replace(m, amplitude=m.amplitude[:0], x=m.x[:0], y=m.y[:0], scan_index=m.scan_index[:0])


BAD = {
    "frame 5 holds negative, NaN or infinite amplitudes": [
        lambda m: replace(m, amplitude=with_value(m.amplitude, (5, 1, 2), np.nan)),
        lambda m: replace(m, amplitude=with_value(m.amplitude, (5, 1, 2), np.inf)),
        lambda m: replace(m, amplitude=with_value(m.amplitude, (5, 1, 2), -1)),
    ],
    r"position x\[3\] = 31 puts a window of 64 px outside the object of 128 px": [
        lambda m: replace(m, x=with_value(m.x, 3, 31.0))
    ],
    r"position y\[3\] = 96\.5 puts a window of 64 px outside the object of 128 px": [
        lambda m: replace(m, y=with_value(m.y, 3, 96.5))
    ],
    r"position y\[3\] = (nan|inf) is not finite": [
        lambda m: replace(m, y=with_value(m.y, 3, np.nan)),
        lambda m: replace(m, y=with_value(m.y, 3, np.inf)),
    ],
    "the probe holds NaN": [lambda m: replace(m, probe=with_value(m.probe, (0, 0), np.nan))],
    "the probe is zero everywhere": [lambda m: replace(m, probe=np.zeros_like(m.probe))],
    r"the probe has the shape \(64, 32\)": [lambda m: replace(m, probe=m.probe[:, :32])],
    r"intensity_scale = (0|-2|nan|inf); it must be finite and positive": [
        lambda m, scale=scale: replace(m, intensity_scale=scale) for scale in (0.0, -2.0, np.nan, np.inf)
    ],
    "all 7 frames are dark": [lambda m: replace(m, amplitude=np.zeros_like(m.amplitude))],
    r"the frames have the shape \((6|7), (64|32), (64|32)\); 7 positions and this probe need \(7, 64, 64\)": [
        lambda m: replace(m, amplitude=m.amplitude[:6]),
        lambda m: replace(m, amplitude=m.amplitude[:, :32, :32]),
    ],
    "there are 7 x and 6 y coordinates": [lambda m: replace(m, y=m.y[:6])],
    r"all 7 positions are the same \(50, 60\)": [
        lambda m: replace(m, x=np.full_like(m.x, 50), y=np.full_like(m.y, 60))
    ],
    "holds no frames": [empty],
}


@pytest.mark.parametrize(
    ("sentence", "spoil"), [(sentence, spoil) for sentence, spoils in BAD.items() for spoil in spoils]
)
def test_unfit_input_is_refused_before_anything_is_computed(scanned, sentence, spoil):
    def never(*_):
        raise AssertionError("an epoch was done")

    with pytest.raises(EngineError, match=sentence):
        run(spoil(scanned(n=7).measurement), never)


def test_positions_at_the_very_edge_are_accepted(scanned):
    s = scanned(n=7)
    m = replace(s.measurement, x=with_value(s.measurement.x, 0, 32), y=with_value(s.measurement.y, 0, 96))
    assert np.isfinite(run(m, epochs=1).object).all()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_result_that_is_not_finite_is_discarded_at_once(scanned):
    m = scanned(n=7).measurement
    epochs = []
    with pytest.raises(EngineError, match="not finite after epoch 1; the result was discarded"):
        run(replace(m, amplitude=np.full_like(m.amplitude, 1e16)), lambda *row: epochs.append(row), epochs=5)
    assert epochs == []


def test_a_start_is_where_the_first_epoch_starts(scanned):
    s = scanned(n=48, dose=1e6)
    m = s.measurement
    still = {"epochs": 1, "momentum": 0.0}
    cold = run(m, **still)
    warm = reconstruct(m, LsqmlSettings(stopping="epochs", **still), Execution(), 1, lambda *_: None, start=s.object)
    assert s.phase_error(warm.object) < 0.2 * s.phase_error(cold.object)
    assert warm.deviance[0] < cold.deviance[0]


@pytest.mark.parametrize("value", ["small", "nan"])
def test_an_unfit_start_is_refused(scanned, value):
    s = scanned(n=24)
    start = s.object[:-1] if value == "small" else np.where(np.arange(s.object.shape[1]) == 3, np.nan, s.object)
    with pytest.raises(EngineError, match="the object to start from"):
        reconstruct(s.measurement, LsqmlSettings(epochs=1), Execution(), 1, lambda *_: None, start=start)
