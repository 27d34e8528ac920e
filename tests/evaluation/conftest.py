"""Objects, probes and measurements for the tests of the evaluation: small, real and without files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit, dose_limit
from fly64_assets.evaluation.scores.compare import SplitInput
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.physics.forward import exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan

SIDE = 96
PROBE_SIDE = 32


def smooth_noise(seed: int, shape: tuple[int, int], cutoff: float = 0.22) -> NDArray[np.float64]:
    """Periodic noise (H, W) of unit variance without frequencies above ``cutoff`` [cycles/px]."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=shape))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    field = np.fft.ifft2(np.where(frequency < cutoff, spectrum * np.exp(-((frequency / 0.1) ** 2)), 0)).real
    return field / field.std()


@pytest.fixture(scope="session")
def limit() -> Callable[[LimitProblem], UnitLimit]:
    """The bound, sought once per problem: many tests compare on the same frames."""
    found: dict[str, UnitLimit] = {}

    def remembered(problem: LimitProblem) -> UnitLimit:
        digest = problem.sha256()
        if digest not in found:
            found[digest] = dose_limit(problem)
        return found[digest]

    return remembered


@pytest.fixture(scope="session")
def truth() -> NDArray[np.complex128]:
    """Object (96, 96): amplitude about 0.8, phase about 0.35 rad rms."""
    amplitude = 0.8 + 0.06 * smooth_noise(1, (SIDE, SIDE))
    return amplitude * np.exp(0.35j * smooth_noise(2, (SIDE, SIDE)))


@pytest.fixture(scope="session")
def band_limited() -> NDArray[np.complex128]:
    """Object (96, 96), periodic and without frequencies above 0.22 per pixel, so that Fourier shifts are exact."""
    return 1 + 0.3 * smooth_noise(3, (SIDE, SIDE)) + 0.4j * smooth_noise(4, (SIDE, SIDE))


@pytest.fixture(scope="session")
def mask() -> NDArray[np.bool_]:
    """A disc of 34 px radius in the middle of the object: no border of the object comes near."""
    rows, columns = np.indices((SIDE, SIDE))
    return (rows - 48) ** 2 + (columns - 47) ** 2 <= 34**2


@pytest.fixture(scope="session")
def probe() -> NDArray[np.complex64]:
    """Gaussian probe (32, 32), 4 px standard deviation of the intensity, with a curved phase."""
    rows, columns = np.indices((PROBE_SIDE, PROBE_SIDE)) - PROBE_SIDE // 2
    squared = rows**2 + columns**2
    return np.exp(-squared / (4 * 4.0**2) + 0.01j * squared).astype(np.complex64)


@pytest.fixture(scope="session")
def measured(
    truth: NDArray[np.complex128], probe: NDArray[np.complex64]
) -> Callable[[float, NDArray[np.float64], NDArray[np.float64]], Measurement]:
    """Poisson measurement of the truth at a dose [photons per frame] and positions (n,)."""

    def measure(dose: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> Measurement:
        scan = Scan(x, y, truth.shape, len(probe))
        scale = intensity_scale(dose, exit_wave_energies(truth, probe, scan))
        counts = np.random.default_rng(5).poisson(patch_counts(truth, probe, scan, scale))
        amplitude = (np.sqrt(counts) / scale).astype(np.float32)
        shape = (truth.shape[0], truth.shape[1])
        return Measurement(amplitude, scale, probe, x, y, shape, np.arange(len(x), dtype=np.int64))

    return measure


@pytest.fixture(scope="session")
def grid() -> Callable[[float, float, float, float, float], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Positions (x, y) of a raster from (x0, y0) up to (x1, y1) at a step."""

    def positions(x0: float, x1: float, y0: float, y1: float, step: float) -> tuple[NDArray, NDArray]:
        y, x = np.meshgrid(np.arange(y0, y1 + 1e-9, step), np.arange(x0, x1 + 1e-9, step), indexing="ij")
        return x.ravel(), y.ravel()

    return positions


@pytest.fixture(scope="session")
def train_split(measured, grid) -> Callable[..., SplitInput]:
    """The left half of the object at 1e5 photons per frame, with the given methods."""
    x, y = grid(20, 44, 20, 76, 4)
    measurement = measured(1e5, x, y)

    def split(methods, refined=frozenset()) -> SplitInput:
        return SplitInput(measurement, methods, scan_box(measurement.scan), frozenset(refined))

    return split


@pytest.fixture(scope="session")
def test_split(measured, grid) -> Callable[..., SplitInput]:
    """The right half of the object, whose first columns of frames overlap the training frames."""
    x, y = grid(52, 76, 20, 76, 4)
    measurement = measured(1e5, x, y)

    def split(methods, refined=frozenset()) -> SplitInput:
        return SplitInput(measurement, methods, scan_box(measurement.scan), frozenset(refined))

    return split
