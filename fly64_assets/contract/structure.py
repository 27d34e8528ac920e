"""Rules on keys, dtypes, shapes, lengths and layout: everything that headers alone can tell.

Belongs here: rules that never look at a value. Does not belong here: rules on values (``values``) and on the
``_metadata`` document (``documents``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.expectations import Expectations
from fly64_assets.contract.findings import Finding, error, information, warning
from fly64_assets.contract.frames import (
    REAL_KINDS,
    Frames,
    looks_like_frames,
    looks_like_object,
    looks_like_positions,
    looks_like_probe,
    squeezed,
    unknown_keys,
)
from fly64_assets.contract.schema import Arrays

KEYS: Final = "DATA-001.keys"
DTYPE: Final = "DATA-001.dtype"
SHAPE: Final = "DATA-001.shape"
LENGTH: Final = "DATA-001.length"
LAYOUT: Final = "DATA-001.layout"
UNKNOWN: Final = "DATA-001.unknown"

AXES: Final = {
    schema.FRAMES: 3,
    schema.LEGACY_FRAMES: 3,
    schema.PATCHES: 3,
    schema.OBJECT: 2,
    schema.PROBE: 2,
    schema.XCOORDS: 1,
    schema.YCOORDS: 1,
    schema.XCOORDS_START: 1,
    schema.YCOORDS_START: 1,
    schema.SCAN_INDEX: 1,
}
LEAST_BASE_MARGIN_PX: Final = 2


def key_findings(arrays: Arrays, expected: Expectations | None) -> Iterator[Finding]:
    """Required keys that are missing, all in one finding; keys that a canonical file has besides."""
    missing = [key for key in schema.REQUIRED_KEYS if key not in arrays]
    if expected is not None and expected.patches and schema.PATCHES not in arrays:
        missing.append(f"{schema.PATCHES} (design '{expected.study}' asks for patches)")
    if missing:
        yield error(KEYS, f"missing {', '.join(missing)}; found {', '.join(sorted(arrays)) or 'no array'}")
    absent = [key for key in schema.ALWAYS_WRITTEN_KEYS if key not in arrays]
    if absent:
        yield warning(KEYS, f"missing {', '.join(absent)}; not required, but every file of this project has them")


def base_key_findings(arrays: Arrays) -> Iterator[Finding]:
    """Keys without which no study can start from a file."""
    missing = [key for key in schema.BASE_KEYS if key not in arrays]
    if missing:
        yield error(KEYS, f"missing {', '.join(missing)}; found {', '.join(sorted(arrays)) or 'no array'}")


def dtype_findings(arrays: Arrays, *, imported: bool = False) -> Iterator[Finding]:
    """Arrays whose dtype is not the canonical one; another precision is only information where the file is imported."""
    for key, expected in schema.DTYPES.items():
        if key not in arrays or arrays[key].dtype == expected:
            continue
        found = arrays[key].dtype
        convertible = found.kind == "c" if expected.kind == "c" else found.kind in REAL_KINDS
        if imported and convertible:
            yield information(DTYPE, f"{key} has dtype {found}; the import stores it as {expected}")
        else:
            yield error(DTYPE, f"{key} has dtype {found}; expected {expected}{_advice(key, arrays[key])}")


def _advice(key: str, array: NDArray[Any]) -> str:
    kind, expected = array.dtype.kind, schema.DTYPES[key]
    if kind == expected.kind or (expected.kind == "f" and kind == "f"):
        return " (canonicalisation converts it)"
    if key in (schema.FRAMES, schema.LEGACY_FRAMES) and kind in "iub":
        return " (integers look like photon counts; amplitudes are their square roots)"
    if key in (schema.FRAMES, schema.LEGACY_FRAMES) and kind == "c":
        return " (the detector measures no phase)"
    if expected.kind == "c" and kind in REAL_KINDS:
        return " (a real array has lost its phase)"
    return ""


def shape_findings(arrays: Arrays, frames: Frames | None, expected: Expectations | None) -> Iterator[Finding]:
    """Axes and sides that do not fit, against the frames' side N."""
    yield from axes_findings(arrays)
    yield from size_findings(arrays, patch_size(arrays, frames))
    if frames is None:
        return
    count, rows, columns = frames.values.shape
    if count == 0 or rows == 0:
        yield error(SHAPE, f"{frames.key} has shape {arrays[frames.key].shape}: there is no frame in it")
    if rows != columns:
        yield error(SHAPE, f"{frames.key} has frames of {rows} x {columns} px; expected squares")
    if expected is not None and frames.size not in (None, expected.patch_size):
        yield error(
            SHAPE,
            f"{frames.key} has frames of {frames.size} px; design '{expected.study}' has "
            f"patch_size_pixels = {expected.patch_size}",
        )
    for key in (schema.PATCHES, schema.LEGACY_FRAMES):
        if key not in arrays or key == frames.key or frames.transposed:
            continue
        if arrays[key].ndim == 3 and arrays[key].shape != frames.values.shape:
            yield error(SHAPE, f"{key} has shape {arrays[key].shape}; expected {frames.values.shape}, like the frames")


def patch_size(arrays: Arrays, frames: Frames | None) -> int | None:
    """N by the frames, without them by a square probe [px]; None where neither tells."""
    if frames is not None:
        return frames.size
    probe = arrays.get(schema.PROBE)
    return int(probe.shape[0]) if probe is not None and probe.ndim == 2 and len(set(probe.shape)) == 1 else None


def size_findings(arrays: Arrays, size: int | None, margin: int = 1) -> Iterator[Finding]:
    """Sides of probe and object against the patch size N; ``margin`` is how much larger the object must be."""
    probe, obj = arrays.get(schema.PROBE), arrays.get(schema.OBJECT)
    if size is not None and probe is not None and probe.ndim == 2 and probe.shape != (size, size):
        yield error(SHAPE, f"{schema.PROBE} has shape {probe.shape}; expected ({size}, {size}), the size of a frame")
    elif probe is not None and probe.ndim == 2 and probe.shape[0] != probe.shape[1]:
        yield error(SHAPE, f"{schema.PROBE} has shape {probe.shape}; expected a square")
    if size is not None and obj is not None and obj.ndim == 2 and min(obj.shape) < size + margin:
        yield error(
            SHAPE, f"{schema.OBJECT} has shape {obj.shape}; both sides must be at least {size + margin} (N = {size})"
        )


def axes_findings(arrays: Arrays, *, imported: bool = False) -> Iterator[Finding]:
    """Known keys with too many or too few axes; those of length 1 are dropped where the file is imported."""
    for key, axes in AXES.items():
        if key not in arrays or arrays[key].ndim == axes:
            continue
        shape, droppable = arrays[key].shape, squeezed(arrays[key], axes).ndim == axes
        if not (imported and droppable):
            yield error(SHAPE, f"{key} has {len(shape)} axes, shape {shape}; expected {axes}")
        if droppable:
            yield information(UNKNOWN, f"{key} of shape {shape} has {_axes(len(shape) - axes)} of length 1 too many")


def length_findings(arrays: Arrays, frames: Frames | None) -> Iterator[Finding]:
    """Per-frame arrays whose length is not the number of frames (without frames: of xcoords)."""
    if frames is not None:
        expected, unit = len(frames.values), "frames"
    elif schema.XCOORDS in arrays and arrays[schema.XCOORDS].ndim == 1:
        expected, unit = len(arrays[schema.XCOORDS]), "xcoords"
    else:
        return
    for key in schema.PER_FRAME_KEYS:
        if key in arrays and arrays[key].ndim == AXES[key] and len(arrays[key]) != expected:
            if key == schema.PATCHES and frames is not None and frames.transposed:
                continue
            yield error(LENGTH, f"{key} length {len(arrays[key])} != {expected} {unit}")


def layout_findings(arrays: Arrays, frames: Frames | None) -> Iterator[Finding]:
    """Frames stored with the frame axis last."""
    if frames is not None and frames.transposed:
        yield error(
            LAYOUT,
            f"{frames.key} has shape {arrays[frames.key].shape}, which is (N, N, n) with {len(frames.values)} frames; "
            "expected (n, N, N) (FORMAT-001; canonicalisation turns it)",
        )


def unknown_findings(arrays: Arrays, frames: Frames | None) -> Iterator[Finding]:
    """Keys the contract does not know, each with what it looks like."""
    count = None if frames is None else len(frames.values)
    size = None if frames is None else frames.size
    for key in unknown_keys(arrays):
        guess = _resemblance(key, arrays, count, size)
        yield information(UNKNOWN, f"'{key}' of shape {arrays[key].shape} is no key of the contract{guess}")
    if frames is not None and frames.key == schema.LEGACY_FRAMES and schema.FRAMES not in arrays:
        yield information(UNKNOWN, f"the frames stand under '{schema.LEGACY_FRAMES}'; expected '{schema.FRAMES}'")


def _resemblance(key: str, arrays: Arrays, count: int | None, size: int | None) -> str:
    array = arrays[key]
    if looks_like_positions(key, array, count):
        spare = _too_many(array, 2)
        return (
            f": it looks like the positions as pairs{spare}; in (y, x) order, the usual one, [..., 0] would be "
            f"{schema.YCOORDS} and [..., 1] {schema.XCOORDS}, both in object pixels from the object's corner"
        )
    if schema.FRAMES not in arrays and looks_like_frames(key, array):
        return f": it looks like {schema.FRAMES}{_too_many(array, 3)}"
    if schema.PROBE not in arrays and looks_like_probe(key, array, size):
        return f": it looks like {schema.PROBE}{_too_many(array, 2)}"
    if schema.OBJECT not in arrays and looks_like_object(key, array):
        return f": it looks like {schema.OBJECT}{_too_many(array, 2)}"
    return ""


def _too_many(array: NDArray[Any], axes: int) -> str:
    spare = array.ndim - axes
    return f" with {_axes(spare)} too many" if spare > 0 else ""


def _axes(number: int) -> str:
    return "1 axis" if number == 1 else f"{number} axes"
