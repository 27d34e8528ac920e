from __future__ import annotations

from importlib import import_module

import pytest
import torch

import fly64_assets.engines.torch_compat  # noqa: F401
from fly64_assets.lsqml.overrides.windows import Windows, WindowsBetween, add_windows, batch_put

SHAPE = (12, 10)


def corners(n: int = 9) -> torch.Tensor:
    return torch.randint(3, 40, (n, 2), generator=torch.Generator().manual_seed(1))


def picture(dtype=torch.complex64) -> torch.Tensor:
    return torch.randn((60, 57), generator=torch.Generator().manual_seed(2), dtype=dtype)


def patches(n: int = 9, dtype=torch.complex64) -> torch.Tensor:
    return torch.randn((n, *SHAPE), generator=torch.Generator().manual_seed(3), dtype=dtype)


def test_windows_are_slices_of_the_image():
    image, at = picture(), corners()
    windows = Windows.at(at, SHAPE)
    part = image[windows.rectangle].contiguous()
    found = windows.read(part)
    expected = torch.stack([image[y : y + 12, x : x + 10] for y, x in at.tolist()])
    assert torch.equal(found, expected)
    assert torch.equal(windows.read(part, slice(2, 5)), expected[2:5])


def test_the_rectangle_is_the_smallest_that_holds_them():
    at = corners()
    rows, columns = Windows.at(at, SHAPE).rectangle
    assert (rows.start, rows.stop) == (int(at[:, 0].min()), int(at[:, 0].max()) + 12)
    assert (columns.start, columns.stop) == (int(at[:, 1].min()), int(at[:, 1].max()) + 10)


def test_adding_is_the_adjoint_of_reading():
    image, at, some = picture(), corners(), patches()
    windows = Windows.at(at, SHAPE)
    part = torch.zeros_like(image[windows.rectangle])
    windows.add(part, slice(0, 9), some)
    there = torch.vdot(windows.read(image[windows.rectangle].contiguous()).flatten(), some.flatten())
    back = torch.vdot(image[windows.rectangle].flatten(), part.flatten())
    torch.testing.assert_close(there, back, rtol=1e-5, atol=1e-4)


def test_overlapping_patches_are_all_added():
    image = torch.zeros(20, 20)
    add_windows(image, torch.tensor([0, 0, 21]), torch.ones(3, 4, 4))
    assert image.sum() == 48
    assert image[1, 1] == 3


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float32])
@pytest.mark.parametrize("op", ["add", "set"])
@pytest.mark.parametrize("expanded", [False, True])
def test_it_puts_patches_like_the_library(dtype, op, expanded):
    stock = import_module("ptychi.image_proc").batch_put
    some = patches(dtype=dtype)
    some = some[:1].expand(9, -1, -1) if expanded else some
    at = corners().int()
    found = batch_put(stock)(picture(dtype), some, at[:, 0], at[:, 1], op=op)
    expected = stock(picture(dtype), some, at[:, 0], at[:, 1], op=op)
    if op == "set" and not expanded:  # the last patch written wins, in an order that the library leaves open
        lonely = (expected == found).float().mean()
        assert lonely > 0.9
        return
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_patch_outside_the_image_is_the_librarys_error():
    stock = import_module("ptychi.image_proc").batch_put
    with pytest.raises(ValueError, match="out of bounds"):
        batch_put(stock)(torch.zeros(20, 20), torch.ones(1, 4, 4), torch.tensor([18]), torch.tensor([0]))


def test_windows_between_pixels_are_read_bilinearly_and_added_by_the_adjoint():
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    image = torch.complex(2 * rows - columns, rows + 3 * columns)
    corners, fractions = torch.tensor([[2, 3], [7, 11], [0, 20]]), torch.rand(3, 2, generator=generator)
    windows = WindowsBetween(Windows.at(corners, (6, 6)), fractions)
    found = windows.read(image[windows.rectangle].contiguous())
    # Bilinear reading is exact on a plane.
    y, x = ((corners + fractions)[:, k, None, None] for k in (0, 1))
    y, x = y + torch.arange(5.0)[:, None], x + torch.arange(5.0)
    torch.testing.assert_close(found, torch.complex(2 * y - x, y + 3 * x))
    some = torch.randn(2, 5, 5, dtype=torch.complex64, generator=generator)
    part = torch.zeros_like(image[windows.rectangle])
    windows.add(part, slice(1, 3), some)
    there = torch.vdot(found[1:3].flatten(), some.flatten())
    back = torch.vdot(image[windows.rectangle].flatten(), part.flatten())
    torch.testing.assert_close(there, back)
