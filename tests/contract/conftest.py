"""A small data set made by the real forward model, and ways to change it."""

from __future__ import annotations

import numpy as np
import pytest

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import build_metadata, transformation
from fly64_assets.physics import counts, forward, scan
from fly64_assets.physics.windows import Scan, read

N = 16
DOSE = 1000.0
FRAMES = 60
BASE_SHA256 = "ab" * 32


def make_object(height: int = 70, width: int = 66) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    amplitude = 0.8 + 0.2 * np.sin(rows / 5.0) * np.cos(columns / 7.0)
    return amplitude * np.exp(1j * np.sin(columns / 4.0 + rows / 9.0))


def make_probe(size: int = N) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size / 2
    radius_squared = rows**2 + columns**2
    return np.exp(-radius_squared / (2 * (size / 5) ** 2) + 1j * radius_squared / 40)


def make_arrays(indices: slice | np.ndarray = slice(None), **metadata: object) -> dict[str, np.ndarray]:
    """A valid data set of FRAMES positions, or the part of it at ``indices``."""
    obj, probe = make_object(), make_probe()
    positions = scan.uniform_scan(7, FRAMES, obj.shape, N)
    x, y = positions.x, positions.y
    energies = forward.exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe)))
    scale = forward.intensity_scale(DOSE, energies)
    rates = forward.patch_counts(obj, probe, Scan(x, y, obj.shape, len(probe)), scale)
    amplitude = counts.stored_amplitude(counts.poisson_counts(rates, np.arange(FRAMES), 3, int(DOSE)), scale)
    physics = {
        "nphotons": DOSE,
        "intensity_scale": scale,
        "expected_mean_counts": scale**2 * forward.exact_mean(energies[indices]),
    }
    physics |= {name: metadata.pop(name) for name in (*physics, "gridsize", "neighbor_count") if name in metadata}
    fields = {
        "base": {"name": "made.npz", "sha256": BASE_SHA256},
        "parameters_sha256": "cd" * 32,
        "seeds": {"simulation": 3},
        **metadata,
    }
    document = build_metadata(N, transformation("simulate", {"dose": DOSE}), physics=physics, fields=fields)
    dataset = schema.Dataset(
        diffraction=amplitude[indices],
        object=obj.astype(np.complex64),
        probe=probe.astype(np.complex64),
        x=x[indices],
        y=y[indices],
        scan_index=np.arange(FRAMES)[indices],
        patches=read(obj, Scan(x, y, obj.shape, N)).astype(np.complex64)[indices],
        metadata=document,
    )
    return schema.dataset_arrays(dataset)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    return make_arrays()


@pytest.fixture
def halves() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    y = scan.uniform_scan(7, FRAMES, make_object().shape, N).y
    point = scan.split_point(y)
    parts = scan.split_indices(y, point)
    train, test = (make_arrays(parts[s], split=s, split_point=point, split_axis="y") for s in ("train", "test"))
    return train, test


@pytest.fixture
def part():
    """Builder of a data set of some of the frames, with other metadata."""
    return make_arrays


@pytest.fixture
def save(tmp_path):
    """Writer of a file that holds arrays as they are, as another program writes it; returns its path."""

    def write(arrays):
        path = tmp_path / "wild.npz"
        np.savez(path, **arrays)
        return path

    return write
