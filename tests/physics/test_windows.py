"""One convention for every implementation of the windows: arrays, tensors, LSQML, canvases, the information matrix."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from fly64_assets.evaluation.bound.information import ObjectInformation
from fly64_assets.lsqml.bilinear import BilinearWindows
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.torch_windows import Windows
from fly64_assets.physics.windows import Scan, add, common_part, read
from fly64_assets.pinn.cnn.canvas import OverlapCanvas
from fly64_assets.pinn.cnn.stitching import stitch

SHAPE, N = (40, 44), 12


def field(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


@pytest.fixture
def obj():
    return field(np.random.default_rng(1), *SHAPE)


@pytest.fixture
def scan():
    """Fractions that single precision holds exactly; the first position is whole, the last window at the edge."""
    x = np.array([20.0, 13.25, 25.5, 10.75, 44 - N / 2 - 1])
    y = np.array([15.0, 12.5, 20.125, 30.0, 40 - N / 2 - 1])
    return Scan(x, y, SHAPE, N)


@pytest.fixture
def expected(obj, scan):
    """Row i, column k of window j lie at y_j + i - N/2, x_j + k - N/2, as scipy interpolates there."""
    offsets = np.arange(N) - N / 2
    grids = [np.meshgrid(y + offsets, x + offsets, indexing="ij") for x, y in zip(scan.x, scan.y, strict=True)]
    return np.stack([map_coordinates(obj.real, g, order=1) + 1j * map_coordinates(obj.imag, g, order=1) for g in grids])


# -- the half-pixel convention ---------------------------------------------------------------------------------------


def test_arrays(obj, scan, expected):
    np.testing.assert_allclose(read(obj, scan), expected, atol=1e-12)
    np.testing.assert_array_equal(read(obj, scan)[0], obj[9:21, 14:26])
    np.testing.assert_allclose(read(obj, scan, np.complex64), expected, atol=1e-5)


def test_tensors(obj, scan, expected):
    grid = torch.from_numpy(obj)
    windows = Windows.of(scan)
    np.testing.assert_allclose(windows.read(grid), expected, atol=1e-12)
    np.testing.assert_array_equal(windows.read(grid.requires_grad_()).detach(), windows.read(grid.detach()))
    np.testing.assert_array_equal(windows[:1].read(grid.detach()), expected[:1])


def test_lsqml(obj, scan, expected):
    model = SimpleNamespace(object=SimpleNamespace(pos_origin_coords=torch.tensor([-0.5, -0.5])))
    positions = torch.from_numpy(np.stack([scan.y, scan.x], axis=1).astype(np.float32))
    found = BilinearWindows(model).read(torch.from_numpy(obj.astype(np.complex64)), positions, N)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def canvas_offsets(scan):
    """Positions relative to the centre pixel of a canvas as large as the object's smaller side."""
    return np.stack([scan.y, scan.x], axis=1)[None] - 20.0


def test_canvas(obj, scan, expected):
    offsets = torch.from_numpy(canvas_offsets(scan)[:, :4])
    canvas = OverlapCanvas(offsets, N)
    edge = (40 - canvas.side) // 2
    square = torch.from_numpy(obj[edge : 40 - edge, edge : 40 - edge].copy())
    found = torch.view_as_complex(canvas.read(torch.view_as_real(square).reshape(-1, 2)).contiguous())
    np.testing.assert_allclose(found[0], expected[:4], atol=1e-12)


@pytest.mark.slow
def test_tensorflow_canvas(obj, scan, expected):
    from fly64_assets.pinn.cnn.keras.canvas import OverlapCanvas as TensorFlowCanvas

    offsets = canvas_offsets(scan)[:, :4]
    reach = int(np.ceil(np.abs(offsets).max()))
    edge = 20 - (N + 2 * reach) // 2
    part = obj[edge : 40 - edge, edge : 40 - edge]
    canvas = TensorFlowCanvas(offsets, N)
    found = canvas.read(part.real[None]).numpy() + 1j * canvas.read(part.imag[None]).numpy()
    np.testing.assert_allclose(found[0], expected[:4], atol=1e-12)


def test_stitching_puts_windows_where_they_were_read(obj, scan, expected):
    stitched, coverage = stitch(expected[:1], np.ones((N, N)), scan[:1], alignments=0)
    np.testing.assert_allclose(stitched[9:21, 14:26], obj[9:21, 14:26], atol=1e-12)
    assert coverage.sum() == N**2


def test_illumination(scan):
    rng = np.random.default_rng(2)
    probe, weights = field(rng, N, N), rng.random(SHAPE)
    light = (np.abs(probe) ** 2 * read(weights, scan).real).sum()
    assert (illumination(probe, scan) * weights).sum() == pytest.approx(light, rel=1e-12)


def test_information_is_that_of_the_counts(obj, scan):
    """The quadratic form of the information matrix is the sum over detector pixels of (4 d sqrt(rate))^2."""
    rng = np.random.default_rng(3)
    probe, direction = field(rng, N, N), field(rng, *SHAPE)
    unknown = np.ones(SHAPE, bool)
    information = ObjectInformation(obj, probe, scan, unknown, np.complex128)
    found = np.vdot(direction, information.apply(direction)).real
    step = 1e-5
    after, before = (
        np.abs(np.fft.fft2(probe * read(obj * np.exp(sign * step * direction), scan), norm="ortho")) for sign in (1, -1)
    )
    assert found == pytest.approx(4 * (((after - before) / (2 * step)) ** 2).sum(), rel=1e-6)


# -- reading and adding ----------------------------------------------------------------------------------------------

POSITIONS = st.lists(
    st.tuples(*[st.floats(-60, 100) | st.integers(-20, 60).map(float)] * 2), min_size=1, max_size=5
).map(np.array)


@given(positions=POSITIONS, seed=st.integers(0, 2**31), side=st.sampled_from([4, 7, 12]))
@settings(max_examples=60, deadline=None)
def test_adding_is_the_adjoint_of_reading_wherever_windows_lie(positions, seed, side):
    rng = np.random.default_rng(seed)
    scan = Scan(positions[:, 0], positions[:, 1], SHAPE, side, origin=(-3, 5))
    obj, windows, total = field(rng, *SHAPE), field(rng, len(scan), side, side), np.zeros(SHAPE, complex)
    add(total, scan, windows)
    there, back = np.vdot(read(obj, scan), windows), np.vdot(obj, total)
    assert abs(there - back) < 1e-9 * (1 + abs(there))


def test_tensors_are_added_like_arrays(scan):
    waves, total = field(np.random.default_rng(4), len(scan), N, N), np.zeros(SHAPE, complex)
    add(total, scan, waves)
    windows = Windows.of(scan)
    found = torch.zeros(SHAPE, dtype=torch.complex128)
    windows[:2].add(found, torch.from_numpy(waves[:2]))
    windows[2:].add(found, torch.from_numpy(waves[2:]))
    np.testing.assert_allclose(found, total, atol=1e-12)
    light = torch.zeros(SHAPE, dtype=torch.float64)
    windows.add(light, torch.from_numpy(waves.real.copy()))
    np.testing.assert_allclose(light, total.real, atol=1e-12)


def test_the_gradient_of_reading_is_adding(obj, scan):
    waves = torch.from_numpy(field(np.random.default_rng(5), len(scan), N, N))
    grid = torch.from_numpy(obj).requires_grad_()
    windows = Windows.of(scan)
    (windows.read(grid) * waves.conj()).real.sum().backward()
    total = torch.zeros(SHAPE, dtype=torch.complex128)
    windows.add(total, waves)
    torch.testing.assert_close(grid.grad, total)


def test_outside_the_object_there_is_nothing(obj):
    scan = Scan(np.array([3.25, 500.0]), np.array([20.0, 20.0]), SHAPE, N)
    windows = read(obj, scan)
    assert not windows[0, :, :2].any()
    assert not windows[1].any()
    assert not scan.inside
    padded = Scan(scan.x[:1], scan.y[:1], (52, 56), N, origin=(-6, -6))
    np.testing.assert_array_equal(windows[:1], read(np.pad(obj, 6), padded))


# -- grids -----------------------------------------------------------------------------------------------------------


def test_a_part_of_the_grid_holds_the_same_windows(obj, scan):
    part = scan.tight(margin=2)
    (rows, columns), own = common_part(part.origin, part.object_shape, SHAPE)
    grid = np.zeros(part.object_shape, complex)
    grid[own] = obj[rows, columns]
    assert part.inside
    assert part.corners.min() == 2
    np.testing.assert_array_equal(part.fractions, scan.fractions)
    np.testing.assert_array_equal(read(grid, part), read(obj, scan))


def test_the_rectangle_of_tensor_windows_is_the_smallest_that_holds_them(obj, scan):
    windows = Windows.of(scan)
    rows, columns = windows.rectangle
    tight = scan.tight()
    assert (rows.start, columns.start) == tight.origin
    assert (rows.stop - rows.start, columns.stop - columns.start) == tight.object_shape
    grid = torch.from_numpy(obj)
    inner = windows.within(rows.start, columns.start)
    assert torch.equal(inner.read(grid[rows, columns].contiguous()), windows.read(grid))


def test_a_grid_of_another_shape_is_refused(obj, scan):
    with pytest.raises(ValueError, match=r"the object has the shape \(39, 44\); the scan needs \(40, 44\)"):
        read(obj[1:], scan)
    with pytest.raises(ValueError, match=r"array of windows has the shape \(5, 1, 12\)"):
        add(obj, scan, np.zeros((5, 1, N)))
