"""What a DATA-001 file holds: keys, dtypes, and the value types ``Dataset`` and ``Base`` with the arrays to write.

The ``_metadata`` document is in ``metadata``, files in ``npz``, judgement in ``validate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import encode_metadata, recorded_scale
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import MODES_AXES, modes_of
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
BAD_PIXELS: Final = "bad_pixels"
METADATA: Final = "_metadata"

BASE_KEYS: Final = (OBJECT, PROBE, XCOORDS, YCOORDS)
REQUIRED_KEYS: Final = (FRAMES, *BASE_KEYS)
ALWAYS_WRITTEN_KEYS: Final = (SCAN_INDEX, XCOORDS_START, YCOORDS_START)
PER_FRAME_KEYS: Final = (XCOORDS, YCOORDS, SCAN_INDEX, XCOORDS_START, YCOORDS_START, PATCHES)
DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    FRAMES: np.dtype(np.float32),
    LEGACY_FRAMES: np.dtype(np.float32),
    **dict.fromkeys((OBJECT, PROBE), np.dtype(np.complex64)),
    **dict.fromkeys((XCOORDS, YCOORDS, XCOORDS_START, YCOORDS_START), np.dtype(np.float64)),
    PATCHES: np.dtype(np.complex64),
    SCAN_INDEX: np.dtype(np.int64),
    BAD_PIXELS: np.dtype(np.bool_),
}
"""Every array key the contract knows, with its dtype; ``_metadata`` is text."""

AXES: Final[Mapping[str, int]] = {
    **dict.fromkeys((FRAMES, LEGACY_FRAMES, PATCHES), 3),
    **dict.fromkeys((OBJECT, PROBE, BAD_PIXELS), 2),
    **dict.fromkeys((XCOORDS, YCOORDS, XCOORDS_START, YCOORDS_START, SCAN_INDEX), 1),
}
"""Number of axes of every array key; a probe of several modes has one more (:func:`axes_of`)."""

START_KEYS: Final = {XCOORDS_START: XCOORDS, YCOORDS_START: YCOORDS}
"""Keys of start positions, and the positions whose values they hold."""

KNOWN_KEYS: Final = frozenset({*DTYPES, METADATA})

Arrays = Mapping[str, NDArray[Any]]


def axes_of(key: str, array: NDArray[Any]) -> int:
    """Number of axes that an array of a known key should have: a complex probe of several modes has one more."""
    several = key == PROBE and array.dtype.kind == "c" and sum(side != 1 for side in array.shape) == MODES_AXES
    return MODES_AXES if several else AXES[key]


def strongest(probe: NDArray[Any]) -> NDArray[Any]:
    """The first of several modes (M, N, N), which is the strongest of a canonical file; (N, N) as it is."""
    return probe[0] if probe.ndim == MODES_AXES and len(probe) > 1 else probe


def further(probe: NDArray[Any]) -> NDArray[Any] | None:
    """All but the first of several modes (M, N, N), or None."""
    return probe[1:] if probe.ndim == MODES_AXES and len(probe) > 1 else None


def _scan(x: NDArray[np.float64], y: NDArray[np.float64], obj: NDArray[Any], probe: NDArray[Any]) -> Scan:
    return Scan(x, y, (obj.shape[0], obj.shape[1]), int(probe.shape[0]))


@dataclass(frozen=True)
class Dataset:
    """A whole data set, truth included.

    Attributes
    ----------
    diffraction : (n, N, N) float32
        Amplitudes, DC in the centre; may be memory-mapped. At bad pixels any value.
    object : (H, W) complex64
    probe : (N, N) complex64
        Of several incoherent modes the strongest.
    x, y : (n,) float64 [px]
        Window centres; x = column, y = row.
    scan_index : (n,) int64
        Index of each frame in the unsplit scan.
    patches : (n, N, N) complex64 or None
        Object windows at the positions.
    metadata : dict
        The ``_metadata`` document.
    bad_pixels : (N, N) bool or None
        True where the detector did not measure, in all frames alike.
    further_modes : (M - 1, N, N) complex64 or None
        The other incoherent modes of the probe by falling power, orthogonal to it and to each other.
    """

    diffraction: NDArray[np.float32]
    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    scan_index: NDArray[np.int64]
    patches: NDArray[np.complex64] | None
    metadata: dict[str, Any]
    bad_pixels: NDArray[np.bool_] | None = None
    further_modes: NDArray[np.complex64] | None = None

    @property
    def modes(self) -> NDArray[np.complexfloating]:
        """``probeGuess``: all modes of the probe (M, N, N), or the probe (N, N) where it is the only one."""
        return modes_of(self.probe, self.further_modes)

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
        return _scan(self.x, self.y, self.object, self.probe)

    def measurement(self) -> Measurement:
        """What an experiment knows of the data set: no object values, no patches."""
        shape, s = self.scan.object_shape, self.intensity_scale
        return Measurement(
            self.diffraction,
            s,
            self.probe,
            self.x,
            self.y,
            shape,
            self.scan_index,
            bad_pixels=self.bad_pixels,
            further_modes=self.further_modes,
        )


@dataclass(frozen=True)
class Base:
    """Where a study starts: object (H, W) complex64, probe (N, N) complex64, positions x, y (n,) float64 [px].

    ``further_modes`` (M - 1, N, N) complex64 are the other incoherent modes of the probe, as in :class:`Dataset`.
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    metadata: dict[str, Any]
    further_modes: NDArray[np.complex64] | None = None

    @property
    def modes(self) -> NDArray[np.complexfloating]:
        """``probeGuess``: all modes of the probe (M, N, N), or the probe (N, N) where it is the only one."""
        return modes_of(self.probe, self.further_modes)

    @property
    def patch_size(self) -> int:
        """Probe side N in pixels."""
        return int(self.probe.shape[0])

    @property
    def scan(self) -> Scan:
        """Positions and the object's grid, on which their windows lie."""
        return _scan(self.x, self.y, self.object, self.probe)


def dataset_arrays(dataset: Dataset, *, legacy_keys: bool = False) -> dict[str, NDArray[Any]]:
    """Arrays of a DATA-001 file, in the order in which they are written.

    ``scan_index``, ``xcoords_start``, ``ycoords_start`` and ``_metadata`` are always among them. With
    ``legacy_keys`` the frames are stored a second time as ``diff3d``, for existing PtychoPINN loaders.
    """
    arrays: dict[str, NDArray[Any]] = {FRAMES: dataset.diffraction}
    if legacy_keys:
        arrays[LEGACY_FRAMES] = dataset.diffraction
    if dataset.patches is not None:
        arrays[PATCHES] = dataset.patches
    return arrays | small_arrays(
        dataset.object,
        dataset.modes,
        dataset.x,
        dataset.y,
        dataset.scan_index,
        dataset.metadata,
        bad_pixels=dataset.bad_pixels,
    )


def small_arrays(
    obj: NDArray[np.complexfloating],
    probe: NDArray[np.complexfloating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    scan_index: NDArray[np.int64],
    metadata: Mapping[str, Any],
    *,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[Any]]:
    """Everything in a DATA-001 file besides frames and patches, for writers that stream those two.

    ``probe`` is (N, N), or (M, N, N) with all its incoherent modes.
    """
    mask = {} if bad_pixels is None else {BAD_PIXELS: np.asarray(bad_pixels, dtype=np.bool_)}
    return mask | {
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
    arrays = small_arrays(base.object, base.modes, base.x, base.y, index, base.metadata)
    del arrays[SCAN_INDEX]
    return arrays
