from __future__ import annotations

import numpy as np
import pytest
import torch

from fly64_assets.physics import counts, forward
from fly64_assets.physics.windows import Scan, read
from fly64_assets.pinn.forward import ForwardModel, poisson_loss, probe_window

N = 32


def truth(measurement, obj):
    return torch.from_numpy(read(obj, measurement.scan))


def test_rates_are_those_of_the_physics(measurement, obj, probe):
    patches = truth(measurement, obj)
    expected = forward.expected_counts(probe * patches.numpy(), 7.5)
    np.testing.assert_allclose(ForwardModel(probe, N).rates(patches, 7.5).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_corner_rates_have_the_centre_of_the_others_in_the_corner(measurement, obj, probe):
    model, patches = ForwardModel(probe, N), truth(measurement, obj)
    corner = np.fft.ifftshift(model.rates(patches, 7.5).numpy(), axes=(-2, -1))
    np.testing.assert_array_equal(model.corner_rates(patches, 7.5).numpy(), corner)
    assert corner.mean(axis=0)[0, 0] > 100 * corner.mean(axis=0)[16, 16]


def test_outside_the_window_the_object_is_one(measurement, obj, probe):
    model = ForwardModel(probe, 16)
    inner = truth(measurement, obj)[:, 8:-8, 8:-8]
    whole = torch.nn.functional.pad(inner - 1, (8,) * 4) + 1
    np.testing.assert_allclose(model.rates(inner, 3.0), ForwardModel(probe, N).rates(whole, 3.0), rtol=1e-5, atol=1e-5)


def test_loss_is_that_of_the_physics(measurement):
    observed = measurement.counts()
    rates = observed * 1.1
    rates[:, 0, 0] = 0.0
    found = float(poisson_loss(torch.from_numpy(rates), torch.from_numpy(observed)))
    assert found == pytest.approx(counts.negative_log_likelihood(rates, observed).mean(), rel=1e-12)


def test_loss_and_gradient_leave_bad_pixels_out(measurement):
    observed, bad = measurement.counts(), np.random.default_rng(1).random((N, N)) < 0.3
    rates = torch.from_numpy(observed * 1.1 + 0.2).requires_grad_()
    loss = poisson_loss(rates, torch.from_numpy(observed), torch.from_numpy(bad))
    loss.backward()
    loss, expected = float(loss.detach()), rates.detach().numpy()
    terms = expected[:, ~bad] - observed[:, ~bad] * np.log(expected[:, ~bad])
    assert loss == pytest.approx(terms.sum(axis=1).mean(), rel=1e-12)
    assert loss == pytest.approx(counts.negative_log_likelihood(expected, observed, bad).mean(), rel=1e-12)
    assert not rates.grad[:, bad].any()
    assert rates.grad[:, ~bad].all()


def test_the_truth_is_more_likely_than_a_flat_and_than_a_shifted_object(measurement, obj, probe):
    model, observed = ForwardModel(probe, N), torch.from_numpy(measurement.counts())
    shifted = read(obj, Scan(measurement.x + 0.5, measurement.y, obj.shape, N))
    patches = {"truth": truth(measurement, obj), "shifted": torch.from_numpy(shifted)}
    patches["flat"] = torch.ones_like(patches["truth"])
    losses = {
        name: float(poisson_loss(model.rates(p, measurement.intensity_scale), observed)) for name, p in patches.items()
    }
    assert losses["truth"] < losses["shifted"] - 10
    assert losses["truth"] < losses["flat"] - 100


def test_the_gradient_vanishes_at_the_noiseless_truth(measured, obj, probe):
    clean = measured(n=4, noise=False)
    model, scale = ForwardModel(probe, N), clean.intensity_scale
    rates = model.rates(truth(clean, obj), scale)

    def gradient(patches):
        patches = patches.clone().requires_grad_()
        poisson_loss(model.rates(patches, scale), rates).backward()
        return float(patches.grad.abs().max())

    assert gradient(truth(clean, obj)) < 1e-6 * gradient(torch.ones_like(truth(clean, obj)))


def test_window_is_the_smallest_that_holds_the_energy(probe):
    window = probe_window(probe)
    energy = {
        size: float((np.abs(probe[(N - size) // 2 :, (N - size) // 2 :][:size, :size]) ** 2).sum())
        for size in (16, 24, 32)
    }
    assert window % 8 == 0
    assert energy[window] >= 0.999 * energy[32] > energy[window - 8]
    assert probe_window(np.ones((N, N))) == N
