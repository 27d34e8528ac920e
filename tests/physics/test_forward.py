"""The forward model against analytic results and invariants."""

import numpy as np
import pytest

from fly64_assets.physics import forward
from fly64_assets.physics.counts import (
    counts_from_amplitude,
    frame_generator,
    negative_log_likelihood,
    poisson_counts,
    stored_amplitude,
    thin_counts,
)
from fly64_assets.physics.illumination import illumination, probe_diameter_px
from fly64_assets.physics.windows import Scan, read

N = 32


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(3)
    obj = rng.uniform(0.7, 1, (90, 101)) * np.exp(1j * rng.uniform(0, 1, (90, 101)))
    axis = np.arange(N) - N / 2
    r2 = axis[:, None] ** 2 + axis[None, :] ** 2
    probe = np.exp(-r2 / 60) * np.exp(1j * r2 / 80)
    x, y = rng.uniform(N / 2, 101 - N / 2, 40), rng.uniform(N / 2, 90 - N / 2, 40)
    return obj, probe, x, y


def test_parseval_and_dose(scene):
    obj, probe, x, y = scene
    energies = forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N))
    scale = forward.intensity_scale(1e4, energies)
    rates = forward.patch_counts(obj, probe, Scan(x, y, (90, 101), N), scale)
    np.testing.assert_allclose(rates.sum(axis=(1, 2)), scale**2 * energies, rtol=1e-12)
    assert rates.sum(axis=(1, 2)).mean() == pytest.approx(1e4, rel=1e-12)


def test_constant_object_gives_the_probe_spectrum(scene):
    _, probe, x, y = scene
    rates = forward.patch_counts(np.ones((90, 101)), probe, Scan(x[:3], y[:3], (90, 101), N), 2.0)
    n = np.arange(N)
    dft = np.exp(-2j * np.pi * np.outer(n, n) / N) / np.sqrt(N)
    expected = np.roll(np.abs(dft @ (2.0 * probe) @ dft.T) ** 2, (N // 2, N // 2), axis=(0, 1))
    for rate in rates:
        np.testing.assert_allclose(rate, expected, atol=1e-9)


def test_moving_object_and_positions_together_changes_nothing(scene):
    obj, probe, x, y = scene
    before = forward.patch_counts(obj, probe, Scan(x, y, (90, 101), N), 1.0)
    moved = forward.patch_counts(np.pad(obj, ((7, 0), (5, 0))), probe, Scan(x + 5, y + 7, (97, 106), N), 1.0)
    np.testing.assert_allclose(moved, before, atol=1e-9)


def test_scale_does_not_depend_on_blocks(scene, monkeypatch):
    obj, probe, x, y = scene
    reference = forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N))
    blocks = forward.blocks
    for size in (1, 7, 1000):
        monkeypatch.setattr(forward, "blocks", lambda n, size=size: blocks(n, size))
        np.testing.assert_array_equal(forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N)), reference)
    assert forward.exact_mean(reference) == forward.exact_mean(reference[::-1])


def test_a_dark_scan_is_refused():
    with pytest.raises(ValueError, match="no light"):
        forward.intensity_scale(1e3, np.zeros(4))


def test_noise_depends_on_frame_dose_seed_and_repeat_only():
    rates = np.full((6, N, N), 3.0)
    frames = np.arange(6)
    whole = poisson_counts(rates, frames, 42, 1000)
    backwards = np.concatenate([poisson_counts(rates[:1], frames[j : j + 1], 42, 1000) for j in (5, 4, 3, 2, 1, 0)])[
        ::-1
    ]
    np.testing.assert_array_equal(whole, backwards)
    for other in ((42, 10000, 1), (43, 1000, 1), (42, 1000, 2)):
        assert (poisson_counts(rates, frames, other[0], other[1], other[2]) != whole).mean() > 0.5
    assert (whole[0] != whole[1]).mean() > 0.5


def test_frame_streams_do_not_run_into_each_other():
    long = frame_generator(42, 1000, 0).integers(0, 2**63, 100_000)
    assert not np.isin(frame_generator(42, 1000, 1).integers(0, 2**63, 1000), long).any()


def test_poisson_mean_and_variance():
    counts = poisson_counts(np.full((400, N, N), 5.0), np.arange(400), 1, 1)
    n = counts.size
    assert abs(counts.mean() - 5) < 5 * np.sqrt(5 / n)
    assert abs(counts.var() - 5) < 5 * np.sqrt((5 + 2 * 25) / n)


def test_amplitude_gives_back_integer_counts():
    counts = np.arange(1_000_000, dtype=np.int64)
    for scale in (0.37, 12.9, 811.0):
        np.testing.assert_array_equal(counts_from_amplitude(stored_amplitude(counts, scale), scale), counts)


def test_thinning_splits_into_independent_poisson_sets():
    counts = poisson_counts(np.full((300, N, N), 4.0), np.arange(300), 1, 1)
    kept, taken = thin_counts(counts.astype(float), 0.25, np.random.default_rng(0))
    np.testing.assert_array_equal(kept + taken, counts)
    assert taken.mean() == pytest.approx(1.0, rel=0.01)
    assert taken.var() == pytest.approx(1.0, rel=0.02)
    assert abs(np.corrcoef(kept.ravel(), taken.ravel())[0, 1]) < 5 / np.sqrt(counts.size)


def test_loss_prefers_the_truth(scene):
    obj, probe, x, y = scene
    scale = forward.intensity_scale(1e5, forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N)))
    counts = poisson_counts(
        forward.patch_counts(obj, probe, Scan(x, y, (90, 101), N), scale), np.arange(len(x)), 42, 100000
    )
    truth = negative_log_likelihood(forward.patch_counts(obj, probe, Scan(x, y, (90, 101), N), scale), counts).mean()
    flat = negative_log_likelihood(
        forward.patch_counts(np.ones_like(obj), probe, Scan(x, y, (90, 101), N), scale), counts
    ).mean()
    shifted = negative_log_likelihood(
        forward.patch_counts(obj, probe, Scan(x + 0.3, y, obj.shape, N), scale), counts
    ).mean()
    assert truth < shifted < flat


def test_probe_diameter_of_a_gaussian_is_its_fwhm():
    axis = np.arange(128) - 60.3
    probe = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (4 * 8.0**2)).astype(complex)
    assert probe_diameter_px(probe) == pytest.approx(2.3548 * 8.0, rel=1e-3)


def test_probe_diameter_of_a_disc():
    axis = np.arange(200) - 100.0
    probe = (np.hypot(axis[:, None], axis[None, :]) < 60).astype(complex)
    assert probe_diameter_px(probe) == pytest.approx(120 / np.sqrt(2), rel=2e-3)


def test_illumination_is_the_adjoint_of_the_patches(scene):
    """<W, m> = sum_j <|P|^2, patch_j(m)> for every real map m."""
    _, probe, x, y = scene
    weights = np.random.default_rng(0).random((90, 101))
    total = illumination(probe, Scan(x, y, (90, 101), N))
    patches = read(weights.astype(complex), Scan(x, y, (90, 101), N)).real
    assert (total * weights).sum() == pytest.approx((np.abs(probe) ** 2 * patches).sum(), rel=1e-9)
