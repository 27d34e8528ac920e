"""Half sets: independent halves, agreement without a truth, and what cannot be compared."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fly64_assets.evaluation.scores.resolution import (
    NYQUIST_PERIOD_PX,
    RingCorrelation,
    compare_halves,
    half_indices,
    ring_correlation,
)

SETTINGS = {"coverage_threshold": 0.1, "max_shift_px": 2.0, "frc_threshold": 0.5}


def frame_halves(measurement):
    """The two halves of a measurement."""
    return tuple(
        dataclasses.replace(
            measurement,
            amplitude=measurement.amplitude[kept],
            x=measurement.x[kept],
            y=measurement.y[kept],
            scan_index=measurement.scan_index[kept],
        )
        for kept in half_indices(measurement.scan_index)
    )


@pytest.fixture(scope="module")
def measurement(measured, grid):
    return measured(1e4, *grid(24, 72, 24, 72, 4))


@pytest.fixture(scope="module")
def halves(measurement):
    return frame_halves(measurement)


def noisy(truth, sigma, seed):
    random = np.random.default_rng(seed)
    return truth + sigma * (random.normal(size=truth.shape) + 1j * random.normal(size=truth.shape))


def test_every_frame_is_in_exactly_one_half(measurement, halves):
    indices = [half.scan_index for half in halves]
    assert sorted(np.concatenate(indices)) == sorted(measurement.scan_index)
    assert abs(halves[0].frames - halves[1].frames) <= 1
    for half in halves:
        for place, index in enumerate(half.scan_index):
            np.testing.assert_array_equal(half.amplitude[place], measurement.amplitude[index])
            assert (half.x[place], half.y[place]) == (measurement.x[index], measurement.y[index])
        assert half.intensity_scale == measurement.intensity_scale


def test_halves_follow_the_order_of_the_scan_and_not_of_the_file(measurement, halves):
    order = np.random.default_rng(3).permutation(measurement.frames)
    shuffled = dataclasses.replace(
        measurement,
        amplitude=measurement.amplitude[order],
        x=measurement.x[order],
        y=measurement.y[order],
        scan_index=measurement.scan_index[order],
    )
    assert set(frame_halves(shuffled)[0].scan_index) == set(halves[0].scan_index)


def test_the_photons_of_the_halves_are_independent(truth, measured, grid):
    """Noise about the expected counts of one half says nothing about that of the other."""
    from fly64_assets.physics.forward import patch_counts

    m = measured(2e3, *grid(30, 60, 30, 60, 3))
    residuals = []
    for half in frame_halves(m):
        expected = patch_counts(truth, m.probe, half.scan, m.intensity_scale)
        noise = (half.counts() - expected) / np.sqrt(expected + 1e-9)
        residuals.append(np.where(expected > 0.5, noise, 0)[: m.frames // 2].ravel())
    a, b = residuals
    shared = np.count_nonzero((a != 0) & (b != 0))
    assert abs(np.vdot(a, b)) / shared < 4 / np.sqrt(shared)


def test_agreement_of_independent_noise_is_the_analytic_one(truth, halves):
    """Two pictures with the same signal-to-noise ratio r correlate as r / (1 + r), ring by ring."""
    sigma = 0.05
    found = compare_halves((noisy(truth, sigma, 1), noisy(truth, sigma, 2)), halves, **SETTINGS)
    assert isinstance(found.curve, RingCorrelation)
    first = noisy(truth, sigma, 3)
    clean = ring_correlation(lambda rows: (first[rows], truth[rows]), truth.shape)
    frequency = found.curve.frequency
    # Against a truth without noise the correlation is sqrt(r / (1 + r)), so that its square is that of the halves.
    low = frequency < 0.15
    np.testing.assert_allclose(
        found.curve.correlation[low], np.interp(frequency, clean.frequency, clean.correlation)[low] ** 2, atol=0.12
    )
    assert np.abs(found.curve.correlation[frequency > 0.35].mean()) < 0.1
    assert 2 < found.scores["frc_half_bit"].value < found.scores["frc_05"].value * 1.2


def test_more_noise_resolves_less_and_no_noise_resolves_everything(truth, halves):
    values = [
        compare_halves((noisy(truth, s, 4), noisy(truth, s, 5)), halves, **SETTINGS).scores["frc_05"].value
        for s in (0.02, 0.1, 0.3)
    ]
    assert values == sorted(values)
    assert values[0] < values[-1]
    perfect = compare_halves((truth, truth.copy()), halves, **SETTINGS)
    assert perfect.scores["frc_05"].value == NYQUIST_PERIOD_PX
    assert "never falls below" in perfect.scores["frc_05"].reason


def test_each_half_has_a_gauge_of_its_own(truth, halves):
    """A global factor, a whole-pixel shift and, where it is ambiguous, a ramp between the halves cost nothing."""
    first, second = noisy(truth, 0.02, 6), noisy(truth, 0.02, 7)
    plain = compare_halves((first, second), halves, **SETTINGS)
    turned = compare_halves((first, 0.3 * np.exp(2j) * second), halves, **SETTINGS)
    np.testing.assert_allclose(turned.curve.correlation, plain.curve.correlation, atol=1e-9)
    moved = compare_halves((truth, np.roll(truth, (1, -1), (0, 1))), halves, **SETTINGS)
    assert moved.alignment.shift_px == pytest.approx((-1, 1), abs=1e-6)
    assert moved.scores["frc_05"].value == NYQUIST_PERIOD_PX
    tilted = truth * np.exp(0.05j * np.arange(truth.shape[1]))
    assert compare_halves((truth, tilted), halves, **SETTINGS, remove_ramp=True).scores["frc_05"].value == 2.0
    assert compare_halves((truth, tilted), halves, **SETTINGS).curve.correlation[0] < 0.9


def test_only_pixels_lit_by_both_halves_count(truth, measured, grid):
    left, right = (measured(1e4, *grid(x0, x0 + 24, 24, 72, 4)) for x0 in (24, 44))
    spoilt = truth.copy()
    spoilt[:, :30] = 5.0
    found = compare_halves((truth, spoilt), (left, right), **SETTINGS)
    assert found.scores["frc_05"].value == NYQUIST_PERIOD_PX


def test_what_cannot_be_compared_says_why(truth, measured, grid, measurement):
    far = [measured(1e4, *grid(x0, x0 + 8, 24, 40, 4)) for x0 in (18, 66)]
    apart = compare_halves((truth, truth), (far[0], far[1]), **SETTINGS)
    assert apart.scores["frc_05"].value is None
    assert apart.scores["frc_05"].reason == "the evaluated region is empty"
    halves = frame_halves(measurement)
    dead = compare_halves((truth, np.zeros_like(truth)), halves, **SETTINGS)
    assert "zero on every evaluated pixel" in dead.scores["frc_half_bit"].reason
    for found in (apart, dead):
        document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert document["frc"]["reason"]
    json.dumps(compare_halves((truth, truth), halves, **SETTINGS).to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match=r"shape \(95, 96\), the measurement has \(96, 96\)"):
        compare_halves((truth, truth[:-1]), halves, **SETTINGS)
    one = dataclasses.replace(measurement, scan_index=measurement.scan_index[:1])
    with pytest.raises(ValueError, match="1 frames cannot be divided"):
        frame_halves(one)
