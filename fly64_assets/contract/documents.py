"""Rules on the ``_metadata`` document: it is there, whole, and agrees with arrays and study."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import scipy

from fly64_assets.contract import schema
from fly64_assets.contract.findings import Expectations, Finding, error, information, warning
from fly64_assets.contract.frames import Frames, probe_of
from fly64_assets.contract.metadata import (
    DETECTOR,
    FULL_SCAN_DOSE,
    GEOMETRY,
    SCHEMA_VERSION,
    base_sha256,
    decode_metadata,
    finite_number,
    has_stand_in_object,
    physics_parameters,
)
from fly64_assets.contract.schema import Arrays
from fly64_assets.errors import ContractError
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.probe_modes import added
from fly64_assets.physics.scan import SPLITS

METADATA: Final = "DATA-001.metadata"
OVERSAMPLING: Final = "OVERSAMPLING-001"
SHA256: Final = re.compile(r"[0-9a-f]{64}")
FIELDS: Final = ("schema_version", "creation_info", "physics_parameters", "base", "data_transformations")
UNKNOWN_OF_MEASUREMENTS: Final = {"nphotons", "expected_mean_counts"}
"""What no measurement knows, so that it is no fault of its file."""
PHYSICS_FIELDS: Final = ("nphotons", "N", "gridsize", "intensity_scale", "expected_mean_counts")
DOSE_TOLERANCE: Final = 1e-6
DOSE_FACTOR: Final = 5.0
"""Ratio of mean counts to dose, or its inverse, beyond which it is an error, unless the object allows it."""


def read_metadata(arrays: Arrays) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The document, or None and the finding that says why there is none."""
    if schema.METADATA not in arrays:
        return None, [error(METADATA, "_metadata is missing; expected one JSON document (`fly64 import` writes it)")]
    array = arrays[schema.METADATA]
    if array.dtype.hasobject:
        return None, [error(METADATA, "_metadata is a pickled Python object and is not read; expected JSON text")]
    try:
        return decode_metadata(array), []
    except ContractError as problem:
        return None, [error(METADATA, str(problem))]


def metadata_findings(
    document: Mapping[str, Any], frames: Frames | None, expected: Expectations | None
) -> Iterator[Finding]:
    """What is missing, of the wrong type, or contradicts the frames or the study."""
    yield from form_findings(document)
    physics = physics_parameters(document)
    absent = [name for name in PHYSICS_FIELDS if physics.get(name) is None]
    if absent and set(absent) != UNKNOWN_OF_MEASUREMENTS:
        yield warning(METADATA, f"_metadata.physics_parameters lacks {', '.join(absent)}")
    yield from _positive_findings(physics, ("nphotons", "intensity_scale", "expected_mean_counts", *DETECTOR))
    for name in ("N", "gridsize", "neighbor_count"):
        if physics.get(name) is not None and _whole(physics[name]) is None:
            yield error(METADATA, f"_metadata: {name} = {physics[name]!r}; expected a whole number of at least 1")
    size = _whole(physics.get("N"))
    if frames is not None and size is not None and frames.size not in (None, size):
        yield error(METADATA, f"_metadata: N = {size}, but {frames.key} has frames of {frames.size} px")
    if has_stand_in_object(document):
        yield information(METADATA, f"{schema.OBJECT} holds ones in place of the object, which a measurement lacks")
    if expected is not None:
        yield from _study_findings(document, expected)


def form_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Fields of the document itself, of a data set or of a base."""
    missing = [name for name in FIELDS if document.get(name) is None]
    if missing:
        yield warning(METADATA, f"_metadata lacks {', '.join(missing)}")
    version = document.get("schema_version")
    if version is not None and str(version).split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        yield error(METADATA, f"_metadata: schema_version = {version!r}; this version reads {SCHEMA_VERSION}")
    for name in ("physics_parameters", "base", "creation_info", "seeds"):
        if document.get(name) is not None and not isinstance(document[name], Mapping):
            yield error(METADATA, f"_metadata: {name} = {document[name]!r}; expected an object with named fields")
    digest = base_sha256(document)
    if digest is not None and not (isinstance(digest, str) and SHA256.fullmatch(digest)):
        yield error(METADATA, f"_metadata: base.sha256 = {digest!r}; expected 64 hexadecimal digits")
    split = document.get("split")
    if split is not None and split not in SPLITS:
        yield error(METADATA, f"_metadata: split = {split!r}; expected one of {', '.join(SPLITS)}")
    history = document.get("data_transformations")
    if history is not None and not _is_history(history):
        yield error(METADATA, "_metadata: data_transformations is not a list of {tool, operation, parameters}")
    yield from _positive_findings(physics_parameters(document), GEOMETRY)


def _positive_findings(physics: Mapping[str, Any], names: Iterable[str]) -> Iterator[Finding]:
    for name in names:
        number = finite_number(physics.get(name))
        if physics.get(name) is not None and (number is None or number <= 0):
            yield error(METADATA, f"_metadata: {name} = {physics[name]!r}; expected a positive number")


def _is_history(history: object) -> bool:
    return isinstance(history, list) and all(
        isinstance(entry, Mapping) and {"tool", "operation", "parameters"} <= entry.keys() for entry in history
    )


def _study_findings(document: Mapping[str, Any], expected: Expectations) -> Iterator[Finding]:
    physics = physics_parameters(document)
    doses = ", ".join(f"{dose:g}" for dose in expected.doses)
    field = FULL_SCAN_DOSE if FULL_SCAN_DOSE in physics else "nphotons"
    dose = finite_number(physics.get(field))
    if dose is None:
        yield error(METADATA, f"_metadata records no dose ({field}); design '{expected.study}' has {doses}")
    elif dose not in expected.doses:
        yield error(METADATA, f"_metadata: {field} = {dose:g}; design '{expected.study}' has {doses}")
    view = document.get("view")
    if view is not None and view not in list(expected.gridsizes):  # the value of a file may not be hashable
        views = ", ".join(expected.gridsizes)
        yield error(METADATA, f"_metadata: view = {view!r}; design '{expected.study}' has {views}")
    elif view not in (None, BASELINE) and _whole(physics.get("gridsize")) not in (None, expected.gridsizes[view]):
        asked = f"design '{expected.study}' has {expected.gridsizes[view]}"
        yield error(METADATA, f"_metadata: gridsize = {physics['gridsize']} for {view}; {asked}")


def dose_findings(document: Mapping[str, Any], arrays: Arrays, mean_counts: float | None) -> Iterator[Finding]:
    """Whether the recorded dose agrees with the counts in the frames.

    An unsplit set's expectation is the dose. A half of a scan may be darker or brighter, but not beyond what the
    object and the probe allow at the recorded scale. The dose counts the photons that reach the detector: bad pixels
    and saturation lose some of them, reading out adds counts.
    """
    physics = physics_parameters(document)
    dose, expected = finite_number(physics.get("nphotons")), finite_number(physics.get("expected_mean_counts"))
    if dose is None or dose <= 0:
        return
    whole = document.get("split") is None and document.get("view") in (None, BASELINE)
    loses = schema.BAD_PIXELS in arrays or physics.get("saturation_counts") is not None
    adds = physics.get("read_noise_counts") is not None
    least, most = 0.0 if loses else dose / DOSE_FACTOR, math.inf if adds else dose * DOSE_FACTOR
    excess = 0.0 if expected is None else (expected - dose) / dose
    if whole and ((excess < -DOSE_TOLERANCE and not loses) or (excess > DOSE_TOLERANCE and not adds)):
        yield error(
            METADATA, f"_metadata: expected_mean_counts = {expected:g} of an unsplit set, but nphotons = {dose:g}"
        )
    elif mean_counts is not None and not least <= mean_counts <= most:
        said = f"_metadata: nphotons = {dose:g}, but the frames have {mean_counts:g} counts on average"
        if _object_allows(arrays, finite_number(physics.get("intensity_scale")), dose):
            yield warning(METADATA, f"{said}; this part of the object is unlike the rest")
        else:
            yield error(METADATA, f"{said}, and no window of the object has that many at the recorded scale")


def _object_allows(arrays: Arrays, scale: float | None, dose: float) -> bool:
    """Whether s^2 sum |P O_j|^2 can equal the dose for windows of this object (a factor of 2 for interpolation)."""
    obj, probe = arrays.get(schema.OBJECT), probe_of(arrays)
    if obj is None or probe is None or scale is None or obj.ndim != 2 or obj.dtype.kind not in "fc":
        return False
    if 0 in probe.shape or np.less(obj.shape, probe.shape[-2:]).any():
        return False
    transmitted, incident = (added(np.abs(np.nan_to_num(a.astype(np.complex128))) ** 2) for a in (obj, probe))
    energies = scipy.signal.fftconvolve(transmitted, incident[::-1, ::-1], "valid")
    low, high = scale * scale * float(energies.min()), scale * scale * float(energies.max())
    return bool(low / 2 <= dose <= high * 2)


def oversampling_findings(
    document: Mapping[str, Any], frames: Frames | None, expected: Expectations | None
) -> Iterator[Finding]:
    """OVERSAMPLING-001: groups of g^2 frames need K >= g^2 neighbours to choose from, and as many frames."""
    physics = physics_parameters(document)
    g, k = _whole(physics.get("gridsize")), _whole(physics.get("neighbor_count"))
    if g is None or g == 1:
        return
    if k is None and expected is not None:
        k = expected.neighbor_count
    if k is None:
        yield error(OVERSAMPLING, f"gridsize = {g} and no neighbor_count is recorded; expected at least g^2 = {g * g}")
    elif k < g * g:
        yield error(OVERSAMPLING, f"neighbor_count = {k} < g^2 = {g * g} (gridsize {g})")
    if frames is not None and len(frames.values) < g * g:
        yield error(OVERSAMPLING, f"{len(frames.values)} frames < g^2 = {g * g} (gridsize {g})")


def _whole(value: object) -> int | None:
    number = finite_number(value)
    return int(number) if number is not None and number >= 1 and number == int(number) else None
