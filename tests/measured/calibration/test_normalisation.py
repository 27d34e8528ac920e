"""The scale that object and probe share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.measured import gap_and_beamstop, measured_truth

from fly64_assets.contract.npz import dataset_of
from fly64_assets.measured.calibration.normalisation import (
    expected_mean_counts,
    fitted_object,
    in_counts_scale,
    mean_counts,
    normalised,
    with_probe,
)
from fly64_assets.measured.twin import simulated_measurement
from fly64_assets.physics.windows import read


def power(measurement):
    return measurement.intensity_scale**2 * float((np.abs(measurement.modes.astype(np.complex128)) ** 2).sum())


def test_a_probe_in_any_unit_expects_the_measured_counts_of_a_uniform_object(measurement):
    other = with_probe(measurement, measurement.probe * 1e-3)
    found, factor = in_counts_scale(other)
    assert power(found) == pytest.approx(mean_counts(measurement), rel=1e-6)
    assert factor**2 * power(other) == pytest.approx(mean_counts(measurement), rel=1e-6)


def test_only_measured_pixels_are_compared():
    masked = dataset_of(simulated_measurement(measured_truth(), 20_000.0, 3, gap_and_beamstop())).measurement()
    found, _ = in_counts_scale(masked)
    # Light goes to the pixels that are not measured, too.
    assert power(found) > 1.01 * mean_counts(masked)


def test_normalised_the_object_has_mean_intensity_one_and_the_probe_expects_the_measured_counts(truth, measurement):
    obj, found = normalised(3.0 * truth.object, with_probe(measurement, measurement.probe / 2))
    weight = np.abs(found.probe) ** 2
    in_windows = (weight * np.abs(read(obj, found.scan)) ** 2).sum() / (len(found.scan) * weight.sum())
    assert in_windows == pytest.approx(1, rel=1e-5)
    assert expected_mean_counts(obj, found) == pytest.approx(mean_counts(measurement), rel=1e-5)
    assert power(found) == pytest.approx(mean_counts(measurement), rel=1e-5)


def test_an_object_is_fitted_to_a_probe_that_stays(truth, measurement):
    obj = fitted_object(0.3 * truth.object, measurement)
    assert expected_mean_counts(obj, measurement) == pytest.approx(mean_counts(measurement), rel=1e-5)
    assert obj[5, 5] / obj[9, 9] == pytest.approx(truth.object[5, 5] / truth.object[9, 9], rel=1e-5)


def test_modes_stay_modes(measurement):
    modes = np.stack([measurement.probe, 0.1 * np.roll(measurement.probe, 3, axis=0)])
    both = with_probe(measurement, modes)
    assert np.array_equal(both.modes, modes)
    assert with_probe(both, modes[0]).further_modes is None
    assert power(in_counts_scale(replace(both, bad_pixels=None))[0]) == pytest.approx(
        mean_counts(measurement), rel=1e-6
    )
