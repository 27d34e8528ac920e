from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fly64_assets.physics import forward, illumination
from fly64_assets.physics.counts import negative_log_likelihood
from fly64_assets.pinn.optimisation import TrainingSetup
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.unrolled.model_error import fitted_background
from fly64_assets.pinn.unrolled.network import UnrolledNetwork, network_input
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.preparation import FIRST_FOLD, VALIDATION
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood, regularisation_path
from fly64_assets.pinn.unrolled.slow_phases import with_slow_phases
from fly64_assets.pinn.unrolled.tiles import transformed, transformed_back
from fly64_assets.pinn.unrolled.training import UnrolledTraining

N = 32


@pytest.fixture
def prepare(settings, tmp_path):
    def build(measurement, settings=settings, gridsize=2, seed=1, lines=None):
        say = (lambda _line: None) if lines is None else lines.append
        setup = TrainingSetup(measurement, settings, gridsize, 7, seed, Ranks(0, 1, "cpu"), tmp_path, say)
        return UnrolledTraining(setup)

    return build


@pytest.fixture(scope="module")
def task(measurement, settings, tmp_path_factory):
    """Of few frames: none is held out, and the order is that of the measurement."""
    place, folder = Ranks(0, 1, "cpu"), tmp_path_factory.mktemp("task")
    return UnrolledTraining(TrainingSetup(measurement, settings, 2, 7, 1, place, folder, lambda _line: None))


def corner(measurement):
    return np.fft.ifftshift(measurement.counts(), axes=(-2, -1)).astype(np.float32)


def frames_of_rows(task, measurement):
    """Frame of the measurement behind every row of a task, found by its counts."""
    names = {frame.tobytes(): index for index, frame in enumerate(corner(measurement))}
    every = task.likelihood.counts.without((), slice(0, measurement.frames))
    return np.array([names[frame.tobytes()] for frame in every])


@pytest.mark.parametrize("which", range(8))
def test_every_symmetry_is_turned_back(which):
    plane = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0))
    turned = transformed(plane, which)
    assert torch.equal(transformed_back(turned, which), plane)
    assert sorted(turned.ravel().tolist()) == sorted(plane.ravel().tolist())


def test_the_eight_symmetries_differ():
    plane = torch.arange(9.0).view(3, 3)
    assert len({tuple(transformed(plane, which).ravel().tolist()) for which in range(8)}) == 8


def test_tiles_hold_their_frames_and_lie_in_the_plane(task, settings):
    tiles = [tile for epoch in range(6) for tile in task.sampler.epoch(epoch)]
    assert len(tiles) == 6 * settings.steps_per_epoch
    for tile in tiles:
        assert all(side % 8 == 0 for side in tile.side)
        assert (tile.top >= 0, tile.left >= 0) == (True, True)
        assert tile.top + tile.side[0] <= task.likelihood.plane.shape[0]
        assert tile.left + tile.side[1] <= task.likelihood.plane.shape[1]
        assert 1 <= len(tile.frames) <= settings.tile_frames
        assert len(set(tile.frames.tolist())) == len(tile.frames)
        assert set(tile.frames) <= set(task.likelihood.plane.inside(tile.top, tile.left, *tile.side))
    assert {tile.symmetry for tile in tiles} == set(range(8))
    assert {tile.fold for tile in tiles} == {1, 2}
    assert {frame for tile in tiles for frame in tile.frames.tolist()} == set(range(64))


def test_tiles_of_an_epoch_depend_on_the_seed_and_its_number_only(task, prepare, measurement):
    def shown(tiles):
        return [(t.fold, t.top, t.left, t.side, t.frames.tolist(), t.symmetry) for t in tiles]

    later = shown(task.sampler.epoch(3))
    assert shown(task.sampler.epoch(0)) != later
    assert shown(task.sampler.epoch(3)) == later
    assert shown(prepare(measurement).sampler.epoch(3)) == later
    assert shown(prepare(measurement, seed=2).sampler.epoch(3)) != later


def test_small_tiles_hold_a_window_and_large_ones_the_plane(prepare, measurement, settings):
    small = prepare(measurement, replace(settings, tile=8)).sampler.epoch(0)
    assert {tile.side for tile in small} == {(32, 32)}
    large = prepare(measurement, replace(settings, tile=800, tile_frames=800)).sampler.epoch(0)
    assert {(tile.top, tile.left, *tile.side, len(tile.frames)) for tile in large} == {(0, 0, 80, 88, 64)}


def test_tiles_of_a_scan_with_gaps_hold_frames(prepare, measurement, settings):
    far = np.where(np.arange(64) < 32, 0.0, 200.0)
    gap = replace(measurement, x=measurement.x / 8 + far, y=measurement.y / 8 + far, object_shape=(240, 240))
    tiles = prepare(gap, replace(settings, level_iterations=1, levels=(1.0,))).sampler.epoch(0)
    assert min(len(tile.frames) for tile in tiles) >= 1
    assert {tile.frames[0] < 32 for tile in tiles} == {True, False}


def test_a_fold_is_shown_objects_without_its_photons_and_those_of_validation(task, measurement, settings):
    assert task.spec.slow_phases
    scene, scale = ObjectPlane(measurement), measurement.intensity_scale
    every = np.arange(64)
    first = []
    for fold in (1, 2, VALIDATION):
        taken = sorted({VALIDATION, fold})
        rest = corner(measurement) - sum(task.likelihood.counts.split(which, every) for which in taken)
        counts = (
            (lambda rows, rest=rest: torch.from_numpy(rest[rows])),
            scale * np.sqrt(1 - len(taken) / settings.photon_parts),
        )
        path = regularisation_path(
            scene,
            *counts,
            task.spec.levels,
            settings.level_iterations if fold == FIRST_FOLD else settings.level_iterations // 2,
            starts=() if fold == FIRST_FOLD else first,
        )
        first = path if fold == FIRST_FOLD else first
        obj, shown = task.data.inputs[fold].obj, task.data.inputs[fold].channels
        changed = with_slow_phases(scene, RegularisedLikelihood(scene, *counts), path[task.spec.base])
        added = changed.object
        if fold == FIRST_FOLD:  # the background of its search went on from that of its path
            of_all_counts = changed.gain * settings.photon_parts / (settings.photon_parts - 2)
            assert task.facts()["gains_of_slow_phases"]["likelihood"] == pytest.approx(of_all_counts, rel=0.05)
            apart, change = (float((obj - other).abs().max()) for other in (added, path[task.spec.base]))
            assert apart < 0.1 * change
            torch.testing.assert_close(obj.abs(), path[task.spec.base].abs())
        else:
            assert torch.equal(obj, added)
        assert torch.equal(shown, network_input(obj, path, scene.illumination))


def test_the_object_to_change_predicts_best(task, measurement, settings):
    losses = task.data.path_losses
    assert len(losses) == len(task.spec.levels)
    assert task.spec.base == int(np.argmin(losses))
    assert task.spec.levels == settings.levels[: task.spec.base + 3], "up to two weaker than the best"
    observed = task.likelihood.counts.split(FIRST_FOLD, np.arange(64))
    plane = task.data.inputs[FIRST_FOLD].obj
    windows = task.likelihood.plane.read(plane, slice(0, 64))
    rates = task.likelihood.plane.physics.corner_rates(
        windows, measurement.intensity_scale / np.sqrt(settings.photon_parts)
    )
    rates = rates + fitted_background(rates, torch.from_numpy(observed), 60)
    assert negative_log_likelihood(rates.numpy(), observed).mean() == pytest.approx(losses[task.spec.base], rel=1e-6)
    facts = task.facts()
    assert facts["base_level"] == task.spec.levels[task.spec.base]
    assert facts["path_losses"] == losses


def test_noisier_frames_are_smoothed_more(prepare, measured, settings):
    sharp = replace(settings, levels=(0.6, 0.2, 0.06, 0.02, 0.006), level_iterations=8)
    specs = [prepare(measured(dose=dose), sharp).spec for dose in (3e2, 1e6)]
    assert specs[0].base < specs[1].base
    assert specs[0].levels == sharp.levels[: specs[0].base + 3], "up to two weaker than the best"
    assert len(specs[0].levels) < len(sharp.levels)


def test_losses_are_those_of_the_physics(task):
    """A step on a fresh network is the Poisson loss of the tile's frames, whichever way it is turned."""
    task.log = lambda *_args, **_kwargs: None
    for tile in task.sampler.epoch(0)[:5]:
        loss = float(task.training_step(tile, 0).detach())
        frames = torch.from_numpy(tile.frames)
        windows = task.likelihood.plane.read(task.data.inputs[tile.fold].obj, frames)
        rates = task.likelihood.plane.physics.corner_rates(windows, task.likelihood.scale) + task.background
        expected = negative_log_likelihood(rates.numpy(), task.likelihood.counts.split(tile.fold, tile.frames)).mean()
        assert loss == pytest.approx(
            expected * task.likelihood.counts.splits / task.likelihood.counts.photons, rel=1e-4
        )


def test_judgement_compares_with_a_flat_object_and_says_how_the_phase_spreads(prepare, measurement, settings, obj):
    task = prepare(measurement)
    scene = task.likelihood.plane
    region = tuple(slice(o, o + side) for o, side in zip(scene.origin, scene.shape, strict=True))
    truth = np.ones(scene.shape, np.complex64)
    inside = obj[region]
    truth[: inside.shape[0], : inside.shape[1]] = inside * np.exp(0.7j)
    task.data.inputs[VALIDATION] = replace(task.data.inputs[VALIDATION], obj=torch.from_numpy(truth))
    task.background = torch.ones(N, N)
    flat_loss, phase_std = task.judge()
    assert torch.equal(task.background, torch.ones(N, N)), "a judgement changes nothing"

    lit = scene.illumination.numpy() > 0.1 * scene.illumination.numpy().max()
    phase = np.angle(truth / np.vdot(scene.illumination.numpy(), truth))[lit]
    assert phase_std == pytest.approx(np.sqrt((phase**2).mean()), rel=1e-4)

    scale = measurement.intensity_scale / np.sqrt(settings.photon_parts)
    rates = np.fft.ifftshift(forward.expected_counts(measurement.probe.astype(complex), scale)).astype(np.float32)
    rates = np.broadcast_to(rates, (64, N, N)).copy()
    learned, unseen = (task.likelihood.counts.split(which, np.arange(64)) for which in (FIRST_FOLD, VALIDATION))
    scatter = fitted_background(torch.from_numpy(rates), torch.from_numpy(learned), 60).numpy()
    assert flat_loss == pytest.approx(negative_log_likelihood(rates + scatter, unseen).mean(), rel=1e-5)
    assert task.facts()["validation_loss_before"] < flat_loss - 100


def test_a_turned_plane_is_changed_as_the_network_saw_it(task, monkeypatch):
    """A network that marks the first row of what it sees must mark another side of the plane."""
    marked, seen = [], []

    def mark(_network, channels, obj):
        seen.append(channels)
        obj = obj.clone()
        obj[0] = 7.0
        return obj

    monkeypatch.setattr(UnrolledNetwork, "forward", mark)
    monkeypatch.setattr(task.likelihood.plane, "read", lambda plane, *_: marked.append(plane) or plane[None, :24, :24])
    tile = replace(task.sampler.epoch(0)[0], frames=np.array([0]))
    part = np.s_[:, tile.top : tile.top + tile.side[0], tile.left : tile.left + tile.side[1]]
    for which in range(8):
        task.training_step(replace(tile, symmetry=which), 0)
        assert torch.equal(transformed_back(seen[-1], which), task.data.inputs[tile.fold].channels[part])
    sides = {
        name
        for plane in marked
        for name, edge in (("top", plane[0]), ("bottom", plane[-1]), ("left", plane[:, 0]), ("right", plane[:, -1]))
        if bool((edge == 7.0).all())
    }
    assert sides == {"top", "bottom", "left", "right"}
    assert all(int((plane == 7.0).sum()) == tile.side[0] for plane in marked)


def test_held_out_frames_influence_nothing_that_is_learned_from(prepare, measured, obj):
    # 192 learned frames fill three blocks of the division, so that its random numbers do not depend on the others.
    measurement = measured(n=202, dose=1e4)
    task = prepare(measurement)
    rows = frames_of_rows(task, measurement)
    hidden = rows[task.data.held_out]
    assert (len(hidden), task.facts()["frames_held_out"], task.likelihood.plane.frames) == (10, 10, 192)
    assert len(set(rows.tolist())) == 202
    assert hidden.min() < 100 < hidden.max(), "drawn from the whole scan"
    amplitude = measurement.amplitude.copy()
    amplitude[hidden] = amplitude[hidden][:, ::-1] * 3
    other = prepare(replace(measurement, amplitude=amplitude))
    assert not np.array_equal(
        other.likelihood.counts.split(VALIDATION, task.data.held_out),
        task.likelihood.counts.split(VALIDATION, task.data.held_out),
    )
    assert (other.spec, other.data.path_losses) == (task.spec, task.data.path_losses)
    for fold, shown in task.data.inputs.items():
        assert torch.equal(other.data.inputs[fold].obj, shown.obj)
        assert torch.equal(other.data.inputs[fold].channels, shown.channels)
    assert max(frame for epoch in range(20) for tile in task.sampler.epoch(epoch) for frame in tile.frames) < 192
    inner = np.zeros_like(measurement.probe)
    inner[4:-4, 4:-4] = measurement.probe[4:-4, 4:-4]
    shown = rows[:192]
    expected = illumination.illumination(inner, measurement.scan[shown])
    np.testing.assert_allclose(task.likelihood.plane.coverage() * (np.abs(inner) ** 2).max(), expected, atol=1e-3)


def test_the_loss_of_held_out_frames_counts_half(prepare, measured):
    """A network that changes nothing gains nothing, and is judged by photons and by frames it was never shown."""
    task, logged = prepare(measured(n=200, dose=1e3)), {}
    task.log = lambda name, value, **_: logged.update({name: float(value)})
    task.validation_step(None, 0)
    losses = []
    for frames in (np.arange(190), np.arange(190, 200)):
        windows = task.likelihood.plane.read(task.data.inputs[VALIDATION].obj, torch.from_numpy(frames))
        rates = task.likelihood.plane.physics.corner_rates(windows, task.likelihood.scale) + task.background
        losses.append(negative_log_likelihood(rates.numpy(), task.likelihood.counts.split(VALIDATION, frames)).mean())
    assert logged["held_out_frames_loss"] == pytest.approx(losses[1], rel=1e-4)
    assert logged["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert logged["generalisation_gap"] == 0
    assert task.facts()["validation_loss_before"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_preparation_is_reported(prepare, measurement):
    lines = []
    prepare(measurement, lines=lines)
    assert len(lines) == 4
    assert lines[0].startswith("regularisation path 1 of 3: the TV weight 0.")
    assert lines[0].endswith(" predicts best, of 3")
    assert lines[1].startswith("slow phases are added: they improve the objective by ")
    assert lines[2:] == ["regularisation path 2 of 3", "regularisation path 3 of 3"]


def test_the_gridsize_refuses_nothing(prepare, measured):
    task = prepare(measured(n=3), gridsize=2)
    assert (task.likelihood.plane.frames, task.spec.group_frames) == (3, 4)


def test_processes_share_the_tiles_of_an_epoch(task):
    both = []
    for rank in (0, 1):
        task.sampler = replace(task.sampler, ranks=Ranks(rank, 2, "cpu"))
        both.append(task.sampler.epoch(3))
    task.sampler = replace(task.sampler, ranks=Ranks(0, 1, "cpu"))
    alone = task.sampler.epoch(3)
    shared = [tile for pair in zip(*both, strict=True) for tile in pair]
    assert [len(own) for own in both] == [len(alone)] * 2
    assert all(_same(one, other) for one, other in zip(shared, alone, strict=False))
    assert not any(_same(*pair) for pair in zip(*both, strict=True))


def _same(one, other):
    return (one.fold, one.top, one.left, one.symmetry) == (other.fold, other.top, other.left, other.symmetry) and (
        np.array_equal(one.frames, other.frames)
    )
