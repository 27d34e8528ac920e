"""Total variation of the object: against scikit-image, against its own definition, and within a task."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from skimage.restoration import denoise_tv_chambolle

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.lsqml.total_variation import smoothed

WEIGHT = 0.05


@pytest.fixture
def plane():
    noise = np.random.default_rng(3).normal(size=(2, 40, 30))
    step = (np.arange(30) > 12).astype(float)
    return ((1 + 0.05 * noise[0]) * np.exp(1j * (0.6 * step + 0.05 * noise[1]))).astype(np.complex64)


def of(plane, weight=WEIGHT, iterations=2):
    return smoothed(torch.from_numpy(plane), weight, iterations).numpy()


def objective(found, plane):
    down, right = (np.diff(found, axis=k, append=found.take([-1], k)) for k in (0, 1))
    variation = np.sqrt(abs(down) ** 2 + abs(right) ** 2).sum()
    return 0.5 * (abs(found - plane) ** 2).sum() + WEIGHT * variation


def test_of_a_real_plane_it_is_the_projection_of_scikit_image(plane):
    image = np.abs(plane).astype(np.float64)
    peer = denoise_tv_chambolle(image, weight=WEIGHT, eps=1e-12, max_num_iter=3000)
    found = smoothed(torch.from_numpy(image.astype(np.complex128)), WEIGHT, 3000).numpy()
    assert np.abs(found.imag).max() == 0
    assert np.abs(peer - image).max() > 0.05
    np.testing.assert_allclose(found.real, peer, rtol=0, atol=1e-3)


def test_every_iteration_brings_a_complex_plane_nearer_to_the_least(plane):
    values = [objective(of(plane, iterations=k), plane) for k in (0, 1, 2, 4, 8, 200)]
    assert (np.diff(values) < 0).all()
    least = of(plane, iterations=5000)
    nudge = 1e-3 * np.random.default_rng(5).normal(size=(8, *plane.shape)) * np.exp(1j * np.arange(8))[:, None, None]
    assert all(objective(least + one, plane) > objective(least, plane) for one in nudge)


def test_a_global_phase_and_the_mean_go_through(plane):
    found = of(plane)
    np.testing.assert_allclose(of(plane * np.complex64(np.exp(0.7j))), found * np.exp(0.7j), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.mean(), plane.mean(), rtol=0, atol=1e-6)
    still = np.full((8, 9), 0.8 - 0.3j, np.complex64)
    np.testing.assert_array_equal(of(still), still)


def test_a_task_smooths_its_object_after_every_epoch(scanned):
    m = scanned(n=36, dose=1e4).measurement

    def run(weight):
        settings = LsqmlSettings(epochs=1, stopping="epochs", total_variation=weight)
        return reconstruct(m, settings, Execution(), 1, lambda *_: None)

    plain, held = run(0.0), run(0.02)
    inside = binary_erosion(plain.coverage > 0, iterations=4)
    expected = of(plain.object, weight=0.02)
    assert abs(expected - plain.object)[inside].max() > 0.005
    np.testing.assert_allclose(held.object[inside], expected[inside], rtol=0, atol=1e-6)
    assert held.options[0]["object_options"]["total_variation"]["weight"] == 0.02
