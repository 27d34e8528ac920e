from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from scipy.special import xlogy

from fly64_assets.pinn.unrolled import object_plane as scene_module
from fly64_assets.pinn.unrolled import regularisation_path as path_module
from fly64_assets.pinn.unrolled.model_error import fitted_background
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import (
    EDGE,
    FIRST_PART,
    JUDGED_STEPS,
    LEAST_BACKGROUND,
    RegularisedLikelihood,
    regularisation_path,
    search,
)

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


def in_double_precision(measurement, counts):
    """The likelihood with everything in float64."""
    scene = ObjectPlane(measurement)
    scene.physics.probe = scene.physics.probe.to(torch.complex128)
    doubles = torch.from_numpy(counts.astype(np.float64))
    return scene, RegularisedLikelihood(scene, lambda rows: doubles[rows], measurement.intensity_scale)


def photons_per_pixel(scene, scale):
    """Mean photons per object pixel, every pixel weighted by its illumination."""
    light = scale**2 * scene.illumination.double().numpy()
    return (light**2).sum() / light.sum()


def complex_noise(shape, seed):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def test_noiseless_frames_lead_to_the_truth(clean, obj):
    measurement, counts = clean(n=150)
    scene, frames, scale = ObjectPlane(measurement), frames_of(counts), measurement.intensity_scale
    path = regularisation_path(scene, frames, scale, (0.4, 0.13, 0.04, 0.013, 0.004), 25)
    errors = [error(scene, plane, obj) for plane in (RegularisedLikelihood(scene, frames, scale).constant(), *path)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.25
    assert errors[-1] < 0.003


def test_the_noiseless_truth_is_stationary(clean, obj):
    """But for the background, which takes less than a thousandth of a photon per detector pixel."""
    measurement, counts = clean()
    scene, scale = ObjectPlane(measurement), measurement.intensity_scale
    likelihood = RegularisedLikelihood(scene, frames_of(counts), scale)
    function = likelihood.objective(0.0, torch.zeros(counts.shape[1:]) + 1e-9)
    (least, at_truth), (value, at_constant) = (
        function(plane) for plane in (truth_plane(scene, obj), likelihood.constant())
    )
    assert abs(least) < 1e-5 * value
    assert float(at_truth.abs().max()) < 1e-3 * float(at_constant.abs().max())


def test_the_objective_is_the_stated_sum(clean):
    """Frame by frame in float64, with the windows' bilinear weights; and with counts that are zero."""
    measurement, counts = clean(n=4)
    counts = np.random.default_rng(1).poisson(counts * 1e-3).astype(float)
    assert (counts == 0).any()
    scene, likelihood = in_double_precision(measurement, counts)
    scale, probe = measurement.intensity_scale, measurement.probe.astype(complex)[4:-4, 4:-4]
    plane = 0.8 + 0.05 * complex_noise(scene.shape, 0).numpy()
    background = np.random.default_rng(2).uniform(0.01, 0.3, counts.shape[1:])
    expected = 0.0
    for frame in range(4):
        y, x = measurement.y[frame] - 12 - scene.origin[0], measurement.x[frame] - 12 - scene.origin[1]
        fy, fx = y - np.floor(y), x - np.floor(x)
        window = 0.0
        for row in (0, 1):
            for column in (0, 1):
                part = np.s_[int(y) + row : int(y) + row + 24, int(x) + column : int(x) + column + 24]
                window = window + (fy if row else 1 - fy) * (fx if column else 1 - fx) * plane[part]
        rates = (scale * np.abs(np.fft.fft2(np.pad(probe * window, 4), norm="ortho"))) ** 2 + background
        expected += (rates - counts[frame] + xlogy(counts[frame], counts[frame] / rates)).sum()
    without = likelihood.objective(0.0, torch.from_numpy(background))(torch.from_numpy(plane))[0]
    assert without == pytest.approx(expected, rel=1e-6)
    regularised = likelihood.objective(0.3, torch.from_numpy(background))(torch.from_numpy(plane))[0]
    weight = 2 * 0.3 * np.sqrt(photons_per_pixel(scene, scale))
    assert regularised == pytest.approx(expected + weight * variation(plane), rel=1e-6)


def test_gradient_of_the_variation_is_that_of_the_stated_energy():
    rng = np.random.default_rng(0)
    plane = 1 + 0.05 * (rng.standard_normal((12, 15)) + 1j * rng.standard_normal((12, 15)))
    value, found = path_module._variation(torch.from_numpy(plane))
    gradient = found.numpy()
    assert value == pytest.approx(variation(plane), rel=1e-12)
    for _ in range(5):
        towards = rng.standard_normal(plane.shape) + 1j * rng.standard_normal(plane.shape)
        slope = (variation(plane + 1e-6 * towards) - variation(plane - 1e-6 * towards)) / 2e-6
        assert (gradient.conj() * towards).real.sum() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_gradient_is_that_of_the_objective(measured, level):
    """Against finite differences in float64: df = 2 Re sum(g* dO)."""
    measurement = measured(n=6, dose=300)
    scene, likelihood = in_double_precision(measurement, np.fft.ifftshift(measurement.counts(), axes=(-2, -1)))
    function = likelihood.objective(level, torch.full((32, 32), 0.02, dtype=torch.float64))
    obj = 0.9 + 0.1 * complex_noise(scene.shape, 0)
    gradient = function(obj)[1]
    for seed in (1, 2, 3):
        towards = complex_noise(scene.shape, seed)
        up, down = (function(obj + sign * 1e-5 * towards)[0] for sign in (1, -1))
        slope = 2 * float((gradient.conj() * towards).real.sum())
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-5)


def test_the_background_bounds_the_weight_of_single_photons(clean):
    """A photon where the object predicts next to none: its pull falls as one over the background."""
    measurement, counts = clean(n=4, obj=np.ones((80, 88), complex))
    dark = np.unravel_index(counts[0].argmin(), counts[0].shape)
    lit = counts.copy()
    lit[0][dark] += 1.0
    scene = ObjectPlane(measurement)
    flat, pulls = torch.ones(scene.shape, dtype=torch.complex64), []
    for background in (1e-3, 1e-1):
        gradients = [
            RegularisedLikelihood(scene, frames_of(made), measurement.intensity_scale).objective(
                0.0, torch.full(counts.shape[1:], background)
            )(flat)[1]
            for made in (counts, lit)
        ]
        pulls.append(float((gradients[1] - gradients[0]).abs().max()))
    rate = counts[0][dark]
    assert pulls[0] / pulls[1] == pytest.approx((rate + 1e-1) / (rate + 1e-3), rel=0.02)


def test_the_background_is_fitted_to_what_the_object_leaves_and_follows_it(measured, monkeypatch):
    measurement = measured(n=6, dose=300)
    counts = np.fft.ifftshift(measurement.counts(), axes=(-2, -1)) + 0.4
    scene = ObjectPlane(measurement)
    likelihood = RegularisedLikelihood(scene, frames_of(counts), measurement.intensity_scale)
    used = []
    objective = likelihood.objective
    monkeypatch.setattr(likelihood, "objective", lambda level, b: used.append(b) or objective(level, b))
    flat = likelihood.constant()
    after = next(likelihood.steps(flat, 0.3))[0]
    next(likelihood.steps(after, 0.1))
    rates = [
        scene.physics.corner_rates(scene.read(obj, slice(0, 6)), measurement.intensity_scale) for obj in (flat, after)
    ]
    seen = torch.from_numpy(counts.astype(np.float32))
    first = fitted_background(rates[0], seen, path_module.EM_ITERATIONS).clamp_min(LEAST_BACKGROUND)
    torch.testing.assert_close(used[0], first)
    torch.testing.assert_close(
        used[1], fitted_background(rates[1], seen, path_module.REFIT_ITERATIONS, first).clamp_min(LEAST_BACKGROUND)
    )


def test_there_is_always_some_background(clean, obj):
    measurement, counts = clean(n=6)
    scene = ObjectPlane(measurement)
    likelihood = RegularisedLikelihood(scene, frames_of(0 * counts), measurement.intensity_scale)
    assert float(likelihood.fitted_background(truth_plane(scene, obj)).min()) == pytest.approx(LEAST_BACKGROUND)


def test_the_background_of_many_frames_is_fitted_to_some(measured, monkeypatch):
    measurement = measured(n=12)
    scene, sizes = ObjectPlane(measurement), []
    monkeypatch.setattr(path_module, "BACKGROUND_FRAMES", 5)
    monkeypatch.setattr(scene_module, "BLOCK_FRAMES", 4)
    fit = path_module.fitted_background
    monkeypatch.setattr(
        path_module,
        "fitted_background",
        lambda rates, counts, *rest: sizes.append((rates, counts)) or fit(rates, counts, *rest),
    )
    likelihood = RegularisedLikelihood(scene, measured_frames(measurement), measurement.intensity_scale)
    likelihood.fitted_background(torch.ones(scene.shape, dtype=torch.complex64))
    (rates, counts), every = sizes[0], measured_frames(measurement)(slice(0, 12))
    chosen = [int((every - one).abs().flatten(1).sum(1).argmin()) for one in counts]
    assert len(rates) == len(set(chosen)) == 5
    assert chosen == sorted(chosen)
    assert max(chosen) > 8 > 4 > min(chosen)
    windows = scene.read(torch.ones(scene.shape, dtype=torch.complex64), torch.tensor(chosen))
    torch.testing.assert_close(rates, scene.physics.corner_rates(windows, measurement.intensity_scale))


def test_slowly_varying_phases_get_long_steps(measurement):
    """Around a uniform, evenly lit object one step corrects phases of all frequencies by a like part."""
    rows, columns = np.mgrid[16.0:160:4, 16.0:160:4]
    x, y = columns.ravel(), rows.ravel()
    even = type(measurement)(
        np.zeros((len(x), 1, 1), np.float32), 100.0, measurement.probe, x, y, (176, 176), np.arange(len(x))
    )
    scene = ObjectPlane(even)
    flat = torch.ones(scene.shape, dtype=torch.complex64)
    frames = scene.physics.corner_rates(flat[:24, :24][None], 1e4)
    likelihood = RegularisedLikelihood(scene, lambda r: frames.expand(r.stop - r.start, -1, -1), 1e4)
    function = likelihood.objective(0.0, torch.full(frames.shape[1:], 1e-9))
    middle, plain, scaled = slice(48, 120), [], []
    for waves in (3, 6, 12):
        phase = torch.cos(2 * np.pi * waves * torch.arange(scene.shape[1]) / scene.shape[1]).expand(scene.shape)
        plane = torch.polar(torch.ones(scene.shape), 1e-2 * phase)
        gradient = function(plane)[1]
        precondition = likelihood._preconditioner(plane, 0.0)
        for corrections, step in ((plain, gradient / gradient.abs().max()), (scaled, precondition(gradient))):
            seen = (step * plane.conj()).imag[middle, middle], phase[middle, middle]
            corrections.append(float((seen[0] * seen[1]).sum() / seen[1].square().sum()) / 1e-2)
        plain[-1] *= float(gradient.abs().max())
    assert max(plain) > 8 * min(plain)
    assert max(scaled) < 2 * min(scaled)
    assert 0.2 < min(scaled) < max(scaled) < 1.2


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_preconditioner_is_linear_symmetric_and_positive(measured, level):
    measurement = measured(n=12)
    scene = ObjectPlane(measurement)
    likelihood = RegularisedLikelihood(scene, measured_frames(measurement), measurement.intensity_scale)
    obj = (0.9 + 0.05 * complex_noise(scene.shape, 0)).to(torch.complex64)
    precondition = likelihood._preconditioner(obj, level)
    one, two = (complex_noise(scene.shape, seed).to(torch.complex64) for seed in (1, 2))
    there, back = (float((a.conj() * precondition(b)).real.sum()) for a, b in ((one, two), (two, one)))
    length = float((one.conj() * precondition(one)).real.sum())
    assert length > 0
    assert there == pytest.approx(back, abs=1e-5 * length)
    torch.testing.assert_close(
        precondition(one - 2 * two),
        precondition(one) - 2 * precondition(two),
        rtol=1e-3,
        atol=1e-5 * float(precondition(one).abs().max()),
    )


def test_a_strong_weight_shortens_the_steps_of_details(measured):
    measurement = measured(n=12)
    scene = ObjectPlane(measurement)
    likelihood = RegularisedLikelihood(scene, measured_frames(measurement), measurement.intensity_scale)
    flat = torch.ones(scene.shape, dtype=torch.complex64)
    rows, columns = torch.meshgrid(torch.arange(scene.shape[0]), torch.arange(scene.shape[1]), indexing="ij")
    finest = ((-1.0) ** (rows + columns)).to(torch.complex64)
    lengths = {
        (level, name): float(likelihood._preconditioner(flat, level)(step).abs().sum())
        for level in (0.0, 0.3)
        for name, step in (("finest", finest), ("constant", flat))
    }
    assert lengths[0.3, "finest"] < 0.3 * lengths[0.0, "finest"]
    assert lengths[0.3, "constant"] > 0.8 * lengths[0.0, "constant"]


def test_steps_end_when_ten_gain_less_than_a_nat(measured, monkeypatch):
    """With the values of the objective given: falling ever more slowly, 1 % more slowly from step to step."""
    measurement = measured(n=4, dose=1e4)
    scene, frames = ObjectPlane(measurement), measured_frames(measurement)
    likelihood = RegularisedLikelihood(scene, frames, measurement.intensity_scale)
    given, roundings = 1e6 + 30 * 0.99 ** np.arange(10_000.0), []

    def descent(_function, _precondition, _start, rounding):
        roundings.append(rounding)
        yield from ((None, value) for value in given)

    monkeypatch.setattr(path_module, "descent", descent)
    values = [value for _, value in likelihood.steps(likelihood.constant(), 0.3)]
    falls = given[:-JUDGED_STEPS] - given[JUDGED_STEPS:]
    assert values == list(given[: np.argmax(falls < 1.0) + JUDGED_STEPS + 1])
    assert len(values) > 50
    assert roundings == [pytest.approx(1e-7 * float(frames(slice(0, 4)).sum()))]


def test_steps_end_at_the_minimum(measured):
    measurement = measured(n=16, dose=1e4)
    likelihood = RegularisedLikelihood(
        ObjectPlane(measurement), measured_frames(measurement), measurement.intensity_scale
    )
    values = [value for _, value in islice(likelihood.steps(likelihood.constant(), 0.3), 300)]
    assert JUDGED_STEPS < len(values) < 300
    assert values[-1 - JUDGED_STEPS] - values[-1] < 1.0


def test_less_smoothing_gives_objects_of_more_variation(measured):
    measurement = measured(n=24, dose=1e4)
    scene = ObjectPlane(measurement)
    path = regularisation_path(scene, measured_frames(measurement), measurement.intensity_scale, LEVELS, 10)
    variations = [variation(plane.numpy()) for plane in path]
    assert variations == sorted(variations)
    assert variations[-1] > 1.2 * variations[0]


def test_levels_start_from_the_one_before_and_report_their_steps(measured):
    measurement = measured(n=16)
    scene, frames, steps = ObjectPlane(measurement), measured_frames(measurement), []
    scale = measurement.intensity_scale
    path = regularisation_path(scene, frames, scale, LEVELS[:3], 4, lambda *row: steps.append(row))
    most = 4 * (2 + FIRST_PART)
    assert steps == [(done, most, {}) for done in range(1, most + 1)]
    shorter = regularisation_path(scene, frames, scale, LEVELS[:2], 4)
    assert all(torch.equal(one, two) for one, two in zip(shorter, path, strict=False))
    assert not torch.equal(regularisation_path(scene, frames, scale, LEVELS[1:2], 4)[0], path[1])
    likelihood = RegularisedLikelihood(scene, frames, scale)
    first = likelihood.minimised(LEVELS[0], None, 4)
    assert torch.equal(first, path[0])
    assert torch.equal(likelihood.minimised(LEVELS[1], first, 4), path[1])


def test_a_path_may_start_from_objects_of_its_own(measured):
    measurement = measured(n=16)
    scene, frames, steps = ObjectPlane(measurement), measured_frames(measurement), []
    scale = measurement.intensity_scale
    starts = regularisation_path(scene, frames, scale, LEVELS[:3], 2)
    path = regularisation_path(scene, frames, scale, LEVELS[:3], 3, lambda *row: steps.append(row), starts)
    assert steps == [(done, 9, {}) for done in range(1, 10)]
    likelihood = RegularisedLikelihood(scene, frames, scale)
    for level, start, found in zip(LEVELS, starts, path, strict=False):
        assert torch.equal(likelihood.minimised(level, start, 3), found)


def test_frames_at_a_time_change_nothing_and_bytes_repeat(measured, monkeypatch):
    """Compared before rounding grows."""
    measurement = measured(n=20)
    frames = measured_frames(measurement)

    def path():
        scene = ObjectPlane(measurement)
        return torch.stack(regularisation_path(scene, frames, measurement.intensity_scale, LEVELS[:2], 3)).numpy()

    first = path()
    assert first.tobytes() == path().tobytes()
    monkeypatch.setattr(scene_module, "IN_MEMORY_BYTES", 0)
    assert first.tobytes() == path().tobytes()
    monkeypatch.setattr(scene_module, "BLOCK_FRAMES", 7)
    assert len(ObjectPlane(measurement).blocks()) == 3
    np.testing.assert_allclose(path(), first, atol=1e-3)


@pytest.mark.parametrize(
    ("losses", "patience", "tried"),
    [
        ([5, 4, 3, 4, 5, 1], 2, 5),
        ([5, 4, 3, 4, 5, 1], 3, 6),
        ([1, 2, 3, 0], 1, 2),
        ([5, 6, 4, 5, 3, 2], 2, 6),
        ([3, 3, 3, 1], 2, 3),
    ],
)
def test_the_search_ends_after_weights_that_predict_worse(losses, patience, tried):
    levels, asked = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)[: len(losses)], []

    def minimised(level, start):
        asked.append((level, start))
        return torch.tensor(level)

    def loss(obj):
        return losses[[torch.tensor(level) for level in levels].index(obj)]

    objects, found = search(levels, minimised, loss, patience)
    assert found == losses[:tried]
    assert objects == [torch.tensor(level) for level in levels[:tried]]
    assert [level for level, _ in asked] == list(levels[:tried])
    assert [start for _, start in asked] == [None, *objects[:-1]]
