"""Small scans made by the real forward model: 64 x 64 frames of a textured object."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from fly64_assets.contract import schema
from fly64_assets.contract.npz import write_npz
from fly64_assets.physics import counts, forward, scan
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement

N = 64


def texture(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Smooth noise with details of a few pixels, scaled to 0 ... 1."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0, mode="wrap")
    return (field - field.min()) / np.ptp(field)


@dataclass(frozen=True)
class Scan:
    """A simulated measurement and the object behind it."""

    object: np.ndarray
    measurement: Measurement

    def lit(self, least: float = 0.3) -> np.ndarray:
        """Pixels that got at least this part of the greatest illumination."""
        m = self.measurement
        light = illumination(m.probe, m.x, m.y, m.object_shape)
        return light > least * light.max()

    def phase_error(self, found: np.ndarray) -> float:
        """RMSE of the phase [rad] on lit pixels, up to a constant."""
        ratio = (found * self.object.conj())[self.lit()]
        return float(np.sqrt(np.mean(np.angle(ratio * np.conj(ratio.sum())) ** 2)))

    def write(self, path, *, obj: np.ndarray | None = None, patches: np.ndarray | None = None):
        """The scan as a data set file, by default with its true object and patches."""
        m = self.measurement
        obj = self.object if obj is None else obj
        metadata = schema.build_metadata(
            patch_size=N,
            nphotons=1e5,
            intensity_scale=m.intensity_scale,
            expected_mean_counts=1e5,
            base_name="made.npz",
            base_sha256="ab" * 32,
            parameters_sha256="cd" * 32,
            seeds={"simulation": 3},
            transformations=[schema.transformation("simulate", {"dose": 1e5})],
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


def make_scan(shape: tuple[int, int] = (128, 128), n: int = 60, dose: float = 1e6) -> Scan:
    obj = (0.7 + 0.3 * texture(shape, 1)) * np.exp(1.2j * texture(shape, 2))
    rows, columns = np.mgrid[:N, :N] - N // 2
    radius = np.hypot(rows, columns) / (N / 4)
    probe = (np.exp(2j * radius**2) / (1 + np.exp((radius - 1) * 10))).astype(np.complex64)
    x, y = scan.uniform_positions(5, n, shape, N)
    scale = forward.intensity_scale(dose, forward.exit_wave_energies(obj, probe, x, y))
    rates = forward.patch_counts(obj, probe, x, y, scale)
    amplitude = counts.stored_amplitude(counts.poisson_counts(rates, np.arange(n), 3, int(dose)), scale)
    return Scan(obj, Measurement(amplitude, scale, probe, x, y, shape, np.arange(n)))


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    """The library sets torch's device and dtype for the whole process."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def scanned():
    """Builder of scans: ``scanned(shape, n, dose)``."""
    return make_scan
