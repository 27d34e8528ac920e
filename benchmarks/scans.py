"""Scans of objects that no study uses, with their truth: the data of the benchmarks of the iterative methods.

Only benchmarks see the truth; a job does not.

Usage: python benchmarks/scans.py NAME SIZE POSITIONS FILE.npz   (object, probe and positions as a base)
"""

import sys
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from fly64_assets.contract.schema import Base
from fly64_assets.evaluation.scores.photons import expected_photons, phase_variance_floor
from fly64_assets.evaluation.scores.region import evaluation_region, scan_box
from fly64_assets.physics import counts, forward
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.overlap import select_spaced
from fly64_assets.physics.windows import Scan
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate
from fly64_assets.simulation.recipe import BaseRecipe

SPACING = {"baseline": 0.0, "dense": 19.2, "sparse": 51.2}
STEP = 8
"""Of the raster [px]."""
INTERIOR = 0.5
"""Least illumination of an interior pixel, relative to the largest."""
SMOOTH_AMPLITUDE, SMOOTH_PHASE = 0.08, 0.167
"""Standard deviations of an object of smoothed noise; of its phase in rad."""


def base_of(name: str, size: int, positions: int) -> Base:
    """Object ``AMPLITUDE/PHASE`` of two pictures, or ``smooth/SIGMA``: noise smoothed by a Gaussian of SIGMA pixels."""
    amplitude, phase = name.split("/")
    smooth = amplitude == "smooth"
    pictures = ("coins", "grass") if smooth else (amplitude, phase)
    base = make_base(BaseRecipe(*pictures, size, positions, probe_radius=0.22, probe_curvature=5.0, seed=9), 64)
    if not smooth:
        return base
    modulus = 0.85 + SMOOTH_AMPLITUDE * _smooth_noise(size, float(phase), 0)
    angle = SMOOTH_PHASE * _smooth_noise(size, float(phase), 1)
    return replace(base, object=(np.clip(modulus, 0.5, 1.2) * np.exp(1j * angle)).astype(np.complex64))


def _smooth_noise(size: int, sigma: float, seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), sigma, mode="wrap")
    return noise / noise.std()


def train_half(base: Base, dose: int, view: str) -> Measurement:
    """Frames of the train half of a cell, as the study's simulation and views make them."""
    scan = simulate(base, dose=dose, scan="uniform", axis="y", seed=7)
    index = scan.halves["train"]
    amplitude = np.concatenate(list(scan.amplitude_blocks("train")))
    kept = np.arange(len(index))
    if SPACING[view]:
        kept = select_spaced(np.c_[scan.positions.x[index], scan.positions.y[index]], SPACING[view], 64).kept
    x, y = scan.positions.x[index][kept], scan.positions.y[index][kept]
    return Measurement(amplitude[kept], scan.scale, base.probe, x, y, base.object.shape, index[kept])


def raster(base: Base, dose: int) -> Measurement:
    """The upper half of a raster of whole pixels, :data:`STEP` apart: 512 frames for an object of 320 px."""
    centres = np.arange(36.0, base.object.shape[0] - 35, STEP)
    y, x = (axis.ravel() for axis in np.meshgrid(centres, centres, indexing="ij"))
    scan = Scan(x, y, base.object.shape, base.patch_size)
    scale = forward.intensity_scale(dose, forward.exit_wave_energies(base.object, base.probe, scan))
    index = np.arange(len(x) // 2)
    scan = scan[index]
    amplitude = np.empty((len(index), *base.probe.shape), np.float32)
    for part in forward.blocks(len(index)):
        rates = forward.patch_counts(base.object, base.probe, scan[part], scale)
        amplitude[part] = counts.stored_amplitude(counts.poisson_counts(rates, index[part], 7, dose), scale)
    return Measurement(amplitude, scale, base.probe, scan.x, scan.y, base.object.shape, index)


def evaluated(m: Measurement) -> np.ndarray:
    """Pixels that count in a study."""
    return evaluation_region(m.probe, m.scan, threshold=0.1, scan_box=scan_box(m.scan)).mask


def interior(m: Measurement) -> np.ndarray:
    """Pixels without the dim rim of the scan."""
    light = illumination(m.probe, m.scan)
    return light >= INTERIOR * light.max()


def phase_floor(m: Measurement, truth: np.ndarray, mask: np.ndarray) -> float:
    """Root of the mean of 1 / (4 n_r) [rad]."""
    photons = expected_photons(illumination(m.probe, m.scan), truth, m.intensity_scale)
    return float(np.sqrt(phase_variance_floor(photons[mask]).mean()))


def phase_rmse(obj: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """After removing the global phase [rad]; positions and grid are the truth's own."""
    product = obj[mask] * truth[mask].conj()
    return float(np.sqrt((np.angle(product * np.conj(product.sum())) ** 2).mean()))


def main() -> None:
    name, size, positions, path = sys.argv[1:]
    base = base_of(name, int(size), int(positions))
    np.savez(path, objectGuess=base.object, probeGuess=base.probe, xcoords=base.x, ycoords=base.y)


if __name__ == "__main__":
    main()
