"""The network that is trained once: its direction, its training on simulated scans, use on another kind of object."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fixtures.scan import gaps, in_unit, masked, measure, soft_probe
from scipy.ndimage import uniform_filter

import fly64_assets as fly64
from fly64_assets.errors import ArtifactError
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.bundle import read_bundle, write_bundle
from fly64_assets.pinn.pretrained import training
from fly64_assets.pinn.pretrained.direction import returned_waves
from fly64_assets.pinn.pretrained.fields import KINDS, SIDE
from fly64_assets.pinn.pretrained.files import bundle_of, network_of, weights_of
from fly64_assets.pinn.pretrained.inference import reconstruct
from fly64_assets.pinn.pretrained.pretrained_spec import Applicability, PretrainedSpec, measured_terms, read_pretrained
from fly64_assets.pinn.pretrained.scans import PATCH, Family, Pool, Scans
from fly64_assets.pinn.pretrained.settings import GENERAL, bundle_file
from fly64_assets.pinn.pretrained.training import PretrainingSettings, errors, loss_of, train
from fly64_assets.pinn.settings import LEAST_GAIN_OF_PRETRAINED

SMALL = PretrainedSpec(steps=2, widths=(8, 8, 8, 8))


@pytest.fixture(scope="module")
def general():
    return network_of(read_pretrained(GENERAL), GENERAL)


@pytest.fixture(scope="module")
def pool():
    return Pool(Family(), 32, 3, torch.device("cpu"))


def an_object(side: int) -> np.ndarray:
    """Rings and a checkerboard: of no kind that the network was trained on."""
    rows, columns = np.mgrid[:side, :side]
    rings = np.sin(np.hypot(rows - side / 2, columns - side / 3) / 4.0)
    squares = np.sign(np.sin(rows / 7.0) * np.sin(columns / 9.0))
    return (0.9 - 0.08 * squares) * np.exp(1j * (0.4 * rings + 0.2 * squares))


def a_scan(dose: float, n: int = 80) -> tuple[Measurement, np.ndarray]:
    obj = an_object(170)
    return measure(obj, soft_probe(64), n, dose), obj


def error(found: np.ndarray, obj: np.ndarray, where: np.ndarray) -> float:
    aligned = align(found, obj.astype(np.complex128), where, max_shift_px=0.0).field
    return float(np.sqrt(np.mean(np.abs(aligned - obj)[where] ** 2)))


# -- the direction ----------------------------------------------------------------------------------------------------


def test_the_direction_is_the_gradient_of_the_poisson_likelihood_where_rates_are_high():
    numbers = np.random.default_rng(1)
    waves = torch.from_numpy(numbers.normal(size=(3, 16, 16)) + 1j * numbers.normal(size=(3, 16, 16)))
    scale, counts = 30.0, torch.from_numpy(numbers.poisson(900, (3, 16, 16)).astype(float))
    waves.requires_grad_(True)
    rates = (torch.fft.fft2(waves, norm="ortho") * scale).abs().square()
    (rates - counts * rates.log()).sum().backward()
    # PyTorch's gradient of a real function is 2 df/dO*, and one photon weighs s^2.
    expected = -waves.grad / 2 / scale**2
    found = returned_waves(waves.detach(), counts, scale, torch.tensor(0.0))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_the_direction_vanishes_on_average_at_the_true_object():
    numbers = np.random.default_rng(2)
    wave = torch.from_numpy(numbers.normal(size=(1, 16, 16)) + 1j * numbers.normal(size=(1, 16, 16)))
    rates = torch.fft.fft2(wave, norm="ortho").abs().square() * 0.2**2
    counts = torch.poisson(rates.expand(20000, -1, -1), generator=torch.Generator().manual_seed(1))
    mean = returned_waves(wave, counts, 0.2, torch.tensor(0.3)).mean(0)
    # A wrong object asks for more than the noise of the mean.
    wrong = returned_waves(2 * wave, counts, 0.2, torch.tensor(0.3)).mean(0)
    assert mean.abs().mean() < 0.05 * wrong.abs().mean()


def test_reading_and_adding_windows_have_each_other_as_derivatives(pool):
    scans = pool.scans(2)
    obj = scans.objects.clone().requires_grad_(True)
    other = torch.randn(scans.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    (other.conj() * scans.direction(obj, torch.tensor(0.5))).real.sum().backward()
    step = 1e-3 * torch.randn(scans.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        plus, minus = (scans.direction(scans.objects + sign * step, torch.tensor(0.5)) for sign in (1, -1))
    slope = float((other.conj() * (plus - minus)).real.sum(dtype=torch.float64)) / 2
    assert slope == pytest.approx(float((obj.grad.conj() * step).real.sum(dtype=torch.float64)), rel=0.02)


# -- training scans ---------------------------------------------------------------------------------------------------


def test_training_scans_have_the_dose_and_the_windows_of_their_family(pool):
    family = pool.family
    scans = pool.scans(6)
    assert scans.objects.abs().max() <= 1.0001
    assert scans.windows.corners[:, 1].min() >= 0
    assert scans.windows.corners[:, 1].max() + PATCH + 1 <= SIDE
    for number in range(6):
        own = scans.which == number
        rows = scans.windows.corners[own, 0] - number * SIDE
        assert rows.min() >= 0
        assert rows.max() + PATCH + 1 <= SIDE, "no window reaches into the next object"
        mean = float(scans.counts[own].sum((1, 2)).mean())
        assert 0.7 * family.photons_per_frame[0] < mean < 1.3 * family.photons_per_frame[1]
    assert bool((scans.counts == scans.counts.round()).all())


@pytest.mark.parametrize("kind", KINDS)
def test_fields_lie_between_0_and_1_and_differ(kind):
    fields = kind(2, np.random.default_rng(1), torch.Generator().manual_seed(1), torch.device("cpu"))
    assert fields.shape == (2, SIDE, SIDE)
    assert fields.min() >= 0
    assert fields.max() <= 1
    assert fields.std((1, 2)).min() > 0.02
    assert not torch.equal(fields[0], fields[1])


def test_errors_leave_the_phase_free():
    numbers = torch.Generator().manual_seed(1)
    truth = torch.polar(torch.ones(1, 64, 64), torch.rand(1, 64, 64, generator=numbers))
    weight = torch.ones(1, 64, 64)
    whole, near = errors(truth * np.exp(0.7j), truth, weight)
    assert float(whole) < 1e-9
    assert float(near) < 1e-9
    turned = truth.clone()
    turned[:, :, 32:] *= np.exp(1j)
    whole, near = errors(turned, truth, weight)
    assert float(whole) == pytest.approx(2 - 2 * np.cos(0.5), rel=1e-3), "half of it is turned by half a radian"
    assert float(near) < 0.5 * float(whole)


def test_the_local_error_turns_every_pixel_by_the_mean_phase_of_the_square_around_it():
    numbers = np.random.default_rng(2)
    found, truth = numbers.normal(size=(2, 1, 70, 90, 2)).astype(np.float32).view(np.complex64)[..., 0]
    weight = numbers.uniform(0, 1, (1, 70, 90)).astype(np.float32)
    product = (weight * found.conj() * truth)[0].astype(complex)
    square = {"size": training.NEARBY + 1, "mode": "constant"}
    mean = uniform_filter(product.real, **square) + 1j * uniform_filter(product.imag, **square)
    expected = np.average(np.abs(found[0] * mean / np.abs(mean) - truth[0]) ** 2, weights=weight[0])
    _, near = errors(*map(torch.from_numpy, (found, truth, weight)))
    assert float(near) == pytest.approx(expected, rel=1e-5)


def test_the_loss_falls_against_its_gradient(pool):
    scans, network = pool.scans(2), untrained()
    losses = []
    for _ in range(3):
        loss, _ = loss_of(network, scans)
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        assert sum(gradient is None for gradient in gradients) == 0, "every weight matters"
        with torch.no_grad():
            for value, gradient in zip(network.parameters(), gradients, strict=True):
                value.sub_(0.02 * gradient)
    assert losses == sorted(losses, reverse=True)


def test_the_bundle_of_a_training_is_its_network(tmp_path, monkeypatch):
    # A quarter of a second for every step: as many steps on a busy machine as on any.
    clock = SimpleNamespace(monotonic=itertools.count(0.0, 0.25).__next__)
    monkeypatch.setattr(training, "time", clock)
    settings, few = PretrainingSettings(seconds=2.0, batch=1, fields=32, seed=5), Family(area_per_frame=(1500, 3000))
    lines: list[str] = []
    trained = train(SMALL, settings, few, "cpu", lines.append)
    assert trained.steps == 7
    assert lines[0] == "32 fields are made"
    changed = [
        not torch.equal(value, trained.network.state_dict()[name]) for name, value in untrained().state_dict().items()
    ]
    assert all(changed)
    bundle = bundle_of(trained, SMALL, settings, few, "cpu")
    write_bundle(tmp_path / "net.zip", bundle)
    again = read_bundle(tmp_path / "net.zip")
    assert PretrainedSpec.of(again, "net.zip") == SMALL
    weights = network_of(again, "net.zip").state_dict()
    for name, value in trained.network.state_dict().items():
        torch.testing.assert_close(weights[name], value.half().float())
    assert again.params["trainings"][0]["optimisation_steps"] == trained.steps
    further = bundle_of(trained, SMALL, settings, few, "cpu", again)
    assert len(further.params["trainings"]) == 2


def untrained():
    from fly64_assets.pinn.layers import initialised
    from fly64_assets.pinn.pretrained.network import PretrainedNetwork

    return initialised(lambda: PretrainedNetwork(SMALL), 5)


# -- use --------------------------------------------------------------------------------------------------------------


def test_inference_computes_what_training_computes(general):
    """The same scan through the batched arithmetic of the training and through the plane of a measurement."""
    numbers = np.random.default_rng(3)
    corners = numbers.uniform(20, 120, (40, 2))
    obj = an_object(SIDE).astype(np.complex64)
    probe = soft_probe(PATCH)
    probe /= np.abs(probe).max()
    scans = Scans.simulated(
        torch.from_numpy(obj)[None], corners, torch.zeros(40, dtype=torch.int64), torch.from_numpy(probe)[None],
        np.array([3e4]), torch.Generator().manual_seed(1),
    )  # fmt: skip
    illumination = scans.illumination()
    with torch.no_grad():
        expected = general(scans.start(illumination), scans.direction, scans.illuminated(illumination))[-1][0].numpy()
    scale = float(scans.scales[0])
    amplitude = np.sqrt(np.fft.fftshift(scans.counts.numpy(), axes=(1, 2))) / scale
    y, x = (corners + PATCH / 2).T
    measured = Measurement(amplitude.astype(np.float32), scale, probe, x, y, (SIDE, SIDE), np.arange(40))
    found = reconstruct(general, measured, "cpu")
    lit = found.coverage > 0.5
    assert lit.mean() > 0.1
    # The plane of the measurement ends near its windows, the training's does not: the network sees other borders.
    assert error(found.object, expected, lit) < 0.04
    assert error(np.ones_like(expected), expected, lit) > 0.2


def test_the_network_of_the_package_finds_an_object_of_another_kind(general):
    measured, obj = a_scan(1e5)
    found = reconstruct(general, measured, "cpu")
    lit = found.coverage > 0.5
    uniform = error(np.ones_like(found.object), obj, lit)
    assert error(found.object, obj, lit) < 0.5 * uniform
    fewer, _ = a_scan(1e3)
    assert error(found.object, obj, lit) < error(reconstruct(general, fewer, "cpu").object, obj, lit) < uniform
    assert np.all(found.object[found.coverage < 0.01] == 1)


def test_equal_scans_give_equal_bytes_in_any_unit_of_the_probe(general):
    measured, _ = a_scan(1e4, 40)
    first = reconstruct(general, measured, "cpu").object
    assert reconstruct(general, measured, "cpu").object.tobytes() == first.tobytes()
    np.testing.assert_array_equal(reconstruct(general, in_unit(measured, 2.0**-40), "cpu").object, first)


def test_what_bad_pixels_hold_does_not_matter(general):
    measured, obj = a_scan(1e5, 60)
    bad = gaps(64)
    first, second = (reconstruct(general, masked(measured, bad, value), "cpu") for value in (0.0, 1e3))
    np.testing.assert_array_equal(first.object, second.object)
    lit = first.coverage > 0.5
    unmasked = replace(masked(measured, bad, 0.0), bad_pixels=None)
    assert error(first.object, obj, lit) < error(reconstruct(general, unmasked, "cpu").object, obj, lit)


# -- what a network is for --------------------------------------------------------------------------------------------


def test_the_terms_of_a_scan_are_compared_with_the_training(general):
    del general
    measured, _ = a_scan(1e4)
    terms = measured_terms(measured)
    assert terms["photons_per_frame"] == pytest.approx(1e4, rel=0.05)
    ranges = Applicability.of(read_pretrained(GENERAL), GENERAL)
    assert list(ranges.findings(measured)) == []
    faint, _ = a_scan(120)
    dark, _ = a_scan(20)
    ((sentence, far),) = ranges.findings(faint)
    assert sentence.startswith("mean photons per frame is 1")
    assert sentence.endswith("the network was trained for 200 to 1e+06")
    assert not far
    assert [far for _, far in ranges.findings(dark)] == [True]


def test_a_bundle_of_one_scan_is_refused(tmp_path):
    bundle = read_pretrained(GENERAL)
    other = replace(bundle, params={**bundle.params, "network": {"architecture": "unrolled"}})
    with pytest.raises(ArtifactError, match=r"net.zip: a network that was trained on one scan \(unrolled\)"):
        network_of(other, "net.zip")
    with pytest.raises(ArtifactError, match="does not say what it was trained for"):
        Applicability.of(replace(bundle, params={}), "net.zip")
    with pytest.raises(ArtifactError, match="no such file; `general` names the network in the package"):
        read_pretrained(str(tmp_path / "none.zip"))
    assert weights_of(bundle)["steps.0.length"].dtype == torch.float32
    assert bundle_file(GENERAL).stat().st_size < 3e6


def test_slow_phases_make_the_object_of_many_frames_better_and_are_not_sought_with_few(general):
    rows, columns = np.mgrid[:200, :200]
    obj = np.exp(0.9j * np.cos(np.pi * rows / 200) * np.cos(2 * np.pi * columns / 200))
    y, x = np.mgrid[40:161:10, 40:161:10].reshape(2, -1).astype(float)
    measured = fly64.simulate(obj, soft_probe(64), x, y, dose=10_000)
    without, found = (reconstruct(general, measured, "cpu", slow_phases=on) for on in (False, True))
    lit = found.coverage > 0.5
    assert without.gain_of_slow_phases is None
    assert found.gain_of_slow_phases > LEAST_GAIN_OF_PRETRAINED
    assert error(found.object, obj, lit) < 0.7 * error(without.object, obj, lit)
    np.testing.assert_allclose(np.abs(found.object), np.abs(without.object), rtol=1e-5)
    for result, settings in ((without, {}), (found, {"slow_phases": True})):
        told = fly64.reconstruct(measured, "pretrained", threads=1, **settings)
        assert told.object.tobytes() == result.object.tobytes()
        assert told.facts["gain_of_slow_phases"] == result.gain_of_slow_phases

    few = fly64.simulate(obj, soft_probe(64), x[::20], y[::20], dose=10_000)
    same, tried = (reconstruct(general, few, "cpu", slow_phases=on) for on in (False, True))
    assert tried.gain_of_slow_phases == 0
    assert tried.object.tobytes() == same.object.tobytes()
