"""One dose of a study: positions, photon scale, seeded noise and the split, produced and written block by block.

Paths and designs do not belong here. Peak memory does not grow with the number of frames beyond the positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.findings import ContractReport, Expectations
from fly64_assets.contract.metadata import build_metadata, geometry, transformation
from fly64_assets.contract.npz import write_data_set
from fly64_assets.contract.schema import Base, small_arrays
from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import blocks, exact_mean, exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import SCANS, one_sided, split_indices, split_point
from fly64_assets.physics.windows import Scan, cached_frames, read
from fly64_assets.simulation.detector import Detector, detector_step
from fly64_assets.simulation.workers import in_order


@dataclass(frozen=True)
class SimulatedScan:
    """A scan of a base at one dose; its frames are computed on demand.

    Attributes
    ----------
    base : Base
        Object (H, W) and probe (N, N), complex64; the counts of several incoherent modes of the probe add up.
    positions : Scan
        Window centres of all frames, the same at every dose.
    mode : ``uniform``, ``raster``, ``fermat`` or ``base``
        How the positions are drawn anew, or that they are the base's own.
    dose : int
        Expected photons per frame, averaged over all frames.
    scale : float
        s; exit waves times s are in square roots of photons.
    energies : (n,) float64
        Sum of |P O_j|^2 of every frame.
    axis, point : str, float [px]
        Split axis, ``x`` or ``y``, and the coordinate that separates the halves.
    halves : mapping
        Frame indices of ``train`` and ``test``.
    seed, repeat : int
        Simulation seed and number of the repeat (from 1); with the dose and the frame they fix the noise.
    detector : Detector or None
        What becomes of the photons; None counts every one.
    """

    base: Base
    positions: Scan
    mode: str
    dose: int
    scale: float
    energies: NDArray[np.float64]
    axis: str
    point: float
    halves: Mapping[str, NDArray[np.int64]]
    seed: int
    repeat: int
    detector: Detector | None = None

    def expected_mean_counts(self, split: str) -> float:
        """Expected counts per frame, averaged over the split's own frames."""
        if self.detector is not None:
            own = self.positions[self.halves[split]]
            return self.detector.mean_counts(self.base.object, self.base.modes, own, self.scale)
        return self.scale**2 * exact_mean(self.energies[self.halves[split]])

    def patch_blocks(self, split: str, size: int | None = None, threads: int = 1) -> Iterator[NDArray[np.complex64]]:
        """Object patches (b, N, N) complex64 of the split's frames, in order."""
        return in_order(self._stored_patches, self._index_blocks(split, size), threads)

    def amplitude_blocks(self, split: str, size: int | None = None, threads: int = 1) -> Iterator[NDArray[np.float32]]:
        """Noisy amplitudes (b, N, N) float32 of the split's frames, in order; independent of size and threads.

        ``size`` is the number of frames in a block, by default as many as fit into a processor's cache.
        """
        return in_order(self._amplitudes, self._index_blocks(split, size), threads)

    def _index_blocks(self, split: str, size: int | None) -> Iterator[NDArray[np.int64]]:
        at_once = cached_frames(self.positions.patch_size) if size is None else size
        return (self.halves[split][part] for part in blocks(len(self.halves[split]), at_once))

    def _amplitudes(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        rates = patch_counts(self.base.object, self.base.modes, self.positions[index], self.scale)
        counts = poisson_counts(rates, index, self.seed, self.dose, self.repeat)
        if self.detector is not None:
            counts = self.detector.record(counts, index, self.seed, self.dose, self.repeat)
        return stored_amplitude(counts, self.scale)

    def _stored_patches(self, index: NDArray[np.int64]) -> NDArray[np.complex64]:
        return read(self.base.object, self.positions[index]).astype(np.complex64)


def simulate(
    base: Base, *, dose: int, scan: str, axis: str, seed: int, repeat: int = 1, detector: Detector | None = None
) -> SimulatedScan:
    """Prepare the scan of one dose.

    Raises :class:`ContractError` if the object is too small, no photon reaches the detector, or a half of the scan is
    empty.

    Parameters
    ----------
    base : Base
    dose : int
        Photons per frame that reach the detector.
    scan : ``uniform``, ``raster``, ``fermat`` or ``base``
        Draw as many positions anew as the base has (:data:`~fly64_assets.physics.scan.SCANS`), or use the base's own.
    axis : ``x`` or ``y``
        Axis along which the scan is split at half of its range.
    seed, repeat : int
        Simulation seed of the positions (``uniform``) and the noise; the repeat, from 1, changes the noise only.
    detector : Detector, optional
        What becomes of the photons. It changes neither positions nor scale nor the photons that reach it.

    Examples
    --------
    >>> from fly64_assets.simulation.bases import make_base
    >>> from fly64_assets.simulation.recipe import BaseRecipe
    >>> base = make_base(BaseRecipe("coins", "grass", object_size=100, positions=20), patch_size=64)
    >>> scan = simulate(base, dose=1000, scan="uniform", axis="y", seed=42)
    >>> amplitude = next(scan.amplitude_blocks("train"))
    >>> amplitude.shape[1:], amplitude.dtype, {split: len(index) for split, index in scan.halves.items()}
    ((64, 64), dtype('float32'), {'train': 11, 'test': 9})
    """
    positions = base.scan
    if len(positions) < 2:
        raise ContractError(f"the base cannot be simulated: a scan needs at least two positions, not {len(positions)}")
    try:
        if scan in SCANS:
            positions = SCANS[scan](seed, len(positions), positions.object_shape, positions.patch_size)
        energies = exit_wave_energies(base.object, base.modes, positions)
        scale = intensity_scale(dose, energies)
        _require_single_precision(1 / scale, 2 * float(np.sqrt(energies.max())))
    except ValueError as error:
        raise ContractError(f"the base cannot be simulated: {error}") from error
    coordinate = positions.y if axis == "y" else positions.x
    point = split_point(coordinate)
    halves = split_indices(coordinate, point)
    for split, index in halves.items():
        if len(index) == 0:
            raise ContractError(f"the {split} half of the scan is empty: {one_sided(positions.x, positions.y, axis)}")
    return SimulatedScan(base, positions, scan, dose, scale, energies, axis, point, halves, seed, repeat, detector)


def _require_single_precision(least: float, most: float) -> None:
    """Refuse amplitudes, of one photon and of the brightest pixel at most, that float32 does not hold in full."""
    low, high = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if not (low <= least and most <= high):
        raise ValueError(
            f"the frames have amplitudes from {least:.1g} to {most:.1g}, and data sets hold {low:.1g} to {high:.1g} "
            f"(single precision); multiply the probe by a constant, no result depends on its unit"
        )


def split_metadata(
    scan: SimulatedScan, split: str, *, patches: bool, base_name: str, base_sha256: str, parameters_sha256: str
) -> dict[str, Any]:
    """The ``_metadata`` document of one half: the history of the base, and what was done to it.

    ``patches`` says whether the file holds the true object patches Y; ``parameters_sha256`` is the hash of the design
    fields on which the file depends.
    """
    simulated = {"dose": scan.dose, "scan": scan.mode, "positions": len(scan.positions)}
    halved = {"axis": scan.axis, "point": scan.point, "kept": split, "frames": len(scan.halves[split])}
    steps = [
        transformation("simulate", simulated | {"seed": scan.seed, "repeat": scan.repeat}),
        *([] if scan.detector is None else [transformation("detect", detector_step(scan.detector))]),
        transformation("canonicalise", {"amplitude": "float32(sqrt(counts) / s)", "dc": "centre"}),
        *([transformation("patch", {"interpolation": "bilinear"})] if patches else []),
        transformation("split", halved),
        transformation("validate", {"contract": "DATA-001"}),
    ]
    return build_metadata(
        scan.base.patch_size,
        *scan.base.metadata.get("data_transformations", []),
        *steps,
        physics=geometry(scan.base.metadata)
        | {
            "nphotons": float(scan.dose),
            "intensity_scale": scan.scale,
            "expected_mean_counts": scan.expected_mean_counts(split),
        }
        | ({} if scan.detector is None else scan.detector.physics),
        fields={
            "base": {"name": base_name, "sha256": base_sha256},
            "split": split,
            "split_point": scan.point,
            "split_axis": scan.axis,
            "view": BASELINE,
            "parameters_sha256": parameters_sha256,
            "seeds": {"simulation": scan.seed},
        },
    )


def write_split(
    scan: SimulatedScan,
    split: str,
    file: BinaryIO,
    *,
    patches: bool,
    metadata: Mapping[str, Any],
    expected: Expectations | None = None,
    threads: int = 1,
) -> ContractReport:
    """Write one half of the scan as a DATA-001 file, block by block, and judge what was written.

    Returns the findings. Raises :class:`ContractError` if the written file breaks DATA-001.

    Parameters
    ----------
    scan : SimulatedScan
    split : ``train`` or ``test``
    file : BinaryIO
        A new file on disk, open for writing.
    patches : bool
        Whether to write the true object patches Y (m, N, N) complex64.
    metadata, expected
        The file's ``_metadata`` document (:func:`split_metadata`), and what the study expects of its data sets.
    threads : int
        Threads that simulate while this one writes; no byte depends on their number.
    """
    index = scan.halves[split]
    own = scan.positions[index]
    bad = None if scan.detector is None else scan.detector.bad
    return write_data_set(
        file,
        small_arrays(scan.base.object, scan.base.modes, own.x, own.y, index, metadata, bad_pixels=bad),
        scan.amplitude_blocks(split, threads=threads),
        scan.patch_blocks(split, threads=threads) if patches else None,
        where=f"dose_{scan.dose}: the {split} half",
        expected=expected,
    )
