"""Ring correlation: known curves, known crossings, and the cases without a crossing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal.windows import tukey

from fly64_assets.evaluation.scores import resolution as resolution_module
from fly64_assets.evaluation.scores.metrics import Score
from fly64_assets.evaluation.scores.resolution import NYQUIST_PERIOD_PX, RingCorrelation, resolution

SIDE = 96


def ring_correlation(a, b):
    """Of two whole pictures."""
    return resolution_module.ring_correlation(lambda rows: (a[rows], b[rows]), a.shape)


def white(seed, shape=(SIDE, SIDE)):
    random = np.random.default_rng(seed)
    return random.normal(size=shape) + 1j * random.normal(size=shape)


def filtered(picture, gain):
    ky, kx = (np.fft.fftfreq(n) for n in picture.shape)
    return np.fft.ifft2(np.fft.fft2(picture) * gain(np.hypot(ky[:, None], kx[None, :])))


def ring_means(curve, low, high):
    inside = (curve.frequency > low) & (curve.frequency < high)
    return curve.correlation[inside]


@pytest.mark.parametrize("picture", [white(1), white(2).real, white(3, (40, 64))], ids=["complex", "real", "oblong"])
def test_a_picture_with_itself_correlates_fully_and_never_crosses(picture):
    curve = ring_correlation(picture, picture)
    np.testing.assert_allclose(curve.correlation, 1, atol=1e-12)
    assert curve.frequency.max() <= 0.5 + 0.5 / min(picture.shape)
    for threshold in (0.5, None):
        score = resolution(curve, threshold)
        assert score.value == NYQUIST_PERIOD_PX
        assert "never falls below" in score.reason


def test_independent_noise_does_not_correlate_and_nothing_is_resolved():
    curve = ring_correlation(white(4), white(5))
    # The mean over a ring of n values spreads by 1 / sqrt(2 n), somewhat more under the window.
    assert np.abs(ring_means(curve, 0.1, 0.5)).max() < 0.25
    assert abs(curve.correlation.mean()) < 0.05
    score = resolution(curve, 0.5)
    assert score.value is None
    assert "nothing is resolved" in score.reason
    assert resolution(curve).value is None


@pytest.mark.parametrize("cutoff", [0.15, 0.27, 0.4])
def test_low_passed_truth_crosses_at_its_cutoff(cutoff):
    truth = white(6)
    curve = ring_correlation(truth, filtered(truth, lambda f: f <= cutoff))
    score = resolution(curve, 0.5)
    assert 1 / score.value == pytest.approx(cutoff, abs=1.6 / SIDE)
    assert ring_means(curve, 0.0, cutoff - 2 / SIDE).min() > 0.9
    # A noise floor, as a reconstruction has it, takes away the window's leak beyond the cutoff.
    noisy = ring_correlation(truth, filtered(truth, lambda f: f <= cutoff) + 0.05 * white(7))
    assert np.abs(ring_means(noisy, cutoff + 3 / SIDE, 0.5)).max() < 0.35


@pytest.mark.parametrize("crossing", [0.2, 0.3])
def test_known_signal_to_noise_gives_the_known_curve_and_crossing(crossing):
    """With noise of r times the signal's power on a ring, FRC = 1 / sqrt(1 + r): 0.5 where r = 3."""
    truth = white(8)
    noise = filtered(white(9), lambda f: np.sqrt(3) * (f / crossing) ** 2)
    curve = ring_correlation(truth, truth + noise)
    expected = 1 / np.sqrt(1 + 3 * (curve.frequency / crossing) ** 4)
    assert np.abs(curve.correlation - expected)[4:].max() < 0.15
    assert np.abs(curve.correlation - expected)[4:].mean() < 0.05
    assert 1 / resolution(curve, 0.5).value == pytest.approx(crossing, abs=2.5 / SIDE)


def test_curve_agrees_with_a_loop_over_frequencies():
    a, b = white(10, (16, 20)), white(11, (16, 20))
    b = b + a
    window = np.outer(tukey(18, 0.5)[1:-1], tukey(22, 0.5)[1:-1])
    spectra = [np.fft.fft2((p - p.mean()) * window) for p in (a, b)]
    sums = {ring: [0.0, 0.0, 0.0] for ring in range(1, 9)}
    for row in range(16):
        for column in range(20):
            ky, kx = min(row, 16 - row) / 16, min(column, 20 - column) / 20
            ring = round(np.hypot(ky, kx) * 16)
            if ring in sums:
                p, q = spectra[0][row, column], spectra[1][row, column]
                for i, term in enumerate(((p * np.conj(q)).real, abs(p) ** 2, abs(q) ** 2)):
                    sums[ring][i] += term
    expected = [s[0] / np.sqrt(s[1] * s[2]) for s in sums.values()]
    np.testing.assert_allclose(ring_correlation(a, b).correlation, expected, atol=1e-12)


def test_a_phase_between_the_pictures_lowers_the_curve():
    picture = white(12)
    curve = ring_correlation(picture, picture * np.exp(1.0j))
    np.testing.assert_allclose(curve.correlation, np.cos(1.0), atol=1e-12)


def test_curve_does_not_depend_on_scale_or_offset():
    a, b = white(13).real, white(14).real + white(13).real
    np.testing.assert_allclose(
        ring_correlation(a, b).correlation, ring_correlation(5 * a + 2, 1e-3 * b - 7).correlation, atol=1e-10
    )


def test_half_bit_threshold_follows_the_number_of_independent_values():
    real = ring_correlation(white(15).real, white(16).real).half_bit
    complex_ = ring_correlation(white(15), white(16)).half_bit
    assert np.all(real >= complex_)
    assert real[0] > real[10] > real[40] > 0.2071 / 1.2071
    # No more than one independent value: the threshold is 1.
    assert real.max() <= (0.2071 + 1.9102) / (1.2071 + 0.9102) + 1e-12


@pytest.mark.parametrize("part", [np.asarray, np.real], ids=["complex", "real"])
def test_threshold_counts_no_more_independent_values_than_noise_shows(part):
    """The curve of independent noise has the variance 1 / (2 n) for n independent complex values of a ring.

    The share of the window is that of the whole plane; a thin ring has somewhat more independent values, so that
    the threshold is on the strict side, by less than a factor of two in n.
    """
    curves = [ring_correlation(part(white(200 + i, (32, 32))), part(white(900 + i, (32, 32)))) for i in range(150)]
    half_bit = curves[0].half_bit
    root = (1.9102 - 0.9102 * half_bit) / (1.2071 * half_bit - 0.2071)
    variance = np.mean([c.correlation**2 for c in curves], axis=0)
    ratio = (variance * 2 * root**2)[3:]
    assert 0.5 < ratio.mean() < 0.95


def test_a_flat_picture_has_no_curve_but_a_reason():
    flat = np.full((SIDE, SIDE), 0.7)
    for pair, name in (((white(19).real, flat), "reconstruction"), ((flat, white(19).real), "truth")):
        reason = ring_correlation(*pair)
        assert reason == f"the {name} is constant in the rectangle"
        assert resolution(reason, 0.5) == Score(None, reason)


def curve_of(values, half_bit=0.3):
    values = np.array(values, dtype=float)
    return RingCorrelation(0.1 * np.arange(1, len(values) + 1), values, np.full(len(values), half_bit))


def test_crossing_is_interpolated_between_rings():
    # 0.9 at 0.2 and 0.1 at 0.3: 0.5 in the middle, at 0.25 per pixel.
    assert resolution(curve_of([1, 0.9, 0.1, 0.0]), 0.5).value == pytest.approx(4.0, rel=1e-6)
    # The half-bit curve at 0.3: three quarters of the way, at 0.275.
    assert resolution(curve_of([1, 0.9, 0.1, 0.0])).value == pytest.approx(1 / 0.275, rel=1e-6)


def test_a_single_ring_above_by_chance_is_not_a_resolution_and_weak_low_rings_are_remarked():
    assert resolution(curve_of([0.1, 0.7, 0.2, 0.1, 0.0]), 0.5).value is None
    late = resolution(curve_of([0.2, 0.9, 0.9, 0.1, 0.0]), 0.5)
    assert late.value == pytest.approx(1 / 0.35, rel=1e-6)
    assert "periods above 5.0 px" in late.reason
    # A ring above the threshold after the fall does not bring the resolution back.
    assert resolution(curve_of([1, 0.9, 0.1, 0.9, 0.9]), 0.5).value == pytest.approx(4.0, rel=1e-6)


def test_resolution_is_never_finer_than_nyquist():
    beyond = RingCorrelation(np.array([0.3, 0.5, 0.52]), np.array([1.0, 0.9, 0.0]), np.full(3, 0.2))
    assert resolution(beyond, 0.5).value == NYQUIST_PERIOD_PX
