"""A small scan made by the real forward model: 64 frames of 32 x 32 pixels."""

from __future__ import annotations

from dataclasses import replace

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
from fixtures.scan import measure, soft_probe

from fly64_assets.physics import forward
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.settings import UnrolledSettings

N = 32
SHAPE = (80, 88)


def make_object() -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    amplitude = 0.85 + 0.15 * np.sin(rows / 3.0) * np.cos(columns / 4.0)
    return amplitude * np.exp(1j * 0.5 * np.sin(columns / 3.5 + rows / 5.0))


def make_measurement(n: int = 64, dose: float = 1e5, noise: bool = True, whole: bool = False) -> Measurement:
    """``whole`` puts the positions on whole pixels."""
    return measure(make_object(), soft_probe(N), n, dose, noise=noise, whole=whole)


@pytest.fixture(scope="session")
def obj() -> np.ndarray:
    return make_object()


@pytest.fixture(scope="session")
def probe() -> np.ndarray:
    return soft_probe(N)


@pytest.fixture(scope="session")
def measurement() -> Measurement:
    return make_measurement()


@pytest.fixture
def measured():
    """Builder of other measurements of the same object."""
    return make_measurement


@pytest.fixture
def clean():
    """Measurement without light outside the scene's windows, and its noiseless counts (n, N, N), DC in the corner."""

    def build(n: int = 64, obj: np.ndarray | None = None) -> tuple[Measurement, np.ndarray]:
        inner = np.zeros((N, N), np.complex64)
        inner[4:-4, 4:-4] = soft_probe(N)[4:-4, 4:-4]
        obj = make_object() if obj is None else obj
        made = replace(make_measurement(n), probe=inner)
        rates = forward.patch_counts(obj, inner, made.scan, made.intensity_scale)
        return made, np.fft.ifftshift(rates, axes=(-2, -1))

    return build


@pytest.fixture(scope="session")
def settings() -> UnrolledSettings:
    """A training of about a second."""
    return UnrolledSettings(
        epochs=3,
        width=8,
        levels=(1.0, 0.3, 0.1),
        level_iterations=4,
        steps_per_epoch=10,
        folds=2,
        tile=64,
        tile_frames=32,
    )


@pytest.fixture(scope="session")
def wide() -> Measurement:
    """16 frames padded to the 64 x 64 pixels that ``cnn`` needs."""
    made = make_measurement(16)
    pad = (N // 2,) * 2
    return replace(made, amplitude=np.pad(made.amplitude, ((0, 0), pad, pad)), probe=np.pad(made.probe, (pad, pad)))
