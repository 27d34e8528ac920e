"""One dose of a study of measured frames: the split of the scan, thinned counts, and their files, block by block.

Neither an object nor a simulator is used: positions, probe and bad pixels are those of the measured frames. Which
photons belong to a dose is decided in ``thinning``; paths and designs do not belong here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.findings import ContractReport, Expectations
from fly64_assets.contract.metadata import (
    DETECTOR,
    STAND_IN_OBJECT,
    derive_metadata,
    has_stand_in_object,
    physics_parameters,
    positive_parameter,
    transformation,
)
from fly64_assets.contract.npz import write_data_set
from fly64_assets.contract.schema import OBJECT, Dataset, small_arrays
from fly64_assets.errors import ContractError
from fly64_assets.measured.thinning import Thinning, rows_of, thinned
from fly64_assets.physics.counts import stored_amplitude
from fly64_assets.physics.forward import BLOCK_FRAMES, blocks, exact_mean
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import one_sided, split_indices, split_point


@dataclass(frozen=True)
class ThinnedScan:
    """All measured frames at one dose; their counts are made on demand.

    Attributes
    ----------
    measured : Dataset
        All measured frames at full counts. Its object is not used: files of a dose hold ones instead.
    thinning : Thinning
        Which photons belong to the dose.
    axis, point : str, float [px]
        Split axis, ``x`` or ``y``, and the coordinate that separates the halves.
    halves : mapping
        Rows of the frames of ``train`` and ``test``.
    """

    measured: Dataset
    thinning: Thinning
    axis: str
    point: float
    halves: Mapping[str, NDArray[np.int64]]

    @property
    def scale(self) -> float:
        """Intensity scale s of the thinned counts."""
        return self.thinning.scale(self.measured.intensity_scale)

    @cached_property
    def measurement(self) -> Measurement:
        """The measured frames, without their object."""
        return self.measured.measurement()

    def expected_mean_counts(self, split: str) -> float:
        """Expected counts per frame, averaged over the split's own frames: p times what was measured there."""
        index = self.halves[split]
        totals = [self.measurement.counts(index[part]).sum(axis=(1, 2)) for part in blocks(len(index))]
        return self.thinning.fraction * exact_mean(np.concatenate(totals))

    def amplitude_blocks(self, split: str, size: int = BLOCK_FRAMES) -> Iterator[NDArray[np.float32]]:
        """Amplitudes (b, N, N) float32 of the split's frames, in order; independent of ``size``."""
        index = self.halves[split]
        for part in blocks(len(index), size):
            rows = index[part]
            counts = thinned(self.measurement.counts(rows), self.measured.scan_index[rows], self.thinning)
            yield stored_amplitude(counts.astype(np.int64), self.scale)


def measured_photons(measured: Dataset) -> float:
    """Measured photons per frame, averaged over all frames, as their file records it.

    Raises :class:`ContractError` where it records none.
    """
    photons = positive_parameter(measured.metadata, "nphotons")
    if photons is None:
        raise ContractError("the measured frames record no positive physics_parameters.nphotons: import them again")
    return photons


def thin(measured: Dataset, thinning: Thinning, axis: str) -> ThinnedScan:
    """Prepare the frames of one dose.

    Raises :class:`ContractError` if the dose does not exist, a frame's ``scan_index`` is not unique, or a half of the
    scan is empty.

    Parameters
    ----------
    measured : Dataset
        All measured frames at full counts.
    thinning : Thinning
    axis : ``x`` or ``y``
        Axis along which the scan is split at half of its range.
    """
    if thinning.reason:
        raise ContractError(thinning.reason)
    rows_of(measured.measurement(), measured.scan_index)
    coordinate = measured.y if axis == "y" else measured.x
    point = split_point(coordinate)
    halves = split_indices(coordinate, point)
    for split, index in halves.items():
        if len(index) == 0:
            raise ContractError(f"the {split} half of the scan is empty: {one_sided(measured.x, measured.y, axis)}")
    return ThinnedScan(measured, thinning, axis, point, halves)


def split_metadata(
    scan: ThinnedScan, split: str, *, base_name: str, measured_sha256: str, parameters_sha256: str
) -> dict[str, Any]:
    """The ``_metadata`` document of one half: the history of the measured frames, and how they were thinned.

    ``measured_sha256`` is that of the file with the measured frames, ``parameters_sha256`` the hash of the design
    fields on which the file depends.
    """
    halved = {"axis": scan.axis, "point": scan.point, "kept": split, "frames": len(scan.halves[split])}
    # Saturation and read-out were those of the full counts.
    known = physics_parameters(scan.measured.metadata)
    measured = {
        **scan.measured.metadata,
        "physics_parameters": {name: value for name, value in known.items() if name not in DETECTOR},
    }
    stands_in = [] if has_stand_in_object(measured) else [transformation(STAND_IN_OBJECT, {"key": OBJECT})]
    return derive_metadata(
        measured,
        *stands_in,
        scan.thinning.step(),
        transformation("canonicalise", {"amplitude": "float32(sqrt(counts) / s)", "dc": "centre"}),
        transformation("split", halved),
        transformation("validate", {"contract": "DATA-001"}),
        physics={
            "nphotons": float(scan.thinning.dose),
            "intensity_scale": scan.scale,
            "expected_mean_counts": scan.expected_mean_counts(split),
        },
        fields={
            "base": {"name": base_name, "sha256": measured_sha256},
            "split": split,
            "split_point": scan.point,
            "split_axis": scan.axis,
            "view": BASELINE,
            "parameters_sha256": parameters_sha256,
            "seeds": {"simulation": scan.thinning.seed},
        },
    )


def write_split(
    scan: ThinnedScan,
    split: str,
    file: BinaryIO,
    *,
    metadata: Mapping[str, Any],
    expected: Expectations | None = None,
    size: int = BLOCK_FRAMES,
) -> ContractReport:
    """Write one half of the scan as a DATA-001 file, block by block, and judge what was written.

    Returns the findings. Raises :class:`ContractError` if the written file breaks DATA-001.

    Parameters
    ----------
    scan : ThinnedScan
    split : ``train`` or ``test``
    file : BinaryIO
        A new file on disk, open for writing.
    metadata, expected
        The file's ``_metadata`` document (:func:`split_metadata`), and what the study expects of its data sets.
    size : int
        Frames that are handled at a time; no byte depends on it.
    """
    rows, measured = scan.halves[split], scan.measured
    return write_data_set(
        file,
        small_arrays(
            np.ones(measured.object.shape, np.complex64),
            measured.modes,
            measured.x[rows],
            measured.y[rows],
            measured.scan_index[rows],
            metadata,
            bad_pixels=measured.bad_pixels,
        ),
        scan.amplitude_blocks(split, size),
        None,
        where=f"dose_{scan.thinning.dose}: the {split} half",
        expected=expected,
    )
