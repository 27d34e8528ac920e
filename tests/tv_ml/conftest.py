"""A small scan of an object of uniform pieces with sharp edges, made by the real forward model, N = 64."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.scan import measure, soft_probe, write_data_set
from scipy.ndimage import gaussian_filter

from fly64_assets.engines.execution import Execution
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import Reconstruction, reconstruct

SHAPE = (112, 112)
PIECE = 12
"""Side of the squares of constant amplitude and phase [px]."""


@dataclass(frozen=True)
class Scan:
    """A simulated measurement and the object behind it."""

    object: np.ndarray
    measurement: Measurement

    def illuminated(self, least: float = 0.3) -> np.ndarray:
        """Pixels with at least this part of the largest illumination."""
        m = self.measurement
        found = illumination(m.probe, m.scan)
        return found > least * found.max()

    def phase_error(self, found: np.ndarray) -> float:
        """RMSE of the phase [rad] on illuminated pixels, up to a constant."""
        ratio = (found * self.object.conj())[self.illuminated()]
        return float(np.sqrt(np.mean(np.angle(ratio * np.conj(ratio.sum())) ** 2)))

    def some(self, frames: int) -> Measurement:
        """The measurement of the first frames."""
        m, few = self.measurement, slice(None, frames)
        return replace(m, amplitude=m.amplitude[few], x=m.x[few], y=m.y[few], scan_index=m.scan_index[few])

    def write(self, path: Path, **truth: np.ndarray) -> Path:
        """The scan as a data set file, by default with its true object; ``obj`` and ``patches`` replace the truth."""
        return write_data_set(path, self.measurement, truth.pop("obj", self.object), **truth)


def flat_pieces() -> np.ndarray:
    """Squares of constant amplitude and phase."""
    random = np.random.default_rng(7)
    pieces = -(-SHAPE[0] // PIECE)
    amplitude, phase = (
        np.kron(random.uniform(low, high, (pieces, pieces)), np.ones((PIECE, PIECE)))[: SHAPE[0], : SHAPE[1]]
        for low, high in ((0.7, 1.0), (-0.6, 0.6))
    )
    return amplitude * np.exp(1j * phase)


def texture() -> np.ndarray:
    """Smooth noise with details of a few pixels."""
    fields = (gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.5) for seed in (1, 2))
    amplitude, phase = (field / field.std() for field in fields)
    return (0.85 + 0.05 * amplitude) * np.exp(0.3j * phase)


def make_scan(n: int = 30, dose: float = 1e4, obj: np.ndarray | None = None) -> Scan:
    obj = flat_pieces() if obj is None else obj
    return Scan(obj, measure(obj, soft_probe(64), n, dose))


@pytest.fixture(scope="session")
def scanned() -> Callable[..., Scan]:
    """Builder of scans: ``scanned(n, dose, obj)``."""
    return make_scan


@pytest.fixture(scope="session")
def textured() -> np.ndarray:
    """An object without uniform pieces."""
    return texture()


@pytest.fixture
def solved(tmp_path: Path) -> Callable[..., Reconstruction]:
    """Reconstructs a measurement, without slow phases: ``solved(measurement, seed=1, progress=..., **settings)``."""

    def run(measurement: Measurement, seed: int = 1, progress=lambda *_: None, **settings) -> Reconstruction:
        chosen = TvMlSettings(**{"slow_phases": False, **settings})
        return reconstruct(measurement, chosen, Execution(), seed, progress, scratch=tmp_path)

    return run
