"""Alignment: known ambiguities are removed, nothing else is, and noise or a uniform object never moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.registration import phase_cross_correlation

from fly64_assets.evaluation.scores.alignment import align


def phase_error(field, truth, mask):
    return np.abs(np.angle(field * truth.conj())[mask]).max()


def fourier_shift(field, shift):
    ky, kx = (np.fft.fftfreq(n) for n in field.shape)
    return np.fft.ifft2(np.fft.fft2(field) * np.exp(-2j * np.pi * (ky[:, None] * shift[0] + kx[None, :] * shift[1])))


def ramp(shape, slopes):
    return np.exp(1j * (slopes[0] * np.arange(shape[0])[:, None] + slopes[1] * np.arange(shape[1])[None, :]))


def test_truth_against_itself_is_left_exactly_where_it_is(truth, mask):
    result = align(truth, truth, mask, max_shift_px=2.0)
    assert result.shift_px == (0.0, 0.0)
    assert result.ramp_rad_per_px == (0.0, 0.0)
    assert not result.at_limit
    assert result.factor == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(result.field, truth, rtol=1e-13)


@pytest.mark.parametrize("shift", [(1, 0), (0, -2), (-1, 2), (2, -2)])
def test_whole_pixel_shift_with_phase_and_scale_is_removed(truth, mask, shift):
    factor = 3.7 * np.exp(2.1j)
    moved = factor * np.roll(truth, (-shift[0], -shift[1]), (0, 1))
    result = align(moved, truth, mask, max_shift_px=2.0)
    assert result.shift_px == pytest.approx(shift, abs=1e-6)
    assert phase_error(result.field, truth, mask) < 1e-6
    np.testing.assert_allclose(np.abs(result.field[mask]), np.abs(truth[mask]), rtol=1e-6)
    assert result.factor == pytest.approx(1 / factor, rel=1e-6)


def test_whole_pixel_shift_of_white_noise_which_no_spline_could_interpolate(mask):
    random = np.random.default_rng(8)
    truth = np.exp(1j * random.normal(0, 0.5, mask.shape))
    result = align(np.roll(truth, (-1, 2), (0, 1)), truth, mask, max_shift_px=2.0)
    assert result.shift_px == pytest.approx((1, -2), abs=1e-6)
    assert phase_error(result.field, truth, mask) < 1e-5


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(-3.1, 3.1), st.floats(-3, 3))
def test_the_global_factor_of_a_reconstruction_does_not_matter(phase, log_scale):
    random = np.random.default_rng(9)
    truth = np.exp(0.3j * random.normal(size=(40, 40)))
    seen = truth + 0.1 * random.normal(size=(40, 40))
    mask = np.ones((40, 40), dtype=bool)
    plain = align(seen, truth, mask, max_shift_px=1.0)
    turned = align(10**log_scale * np.exp(1j * phase) * seen, truth, mask, max_shift_px=1.0)
    np.testing.assert_allclose(turned.field, plain.field, rtol=1e-9)


def test_the_factor_is_the_least_squares_one(truth, mask):
    random = np.random.default_rng(10)
    seen = 0.5j * truth + 0.2 * random.normal(size=truth.shape)
    result = align(seen, truth, mask, max_shift_px=0.0)
    expected = np.linalg.lstsq(seen[mask][:, None], truth[mask], rcond=None)[0][0]
    assert result.factor == pytest.approx(expected, rel=1e-12)
    assert result.shift_px == (0.0, 0.0)


@pytest.mark.parametrize("shift", [(0.3, -0.4), (1.37, 0.81), (-1.5, 0.02)])
def test_fourier_shift_of_a_fraction_of_a_pixel_is_found(band_limited, mask, shift):
    moved = np.exp(1.1j) * fourier_shift(band_limited, (-shift[0], -shift[1]))
    result = align(moved, band_limited, mask, max_shift_px=2.0)
    assert result.shift_px == pytest.approx(shift, abs=1e-3)
    assert np.abs(result.field - band_limited)[mask].max() < 5e-3


def test_shift_agrees_with_the_upsampled_correlation_of_scikit_image(band_limited):
    moved = fourier_shift(band_limited, (-0.62, 1.24))
    everywhere = np.ones(band_limited.shape, dtype=bool)
    everywhere[:4] = everywhere[-4:] = everywhere[:, :4] = everywhere[:, -4:] = False
    theirs = phase_cross_correlation(band_limited, moved, upsample_factor=100, normalization=None)[0]
    ours = align(moved, band_limited, everywhere, max_shift_px=2.0).shift_px
    assert ours == pytest.approx(tuple(theirs), abs=0.011)


def test_shift_is_found_under_noise(band_limited, mask):
    random = np.random.default_rng(11)
    noise = random.normal(0, 0.1, mask.shape) + 1j * random.normal(0, 0.1, mask.shape)
    result = align(fourier_shift(band_limited, (-0.7, 0.4)) + noise, band_limited, mask, max_shift_px=2.0)
    assert result.shift_px == pytest.approx((0.7, -0.4), abs=0.03)


def test_a_uniform_object_is_not_shifted(truth, mask):
    result = align(np.full_like(truth, 0.3j), truth, mask, max_shift_px=2.0)
    assert result.shift_px == (0.0, 0.0)
    assert not result.at_limit
    # The factor of a constant is the truth's mean.
    np.testing.assert_allclose(result.field, truth[mask].mean(), rtol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_noise_without_the_object_in_it_stays_put(truth, mask, seed):
    random = np.random.default_rng(100 + seed)
    noise = 1 + 0.3 * random.normal(size=mask.shape) + 0.3j * random.normal(size=mask.shape)
    assert align(noise, truth, mask, max_shift_px=2.0).shift_px == (0.0, 0.0)


def test_noise_alone_does_not_move_a_registered_object(truth, mask):
    random = np.random.default_rng(12)
    seen = truth * np.exp(0.2j * random.normal(size=mask.shape))
    assert align(seen, truth, mask, max_shift_px=2.0).shift_px == (0.0, 0.0)


def test_a_shift_beyond_the_limit_is_reported(band_limited, mask):
    result = align(np.roll(band_limited, (-3, 0), (0, 1)), band_limited, mask, max_shift_px=2.0)
    assert max(abs(s) for s in result.shift_px) <= 2.0
    assert result.at_limit
    assert result.to_dict()["shift_at_limit"] is True


def test_ramp_phase_and_scale_are_removed_where_asked(truth, mask):
    slopes = (0.013, -0.21)
    seen = 0.4 * np.exp(-0.8j) * truth * ramp(truth.shape, slopes)
    result = align(seen, truth, mask, max_shift_px=2.0, remove_ramp=True)
    assert result.ramp_rad_per_px == pytest.approx((-slopes[0], -slopes[1]), abs=1e-9)
    assert phase_error(result.field, truth, mask) < 1e-6
    np.testing.assert_allclose(np.abs(result.field[mask]), np.abs(truth[mask]), rtol=1e-6)


def test_ramp_and_whole_pixel_shift_together_are_removed(truth, mask):
    moved = np.roll(truth, (-1, 2), (0, 1))
    seen = 2j * moved * ramp(truth.shape, (0.05, 0.08))
    result = align(seen, truth, mask, max_shift_px=2.0, remove_ramp=True)
    assert result.shift_px == pytest.approx((1, -2), abs=1e-6)
    assert result.ramp_rad_per_px == pytest.approx((-0.05, -0.08), abs=1e-8)
    assert phase_error(result.field, truth, mask) < 1e-6


def test_a_ramp_stays_an_error_where_the_probe_was_known(truth, mask):
    seen = truth * ramp(truth.shape, (0.02, 0.0))
    result = align(seen, truth, mask, max_shift_px=2.0)
    assert result.ramp_rad_per_px == (0.0, 0.0)
    assert not result.ramp_removed
    assert phase_error(result.field, truth, mask) > 0.3


def test_no_ramp_is_invented(truth, mask):
    random = np.random.default_rng(13)
    result = align(
        truth * np.exp(0.1j * random.normal(size=mask.shape)), truth, mask, max_shift_px=2.0, remove_ramp=True
    )
    assert result.ramp_rad_per_px == (0.0, 0.0)
    assert result.ramp_removed


def test_only_evaluated_pixels_decide(truth, mask):
    random = np.random.default_rng(14)
    seen = truth * np.exp(0.05j * random.normal(size=mask.shape))
    spoilt = np.where(mask, seen, 50 * random.normal(size=mask.shape))
    one, other = (align(field, truth, mask, max_shift_px=2.0) for field in (seen, spoilt))
    assert one.shift_px == other.shift_px == (0.0, 0.0)
    assert one.factor == other.factor


def test_pixels_without_a_value_outside_the_region_stay_without_a_value(truth, mask):
    seen = np.where(mask, truth, np.nan)
    result = align(seen, truth, mask, max_shift_px=2.0)
    np.testing.assert_allclose(result.field[mask], truth[mask], rtol=1e-12)
    assert np.all(np.isnan(result.field[~mask]))


def test_what_cannot_be_aligned_is_refused_in_words(truth, mask):
    with pytest.raises(ValueError, match=r"shape \(95, 96\), the truth \(96, 96\)"):
        align(truth[:-1], truth, mask, max_shift_px=2.0)
    with pytest.raises(ValueError, match="region is empty"):
        align(truth, truth, np.zeros_like(mask), max_shift_px=2.0)
    with pytest.raises(ValueError, match="zero on every"):
        align(np.zeros_like(truth), truth, mask, max_shift_px=2.0)
    holed = truth.copy()
    holed[48, 48] = np.nan
    with pytest.raises(ValueError, match=f"1 of {np.count_nonzero(mask)} evaluated pixels are not finite"):
        align(holed, truth, mask, max_shift_px=2.0)
