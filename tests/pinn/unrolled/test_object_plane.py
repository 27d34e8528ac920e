from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fly64_assets.physics import illumination
from fly64_assets.physics.windows import Scan, read
from fly64_assets.pinn.unrolled import object_plane
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane

N, M = 32, 24


@pytest.fixture
def leaving(measurement):
    """Windows that lie partly, and one wholly, outside the object's grid."""
    x, y = measurement.x.copy(), measurement.y.copy()
    x[:4], y[:4] = [-3.25, 90.5, 40.0, -40.5], [2.75, 85.125, -5.5, 30.0]
    return replace(measurement, x=x, y=y)


def plane_of(scene, grid):
    """The part of a grid that the scene has, zeros elsewhere."""
    plane = np.zeros(scene.shape, np.complex64)
    for row in range(scene.shape[0]):
        for column in range(scene.shape[1]):
            y, x = row + scene.origin[0], column + scene.origin[1]
            if 0 <= y < grid.shape[0] and 0 <= x < grid.shape[1]:
                plane[row, column] = grid[y, x]
    return torch.from_numpy(plane)


def inner_probe(probe):
    """The probe without its tail outside the window."""
    inner = np.zeros_like(probe)
    edge = (N - M) // 2
    inner[edge:-edge, edge:-edge] = probe[edge:-edge, edge:-edge]
    return inner


@pytest.mark.parametrize("positions", ["measurement", "leaving"])
def test_windows_are_those_of_the_forward_model(positions, request, obj):
    measurement = request.getfixturevalue(positions)
    scene = ObjectPlane(measurement)
    assert scene.window == M
    expected = read(obj, measurement.scan)[:, 4:-4, 4:-4]
    found = torch.cat([scene.read(plane_of(scene, obj), rows) for rows in scene.blocks()])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_adding_is_the_adjoint_of_reading(measurement):
    scene, generator = ObjectPlane(measurement), torch.Generator().manual_seed(0)
    windows = torch.randn(10, M, M, generator=generator, dtype=torch.complex64)
    plane = torch.randn(scene.shape, generator=generator, dtype=torch.complex64)
    total, rows = torch.zeros_like(plane), slice(20, 30)
    scene.add(total, windows, rows)
    left = np.vdot(windows.numpy().astype(complex), scene.read(plane, rows).numpy())
    right = np.vdot(total.numpy().astype(complex), plane.numpy())
    assert abs(left - right) < 1e-5 * float(windows.norm() * plane.norm())


@pytest.mark.parametrize("positions", ["measurement", "leaving"])
def test_light_is_the_illumination_of_the_physics(positions, request):
    measurement = request.getfixturevalue(positions)
    inner = inner_probe(measurement.probe)
    expected = illumination.illumination(inner, measurement.scan)
    scene = ObjectPlane(measurement)
    peak = float((np.abs(inner) ** 2).max())
    np.testing.assert_allclose(scene.coverage() * peak, expected, atol=1e-5 * expected.max())
    whole = len(measurement.x) * (np.abs(inner) ** 2).sum()
    assert float(scene.illumination.sum(dtype=torch.float64)) == pytest.approx(whole, rel=1e-5)


def test_only_the_measured_frames_of_the_order_give_light(measurement, obj):
    order = np.random.default_rng(0).permutation(64)
    scene, first = ObjectPlane(measurement, order=order, learned=50), order[:50]
    inner = inner_probe(measurement.probe)
    expected = illumination.illumination(inner, measurement.scan[first])
    np.testing.assert_allclose(scene.coverage() * (np.abs(inner) ** 2).max(), expected, atol=1e-4)
    assert (scene.frames, scene.blocks()[-1].stop) == (50, 50)
    hidden = torch.arange(50, 64)
    expected = read(obj, Scan(measurement.x[order[50:]], measurement.y[order[50:]], obj.shape, M))
    np.testing.assert_allclose(scene.read(plane_of(scene, obj), hidden).numpy(), expected, atol=1e-5)


def test_the_plane_on_the_grid_and_ones_elsewhere(measurement, leaving, obj):
    few = replace(measurement, x=measurement.x[:2] * 0 + 44.5, y=measurement.y[:2] * 0 + 40.25)
    for case in (measurement, leaving, few):
        scene = ObjectPlane(case)
        rows, columns = np.indices(obj.shape)
        inside = (
            (rows >= scene.origin[0])
            & (rows < scene.origin[0] + scene.shape[0])
            & (columns >= scene.origin[1])
            & (columns < scene.origin[1] + scene.shape[1])
        )
        grid = scene.on_grid(plane_of(scene, obj))
        assert grid.dtype == np.complex64
        np.testing.assert_array_equal(grid, np.where(inside, obj, 1).astype(np.complex64))
        assert not scene.coverage()[~inside].any()


def test_a_part_of_the_plane_holds_the_same_windows(measurement):
    scene = ObjectPlane(measurement)
    plane = torch.randn(scene.shape, generator=torch.Generator().manual_seed(2), dtype=torch.complex64)
    top, left, height, width = 13, 22, 40, 48
    rows = torch.from_numpy(scene.inside(top, left, height, width))
    assert len(rows) > 5
    part = plane[top : top + height, left : left + width].contiguous()
    assert torch.equal(scene.read(part, rows, (top, left)), scene.read(plane, rows))


def test_frames_inside_a_part_are_those_that_read_nothing_else(measurement):
    scene = ObjectPlane(measurement, learned=60)
    rng = np.random.default_rng(3)
    for _ in range(20):
        top, left = int(rng.integers(0, 30)), int(rng.integers(0, 30))
        height, width = int(rng.integers(25, 50)), int(rng.integers(25, 50))
        expected = []
        for frame in range(60):
            y = int(np.floor(measurement.y[frame])) - M // 2 - scene.origin[0]
            x = int(np.floor(measurement.x[frame])) - M // 2 - scene.origin[1]
            read = {y, y + M} <= set(range(top, top + height)) and {x, x + M} <= set(range(left, left + width))
            expected += [frame] * read
        assert scene.inside(top, left, height, width).tolist() == expected


def test_the_plane_has_a_margin_and_sides_that_can_be_halved(leaving):
    for frames in range(1, 12):
        assert all(side % 8 == 0 for side in ObjectPlane(leaving, order=np.arange(frames)).shape)
    scene = ObjectPlane(leaving)
    lit = torch.nonzero(scene.illumination > 0).numpy()
    assert lit.min() >= 2
    assert (lit.max(axis=0) < np.array(scene.shape) - 2).all()


def test_a_plane_beside_the_grid_leaves_it_as_it_is(measurement):
    for shift in (100.0, -120.0, 300.0):
        scene = ObjectPlane(replace(measurement, x=measurement.x + shift))
        assert (scene.on_grid(torch.zeros(scene.shape, dtype=torch.complex64)) == 1).all()


def test_a_gpu_reads_more_frames_at_a_time_and_keeps_what_an_eighth_of_its_free_memory_holds(measurement, monkeypatch):
    scene = ObjectPlane(measurement)
    size = 4 * scene.frames * scene.physics.probe.numel()
    assert len(scene.blocks()) == -(-scene.frames // 32) > 1
    assert scene.holds_counts
    monkeypatch.setattr(object_plane, "IN_MEMORY_BYTES", size - 1)
    assert not scene.holds_counts
    scene.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 100)
    for free, holds in ((8 * size - 200, True), (8 * size - 208, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device, free=free: (free, 2 * free))
        assert scene.holds_counts is holds
