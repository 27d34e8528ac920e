"""What a DATA-001 file holds: keys, dtypes, metadata, and the value types ``Dataset`` and ``Base``.

Belongs here: names, dtypes, the ``_metadata`` document and the arrays to write. Does not belong here: files
(``npz``), judgement (``validate``) and conversion of other forms (``canonical``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets import __version__
from fly64_assets.errors import ContractError
from fly64_assets.physics.measurement import Measurement

SCHEMA_VERSION: Final = "1.0"
TOOL: Final = "fly64_assets"

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


# -- metadata -----------------------------------------------------------------------------------------------------


def transformation(operation: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One entry of ``data_transformations``: ``{tool, operation, parameters}``."""
    return {"tool": TOOL, "operation": operation, "parameters": dict(parameters or {})}


def build_metadata(
    *,
    patch_size: int,
    nphotons: float | None = None,
    intensity_scale: float | None = None,
    expected_mean_counts: float | None = None,
    gridsize: int = 1,
    neighbor_count: int | None = None,
    base_name: str | None = None,
    base_sha256: str | None = None,
    split: str | None = None,
    split_point: float | None = None,
    split_axis: str | None = None,
    view: str | None = None,
    parameters_sha256: str | None = None,
    seeds: Mapping[str, int] | None = None,
    transformations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The ``_metadata`` document. Equal arguments give equal documents: it knows neither time nor host.

    Parameters
    ----------
    patch_size : int
        Frame side N [px].
    nphotons : float
        Dose: expected photons per frame over the unsplit scan.
    intensity_scale : float
        s, with (s X)^2 = counts.
    expected_mean_counts : float
        s^2 mean sum |P O_j|^2 over the frames of this file.
    gridsize, neighbor_count : int
        g and K of the network samples for which the file is made; K is required where g > 1.
    base_name, base_sha256 : str
        The base file from which this one was made.
    split, split_point, split_axis
        ``train`` or ``test``, the coordinate [px] that separates them and its axis (``x`` or ``y``).
    view : str
        Overlap view.
    parameters_sha256 : str
        Hash of the design fields on which this file depends.
    seeds : mapping
        Seeds used so far.
    transformations : sequence of ``{tool, operation, parameters}``
        Everything that happened to the data, oldest first.
    """
    physics: dict[str, Any] = {
        "nphotons": nphotons,
        "N": patch_size,
        "gridsize": gridsize,
        "intensity_scale": intensity_scale,
        "expected_mean_counts": expected_mean_counts,
    }
    if neighbor_count is not None:
        physics["neighbor_count"] = neighbor_count
    return {
        "schema_version": SCHEMA_VERSION,
        "creation_info": {"tool": TOOL, "version": __version__},
        "physics_parameters": physics,
        "base": {"name": base_name, "sha256": base_sha256},
        "split": split,
        "split_point": split_point,
        "split_axis": split_axis,
        "view": view,
        "parameters_sha256": parameters_sha256,
        "seeds": dict(seeds or {}),
        "data_transformations": [dict(entry) for entry in transformations],
    }


def derive_metadata(
    metadata: Mapping[str, Any],
    entry: Mapping[str, Any],
    *,
    physics: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Metadata of a file made from another one: its history plus ``entry``, with the named values replaced.

    Parameters
    ----------
    metadata : mapping
        Document of the input file; it is not changed.
    entry : mapping
        The new last transformation (see :func:`transformation`).
    physics : mapping
        New values in ``physics_parameters``.
    fields : mapping
        New values at the top level (``split``, ``view``, ``parameters_sha256``, ...).
    """
    derived = {**metadata, **(fields or {})}
    derived["schema_version"] = SCHEMA_VERSION
    derived["creation_info"] = {"tool": TOOL, "version": __version__}
    derived["physics_parameters"] = {**metadata.get("physics_parameters", {}), **(physics or {})}
    derived["data_transformations"] = [*metadata.get("data_transformations", []), dict(entry)]
    return derived


def encode_metadata(metadata: Mapping[str, Any]) -> NDArray[np.str_]:
    """The document as the array to store, shape () and dtype ``<U``: canonical JSON, equal content is equal bytes."""
    return np.array(json.dumps(metadata, sort_keys=True, separators=(",", ":"), allow_nan=False), dtype=np.str_)


def decode_metadata(array: NDArray[Any]) -> dict[str, Any]:
    """The document in a stored ``_metadata`` array; :class:`ContractError` says why where there is none."""
    if array.dtype.kind != "U" or array.shape != ():
        raise ContractError(
            f"_metadata is an array of dtype {array.dtype} and shape {array.shape}; "
            "expected one text of shape () that holds JSON"
        )
    try:
        document = json.loads(str(array[()]), parse_constant=_refuse_number, parse_float=_finite_float)
    except (ValueError, RecursionError) as problem:
        raise ContractError(f"_metadata is not JSON ({problem})") from problem
    if not isinstance(document, dict):
        raise ContractError(f"_metadata holds a JSON {type(document).__name__}; expected an object with named fields")
    return document


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    return number if np.isfinite(number) else _refuse_number(text)


def recorded_scale(metadata: Mapping[str, Any]) -> float:
    """``intensity_scale`` of a document; :class:`ContractError` where it is missing or not a positive number."""
    scale = finite_number(physics_parameters(metadata).get("intensity_scale"))
    if scale is None or scale <= 0:
        raise ContractError(
            "_metadata records no positive physics_parameters.intensity_scale; "
            "without it stored amplitudes cannot be turned into photon counts"
        )
    return scale


def physics_parameters(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``physics_parameters`` of a document, empty where they are missing or no object."""
    found = metadata.get("physics_parameters")
    return found if isinstance(found, Mapping) else {}


def finite_number(value: object) -> float | None:
    """``value`` as a float if it is a finite JSON number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if np.isfinite(number) else None


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
