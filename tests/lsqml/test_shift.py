from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from fly64_assets.design import LsqmlSettings
from fly64_assets.execution import Execution
from fly64_assets.lsqml import shift
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.shift import PINNED_VERSION, fast_shift, separable_fourier_shift


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


def test_the_override_is_in_place_only_within_the_block(library):
    stock = library.fourier_shift
    with fast_shift(True) as installed:
        assert installed
        assert library.fourier_shift is separable_fourier_shift
    assert library.fourier_shift is stock
    with fast_shift(False) as installed:
        assert not installed
        assert library.fourier_shift is stock


def test_the_override_is_removed_after_an_error(library):
    stock = library.fourier_shift
    with pytest.raises(ZeroDivisionError), fast_shift(True):
        _ = 1 / 0
    assert library.fourier_shift is stock


@pytest.mark.parametrize("version", ["2.2.1", "2.20.0", "3.0.0"])
def test_another_version_of_the_library_keeps_its_own(library, monkeypatch, version):
    monkeypatch.setattr("ptychi.__version__", version)
    stock = library.fourier_shift
    with fast_shift(True) as installed:
        assert not installed
        assert library.fourier_shift is stock


def test_the_pin_is_the_installed_library():
    assert import_module("ptychi").__version__.split("+")[0] == PINNED_VERSION


def test_the_reconstructions_with_and_without_it_agree(library, scanned, monkeypatch):
    s = scanned(n=48, dose=1e4)
    calls = {"fast": 0, "stock": 0}

    def counting(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(library, "fourier_shift", counting("stock", library.fourier_shift))
    monkeypatch.setattr(shift, "separable_fourier_shift", counting("fast", separable_fourier_shift))

    def run(fast: bool):
        settings = LsqmlSettings(epochs=20, stopping="epochs", batch_size=24, windows="fourier", fast_shift=fast)
        return reconstruct(s.measurement, settings, Execution(), 1, lambda *_: None).object

    fast = run(True)
    assert calls["fast"] > 0
    assert calls["stock"] == 0
    stock = run(False)
    assert calls["stock"] > 0
    assert np.abs(stock - 1).max() > 0.1
    np.testing.assert_allclose(fast, stock, rtol=0, atol=1e-4)
