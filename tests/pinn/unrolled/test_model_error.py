from __future__ import annotations

import numpy as np
import pytest
import torch

from fly64_assets.evaluation.counts.background import fitted_background as judged_background
from fly64_assets.physics import forward
from fly64_assets.physics.counts import negative_log_likelihood
from fly64_assets.physics.windows import Scan
from fly64_assets.pinn.unrolled.model_error import EM_ITERATIONS, fitted_background

N = 32


def smooth_background(photons):
    """A wide hill around the DC, in the corner."""
    rows, columns = np.mgrid[:N, :N] - N // 2
    hill = np.exp(-(rows**2 + columns**2) / (2 * 9.0**2))
    return np.fft.ifftshift(photons * hill / hill.sum())


def tensor(values):
    return torch.from_numpy(np.asarray(values, np.float32))


@pytest.fixture
def rates(obj, probe):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(18, 68, 256), rng.uniform(18, 60, 256)
    scale = forward.intensity_scale(1e3, forward.exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe))))
    return np.fft.ifftshift(forward.patch_counts(obj, probe, Scan(x, y, obj.shape, len(probe)), scale), axes=(-2, -1))


@pytest.mark.parametrize("photons", [50.0, 300.0])
def test_a_smooth_background_is_found(rates, photons):
    background = smooth_background(photons)
    counts = np.random.default_rng(1).poisson(rates + background)
    found = fitted_background(tensor(rates), tensor(counts), 60).numpy()
    assert found.sum() == pytest.approx(photons, rel=0.1)
    assert np.abs(found - background).sum() < 0.25 * photons
    assert found.min() >= 0


def test_where_nothing_is_unexplained_nothing_is_found(rates):
    counts = np.random.default_rng(1).poisson(rates)
    assert fitted_background(tensor(rates), tensor(counts), 60).sum() < 0.01 * counts.sum() / len(counts)
    nothing = fitted_background(tensor(rates), torch.zeros(256, N, N), 60)
    assert float(nothing.abs().max()) < 1e-6


def test_rounds_can_be_continued(rates):
    counts = tensor(np.random.default_rng(1).poisson(rates + smooth_background(100.0)))
    half = fitted_background(tensor(rates), counts, 10)
    assert torch.equal(fitted_background(tensor(rates), counts, 10, half), fitted_background(tensor(rates), counts, 20))


def test_an_object_known_on_average_beats_made_up_details(obj, probe):
    """Details of the right strength in the wrong places win the likelihood, unless scatter is a part of the model."""
    rng = np.random.default_rng(2)
    x, y = rng.uniform(18, 68, 256), rng.uniform(18, 60, 256)

    def details():
        return 0.3 * (rng.standard_normal(obj.shape) + 1j * rng.standard_normal(obj.shape))

    truth, made_up = obj + details(), obj + details()
    scale = forward.intensity_scale(1e3, forward.exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe))))
    expected = {
        name: np.fft.ifftshift(
            forward.patch_counts(values, probe, Scan(x, y, values.shape, len(probe)), scale), axes=(-2, -1)
        )
        for name, values in (("truth", truth), ("average", obj), ("made up", made_up))
    }
    counts = rng.poisson(expected.pop("truth"))
    without = {name: negative_log_likelihood(rates, counts).mean() for name, rates in expected.items()}
    scatter = {name: fitted_background(tensor(rates), tensor(counts), 60).numpy() for name, rates in expected.items()}
    fitted = {name: negative_log_likelihood(rates + scatter[name], counts).mean() for name, rates in expected.items()}
    assert without["made up"] < without["average"] - 100
    assert fitted["average"] < fitted["made up"] - 10
    assert fitted["average"] < without["average"] - 100


@pytest.mark.parametrize("gap", [False, True])
def test_the_judge_of_measured_frames_fits_the_same_background(gap):
    rng = np.random.default_rng(5)
    rates = rng.gamma(0.5, 2.0, (20, N, N))
    counts = rng.poisson(rates + np.fft.fftshift(smooth_background(200.0))).astype(np.float64)
    bad = np.zeros((N, N), bool)
    bad[10:12], bad[15:26, 15:26] = gap, gap
    counts[:, bad] = 0
    corner = [torch.from_numpy(np.fft.ifftshift(each, axes=(-2, -1)).astype(np.float32)) for each in (rates, counts)]
    found = fitted_background(*corner, EM_ITERATIONS, bad_pixels=torch.from_numpy(np.fft.ifftshift(bad)))
    judged = judged_background(rates, counts, bad)
    assert np.fft.fftshift(found.numpy()) == pytest.approx(judged, rel=1e-4, abs=1e-7)
