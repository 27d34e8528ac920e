"""Small scans made by the real forward model: 64 x 64 frames of a textured object."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from fixtures.scan import measure, soft_probe, write_data_set
from scipy.ndimage import gaussian_filter

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
        light = illumination(m.probe, m.scan)
        return light > least * light.max()

    def phase_error(self, found: np.ndarray) -> float:
        """RMSE of the phase [rad] on lit pixels, up to a constant."""
        ratio = (found * self.object.conj())[self.lit()]
        return float(np.sqrt(np.mean(np.angle(ratio * np.conj(ratio.sum())) ** 2)))

    def write(self, path, *, obj: np.ndarray | None = None, patches: np.ndarray | None = None):
        """The scan as a data set file, by default with its true object and patches."""
        return write_data_set(path, self.measurement, self.object if obj is None else obj, patches)


def make_scan(shape: tuple[int, int] = (128, 128), n: int = 60, dose: float = 1e6) -> Scan:
    obj = (0.7 + 0.3 * texture(shape, 1)) * np.exp(1.2j * texture(shape, 2))
    return Scan(obj, measure(obj, soft_probe(N), n, dose))


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
