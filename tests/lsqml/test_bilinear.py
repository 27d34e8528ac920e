from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.bilinear import BilinearWindows
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.scan import uniform_scan
from fly64_assets.physics.windows import Scan, read

SHAPE, N = (90, 101), 16


@pytest.fixture
def windows():
    return BilinearWindows(SimpleNamespace(object=SimpleNamespace(pos_origin_coords=torch.tensor([-0.5, -0.5]))))


@pytest.fixture
def positions():
    """(n, 2) y, x; the first on whole pixels, as float32 may only nearly hold them."""
    positions = uniform_scan(3, 12, SHAPE, N)
    x, y = positions.x, positions.y
    x[0], y[0], y[1] = 40, 30, 55
    return torch.from_numpy(np.stack([y, x], axis=1).astype(np.float32))


def field(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def test_windows_are_those_of_the_forward_model(windows, positions):
    image = field(*SHAPE)
    found = windows.read(image, positions, N)
    y, x = positions.double().numpy().T
    np.testing.assert_allclose(found.numpy(), read(image.numpy(), Scan(x, y, image.numpy().shape, N)), atol=2e-5)
    np.testing.assert_array_equal(found[0].numpy(), image[22:38, 32:48].numpy())


def test_adding_is_the_adjoint_of_reading(windows, positions):
    image, waves = field(*SHAPE), field(len(positions), N, N)
    there = (windows.read(image, positions, N).conj() * waves).sum()
    back = (image.conj() * windows.add(positions, waves, SHAPE)).sum()
    assert abs(there - back) < 1e-4 * abs(there)


def test_light_is_added_like_waves(windows, positions):
    light = field(len(positions), N, N).abs()
    found = windows.add(positions, light, SHAPE)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, windows.add(positions, light.to(torch.complex64), SHAPE).real, rtol=1e-6)


@pytest.mark.parametrize("engine", ["lsqml", "autodiff"])
def test_a_true_object_is_a_fixed_point_only_with_the_windows_of_the_study(scanned, engine):
    """Frames without noise: with its own windows the study's model is fitted further than with the library's."""
    s = scanned((100, 104), n=30, dose=1e9)

    def deviance(kind: str) -> float:
        settings = LsqmlSettings(epochs=25, stopping="epochs", noise_model="gaussian", subpixel=kind, batch_size=10)
        return reconstruct(s.measurement, settings, Execution(), 1, lambda *_: None, engine=engine).deviance[-1]

    assert deviance("bilinear") < 0.8 * deviance("fourier")
