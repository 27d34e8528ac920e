"""Scores against analytic values and second implementations; what has no value says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fixtures.scan import gaps, masked
from scipy.signal import convolve2d
from scipy.stats import poisson

from fly64_assets.evaluation.scores import metrics
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.evaluation.scores.bands import Moments
from fly64_assets.evaluation.scores.metrics import LIKELIHOOD_FRAMES, Part, amplitude_part, nll_excess, phase_part
from fly64_assets.evaluation.scores.region import Rectangle
from fly64_assets.physics.counts import RATE_FLOOR
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement

RECTANGLE = Rectangle(24, 23, 48, 48)


def picture_part(truth, estimate, rectangle=None):
    mask = np.ones(truth.shape, dtype=bool)
    whole = Rectangle(0, 0, *truth.shape) if rectangle is None else rectangle
    return Part(lambda part: (truth[part], estimate[part]), mask, whole, float(np.ptp(truth)))


def test_truth_against_itself_is_perfect(truth, mask):
    for build in (amplitude_part, phase_part):
        part = build(truth, truth, mask, RECTANGLE)
        assert metrics.mae(part).value == pytest.approx(0, abs=1e-15)
        assert metrics.rmse(part).value == pytest.approx(0, abs=1e-15)
        assert metrics.ssim(part).value == pytest.approx(1, abs=1e-12)
        assert metrics.ms_ssim(part, 1.0).value == pytest.approx(1, abs=1e-12)
        assert metrics.correlation(part.moments).value == pytest.approx(1, abs=1e-12)
        match = metrics.psnr(part)
        assert match.value is None
        assert "perfect match" in match.reason


def test_white_phase_noise_gives_its_standard_deviation_and_mean_deviation(truth, mask):
    sigma = 0.05
    noise = np.random.default_rng(20).normal(0, sigma, truth.shape)
    field = align(truth * np.exp(1j * noise), truth, mask, max_shift_px=2.0).field
    part = phase_part(field, truth, mask, RECTANGLE)
    pixels = np.count_nonzero(mask)
    # The spread of an estimated standard deviation is 1 / sqrt(2 n); four of them.
    assert metrics.rmse(part).value == pytest.approx(sigma, rel=4 / math.sqrt(2 * pixels))
    assert metrics.mae(part).value == pytest.approx(sigma * math.sqrt(2 / math.pi), rel=4 / math.sqrt(pixels))
    # Exactly: the noise less its mean, weighted as the least-squares factor weights it.
    turned = np.angle(np.exp(1j * noise[mask]) * np.conj(np.sum(np.abs(truth[mask]) ** 2 * np.exp(1j * noise[mask]))))
    assert metrics.rmse(part).value == pytest.approx(np.sqrt(np.mean(turned**2)), rel=1e-12)
    # And the amplitude knows nothing of it, but for the fitted factor.
    assert metrics.rmse(amplitude_part(field, truth, mask, None)).value < 2 * sigma**2


def test_structural_similarity_can_prefer_a_uniform_picture_to_one_with_a_smaller_error():
    """Why reports show it after the error, beside the uniform object's: it rewards the absence of noise."""
    random = np.random.default_rng(21)
    truth = np.where(np.indices((96, 96))[1] < 48, 0.2, 0.8) + random.normal(0, 0.005, (96, 96))
    noisy, uniform = truth + random.normal(0, 0.1, truth.shape), np.full_like(truth, truth.mean())
    scores = [
        (metrics.rmse(part).value, metrics.ssim(part).value)
        for part in (picture_part(truth, noisy), picture_part(truth, uniform))
    ]
    assert scores[0][0] < 0.4 * scores[1][0]
    assert scores[0][1] < scores[1][1]


def test_wraps_of_the_phase_cost_nothing(mask):
    columns = np.arange(96)[None, :] * np.ones((96, 1))
    steep = np.exp(0.3j * columns)  # about 3 turns over the mask
    part = phase_part(steep * np.exp(0.01j), steep, mask, None)
    assert metrics.rmse(part).value == pytest.approx(0.01, rel=1e-9)


def test_phase_near_the_cut_at_pi_has_the_range_of_the_object_and_not_a_full_turn(truth, mask):
    plain = phase_part(truth, truth, mask, None).data_range
    turned = phase_part(-truth, -truth, mask, None).data_range
    assert turned == pytest.approx(plain, rel=1e-12)
    assert plain < 3


def test_peak_of_the_signal_to_noise_ratio_is_the_range_of_the_truth_and_not_255():
    truth = np.linspace(0, 0.5, 400).reshape(20, 20)
    error = np.where(np.indices((20, 20)).sum(0) % 2, 0.01, -0.01)
    part = picture_part(truth, truth + error)
    assert metrics.psnr(part).value == pytest.approx(20 * math.log10(0.5 / 0.01), abs=1e-9)
    # Units do not matter: the same picture a thousand times brighter.
    brighter = picture_part(1000 * truth, 1000 * (truth + error))
    assert metrics.psnr(brighter).value == pytest.approx(metrics.psnr(part).value, abs=1e-9)
    assert metrics.ssim(brighter).value == pytest.approx(metrics.ssim(part).value, abs=1e-9)
    assert metrics.ms_ssim(brighter, 1.0).value == pytest.approx(metrics.ms_ssim(part, 1.0).value, abs=1e-9)


def test_pixels_outside_the_mask_count_for_nothing(truth, mask):
    spoilt = np.where(mask, truth * np.exp(0.1j), 30 * truth)
    for build in (amplitude_part, phase_part):
        clean, dirty = build(truth * np.exp(0.1j), truth, mask, None), build(spoilt, truth, mask, None)
        for score in (metrics.mae, metrics.rmse, metrics.psnr):
            assert score(clean) == score(dirty)


def test_structural_similarity_agrees_with_a_plain_loop_over_windows():
    random = np.random.default_rng(21)
    truth = random.normal(size=(14, 17))
    estimate = truth + 0.3 * random.normal(size=truth.shape)
    part = picture_part(truth, estimate)
    c1, c2 = (0.01 * part.data_range) ** 2, (0.03 * part.data_range) ** 2
    values = []
    for top in range(14 - 6):
        for left in range(17 - 6):
            a, b = (p[top : top + 7, left : left + 7].ravel() for p in (truth, estimate))
            cov = np.cov(a, b)  # sample covariance, n - 1
            values.append(
                (2 * a.mean() * b.mean() + c1)
                * (2 * cov[0, 1] + c2)
                / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2))
            )
    assert metrics.ssim(part).value == pytest.approx(np.mean(values), abs=1e-10)


def halved(picture):
    even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def reference_ms_ssim(truth, estimate, data_range, sigma, weights):
    """Wang, Simoncelli and Bovik 2003 by valid convolutions with an explicit Gaussian window."""
    radius = int(3.5 * sigma + 0.5)
    axis = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    value = 1.0
    for scale, weight in enumerate(weights):
        ma, mb, aa, bb, ab = (
            convolve2d(p, window, "valid")
            for p in (truth, estimate, truth * truth, estimate * estimate, truth * estimate)
        )
        terms = (2 * (ab - ma * mb) + c2) / (aa - ma**2 + bb - mb**2 + c2)
        if scale == len(weights) - 1:
            terms = terms * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        value *= terms.mean() ** weight
        truth, estimate = (halved(truth), halved(estimate))
    return value


@pytest.mark.parametrize(("shape", "scales"), [((12, 16), 1), ((20, 36), 2), ((40, 64), 3), ((144, 144), 5)])
def test_multi_scale_similarity_agrees_with_a_direct_one_and_states_its_scales(shape, scales):
    random = np.random.default_rng(22)
    truth = np.cumsum(random.normal(size=shape), axis=1) / 4
    estimate = truth + 0.3 * random.normal(size=shape)
    score = metrics.ms_ssim(picture_part(truth, estimate), 1.0)
    weights = np.array(metrics.MS_SSIM_WEIGHTS[:scales])
    expected = reference_ms_ssim(truth, estimate, float(np.ptp(truth)), 1.0, weights / weights.sum())
    assert score.value == pytest.approx(expected, abs=1e-9)
    assert score.reason == f"{scales} scales"
    assert 0 < expected < 0.999


def test_windowed_scores_say_why_they_have_no_value(truth, mask):
    no_room = phase_part(truth, truth, mask, None)
    small = phase_part(truth, truth, mask, Rectangle(44, 44, 7, 7))
    noise = np.random.default_rng(23).normal(size=(20, 20))
    constant, opposite = picture_part(np.full((20, 20), 0.4), noise), picture_part(noise, -noise)
    for score, words in (
        (metrics.ssim(no_room), "holds no rectangle"),
        (metrics.ms_ssim(no_room, 1.0), "holds no rectangle"),
        (metrics.ms_ssim(small, 1.0), "7 x 7 px is smaller than a 9-px window"),
        (metrics.ssim(constant), "truth is constant"),
        (metrics.ms_ssim(constant, 1.0), "truth is constant"),
        (metrics.psnr(constant), "truth is constant"),
        (metrics.ms_ssim(opposite, 1.0), "anti-correlated"),
    ):
        assert score.value is None
        assert words in score.reason
    assert "holds no rectangle" in no_room.windows()


def test_correlation_of_a_constant_has_no_value(truth, mask):
    inside = truth[mask]
    for a, b, name in (
        (inside, np.full_like(inside, 0.3 + 0.1j), "reconstruction"),
        (np.ones_like(inside), inside, "truth"),
        (np.abs(inside), np.full(inside.shape, 0.1), "reconstruction"),
        (np.abs(inside), np.zeros(inside.shape), "reconstruction"),
    ):
        score = metrics.correlation(Moments.of(a, b))
        assert score.value is None
        assert score.reason == f"the {name} is constant over the evaluated region"


def test_correlation_agrees_with_numpy_and_knows_the_phase():
    random = np.random.default_rng(24)
    a = random.normal(size=500)
    b = 0.6 * a + 0.8 * random.normal(size=500) + 7
    assert metrics.correlation(Moments.of(a, b)).value == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-12)
    assert metrics.correlation(Moments.of(a, -3 * a)).value == pytest.approx(-1)
    z = a + 1j * b
    assert metrics.correlation(Moments.of(z, 2 * z + 5j)).value == pytest.approx(1)
    assert metrics.correlation(Moments.of(z, z * np.exp(0.5j))).value == pytest.approx(math.cos(0.5), rel=1e-12)


# -- likelihood --------------------------------------------------------------------------------------------------


def test_excess_of_the_truth_is_zero_and_of_a_flat_object_positive_at_high_dose(truth, measured, grid):
    measurement = measured(1e6, *grid(30, 60, 30, 60, 10))
    flat = np.full_like(truth, truth.mean())
    scores = nll_excess({"truth": truth, "flat": flat}, truth, measurement)
    assert scores["truth"].value == 0.0
    assert scores["flat"].value > 1000


def test_excess_agrees_with_the_poisson_distribution_of_scipy_over_many_blocks(truth, probe, measured, grid):
    x, y = grid(30, 52, 30, 52, 2)
    assert len(x) > LIKELIHOOD_FRAMES, "one block would hide an error between blocks"
    measurement = measured(2e3, x + 0.3, y)
    other = truth * np.exp(0.1j * np.abs(truth))
    excess = nll_excess({"other": other}, truth, measurement)["other"].value
    total = 0.0
    for sign, obj in ((1, other), (-1, truth)):
        rates = patch_counts(obj, probe, measurement.scan, measurement.intensity_scale)
        total -= sign * poisson.logpmf(measurement.counts(), np.maximum(rates, RATE_FLOOR)).sum()
    assert excess == pytest.approx(total / len(x), rel=1e-7)


def test_expected_excess_is_the_divergence_of_the_two_poisson_distributions(truth, probe, measured, grid):
    measurement = measured(1e5, *grid(30, 60, 30, 60, 5))
    other = truth * np.exp(0.05j * np.random.default_rng(25).normal(size=truth.shape))
    true, wrong = (
        np.maximum(patch_counts(o, probe, measurement.scan, measurement.intensity_scale), RATE_FLOOR)
        for o in (truth, other)
    )
    divergence = (wrong - true - true * np.log(wrong / true)).sum() / measurement.frames
    spread = math.sqrt((true * np.log(wrong / true) ** 2).sum()) / measurement.frames
    excess = nll_excess({"other": other}, truth, measurement)["other"].value
    assert abs(excess - divergence) < 4 * spread
    assert divergence > 20 * spread, "the test would not tell the divergence from zero"


def test_bad_pixels_do_not_count_in_the_excess(truth, probe, measured, grid):
    measurement, bad = measured(1e4, *grid(30, 60, 30, 60, 10)), gaps(len(probe))
    other = truth * np.exp(0.2j * np.abs(truth))
    total = 0.0
    for sign, obj in ((1, other), (-1, truth)):
        rates = np.maximum(patch_counts(obj, probe, measurement.scan, measurement.intensity_scale), RATE_FLOOR)
        total += sign * (rates - measurement.counts() * np.log(rates))[:, ~bad].sum()
    excess = []
    for value in (0.0, 1e9, np.nan):
        stored = masked(measurement, bad, value)
        excess.append(nll_excess({"other": other}, truth, stored)["other"].value)
    assert excess == [excess[0]] * 3
    assert excess[0] == pytest.approx(total / measurement.frames, rel=1e-9)
    assert excess[0] < 0.9 * nll_excess({"other": other}, truth, measurement)["other"].value


def test_an_object_that_fits_the_noise_has_a_negative_excess(truth, probe, measured, grid):
    """The truth brightened to the number of photons that came, C for Lambda: C - Lambda - C log(C / Lambda) <= 0."""
    measurement = measured(500, *grid(40, 50, 40, 50, 5))
    expected = patch_counts(truth, probe, measurement.scan, measurement.intensity_scale).sum()
    came = measurement.counts().sum()
    fitted = truth * math.sqrt(came / expected)
    excess = nll_excess({"fitted": fitted}, truth, measurement)["fitted"].value
    closed = (came - expected - came * math.log(came / expected)) / measurement.frames
    assert closed < -0.001
    assert excess == pytest.approx(closed, rel=1e-3)


def test_a_field_that_is_not_finite_has_no_likelihood_and_spoils_no_other(truth, measured, grid):
    measurement: Measurement = measured(1e4, *grid(40, 50, 40, 50, 5))
    holed = truth.copy()
    holed[0, 0] = np.nan
    scores = nll_excess({"holed": holed, "truth": truth}, truth, measurement)
    assert scores["holed"].value is None
    assert "not finite" in scores["holed"].reason
    assert scores["truth"].value == 0.0
