from __future__ import annotations

import numpy as np
import pytest
import torch

from fly64_assets.physics.windows import Scan, read
from fly64_assets.pinn.cnn import canvas as canvas_module
from fly64_assets.pinn.cnn.canvas import OverlapCanvas, shared_patches

M = 16


def random_offsets(whole: bool, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-9, 9, (3, 4, 2))
    return torch.from_numpy(np.rint(values) if whole else values)


def true_patches(obj, offsets):
    """Windows of the object about its middle, one group per row."""
    middle = np.array(obj.shape) // 2
    y, x = (offsets.numpy().reshape(-1, 2) + middle).T
    return torch.from_numpy(read(obj, Scan(x, y, obj.shape, M)).reshape(*offsets.shape[:2], M, M))


def test_placing_and_reading_are_adjoint():
    offsets = random_offsets(whole=False)
    canvas = OverlapCanvas(offsets, M)
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(3, 4, M, M, 2, generator=generator, dtype=torch.float64)
    image = torch.randn(3 * canvas.side**2, 2, generator=generator, dtype=torch.float64)
    left, right = (canvas.place(patches) * image).sum(), (patches * canvas.read(image)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


def test_placing_keeps_the_sum():
    offsets = random_offsets(whole=False)
    canvas = OverlapCanvas(offsets, M)
    assert float(canvas.place(torch.ones(3, 4, M, M, 1, dtype=torch.float64)).sum()) == pytest.approx(12 * M * M)


def test_the_canvas_holds_all_patches():
    assert OverlapCanvas(torch.tensor([[[-33.5, 0.0], [33.5, 0.0]]]), M).side == M + 68


def test_round_trip_of_a_true_object_at_whole_pixels_is_exact(obj):
    offsets = random_offsets(whole=True)
    patches = true_patches(obj, offsets)
    shared = shared_patches(patches, torch.ones(M, M, dtype=torch.float64), offsets)
    np.testing.assert_allclose(shared.numpy(), patches.numpy(), atol=1e-12)


def test_reading_between_pixels_is_linear_interpolation_at_the_offset():
    offsets = random_offsets(whole=False)
    canvas = OverlapCanvas(offsets, M)
    side = canvas.side
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64) - side / 2] * 2, indexing="ij")
    ramp = torch.stack([rows, columns], dim=-1).reshape(-1, 2).repeat(3, 1)
    pixel = torch.arange(M, dtype=torch.float64) - M / 2
    windows = canvas.read(ramp)
    np.testing.assert_allclose(windows[..., 0, 0].numpy(), (offsets[..., :1] + pixel).numpy(), atol=1e-12)
    np.testing.assert_allclose(windows[:, :, 0, :, 1].numpy(), (offsets[..., 1:] + pixel).numpy(), atol=1e-12)


def test_the_correction_undoes_part_of_the_blur_between_pixels(obj, monkeypatch):
    offsets = random_offsets(whole=False)
    patches = true_patches(obj, offsets)

    def blur():
        shared = shared_patches(patches, torch.ones(M, M, dtype=torch.float64), offsets)
        return float((shared - patches).abs().mean())

    corrected = blur()
    monkeypatch.setattr(canvas_module, "CORRECTIONS", 0)
    assert corrected < 0.6 * blur()


def test_the_free_phase_of_a_patch_costs_nothing(obj):
    offsets = random_offsets(whole=True) / 2
    offsets = offsets.round()
    patches = true_patches(obj, offsets)
    turned = patches * torch.polar(
        torch.ones(3, 4, 1, 1).double(), torch.linspace(-0.4, 0.4, 12).double().view(3, 4, 1, 1)
    )
    shared = shared_patches(turned, torch.ones(M, M, dtype=torch.float64), offsets)
    match = (shared * patches.conj()).sum(dim=(-2, -1)).abs()
    size = shared.abs().square().sum(dim=(-2, -1)).sqrt() * patches.abs().square().sum(dim=(-2, -1)).sqrt()
    assert float((match / size).min()) > 0.999


def test_permuting_the_frames_of_a_group_permutes_nothing_else(obj):
    offsets = random_offsets(whole=False)
    generator = torch.Generator().manual_seed(1)
    patches = true_patches(obj, offsets) + 0.1 * torch.randn(3, 4, M, M, generator=generator, dtype=torch.complex128)
    weight = torch.rand(M, M, generator=generator, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    shared = shared_patches(patches, weight, offsets)
    permuted = shared_patches(patches[:, order], weight, offsets[:, order])
    np.testing.assert_allclose(permuted.numpy(), shared[:, order].numpy(), atol=1e-12)


def test_frames_of_a_group_share_one_object():
    offsets = torch.zeros(1, 2, 2, dtype=torch.float64)
    patches = torch.stack([torch.full((M, M), 1.0), torch.full((M, M), 3.0)]).to(torch.complex128)[None]
    shared = shared_patches(patches, torch.ones(M, M, dtype=torch.float64), offsets)
    np.testing.assert_allclose(shared.numpy(), 2.0)
