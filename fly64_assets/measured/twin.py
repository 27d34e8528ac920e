"""Frames of a known object at the dose of an experiment, as a measurement of it would have counted them.

Which base and design they belong to (:mod:`fly64_assets.study.twin`) is not for here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.findings import ContractReport
from fly64_assets.contract.metadata import build_metadata, geometry, is_stand_in, transformation
from fly64_assets.contract.npz import write_data_set
from fly64_assets.contract.schema import FRAMES, Base, small_arrays
from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import BLOCK_FRAMES, blocks, exit_wave_energies, intensity_scale, patch_counts

SIMULATED: Final = "simulate_measurement"
"""The transformation of a history that says that frames stand for measured ones and were simulated."""


@dataclass(frozen=True)
class SimulatedMeasurement:
    """All frames of a base at its own positions; they are computed on demand, and no block size changes a count.

    Attributes
    ----------
    base : Base
        Object, probe (all incoherent modes) and positions.
    photons : float
        Expected counts of all good pixels of a frame, averaged over the frames.
    seed : int
        With ``scan_index`` it fixes the noise of a frame.
    scale : float
        s, with (s X)^2 = counts; exit waves times s are in square roots of photons.
    scan_index : (n,) int64
        Number of each frame in the measured scan.
    bad_pixels : (N, N) bool or None
        True where nothing is counted.
    """

    base: Base
    photons: float
    seed: int
    scale: float
    scan_index: NDArray[np.int64]
    bad_pixels: NDArray[np.bool_] | None

    @classmethod
    def of(
        cls,
        base: Base,
        photons: float,
        seed: int,
        bad_pixels: NDArray[np.bool_] | None = None,
        scan_index: NDArray[np.int64] | None = None,
    ) -> SimulatedMeasurement:
        """Find the scale at which the good pixels of a frame count ``photons`` on average.

        Frames are numbered from 0 without a ``scan_index``. Raises :class:`ContractError` if no light reaches them.
        """
        index = np.arange(len(base.x), dtype=np.int64) if scan_index is None else scan_index
        try:
            scale = intensity_scale(photons, _good_energies(base, bad_pixels))
        except ValueError as problem:
            raise ContractError(f"the frames of the base cannot be simulated: {problem}") from problem
        return cls(base, photons, seed, scale, index, bad_pixels)

    def amplitude_blocks(self, size: int = BLOCK_FRAMES) -> Iterator[NDArray[np.float32]]:
        """Amplitudes (b, N, N) float32 of all frames in order, 0 at bad pixels."""
        base, dose = self.base, max(1, round(self.photons))
        for part in blocks(len(base.x), size):
            rates = patch_counts(base.object, base.modes, base.scan[part], self.scale)
            if self.bad_pixels is not None:
                rates[:, self.bad_pixels] = 0.0
            yield stored_amplitude(poisson_counts(rates, self.scan_index[part], self.seed, dose), self.scale)

    def other_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything of the data set besides its frames."""
        base = self.base
        return small_arrays(
            base.object, base.modes, base.x, base.y, self.scan_index, self._metadata(), bad_pixels=self.bad_pixels
        )

    def _metadata(self) -> dict[str, Any]:
        base, bad = self.base, self.bad_pixels
        step = {
            "photons": self.photons,
            "frames": len(base.x),
            "seed": self.seed,
            "bad_pixels": 0 if bad is None else int(np.count_nonzero(bad)),
        }
        # The object is a known one here, whatever stood in for it when the base was measured.
        history = [entry for entry in base.metadata.get("data_transformations", []) if not is_stand_in(entry)]
        counts = dict.fromkeys(("nphotons", "expected_mean_counts"), self.photons)
        return build_metadata(
            base.patch_size,
            *history,
            transformation(SIMULATED, step),
            physics=geometry(base.metadata) | counts | {"intensity_scale": self.scale},
            fields={"base": base.metadata.get("base", {"name": None, "sha256": None}), "seeds": {"noise": self.seed}},
        )


def _good_energies(base: Base, bad_pixels: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Energy of every exit wave (n,) that reaches the good pixels of the detector."""
    if bad_pixels is None:
        return exit_wave_energies(base.object, base.modes, base.scan)
    energies = np.empty(len(base.x))
    for part in blocks(len(base.x)):
        energies[part] = patch_counts(base.object, base.modes, base.scan[part], 1.0)[:, ~bad_pixels].sum(axis=1)
    return energies


def simulated_measurement(
    base: Base,
    photons: float,
    seed: int,
    bad_pixels: NDArray[np.bool_] | None = None,
    scan_index: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[Any]]:
    """Arrays of a DATA-001 file: Poisson counts of a base at its own positions, and its object as ``objectGuess``.

    Equal arguments give equal arrays. For scans that fill the memory see :func:`write_simulated_measurement`.

    Parameters
    ----------
    base : Base
    photons : float
        Expected counts of all good pixels of a frame, averaged over the frames.
    seed : int
    bad_pixels : (N, N) bool, optional
        True where nothing is counted.
    scan_index : (n,) int64, optional
        Number of each frame in the measured scan; from 0 by default.

    Examples
    --------
    >>> from fly64_assets.simulation.bases import make_base
    >>> from fly64_assets.simulation.recipe import BaseRecipe
    >>> base = make_base(BaseRecipe("coins", "grass", object_size=100, positions=20), patch_size=64)
    >>> arrays = simulated_measurement(base, photons=1000, seed=1)
    >>> arrays["diffraction"].shape, arrays["diffraction"].dtype, len(arrays["scan_index"])
    ((20, 64, 64), dtype('float32'), 20)
    """
    frames = SimulatedMeasurement.of(base, photons, seed, bad_pixels, scan_index)
    return {FRAMES: np.concatenate(list(frames.amplitude_blocks())), **frames.other_arrays()}


def write_simulated_measurement(frames: SimulatedMeasurement, file: BinaryIO) -> ContractReport:
    """Write the data set of :func:`simulated_measurement` block by block, and judge what was written.

    Raises :class:`ContractError` if the written file breaks DATA-001.
    """
    return write_data_set(file, frames.other_arrays(), frames.amplitude_blocks(), None, where="the simulated frames")
