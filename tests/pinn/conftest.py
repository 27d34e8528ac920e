"""A small scan made by the real forward model: 64 frames of 32 x 32 pixels."""

from __future__ import annotations

from dataclasses import replace

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest

from fly64_assets.physics import counts, forward, scan
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.settings import UnrolledSettings

N = 32
SHAPE = (80, 88)


def make_object() -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    amplitude = 0.85 + 0.15 * np.sin(rows / 3.0) * np.cos(columns / 4.0)
    return amplitude * np.exp(1j * 0.5 * np.sin(columns / 3.5 + rows / 5.0))


def make_probe(size: int = N) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(rows, columns) / (size / 4)
    return (np.exp(2j * radius**2) / (1 + np.exp((radius - 1) * 10))).astype(np.complex64)


def make_measurement(n: int = 64, dose: float = 1e5, noise: bool = True, whole: bool = False) -> Measurement:
    """``whole`` puts the positions on whole pixels."""
    obj, probe = make_object(), make_probe()
    x, y = scan.uniform_positions(5, n, obj.shape, N)
    if whole:
        x, y = np.floor(x), np.floor(y)
    scale = forward.intensity_scale(dose, forward.exit_wave_energies(obj, probe, x, y))
    rates = forward.patch_counts(obj, probe, x, y, scale)
    values = counts.poisson_counts(rates, np.arange(n), 3, int(dose)) if noise else rates
    amplitude = (np.sqrt(values) / scale).astype(np.float32)
    return Measurement(amplitude, scale, probe, x, y, obj.shape, np.arange(n))


@pytest.fixture(scope="session")
def obj() -> np.ndarray:
    return make_object()


@pytest.fixture(scope="session")
def probe() -> np.ndarray:
    return make_probe()


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
        inner[4:-4, 4:-4] = make_probe()[4:-4, 4:-4]
        obj = make_object() if obj is None else obj
        made = replace(make_measurement(n), probe=inner)
        rates = forward.patch_counts(obj, inner, made.x, made.y, made.intensity_scale)
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
