"""The ``_metadata`` document of a data set: how it is built, derived from another one, stored and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import ContractError

SCHEMA_VERSION: Final = "1.0"
CONTENT_VERSION: Final = "0.1.0"
"""Version of the package that last changed what files hold: equal content stays equal bytes in later versions."""
TOOL: Final = "fly64_assets"

PIXEL_SIZE: Final = "pixel_size_m"
WAVELENGTH: Final = "wavelength_m"
DISTANCE: Final = "detector_distance_m"
ENERGY: Final = "energy_eV"
"""Keys of ``physics_parameters``: object pixel [m], wavelength [m], sample to detector [m], photon energy [eV]."""

GEOMETRY: Final = (PIXEL_SIZE, WAVELENGTH, DISTANCE, ENERGY)
"""Optional physics parameters of the experiment, carried from the base to every file made of it."""

DETECTOR: Final = ("saturation_counts", "read_noise_counts")
"""Optional physics parameters of a detector that does not count photons alone."""

STAND_IN_OBJECT: Final = "stand_in_object"
"""The transformation that puts ones in place of the object of a measurement."""


def transformation(operation: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One entry of ``data_transformations``: ``{tool, operation, parameters}``."""
    return {"tool": TOOL, "operation": operation, "parameters": dict(parameters or {})}


def build_metadata(
    patch_size: int,
    *entries: Mapping[str, Any],
    physics: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A new ``_metadata`` document. Equal arguments give equal documents: it holds neither time nor host.

    Parameters
    ----------
    patch_size : int
        Frame side N [px].
    *entries : ``{tool, operation, parameters}``
        Everything that happened to the data, oldest first (see :func:`transformation`).
    physics : mapping
        ``nphotons``: dose, expected photons per frame over the unsplit scan. ``intensity_scale``: s, with
        (s X)^2 = counts. ``expected_mean_counts``: expected counts of all good pixels of a frame, averaged over the
        frames of this file; without bad pixels s^2 mean sum |P O_j|^2.
        ``gridsize`` (1 by default), ``neighbor_count``: g and K of the network samples for which the file is made; K
        is required where g > 1. Optional, positive: ``pixel_size_m`` of the object, ``wavelength_m``,
        ``detector_distance_m``, ``energy_eV``; ``saturation_counts``, the largest count that a pixel gives, and
        ``read_noise_counts``, the standard deviation of its read-out.
    fields : mapping
        ``base``: name and sha256 of the base file from which this one was made. ``split``: ``train`` or ``test``,
        with ``split_axis`` (``x`` or ``y``) and ``split_point``, the coordinate [px] that separates them. ``view``:
        overlap view. ``parameters_sha256``: hash of the design fields on which this file depends. ``seeds``: those
        used so far, by name.

    Examples
    --------
    >>> document = build_metadata(64, transformation("simulate", {"dose": 1000}), physics={"nphotons": 1000.0})
    >>> document["physics_parameters"]["nphotons"], document["data_transformations"][0]["operation"]
    (1000.0, 'simulate')
    """
    names = ("nphotons", "intensity_scale", "expected_mean_counts")
    blank: dict[str, Any] = dict.fromkeys(("split", "split_point", "split_axis", "view", "parameters_sha256"))
    blank |= {"base": {"name": None, "sha256": None}, "seeds": {}}
    blank["physics_parameters"] = {"N": patch_size, "gridsize": 1, **dict.fromkeys(names)}
    return derive_metadata(blank, *entries, physics=physics, fields=fields)


FULL_SCAN_DOSE: Final = "full_scan_nphotons"
"""Physics parameter of a view whose frames have more photons than those of the full scan: the latter's dose."""


def derive_metadata(
    metadata: Mapping[str, Any],
    *entries: Mapping[str, Any],
    physics: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Metadata of a file made from another one, whose document ``metadata`` is not changed.

    Its history is followed by ``entries``; ``physics`` replaces values in ``physics_parameters``, ``fields`` at the top
    level (see :func:`build_metadata`).
    """
    return {
        **metadata,
        **(fields or {}),
        "schema_version": SCHEMA_VERSION,
        "creation_info": {"tool": TOOL, "version": CONTENT_VERSION},
        "physics_parameters": {**metadata.get("physics_parameters", {}), **(physics or {})},
        "data_transformations": [*metadata.get("data_transformations", []), *(dict(entry) for entry in entries)],
    }


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
    scale = positive_parameter(metadata, "intensity_scale")
    if scale is None:
        raise ContractError(
            "_metadata records no positive physics_parameters.intensity_scale; "
            "without it stored amplitudes cannot be turned into photon counts"
        )
    return scale


def physics_parameters(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``physics_parameters`` of a document, empty where they are missing or no object."""
    found = metadata.get("physics_parameters")
    return found if isinstance(found, Mapping) else {}


def geometry(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a document records of the experiment's geometry (``GEOMETRY``), as it is, for files made of this one."""
    found = physics_parameters(metadata)
    return {name: found[name] for name in GEOMETRY if found.get(name) is not None}


def is_of_this_package(metadata: Mapping[str, Any] | None) -> bool:
    """Whether this package wrote a file, so that its frames are on the first axis."""
    made = (metadata or {}).get("creation_info")
    return isinstance(made, Mapping) and made.get("tool") == TOOL


def has_stand_in_object(metadata: Mapping[str, Any] | None) -> bool:
    """Whether ones stand in for the object of a file, because it was measured."""
    history = (metadata or {}).get("data_transformations")
    return isinstance(history, list) and any(is_stand_in(step) for step in history)


def is_stand_in(step: object) -> bool:
    """Whether an entry of a history says that ones were put in place of the object."""
    return isinstance(step, Mapping) and step.get("operation") == STAND_IN_OBJECT


def base_sha256(metadata: Mapping[str, Any]) -> object:
    """What a document records as ``base.sha256``, None where it records nothing there."""
    base = metadata.get("base")
    return base.get("sha256") if isinstance(base, Mapping) else None


def positive_parameter(metadata: Mapping[str, Any] | None, name: str) -> float | None:
    """The physics parameter ``name`` of a document, None where it is missing or no positive finite number."""
    number = finite_number(physics_parameters(metadata or {}).get(name))
    return number if number is not None and number > 0 else None


def finite_number(value: object) -> float | None:
    """``value`` as a float if it is a finite JSON number, else None."""
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else np.nan
    except OverflowError:
        return None
    return number if np.isfinite(number) else None
