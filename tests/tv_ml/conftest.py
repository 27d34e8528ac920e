"""A small scan of an object of flat pieces with sharp edges, made by the real forward model: 64 x 64 pixels a frame."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from fly64_assets.contract import schema
from fly64_assets.contract.npz import write_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.physics import counts, forward, scan
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import Reconstruction, reconstruct

N = 64
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
        found = illumination(m.probe, m.x, m.y, m.object_shape)
        return found > least * found.max()

    def phase_error(self, found: np.ndarray) -> float:
        """RMSE of the phase [rad] on illuminated pixels, up to a constant."""
        ratio = (found * self.object.conj())[self.illuminated()]
        return float(np.sqrt(np.mean(np.angle(ratio * np.conj(ratio.sum())) ** 2)))

    def some(self, frames: int) -> Measurement:
        """The measurement of the first frames."""
        m, few = self.measurement, slice(None, frames)
        return replace(m, amplitude=m.amplitude[few], x=m.x[few], y=m.y[few], scan_index=m.scan_index[few])

    def write(self, path: Path, *, obj: np.ndarray | None = None, patches: np.ndarray | None = None) -> Path:
        """The scan as a data set file, by default with its true object and patches."""
        m = self.measurement
        obj = self.object if obj is None else obj
        metadata = schema.build_metadata(
            patch_size=N,
            nphotons=1e4,
            intensity_scale=m.intensity_scale,
            expected_mean_counts=1e4,
            base_name="made.npz",
            base_sha256="ab" * 32,
            parameters_sha256="cd" * 32,
            seeds={"simulation": 3},
            transformations=[schema.transformation("simulate", {"dose": 1e4})],
        )
        dataset = schema.Dataset(
            diffraction=m.amplitude,
            object=obj.astype(np.complex64),
            probe=m.probe,
            x=m.x,
            y=m.y,
            scan_index=m.scan_index,
            patches=(forward.extract_patches(obj, m.x, m.y, N) if patches is None else patches).astype(np.complex64),
            metadata=metadata,
        )
        with path.open("wb") as file:
            write_npz(file, schema.dataset_arrays(dataset))
        return path


def make_scan(n: int = 60, dose: float = 1e4) -> Scan:
    random = np.random.default_rng(7)
    pieces = -(-SHAPE[0] // PIECE)
    amplitude, phase = (
        np.kron(random.uniform(low, high, (pieces, pieces)), np.ones((PIECE, PIECE)))[: SHAPE[0], : SHAPE[1]]
        for low, high in ((0.7, 1.0), (-0.6, 0.6))
    )
    obj = amplitude * np.exp(1j * phase)
    rows, columns = np.mgrid[:N, :N] - N // 2
    radius = np.hypot(rows, columns) / (N / 4)
    probe = (np.exp(2j * radius**2) / (1 + np.exp((radius - 1) * 10))).astype(np.complex64)
    x, y = scan.uniform_positions(5, n, SHAPE, N)
    scale = forward.intensity_scale(dose, forward.exit_wave_energies(obj, probe, x, y))
    rates = forward.patch_counts(obj, probe, x, y, scale)
    stored = counts.stored_amplitude(counts.poisson_counts(rates, np.arange(n), 3, int(dose)), scale)
    return Scan(obj, Measurement(stored, scale, probe, x, y, SHAPE, np.arange(n)))


@pytest.fixture(scope="session")
def scanned() -> Callable[..., Scan]:
    """Builder of scans: ``scanned(n, dose)``."""
    return make_scan


@pytest.fixture
def solved(tmp_path: Path) -> Callable[..., Reconstruction]:
    """Reconstructs a measurement: ``solved(measurement, seed=1, progress=..., **settings)``."""

    def run(measurement: Measurement, seed: int = 1, progress=lambda *_: None, **settings) -> Reconstruction:
        return reconstruct(measurement, TvMlSettings(**settings), Execution(), seed, progress, scratch=tmp_path)

    return run
