"""Total variation of the object: against scikit-image, against its own definition, and within a task."""

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.lsqml.total_variation import ACCURACY, ITERATIONS, TotalVariation
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import reconstruct as tv_ml_reconstruct

WEIGHTS = (0.003, 0.03, 0.3)


@pytest.fixture
def plane():
    noise = np.random.default_rng(3).normal(size=(2, 40, 30))
    step = (np.arange(30) > 12).astype(float)
    return ((1 + 0.05 * noise[0]) * np.exp(1j * (0.6 * step + 0.05 * noise[1]))).astype(np.complex128)


def of(plane, weight=0.05, accuracy=1e-4):
    return TotalVariation(accuracy).smoothed(torch.from_numpy(plane), torch.tensor(weight)).numpy()


def variation(found):
    down, right = (np.diff(found, axis=k, append=found.take([-1], k)) for k in (0, 1))
    return np.sqrt(abs(down) ** 2 + abs(right) ** 2).sum()


def objective(found, plane, weight):
    return 0.5 * (abs(found - plane) ** 2).sum() + weight * variation(found)


def distance(one, other):
    return np.sqrt((abs(one - other) ** 2).mean())


@pytest.mark.parametrize("weight", WEIGHTS)
def test_of_a_real_plane_it_is_the_projection_of_scikit_image(plane, weight):
    image = np.abs(plane)
    peer = denoise_tv_chambolle(image, weight=weight, eps=1e-12, max_num_iter=20_000)
    found = of(image + 0j, weight)
    assert np.abs(found.imag).max() == 0
    assert distance(peer, image) > 0.5 * min(weight, 0.05)
    np.testing.assert_allclose(found.real, peer, rtol=0, atol=1e-3 * weight)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_it_ends_where_the_duality_gap_bounds_the_distance_from_the_least(plane, weight):
    solver = TotalVariation()
    found, least = solver.smoothed(torch.from_numpy(plane), torch.tensor(weight)).numpy(), of(plane, weight, 1e-4)
    assert 0 <= 2 * solver.gap / plane.size <= (ACCURACY * weight) ** 2
    assert solver.iterations < ITERATIONS / 10
    assert 0.5 * distance(found, least) ** 2 * plane.size <= objective(found, plane, weight) - objective(
        least, plane, weight
    )
    assert objective(found, plane, weight) - objective(least, plane, weight) <= solver.gap
    assert objective(least, plane, weight) < objective(plane, plane, weight)
    nudge = 1e-3 * np.random.default_rng(5).normal(size=(8, *plane.shape)) * np.exp(1j * np.arange(8))[:, None, None]
    assert all(objective(least + one, plane, weight) > objective(least, plane, weight) for one in nudge)


def test_a_stronger_weight_leaves_less_variation_until_the_plane_is_constant(plane):
    left = [variation(of(plane, weight)) for weight in (1e-6, 0.01, 0.03, 0.1, 0.3, 1.0, 100.0)]
    assert (np.diff(left) < 0).all()
    assert left[0] == pytest.approx(variation(plane), rel=1e-3)
    # The steps of an image that one epoch removes are not limited by the number of iterations.
    assert left[-1] < 1e-3 * left[0]


def test_the_next_image_starts_from_the_dual_variable_of_the_last(plane):
    solver, weight = TotalVariation(0.01), torch.tensor(0.3)
    first = solver.smoothed(torch.from_numpy(plane), weight)
    cold = solver.iterations
    again = solver.smoothed(torch.from_numpy(plane), weight)
    assert solver.iterations <= cold / 4
    assert distance(first.numpy(), again.numpy()) < 0.01 * 0.3


@pytest.mark.parametrize(("weight", "radius"), [(0.1, 8), (0.1, 16), (0.4, 16)])
def test_a_disc_loses_contrast_by_the_weight_times_its_edge_over_its_area(weight, radius):
    y, x = np.mgrid[:128, :128] - 63.5
    disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    found = of(1 + 1j * disc, weight).imag
    lost = 1 - (found[np.hypot(y, x) < radius - 3].mean() - found[np.hypot(y, x) > radius + 3].mean())
    assert lost == pytest.approx(2 * weight / radius, rel=0.1)


def test_a_global_phase_and_the_mean_go_through(plane):
    found = of(plane)
    np.testing.assert_allclose(of(plane * np.exp(0.7j)), found * np.exp(0.7j), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.mean(), plane.mean(), rtol=0, atol=1e-12)
    still = np.full((8, 9), 0.8 - 0.3j, np.complex64)
    np.testing.assert_array_equal(of(still), still)


def test_every_pixel_has_its_own_weight(plane):
    weight = np.full(plane.shape, 1e-6)
    weight[:, 15:] = 0.3
    found = of(plane, weight)
    assert distance(found[:, :14], plane[:, :14]) < 1e-4
    assert variation(found[:, 16:]) < 0.2 * variation(plane[:, 16:])


def run(m, level, epochs, **settings):
    chosen = LsqmlSettings(epochs=epochs, stopping="epochs", total_variation=level, **settings)
    return reconstruct(m, chosen, Execution(), 1, lambda *_: None)


def on_lit(s, one, other):
    """Distance of two objects on well illuminated pixels, up to a global phase."""
    one, other = one[s.lit()], other[s.lit()]
    return distance(one * np.exp(1j * np.angle(np.vdot(one, other))), other)


def test_a_stronger_level_gives_an_object_of_less_variation(scanned):
    m = scanned(n=60, dose=1e4).measurement
    left = [variation(run(m, level, 12).object) for level in (0.0, 0.05, 0.2, 0.8)]
    assert (np.diff(left) < 0).all()
    assert left[-1] < 0.5 * left[0]


def test_the_balance_of_counts_and_smoothness_does_not_depend_on_the_momentum(scanned):
    s = scanned(n=60, dose=1e4)
    plain, slow, fast = (
        variation(np.where(s.lit(), run(s.measurement, level, 40, momentum=momentum).object, 1))
        for level, momentum in ((0.0, 2.0), (0.5, 0.0), (0.5, 2.0))
    )
    assert slow == pytest.approx(fast, rel=0.02)
    assert plain > 1.2 * fast


def test_the_level_has_the_unit_of_regularised_maximum_likelihood(scanned, tmp_path):
    s, level = scanned(n=60, dose=1e5), 1.0
    m = s.measurement

    def tv_ml(chosen):
        settings = TvMlSettings(levels=(chosen,), steps=50)
        return tv_ml_reconstruct(m, settings, Execution(), 1, lambda *_: None, scratch=tmp_path).object

    peers = {factor: tv_ml(factor * level) for factor in (0.5, 1.0, 2.0)}
    found = run(m, level, 40).object
    distances = {factor: on_lit(s, found, peer) for factor, peer in peers.items()}
    assert min(distances, key=distances.__getitem__) == 1.0
    left = {factor: variation(np.where(s.lit(), peer, 1)) for factor, peer in peers.items()}
    assert left[0.5] > 1.05 * left[1.0] > 1.1 * left[2.0]
    for batching in ("compact", "uniform"):
        obj = run(m, level, 40, batching=batching, batch_size=16).object
        assert variation(np.where(s.lit(), obj, 1)) == pytest.approx(left[1.0], rel=0.02)
