from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fly64_assets.pinn.architectures import ARCHITECTURES, NetworkSpec, build_network, encoder_filters

SPEC = NetworkSpec("unrolled", 32, 4, 24, 1, 1.3, 0.7)
CNN = replace(SPEC, architecture="cnn", patch_size=64)


def wide_probe(probe):
    return np.pad(probe, 16)


@pytest.fixture
def frames(measurement):
    return torch.from_numpy(measurement.counts(slice(8)).astype(np.float32)).view(2, 4, 32, 32)


@pytest.fixture
def scale(measurement):
    return torch.full((2, 4, 1, 1), measurement.intensity_scale)


def test_unrolled_starts_from_the_first_likelihood_step(probe, frames, scale, measurement):
    network = build_network(SPEC, probe, seed=0)
    first = network.physics.likelihood_step(None, frames, measurement.intensity_scale)
    np.testing.assert_allclose(network(frames, scale).detach().numpy(), first.numpy(), atol=1e-6)


def test_unrolled_has_about_120_000_parameters(probe):
    assert sum(p.numel() for p in build_network(SPEC, probe, 0).parameters()) == pytest.approx(120_000, rel=0.1)


def test_unrolled_treats_every_frame_alike(probe, frames, scale):
    network = build_network(SPEC, probe, seed=0)
    with torch.no_grad():
        network.last.weight.normal_(0, 0.1)
    order = torch.tensor([3, 1, 0, 2])
    patches = network(frames, scale).detach()
    assert float((patches[:, 0] - patches[:, 1]).abs().max()) > 0.01
    np.testing.assert_allclose(network(frames[:, order], scale).detach(), patches[:, order], rtol=1e-5, atol=1e-5)


def test_cnn_is_bounded_and_fills_the_border(probe, frames, scale):
    network = build_network(CNN, wide_probe(probe), seed=3)
    with torch.no_grad():
        for decoder in (network.amplitude, network.phase):
            for head in (decoder.centre, decoder.outer):
                head.weight.mul_(200)
    patches = network(torch.nn.functional.pad(frames, (16,) * 4), scale).detach()
    assert patches.shape == (2, 4, 64, 64)
    assert 1.2 < float(patches.abs().max()) <= 1.3 + 1e-5
    assert 2.0 < float(patches.angle().abs().max()) <= math.pi
    assert float(patches[:, :, :16].abs().std()) > 0


@pytest.mark.parametrize(
    ("size", "filters"), [(64, [32, 64, 128]), (128, [16, 32, 64, 128]), (256, [8, 16, 32, 64, 128])]
)
def test_encoder_filters_are_the_published_ones(size, filters):
    assert encoder_filters(size, 1) == filters
    assert encoder_filters(size, 2) == [2 * count for count in filters]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_depend_on_the_seed_only(architecture, probe):
    spec, values = replace(CNN, architecture=architecture), wide_probe(probe)

    def weights(seed):
        return torch.cat([p.detach().ravel() for p in build_network(spec, values, seed).parameters()])

    state = torch.random.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))
