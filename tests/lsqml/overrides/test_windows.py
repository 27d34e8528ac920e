from __future__ import annotations

from importlib import import_module

import pytest
import torch

import fly64_assets.engines.torch_compat  # noqa: F401
from fly64_assets.lsqml.overrides.windows import batch_put
from fly64_assets.physics.torch_windows import add_strips

SHAPE = (12, 10)


def corners(n: int = 9) -> torch.Tensor:
    return torch.randint(3, 40, (n, 2), generator=torch.Generator().manual_seed(1))


def picture(dtype=torch.complex64) -> torch.Tensor:
    return torch.randn((60, 57), generator=torch.Generator().manual_seed(2), dtype=dtype)


def patches(n: int = 9, dtype=torch.complex64) -> torch.Tensor:
    return torch.randn((n, *SHAPE), generator=torch.Generator().manual_seed(3), dtype=dtype)


def test_overlapping_patches_are_all_added():
    image = torch.zeros(20, 20)
    add_strips(image, torch.tensor([0, 0, 21]), torch.ones(3, 4, 4))
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
