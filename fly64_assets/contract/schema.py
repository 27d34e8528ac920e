"""What a DATA-001 file holds: keys, dtypes, and the value types ``Dataset`` and ``Base``.

Belongs here: names, dtypes and the arrays to write. Does not belong here: the ``_metadata`` document (``metadata``),
files (``npz``), judgement (``validate``) and conversion of other forms (``canonical``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import encode_metadata, recorded_scale
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan

FRAMES: Final = "diffraction"
LEGACY_FRAMES: Final = "diff3d"
OBJECT: Final = "objectGuess"
PROBE: Final = "probeGuess"
XCOORDS: Final = "xcoords"
YCOORDS: Final = "ycoords"
XCOORDS_START: Final = "xcoords_start"
YCOORDS_START: Final = "ycoords_start"
PATCHES: Final = "Y"
SCAN_INDEX: Final = "scan_index"
METADATA: Final = "_metadata"

BASE_KEYS: Final = (OBJECT, PROBE, XCOORDS, YCOORDS)
REQUIRED_KEYS: Final = (FRAMES, *BASE_KEYS)
ALWAYS_WRITTEN_KEYS: Final = (SCAN_INDEX, XCOORDS_START, YCOORDS_START)
PER_FRAME_KEYS: Final = (XCOORDS, YCOORDS, SCAN_INDEX, XCOORDS_START, YCOORDS_START, PATCHES)
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    FRAMES: np.dtype(np.float32),
    LEGACY_FRAMES: np.dtype(np.float32),
    OBJECT: np.dtype(np.complex64),
    PROBE: np.dtype(np.complex64),
    XCOORDS: np.dtype(np.float64),
    YCOORDS: np.dtype(np.float64),
    XCOORDS_START: np.dtype(np.float64),
    YCOORDS_START: np.dtype(np.float64),
    PATCHES: np.dtype(np.complex64),
    SCAN_INDEX: np.dtype(np.int64),
}
"""Every array key the contract knows, with its dtype; ``_metadata`` is text."""

KNOWN_KEYS: Final = frozenset({*DTYPES, METADATA})

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Dataset:
    """A whole data set, truth included.

    Attributes
    ----------
    diffraction : (n, N, N) float32
        Amplitudes, DC in the centre; may be memory-mapped.
    object : (H, W) complex64
    probe : (N, N) complex64
    x, y : (n,) float64 [px]
        Window centres; x = column, y = row.
    scan_index : (n,) int64
        Index of each frame in the unsplit scan.
    patches : (n, N, N) complex64 or None
        Object windows at the positions.
    metadata : dict
        The ``_metadata`` document.
    """

    diffraction: NDArray[np.float32]
    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    scan_index: NDArray[np.int64]
    patches: NDArray[np.complex64] | None
    metadata: dict[str, Any]

    @property
    def frames(self) -> int:
        """Number of frames n."""
        return len(self.x)

    @property
    def intensity_scale(self) -> float:
        """Scale s, with (s X)^2 = photon counts. Raises :class:`ContractError` where none is recorded."""
        return recorded_scale(self.metadata)

    @property
    def scan(self) -> Scan:
        """Positions and the object's grid, on which their windows lie."""
        return Scan(self.x, self.y, (self.object.shape[0], self.object.shape[1]), int(self.probe.shape[0]))

    def measurement(self) -> Measurement:
        """The part of the data set that an experiment knows: no object values, no patches."""
        height, width = self.object.shape
        return Measurement(
            amplitude=self.diffraction,
            intensity_scale=self.intensity_scale,
            probe=self.probe,
            x=self.x,
            y=self.y,
            object_shape=(height, width),
            scan_index=self.scan_index,
        )


@dataclass(frozen=True)
class Base:
    """Where a study starts: object (H, W) complex64, probe (N, N) complex64, positions x, y (n,) float64 [px]."""

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    metadata: dict[str, Any]

    @property
    def patch_size(self) -> int:
        """Probe side N in pixels."""
        return int(self.probe.shape[0])

    @property
    def scan(self) -> Scan:
        """Positions and the object's grid, on which their windows lie."""
        return Scan(self.x, self.y, (self.object.shape[0], self.object.shape[1]), self.patch_size)


# -- arrays to write ----------------------------------------------------------------------------------------------


def dataset_arrays(dataset: Dataset, *, legacy_keys: bool = False) -> dict[str, NDArray[Any]]:
    """Arrays of a DATA-001 file, in the order in which they are written.

    ``scan_index``, ``xcoords_start``, ``ycoords_start`` and ``_metadata`` are always among them. With
    ``legacy_keys`` the frames stand there a second time as ``diff3d``, for existing PtychoPINN loaders.
    """
    arrays: dict[str, NDArray[Any]] = {FRAMES: dataset.diffraction}
    if legacy_keys:
        arrays[LEGACY_FRAMES] = dataset.diffraction
    if dataset.patches is not None:
        arrays[PATCHES] = dataset.patches
    return arrays | small_arrays(
        dataset.object, dataset.probe, dataset.x, dataset.y, dataset.scan_index, dataset.metadata
    )


def small_arrays(
    obj: NDArray[np.complexfloating],
    probe: NDArray[np.complexfloating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    scan_index: NDArray[np.int64],
    metadata: Mapping[str, Any],
) -> dict[str, NDArray[Any]]:
    """Everything in a DATA-001 file besides frames and patches, for writers that stream those two."""
    return {
        OBJECT: obj.astype(np.complex64),
        PROBE: probe.astype(np.complex64),
        XCOORDS: np.asarray(x, dtype=np.float64),
        YCOORDS: np.asarray(y, dtype=np.float64),
        XCOORDS_START: np.asarray(x, dtype=np.float64),
        YCOORDS_START: np.asarray(y, dtype=np.float64),
        SCAN_INDEX: np.asarray(scan_index, dtype=np.int64),
        METADATA: encode_metadata(metadata),
    }


def base_arrays(base: Base) -> dict[str, NDArray[Any]]:
    """Arrays of a base file, in the order in which they are written."""
    index = np.arange(len(base.x), dtype=np.int64)
    arrays = small_arrays(base.object, base.probe, base.x, base.y, index, base.metadata)
    del arrays[SCAN_INDEX]
    return arrays
