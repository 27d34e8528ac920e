from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from fly64_assets.lsqml.overrides.shift import separable_fourier_shift


@pytest.fixture
def library():
    """The library's image module, with its own shift."""
    return import_module("ptychi.image_proc")


def images(dtype: torch.dtype, shape: tuple[int, int, int] = (5, 66, 63)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=dtype)


def shifts(n: int = 5) -> torch.Tensor:
    return 4 * torch.randn((n, 2), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.float32])
@pytest.mark.parametrize("shape", [(5, 66, 66), (5, 66, 63), (5, 41, 64)])
def test_it_equals_the_shift_of_the_library(library, dtype, shape):
    picture, by = images(dtype, shape), shifts()
    found, expected = separable_fourier_shift(picture, by), library.fourier_shift(picture, by)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_it_keeps_zeros_like_the_library(library):
    picture = images(torch.complex64)
    picture[:, 20:40, 10:30] = 0
    by = torch.tensor([[0.0, 0.0], [1, 0], [0, -2], [3, 3], [0.25, -0.5]])
    found = separable_fourier_shift(picture, by, strictly_preserve_zeros=True)
    expected = library.fourier_shift(picture, by, strictly_preserve_zeros=True)
    assert (found == 0).any()
    # A mask pixel at the rounding error is zero in one and not in the other; where both are not, they agree.
    both = (found != 0) & (expected != 0)
    torch.testing.assert_close(found[both], expected[both], rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float32])
def test_whole_pixels_roll(dtype):
    picture = images(dtype)
    by = torch.tensor([[0, 0], [1, 0], [0, 1], [-3, 7], [20, -31]])
    found = separable_fourier_shift(picture, by.float()).numpy()
    rolled = [np.roll(p, b, axis=(0, 1)) for p, b in zip(picture.numpy(), by.numpy(), strict=True)]
    np.testing.assert_allclose(found, rolled, atol=2e-5)


def test_a_shift_and_its_inverse_cancel():
    picture = images(torch.complex64, (5, 65, 63))
    back = separable_fourier_shift(separable_fourier_shift(picture, shifts()), -shifts())
    torch.testing.assert_close(back, picture, rtol=0, atol=2e-5)


def test_the_gradient_over_a_shift_of_nothing_is_the_librarys(library):
    gradients = []
    for shift in (separable_fourier_shift, library.fourier_shift):
        by = torch.zeros((5, 2), requires_grad=True)
        (shift(images(torch.complex64), by) * images(torch.complex64).roll(1, -1).conj()).real.sum().backward()
        gradients.append(by.grad)
    assert gradients[1].abs().amax() > 1
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-2)


def test_nothing_to_shift_is_a_copy():
    picture = images(torch.complex64)
    found = separable_fourier_shift(picture, torch.zeros(5, 2))
    assert torch.equal(found, picture)
    found[0] = 0
    assert picture[0].abs().max() > 0
