"""Rules on keys, dtypes, shapes, lengths and layout: everything that headers alone show, without a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.findings import Expectations, Finding, error, information, warning
from fly64_assets.contract.frames import (
    REAL_KINDS,
    Frames,
    is_frames_last,
    looks_like_frames,
    looks_like_object,
    looks_like_positions,
    looks_like_probe,
    squeezed,
    unknown_keys,
)
from fly64_assets.contract.schema import Arrays
from fly64_assets.physics.probe_modes import MODES_AXES

KEYS: Final = "DATA-001.keys"
DTYPE: Final = "DATA-001.dtype"
SHAPE: Final = "DATA-001.shape"
LENGTH: Final = "DATA-001.length"
LAYOUT: Final = "DATA-001.layout"
UNKNOWN: Final = "DATA-001.unknown"

LEAST_BASE_MARGIN_PX: Final = 2


def key_findings(arrays: Arrays, expected: Expectations | None) -> Iterator[Finding]:
    """Required keys that are missing, all in one finding; keys that a canonical file has besides."""
    patches = []
    if expected is not None and expected.patches and schema.PATCHES not in arrays:
        patches.append(f"{schema.PATCHES} (design '{expected.study}' requires patches)")
    yield from missing_findings(arrays, schema.REQUIRED_KEYS, patches)
    absent = [key for key in schema.ALWAYS_WRITTEN_KEYS if key not in arrays]
    if absent:
        yield warning(KEYS, f"missing {', '.join(absent)}; not required, but every file of this project has them")


def missing_findings(arrays: Arrays, keys: Iterable[str], further: Sequence[str] = ()) -> Iterator[Finding]:
    """Required keys, and ``further`` ones, that are missing, all in one finding."""
    missing = [*(key for key in keys if key not in arrays), *further]
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
    kind, expected, frames = array.dtype.kind, schema.DTYPES[key], key in (schema.FRAMES, schema.LEGACY_FRAMES)
    if kind == expected.kind:
        return " (`fly64 import` converts it)"
    if frames and kind in "iub":
        return " (integers look like photon counts; amplitudes are their square roots)"
    if frames and kind == "c":
        return " (the detector measures no phase)"
    if key == schema.BAD_PIXELS:
        return ", True at pixels that did not measure (`fly64 import` converts 0 and 1)"
    return " (a real array has lost its phase)" if expected.kind == "c" and kind in REAL_KINDS else ""


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
    bad = arrays.get(schema.BAD_PIXELS)
    if bad is not None and bad.ndim == schema.AXES[schema.BAD_PIXELS] and bad.shape != (rows, columns):
        yield error(
            SHAPE, f"{schema.BAD_PIXELS} has shape {bad.shape}; expected ({rows}, {columns}), one for all frames"
        )
    for key in (schema.PATCHES, schema.LEGACY_FRAMES):
        array = None if key == frames.key or frames.transposed else arrays.get(key)
        if array is not None and array.ndim == 3 and array.shape != frames.values.shape:
            yield error(SHAPE, f"{key} has shape {array.shape}; expected {frames.values.shape}, like the frames")


def patch_size(arrays: Arrays, frames: Frames | None) -> int | None:
    """N by the frames, without them by a square probe [px]; None without either."""
    if frames is not None:
        return frames.size
    if schema.PROBE not in arrays:
        return None
    probe = schema.strongest(arrays[schema.PROBE])
    return int(probe.shape[0]) if probe.ndim == 2 and len(set(probe.shape)) == 1 else None


def size_findings(arrays: Arrays, size: int | None, margin: int = 1) -> Iterator[Finding]:
    """Sides of probe and object against the patch size N; ``margin`` is how much larger the object must be."""
    modes = {key: schema.strongest(array) for key, array in arrays.items() if key == schema.PROBE}
    planes = {key: array for key, array in {**arrays, **modes}.items() if array.ndim == 2}
    probe, obj = planes.get(schema.PROBE), planes.get(schema.OBJECT)
    shape = arrays[schema.PROBE].shape if schema.PROBE in arrays else ()
    if 0 in shape:
        yield error(SHAPE, f"{schema.PROBE} has shape {shape}: there is no probe in it")
    elif len(shape) == MODES_AXES and is_frames_last(shape, None):
        yield error(
            SHAPE, f"{schema.PROBE} has shape {shape}; expected (M, N, N): the import moves modes to the first axis"
        )
    elif size is not None and probe is not None and probe.shape != (size, size):
        yield error(SHAPE, f"{schema.PROBE} has shape {probe.shape}; expected ({size}, {size}), the size of a frame")
    elif probe is not None and probe.shape[0] != probe.shape[1]:
        yield error(SHAPE, f"{schema.PROBE} has shape {probe.shape}; expected a square")
    if size is not None and obj is not None and min(obj.shape) < size + margin:
        yield error(
            SHAPE, f"{schema.OBJECT} has shape {obj.shape}; both sides must be at least {size + margin} (N = {size})"
        )


def axes_findings(arrays: Arrays, *, imported: bool = False) -> Iterator[Finding]:
    """Known keys with too many or too few axes; those of length 1 are dropped where the file is imported."""
    for key in schema.AXES:
        axes = schema.axes_of(key, arrays[key]) if key in arrays else 0
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
        array = None if key == schema.PATCHES and frames is not None and frames.transposed else arrays.get(key)
        if array is not None and array.ndim == schema.AXES[key] and len(array) != expected:
            yield error(LENGTH, f"{key} length {len(array)} != {expected} {unit}")


def layout_findings(arrays: Arrays, frames: Frames | None) -> Iterator[Finding]:
    """Frames stored with the frame axis last."""
    if frames is not None and frames.transposed:
        yield error(
            LAYOUT,
            f"{frames.key} has shape {arrays[frames.key].shape}, which is (N, N, n) with {len(frames.values)} frames; "
            "expected (n, N, N) (FORMAT-001; `fly64 import` turns it)",
        )


def unknown_findings(arrays: Arrays, frames: Frames | None) -> Iterator[Finding]:
    """Keys the contract does not know, each with what it looks like."""
    for key in unknown_keys(arrays):
        guess = _resemblance(key, arrays, frames)
        yield information(UNKNOWN, f"'{key}' of shape {arrays[key].shape} is no key of the contract{guess}")
    if frames is not None and frames.key == schema.LEGACY_FRAMES and schema.FRAMES not in arrays:
        yield information(UNKNOWN, f"the frames have the key '{schema.LEGACY_FRAMES}'; expected '{schema.FRAMES}'")


def _resemblance(key: str, arrays: Arrays, frames: Frames | None) -> str:
    array = arrays[key]
    if looks_like_positions(key, array, None if frames is None else len(frames.values)):
        return (
            f": it looks like the positions as pairs{_too_many(array, 2)}; in (y, x) order, the usual one, [..., 0] "
            f"would be {schema.YCOORDS} and [..., 1] {schema.XCOORDS}, both in object pixels from the object's corner"
        )
    for wanted, alike in (
        (schema.FRAMES, looks_like_frames(key, array)),
        (schema.PROBE, looks_like_probe(key, array, None if frames is None else frames.size)),
        (schema.OBJECT, looks_like_object(key, array)),
    ):
        if alike and wanted not in arrays:
            return f": it looks like {wanted}{_too_many(array, schema.AXES[wanted])}"
    return ""


def _too_many(array: NDArray[Any], axes: int) -> str:
    return f" with {_axes(array.ndim - axes)} too many" if array.ndim > axes else ""


def _axes(number: int) -> str:
    return "1 axis" if number == 1 else f"{number} axes"
