"""The forward model against analytic results and invariants."""

import numpy as np
import pytest

from fly64_assets.physics import forward
from fly64_assets.physics.counts import negative_log_likelihood, poisson_counts
from fly64_assets.physics.windows import Scan

N = 32


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(3)
    obj = rng.uniform(0.7, 1, (90, 101)) * np.exp(1j * rng.uniform(0, 1, (90, 101)))
    axis = np.arange(N) - N / 2
    r2 = axis[:, None] ** 2 + axis[None, :] ** 2
    probe = np.exp(-r2 / 60) * np.exp(1j * r2 / 80)
    x, y = rng.uniform(N / 2, 101 - N / 2, 40), rng.uniform(N / 2, 90 - N / 2, 40)
    return obj, probe, x, y


def test_parseval_and_dose(scan):
    obj, probe, x, y = scan
    energies = forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N))
    scale = forward.intensity_scale(1e4, energies)
    rates = forward.patch_counts(obj, probe, Scan(x, y, (90, 101), N), scale)
    np.testing.assert_allclose(rates.sum(axis=(1, 2)), scale**2 * energies, rtol=1e-12)
    assert rates.sum(axis=(1, 2)).mean() == pytest.approx(1e4, rel=1e-12)


def test_constant_object_gives_the_probe_spectrum(scan):
    _, probe, x, y = scan
    rates = forward.patch_counts(np.ones((90, 101)), probe, Scan(x[:3], y[:3], (90, 101), N), 2.0)
    n = np.arange(N)
    dft = np.exp(-2j * np.pi * np.outer(n, n) / N) / np.sqrt(N)
    expected = np.roll(np.abs(dft @ (2.0 * probe) @ dft.T) ** 2, (N // 2, N // 2), axis=(0, 1))
    for rate in rates:
        np.testing.assert_allclose(rate, expected, atol=1e-9)


def test_moving_object_and_positions_together_changes_nothing(scan):
    obj, probe, x, y = scan
    before = forward.patch_counts(obj, probe, Scan(x, y, (90, 101), N), 1.0)
    moved = forward.patch_counts(np.pad(obj, ((7, 0), (5, 0))), probe, Scan(x + 5, y + 7, (97, 106), N), 1.0)
    np.testing.assert_allclose(moved, before, atol=1e-9)


def test_scale_does_not_depend_on_blocks(scan, monkeypatch):
    obj, probe, x, y = scan
    reference = forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N))
    blocks = forward.blocks
    for size in (1, 7, 1000):
        monkeypatch.setattr(forward, "blocks", lambda n, size=size: blocks(n, size))
        np.testing.assert_array_equal(forward.exit_wave_energies(obj, probe, Scan(x, y, (90, 101), N)), reference)
    assert forward.exact_mean(reference) == forward.exact_mean(reference[::-1])


def test_a_dark_scan_is_refused():
    with pytest.raises(ValueError, match="no light"):
        forward.intensity_scale(1e3, np.zeros(4))


def test_loss_prefers_the_truth(scan):
    obj, probe, x, y = scan
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
