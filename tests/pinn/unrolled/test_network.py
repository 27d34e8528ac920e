from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.unrolled.network import RESIDUAL_SCALE, SURROUNDINGS, UnrolledNetwork, network_input

SPEC = NetworkSpec(
    architecture="unrolled",
    patch_size=32,
    group_frames=4,
    width=8,
    levels=(0.4, 0.13, 0.04),
    level_iterations=12,
    base=1,
)


def noise(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def network():
    """All weights random, also those that start at zero."""
    made = UnrolledNetwork(SPEC)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            spread = math.sqrt(2 / math.prod(parameter.shape[1:])) if parameter.ndim > 1 else 0.1
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture
def plane():
    channels = noise((7, 320, 208), 1)
    channels[-1] = 0.2 + 0.8 * torch.rand((320, 208), generator=torch.Generator().manual_seed(3))
    return channels, noise((320, 208), 2, torch.complex64)


def test_unrolled_starts_from_the_object_that_it_changes(probe, plane):
    network = build_network(SPEC, probe, seed=0)
    assert torch.equal(network(*plane).detach(), plane[1])


def test_unrolled_has_the_parameters_of_its_convolutions(probe):
    spec = replace(SPEC, width=16, levels=(0.4, 0.13, 0.04, 0.013, 0.004))
    pairs = [(11, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32), (64, 16), (16, 16), (32, 16), (16, 16)]
    expected = sum(9 * a * b + b for a, b in [*pairs, (16, 2)])
    assert sum(p.numel() for p in build_network(spec, probe, 0).parameters()) == expected == 55_090


def test_channels_are_the_object_its_differences_and_the_light(network):
    path = [noise((16, 24), seed, torch.complex64) for seed in range(3)]
    light = torch.linspace(0, 50, 16 * 24).view(16, 24)
    channels = network_input(path[SPEC.base], path, light).numpy()
    assert channels.shape == (2 * len(SPEC.levels) + 1, 16, 24)
    np.testing.assert_allclose(channels[0] + 1 + 1j * channels[1], path[1], atol=1e-6)
    for pair in (0, 1):
        change = channels[2 + 2 * pair] + 1j * channels[3 + 2 * pair]
        np.testing.assert_allclose(RESIDUAL_SCALE * change, path[pair + 1] - path[pair], atol=1e-6)
    assert channels[-1].max() == pytest.approx(1.0)
    assert channels[-1, 8, 5] == pytest.approx(1 + math.log(float(light[8, 5]) / 50) / 3, rel=1e-5)
    assert np.isfinite(channels).all()


def test_parts_of_the_plane_give_the_whole(network, plane):
    with torch.no_grad():
        once = network(*plane)
        parts = network.correct(*plane, 64)
    assert float((once - plane[1]).abs().max()) > 0.1
    np.testing.assert_allclose(parts.numpy(), once.numpy(), atol=1e-5)
    np.testing.assert_allclose(network.correct(*plane, 512).detach().numpy(), once.numpy(), atol=1e-6)


def test_far_pixels_do_not_matter_and_near_ones_do(network, plane):
    channels, obj = plane
    changed = channels.clone()
    changed[:, 160, 100] += 100.0
    with torch.no_grad():
        difference = (network(changed, obj) - network(channels, obj)).abs() > 1e-6
    rows, columns = torch.nonzero(difference, as_tuple=True)
    reach = max(int((rows - 160).abs().max()), int((columns - 100).abs().max()))
    assert 32 <= reach < SURROUNDINGS


@pytest.mark.parametrize(("down", "right"), [(16, 0), (0, 8), (-24, 8)])
def test_a_shifted_plane_gives_the_shifted_object(network, plane, down, right):
    with torch.no_grad():
        moved = network(*(part.roll((down, right), (-2, -1)) for part in plane))
        expected = network(*plane).roll((down, right), (-2, -1))
    inside = slice(88, -88)
    np.testing.assert_allclose(moved[inside, inside].numpy(), expected[inside, inside].numpy(), atol=1e-5)


class Fixed(torch.nn.Module):
    """A last layer whose output is given."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, _images):
        return self.output[None]


def residual_of(network, channels, output):
    """What the network adds to an object, relative to its scale, if its last layer gives this."""
    network.last = Fixed(output)
    with torch.no_grad():
        change = network(channels, torch.zeros(channels.shape[1:], dtype=torch.complex64)) / RESIDUAL_SCALE
    return torch.stack([change.real, change.imag])


def test_a_constant_output_changes_nothing(network, plane):
    constant = torch.tensor([2.0, -3.0])[:, None, None].expand(2, *plane[1].shape)
    assert float(residual_of(network, plane[0], constant).abs().max()) < 1e-5


@pytest.mark.parametrize(("period", "least", "most"), [(8, 0.95, 1.05), (16, 0.9, 1.1), (320, -0.1, 0.1)])
def test_details_are_kept_and_what_varies_slowly_is_taken_away(network, plane, period, least, most):
    channels = torch.ones_like(plane[0])
    wave = torch.cos(2 * np.pi * torch.arange(320.0) / period)[:, None].expand(320, 208)
    left = residual_of(network, channels, torch.stack([wave, -wave]))
    inside = slice(64, -64), slice(64, -64)
    for part, sign in zip(left, (1, -1), strict=True):
        assert least < sign * float((part * wave)[inside].sum() / wave[inside].square().sum()) < most


def test_pixels_without_light_do_not_shape_the_slow_part(network, plane):
    channels = torch.ones_like(plane[0])
    output = torch.ones(2, 320, 208)
    channels[-1, :, ::2], output[:, :, ::2] = 1 + math.log(1e-3) / 3, 20.0
    left = residual_of(network, channels, output)
    assert float(left[:, :, 1::2].abs().max()) < 0.05
    assert float(left[:, :, ::2].min()) > 18.9
