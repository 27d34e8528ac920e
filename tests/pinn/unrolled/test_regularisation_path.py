from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from fly64_assets.pinn.unrolled import object_plane as scene_module
from fly64_assets.pinn.unrolled import regularisation_path as path_module
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import EDGE, RegularisedLikelihood, regularisation_path

LEVELS = (0.4, 0.13, 0.04, 0.013)


def frames_of(counts):
    tensor = torch.from_numpy(counts.astype(np.float32))
    return lambda rows: tensor[rows]


def measured_frames(measurement):
    return frames_of(np.fft.ifftshift(measurement.counts(), axes=(-2, -1)))


def truth_plane(scene, obj):
    rows, columns = (slice(o, o + side) for o, side in zip(scene.origin, scene.shape, strict=True))
    part = torch.ones(scene.shape, dtype=torch.complex64)
    own = torch.from_numpy(obj[rows, columns].astype(np.complex64))
    part[: own.shape[0], : own.shape[1]] = own
    return part


def error(scene, plane, obj):
    """Root mean square distance from the truth up to a global phase, where at least three frames look."""
    coverage, found = scene.coverage(), scene.on_grid(plane)
    lit = coverage > 3
    weight, found, obj = coverage[lit] / coverage[lit].sum(), found[lit], obj[lit]
    phase = np.vdot(found * weight, obj)
    return float(np.sqrt((weight * np.abs(found * phase / abs(phase) - obj) ** 2).sum()))


def variation(plane):
    """Sum of sqrt(|d/dy O|^2 + |d/dx O|^2 + EDGE^2) with no change beyond the last row and column."""
    down, right = np.zeros_like(plane), np.zeros_like(plane)
    down[:-1], right[:, :-1] = plane[1:] - plane[:-1], plane[:, 1:] - plane[:, :-1]
    return float(np.sqrt(np.abs(down) ** 2 + np.abs(right) ** 2 + EDGE**2).sum())


def test_a_constant_object_has_the_amplitude_of_the_photons(clean, obj):
    measurement, counts = clean(obj=np.full_like(obj, 0.7 * np.exp(0.4j)))
    scene = ObjectPlane(measurement)
    found = RegularisedLikelihood(scene, frames_of(counts), measurement.intensity_scale).constant()
    np.testing.assert_allclose(found.numpy(), 0.7, rtol=1e-5)


def test_noiseless_frames_lead_to_the_truth(clean, obj):
    measurement, counts = clean(n=300)
    scene, frames, scale = ObjectPlane(measurement), frames_of(counts), measurement.intensity_scale
    path = regularisation_path(scene, frames, scale, (0.4, 0.13, 0.04, 0.013, 0.004), 25)
    errors = [error(scene, plane, obj) for plane in (RegularisedLikelihood(scene, frames, scale).constant(), *path)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.25
    assert errors[1] < 0.01, "a few steps find the object, the rest are details"
    assert errors[-1] < 0.003


def test_momentum_gets_there_in_few_steps(clean, obj):
    """Plain steps are at 0.014 after 20 and at 0.006 after 40."""
    measurement, counts = clean()
    scene = ObjectPlane(measurement)
    errors = [
        error(
            scene, regularisation_path(scene, frames_of(counts), measurement.intensity_scale, (0.004,), steps)[0], obj
        )
        for steps in (20, 40)
    ]
    assert errors[0] < 0.006
    assert errors[1] < 0.003


def test_the_noiseless_truth_is_left_alone(clean, obj):
    measurement, counts = clean()
    scene, frames, scale = ObjectPlane(measurement), frames_of(counts), measurement.intensity_scale
    at_truth, at_constant = (
        path_module._likelihood_change(scene, frames, scale, plane)[0].abs().max()
        for plane in (truth_plane(scene, obj), RegularisedLikelihood(scene, frames, scale).constant())
    )
    assert float(at_truth) < 1e-4 * float(at_constant)


def test_the_step_is_that_of_an_independent_sum(clean, obj):
    """P* F^-1 (change of the wave), frame by frame in float64, placed with its bilinear weights."""
    measurement, counts = clean(n=4)
    scene, scale = ObjectPlane(measurement), measurement.intensity_scale
    plane = truth_plane(scene, obj).numpy().astype(complex) * 0.8
    plane += 0.05 * np.random.default_rng(0).standard_normal(plane.shape)
    expected, probe = np.zeros_like(plane), measurement.probe.astype(complex)[4:-4, 4:-4]
    for frame in range(4):
        y, x = measurement.y[frame] - 12 - scene.origin[0], measurement.x[frame] - 12 - scene.origin[1]
        weights = []
        for row in (0, 1):
            for column in (0, 1):
                fy, fx = y - np.floor(y), x - np.floor(x)
                part = np.s_[int(y) + row : int(y) + row + 24, int(x) + column : int(x) + column + 24]
                weights.append((part, (fy if row else 1 - fy) * (fx if column else 1 - fx)))
        window = sum(weight * plane[part] for part, weight in weights)
        wave = np.pad(probe * window, 4)
        field = np.fft.fft2(wave, norm="ortho")
        rates = (scale * np.abs(field)) ** 2
        root = np.sqrt(rates + 0.5)
        field *= (counts[frame] - rates) / ((np.sqrt(counts[frame] + 0.5) + root) * root)
        change = np.conj(probe) * np.fft.ifft2(field, norm="ortho")[4:-4, 4:-4]
        for part, weight in weights:
            expected[part] += weight * change
    found = path_module._likelihood_change(
        scene, frames_of(counts), scale, torch.from_numpy(plane.astype(np.complex64))
    )[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_gradient_of_the_variation_is_that_of_the_stated_energy():
    rng = np.random.default_rng(0)
    plane = 1 + 0.05 * (rng.standard_normal((12, 15)) + 1j * rng.standard_normal((12, 15)))
    found, value = path_module._variation_gradient(torch.from_numpy(plane))
    gradient = found.numpy()
    assert value == pytest.approx(variation(plane), rel=1e-12)
    for _ in range(5):
        towards = rng.standard_normal(plane.shape) + 1j * rng.standard_normal(plane.shape)
        slope = (variation(plane + 1e-6 * towards) - variation(plane - 1e-6 * towards)) / 2e-6
        assert (gradient.conj() * towards).real.sum() == pytest.approx(slope, rel=1e-6)


def test_steps_go_down_the_slope_of_the_objective_they_report(measured):
    """Without the preconditioner a step is the gradient over -4 scale^2; slopes by finite differences in float64."""
    measurement = measured(n=6, dose=300)
    scene, scale = ObjectPlane(measurement), measurement.intensity_scale
    scene.physics.probe = scene.physics.probe.to(torch.complex128)
    counts = torch.from_numpy(np.fft.ifftshift(measurement.counts(), axes=(-2, -1)))
    likelihood = RegularisedLikelihood(scene, lambda rows: counts[rows], scale)
    likelihood._preconditioner = lambda change, _obj, _variation: change
    rng = np.random.default_rng(0)

    def noise():
        return torch.from_numpy(rng.standard_normal(scene.shape) + 1j * rng.standard_normal(scene.shape))

    obj = 0.9 + 0.1 * noise()
    step = next(likelihood.steps(obj, 0.3))[0] - obj
    for _ in range(3):
        towards = noise()
        up, down = (next(likelihood.steps(obj + sign * 1e-5 * towards, 0.3))[1] for sign in (1, -1))
        slope = -4 * scale**2 * float((step.conj() * towards).real.sum())
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-5)


def test_bright_waves_get_the_measured_amplitude():
    field = torch.polar(torch.linspace(300, 600, 8), torch.linspace(-3, 3, 8))
    counts = (2.0 * field.abs() + torch.linspace(-400, 400, 8)).square() / 3
    changed = field + path_module._wave_change(field, counts, 2.0)[0]
    np.testing.assert_allclose(changed.abs().numpy(), counts.sqrt().numpy() / 2.0, rtol=1e-3)
    np.testing.assert_allclose(changed.angle().numpy(), field.angle().numpy(), atol=1e-5)


@pytest.mark.parametrize(("rate", "part"), [(0.01, 0.01), (0.1, 0.05), (0.3, 0.1), (1.0, 0.3)])
def test_dark_waves_are_hardly_biased(rate, part):
    """The mean change of a wave that has the right rate, by summation over all counts."""
    counts = np.arange(60)
    probability = poisson.pmf(counts, rate)
    field = torch.full((60,), np.sqrt(rate), dtype=torch.complex128)
    change = path_module._wave_change(field, torch.from_numpy(counts.astype(float)), 1.0)[0]
    bias = float((change / field).real.numpy() @ probability)
    projection = float(np.sqrt(counts) @ probability / np.sqrt(rate) - 1)
    assert abs(bias) < part * abs(projection)


def test_long_ranged_phases_get_long_steps(measurement):
    """Around a flat, evenly lit object one step corrects phases of all frequencies by a like part."""
    rows, columns = np.mgrid[16.0:160:4, 16.0:160:4]
    x, y = columns.ravel(), rows.ravel()
    even = type(measurement)(
        np.zeros((len(x), 1, 1), np.float32), 100.0, measurement.probe, x, y, (176, 176), np.arange(len(x))
    )
    scene = ObjectPlane(even)
    flat = torch.ones(scene.shape, dtype=torch.complex64)
    frames = scene.physics.corner_rates(flat[:24, :24][None], 1e4)
    preconditioner, middle = path_module._Preconditioner(scene), slice(48, 120)
    plain, scaled = [], []
    for waves in (3, 6, 12):
        phase = torch.cos(2 * np.pi * waves * torch.arange(scene.shape[1]) / scene.shape[1]).expand(scene.shape)
        plane = torch.polar(torch.ones(scene.shape), 1e-2 * phase)
        change = path_module._likelihood_change(scene, lambda r: frames.expand(r.stop - r.start, -1, -1), 1e4, plane)[0]
        for corrections, step in ((plain, change), (scaled, preconditioner(change, plane, 0.0))):
            seen = (step * plane.conj()).imag[middle, middle], phase[middle, middle]
            corrections.append(-float((seen[0] * seen[1]).sum() / seen[1].square().sum()) / 1e-2)
    assert max(plain) > 8 * min(plain)
    assert max(scaled) < 2 * min(scaled)
    assert 0.2 < min(scaled) < max(scaled) < 1.0


def test_less_smoothing_gives_objects_of_more_variation(measured):
    measurement = measured(dose=1e4)
    scene = ObjectPlane(measurement)
    path = regularisation_path(scene, measured_frames(measurement), measurement.intensity_scale, LEVELS, 10)
    variations = [variation(plane.numpy()) for plane in path]
    assert variations == sorted(variations)
    assert variations[-1] > 1.2 * variations[0]


def test_levels_start_from_the_one_before_and_report_their_steps(measurement):
    scene, frames, steps = ObjectPlane(measurement), measured_frames(measurement), []
    scale = measurement.intensity_scale
    path = regularisation_path(scene, frames, scale, LEVELS[:3], 4, lambda *row: steps.append(row))
    assert steps == [(done, 12, {}) for done in range(1, 13)]
    shorter = regularisation_path(scene, frames, scale, LEVELS[:2], 4)
    assert all(torch.equal(one, two) for one, two in zip(shorter, path, strict=False))
    assert not torch.equal(regularisation_path(scene, frames, scale, LEVELS[1:2], 4)[0], path[1])


def test_frames_at_a_time_change_nothing_and_bytes_repeat(measurement, monkeypatch):
    scene, frames = ObjectPlane(measurement), measured_frames(measurement)

    def path():
        return torch.stack(regularisation_path(scene, frames, measurement.intensity_scale, LEVELS[:2], 6)).numpy()

    first = path()
    assert first.tobytes() == path().tobytes()
    monkeypatch.setattr(scene_module, "BLOCK_FRAMES", 7)
    assert len(scene.blocks()) == 10
    np.testing.assert_allclose(path(), first, atol=1e-4)


def test_more_steps_do_not_leave_the_object(clean):
    measurement, counts = clean()
    scene, frames = ObjectPlane(measurement), frames_of(counts)
    planes = [regularisation_path(scene, frames, measurement.intensity_scale, (0.004,), k)[0] for k in (40, 150)]
    assert float(planes[1].abs().max()) <= float(planes[0].abs().max()) + 0.05
