from __future__ import annotations

from importlib import import_module

import pytest
import torch

import fly64_assets.torch_compat  # noqa: F401
from fly64_assets.lsqml.overrides.windows import Windows, add_windows, batch_put

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
