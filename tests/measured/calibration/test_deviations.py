"""What is fitted to a residual: a background, a further mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.measured import gap_and_beamstop

from fly64_assets.contract.npz import dataset_of
from fly64_assets.contract.schema import Base
from fly64_assets.measured.calibration.deviations import backgrounds, further_mode, sentences
from fly64_assets.measured.calibration.normalisation import with_probe
from fly64_assets.measured.twin import simulated_measurement
from fly64_assets.physics.counts import stored_amplitude


def with_background(measurement, background):
    """The measurement with Poisson counts of a background (N, N) added to every frame."""
    added = np.random.default_rng(5).poisson(np.broadcast_to(background, measurement.amplitude.shape))
    counts = measurement.counts() + added
    return replace(measurement, amplitude=stored_amplitude(counts.astype(np.int64), measurement.intensity_scale))


def test_nothing_is_found_where_nothing_is(truth, measurement):
    found = backgrounds(truth.object, measurement)
    assert found["constant"]["counts"] < 2
    assert found["smooth"]["counts"] < 20
    del found["picture"]
    for name, one in found.items():
        assert one["explained"] is None
        assert "no excess" in sentences(found)[name]


def test_a_constant_background_is_found(truth, measurement):
    noisy = with_background(measurement, np.full((64, 64), 0.05))
    found = backgrounds(truth.object, noisy)
    assert found["constant"]["counts"] == pytest.approx(0.05 * 64**2, rel=0.05)
    assert found["constant"]["explained"] > 0.9
    del found["picture"]
    assert "a constant background of 20" in sentences(found)["constant"]
    assert sentences(found)["constant"].endswith("of the excess")


def test_a_smooth_background_explains_more_than_a_constant_one(truth, measurement):
    rows, columns = np.indices((64, 64)) - 32.0
    halo = 0.5 * np.exp(-(rows**2 + columns**2) / (2 * 12.0**2))
    found = backgrounds(truth.object, with_background(measurement, halo))
    assert found["smooth"]["counts"] == pytest.approx(halo.sum(), rel=0.1)
    assert found["smooth"]["explained"] > 0.95 > found["constant"]["explained"] + 0.02
    assert np.corrcoef(found["picture"].ravel(), halo.ravel())[0, 1] > 0.95


def test_bad_pixels_have_no_part(truth, measurement):
    bad = gap_and_beamstop()
    noisy = replace(with_background(measurement, np.full((64, 64), 0.05)), bad_pixels=bad)
    found = backgrounds(truth.object, noisy)
    assert found["constant"]["counts"] == pytest.approx(0.05 * np.count_nonzero(~bad), rel=0.05)


def test_light_that_is_not_coherent_is_found_as_a_mode(truth):
    """A tenth of the power in a second mode; from the true object, with the first mode as the probe."""
    second = np.roll(truth.probe, 6, axis=1)
    second -= truth.probe * np.vdot(truth.probe, second) / np.vdot(truth.probe, truth.probe)
    second *= np.sqrt(0.1 / 0.9 * (np.abs(truth.probe) ** 2).sum() / (np.abs(second) ** 2).sum())
    both = Base(truth.object, truth.probe, truth.x, truth.y, truth.metadata, second[None].astype(np.complex64))
    counted = dataset_of(simulated_measurement(both, 200_000.0, 3)).measurement()
    found = further_mode(truth.object, with_probe(counted, counted.modes[0] / np.sqrt(0.9)))
    assert found["share"] == pytest.approx(0.1, abs=0.005)
    mode = found["modes"][1]
    assert abs(np.vdot(mode, second)) / np.linalg.norm(mode) / np.linalg.norm(second) > 0.95
    assert found["explained"] > 0.9
    assert "with 1" in sentences({"mode": found})["mode"] or "with 9.9" in sentences({"mode": found})["mode"]


def test_coherent_light_has_no_further_mode(truth, measurement):
    found = further_mode(truth.object, measurement)
    assert found["explained"] is None
    assert "no excess" in sentences({"mode": found})["mode"]
