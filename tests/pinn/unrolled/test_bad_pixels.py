"""Detector pixels that were not measured: they have no part in the likelihood, its minimisation or the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.scan import detector_gaps, masked
from scipy.ndimage import uniform_filter
from scipy.special import xlogy

from fly64_assets.engines.execution import Execution
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled import regularisation_path as path_module
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.model_error import SplitLikelihood, fitted_background
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood, regularisation_path

N = 32
BAD = detector_gaps(N)
CORNER = np.fft.ifftshift(BAD)
VALUES = pytest.mark.parametrize("value", [1e6, np.nan])


@pytest.fixture
def likelihood(measured):
    """Objective of a noisy scan with gaps in float64, its plane and its counts, DC in the corner."""
    measurement = masked(measured(n=6, dose=300), BAD, 7.0)
    plane, counts = ObjectPlane(measurement), np.fft.ifftshift(measurement.counts(), axes=(-2, -1))
    plane.physics.probe = plane.physics.probe.to(torch.complex128)
    doubles = torch.from_numpy(counts)
    return RegularisedLikelihood(plane, lambda rows: doubles[rows], measurement.intensity_scale), plane, counts


def noise(shape, seed):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def test_the_objective_is_the_sum_over_measured_pixels(likelihood, measurement):
    function, plane, counts = likelihood
    obj, background = 0.9 + 0.1 * noise(plane.shape, 0), np.random.default_rng(2).uniform(0.01, 0.3, (N, N))
    windows = plane.read(obj, slice(0, 6)).numpy()
    wave = np.tile(measurement.probe.astype(complex), (6, 1, 1))
    wave[:, 4:-4, 4:-4] *= windows
    scale = function._scale
    rates = (scale * np.abs(np.fft.fft2(wave, norm="ortho"))) ** 2 + background
    good, c = ~CORNER, counts
    assert c[:, good].sum() > 500
    expected = sum(
        rate - c[n, y, x] + xlogy(c[n, y, x], c[n, y, x] / rate)
        for n in range(6)
        for y, x in zip(*np.nonzero(good), strict=True)
        for rate in [rates[n, y, x]]
    )
    assert function.objective(0.0, torch.from_numpy(background))(obj)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_gradient_is_that_of_the_objective(likelihood, level):
    function = likelihood[0].objective(level, torch.full((N, N), 0.02, dtype=torch.float64))
    obj = 0.9 + 0.1 * noise(likelihood[1].shape, 0)
    gradient = function(obj)[1]
    for seed in (1, 2, 3):
        towards = noise(obj.shape, seed)
        up, down = (function(obj + sign * 1e-5 * towards)[0] for sign in (1, -1))
        slope = 2 * float((gradient.conj() * towards).real.sum())
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-5)


def test_the_photons_of_the_tv_weight_are_those_of_the_measured_part(likelihood, measured):
    plane = ObjectPlane(measured(n=6, dose=300))
    whole = RegularisedLikelihood(plane, lambda _rows: torch.zeros(6, N, N), likelihood[0]._scale)
    assert likelihood[0]._photons == pytest.approx(whole._photons * (~BAD).mean(), rel=1e-9)


def test_a_constant_object_has_the_amplitude_of_the_measured_photons(clean, obj):
    measurement, counts = clean(obj=np.full_like(obj, 0.7 * np.exp(0.4j)))
    plane = ObjectPlane(replace(measurement, bad_pixels=BAD))
    tensor = torch.from_numpy((counts * ~CORNER).astype(np.float32))
    found = RegularisedLikelihood(plane, lambda rows: tensor[rows], measurement.intensity_scale).constant()
    np.testing.assert_allclose(found.numpy(), 0.7, rtol=1e-5)


def test_a_beamstop_does_not_make_the_constant_object_bright(clean):
    """What passes beside it comes from the details of the object."""
    measurement, counts = clean()
    stop = np.hypot(*(np.mgrid[:N, :N] - N // 2)) < 11
    plane = ObjectPlane(replace(measurement, bad_pixels=stop))
    tensor = torch.from_numpy((counts * ~np.fft.ifftshift(stop)).astype(np.float32))
    assert tensor.sum() < 0.05 * counts.sum()
    found = RegularisedLikelihood(plane, lambda rows: tensor[rows], measurement.intensity_scale).constant()
    assert 0 < float(found.real.max()) < 0.85


@pytest.mark.parametrize("waves", [(0, 0), (3, 0), (0, 5), (6, -4)])
def test_the_measured_part_is_that_of_the_photons_of_a_detail(probe, waves):
    """Of details of whole periods in the window, and in between of a mean of theirs."""
    rows, columns = np.mgrid[:N, :N]
    parts = []
    for sign in (1, -1):
        detail = np.exp(2j * np.pi * sign * (waves[0] * rows + waves[1] * columns) / N)
        scattered = np.abs(np.fft.fft2(probe * detail)) ** 2
        parts.append(scattered[~CORNER].sum() / scattered.sum())
    found = path_module._measured_part(torch.from_numpy(probe), torch.from_numpy(CORNER)).numpy()
    assert found[waves] == pytest.approx(np.mean(parts), rel=1e-4)
    assert found.mean() == pytest.approx((~BAD).mean(), rel=1e-4)
    between = path_module._between(torch.tensor([2.0, -0.25, 31.5]), N).numpy()
    values = np.random.default_rng(0).random(N)
    np.testing.assert_allclose(
        between @ values, [values[2], 0.75 * values[0] + 0.25 * values[-1], 0.5 * (values[0] + values[-1])], rtol=1e-6
    )


@pytest.mark.parametrize("bad", [BAD, np.hypot(*(np.mgrid[:N, :N] - N // 2)) < 9], ids=["gaps", "beamstop"])
def test_the_preconditioner_stays_symmetric_and_positive_and_its_steps_get_longer(measured, bad):
    measurement = measured(n=12)
    plain, plane = ObjectPlane(measurement), ObjectPlane(replace(measurement, bad_pixels=bad))
    obj = (0.9 + 0.05 * noise(plane.shape, 0)).to(torch.complex64)
    without, precondition = (
        path_module._Preconditioner(p, obj, measurement.intensity_scale, 3.0) for p in (plain, plane)
    )
    one, two = (noise(plane.shape, seed).to(torch.complex64) for seed in (1, 2))
    there, back = (float((a.conj() * precondition(b)).real.sum()) for a, b in ((one, two), (two, one)))
    length, shorter = (float((one.conj() * scaled(one)).real.sum()) for scaled in (precondition, without))
    assert there == pytest.approx(back, abs=1e-5 * length)
    assert length > shorter > 0


def test_the_background_is_that_of_measured_pixels_in_a_second_implementation():
    rng = np.random.default_rng(0)
    rates, counts = rng.uniform(0.5, 2, (40, N, N)), rng.poisson(1.6, (40, N, N)).astype(float)
    bad = BAD.copy()
    bad[2:15, 18:31] = True  # wider than what is smoothed over
    good = ~bad
    own = np.full((N, N), 0.05 * counts[:, good].mean() + 1e-12)
    for _ in range(8):
        raised = own * (counts / (rates + own)).mean(axis=0)
        near = uniform_filter(good.astype(float), 9, mode="nearest")
        smooth = uniform_filter(np.where(good, raised, 0), 9, mode="nearest")
        own = np.divide(smooth, near, out=np.zeros((N, N)), where=near > 1e-9)

    def found(values):
        stack = [torch.from_numpy(np.fft.ifftshift(v, axes=(-2, -1)).astype(np.float32)) for v in values]
        return np.fft.fftshift(fitted_background(*stack, 8, bad_pixels=torch.from_numpy(np.fft.ifftshift(bad))).numpy())

    np.testing.assert_allclose(found((rates, counts)), own, rtol=1e-4, atol=1e-7)
    assert own[8, 24] == 0 < own[good].min()
    other = found((np.where(bad, 1e5, rates), np.where(bad, 0, counts)))
    np.testing.assert_array_equal(other, found((rates, counts)))


def test_the_loss_of_a_split_is_the_sum_over_measured_pixels(measured, tmp_path):
    measurement = masked(measured(n=6, dose=300), BAD, 3.0)
    plane = ObjectPlane(measurement)
    counts = CountSplits.of(measurement, np.arange(6), splits=4, kept=1, seed=1, scratch=tmp_path)
    likelihood = SplitLikelihood(plane, counts, measurement.intensity_scale / 2)
    flat, background = torch.ones(plane.shape, dtype=torch.complex64), torch.full((N, N), 0.05)
    rates = (likelihood.rates(flat, np.arange(6)) + background).double().numpy()[:, ~CORNER]
    c = counts.split(0, np.arange(6)).astype(float)
    assert not c[:, CORNER].any()
    expected = (rates - c[:, ~CORNER] * np.log(rates)).sum(axis=1).mean()
    assert likelihood.mean_loss(flat, 0, np.arange(6), background) == pytest.approx(expected, rel=1e-6)


def test_noiseless_frames_with_gaps_lead_to_the_truth(clean, obj):
    measurement, counts = clean(n=80)
    scale, errors = measurement.intensity_scale, {}
    for name, bad in (("masked", BAD), ("as zeros", None)):
        plane = ObjectPlane(replace(measurement, bad_pixels=bad))
        tensor = torch.from_numpy((counts * ~CORNER).astype(np.float32))
        path = regularisation_path(plane, lambda rows, seen=tensor: seen[rows], scale, (0.4, 0.1, 0.02), 15)
        coverage, found = plane.coverage(), plane.on_grid(path[-1])
        lit = coverage > 3
        ratio = (found * obj.conj())[lit]
        errors[name] = float(np.sqrt((np.angle(ratio * np.conj(ratio.sum())) ** 2).mean()))
    assert errors["masked"] < 0.25 * errors["as zeros"]


@pytest.fixture(scope="module")
def quick(measurement, settings, tmp_path_factory):
    """Trains on a measurement and reconstructs it: weights, history and object as bytes, and the object."""
    folder = tmp_path_factory.mktemp("quick")
    short = replace(settings, epochs=2, levels=(1.0, 0.3), steps_per_epoch=4)

    def run(m):
        trained = train(m, short, 2, 7, 1, Execution(), lambda *_: None, scratch=folder)
        bundle = Bundle({}, {"network": trained.spec.to_dict()}, trained.weights, trained.history)
        found = reconstruct(bundle, m, "cpu", folder, lambda *_: None).object
        weights = b"".join(trained.weights[name].tobytes() for name in sorted(trained.weights))
        facts = trained.flat_loss, trained.phase_std, trained.facts["path_losses"]
        return (weights, [list(row.values()) for row in trained.history], facts, found.tobytes()), found

    return run


@pytest.fixture(scope="module")
def with_zeros(quick, measurement):
    return quick(masked(measurement, BAD, 0.0))


@VALUES
def test_what_is_stored_at_bad_pixels_changes_no_byte_of_training_and_object(quick, with_zeros, measurement, value):
    assert quick(masked(measurement, BAD, value))[0] == with_zeros[0]


def test_a_mask_changes_training_and_object(quick, with_zeros, measurement):
    taken = replace(masked(measurement, BAD, 0.0), bad_pixels=None)
    (weights, history, facts, found), _ = quick(taken)
    for own, other in zip((weights, history, facts, found), with_zeros[0], strict=True):
        assert own != other
