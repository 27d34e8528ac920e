"""Recognising frames, probe, object and positions by shape and name, under other keys and in other orders of axes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.schema import Arrays

NUMERIC_KINDS: Final = "biufc"
REAL_KINDS: Final = "biuf"
FRAME_NAMES: Final = re.compile(r"^data$|dp|diff|frame|intens|ampl|pattern|count", re.IGNORECASE)
PROBE_NAMES: Final = re.compile(r"prob|illum", re.IGNORECASE)
OBJECT_NAMES: Final = re.compile(r"obj|sample|psi", re.IGNORECASE)
SCAN_NAMES: Final = re.compile(r"scan|pos|coord", re.IGNORECASE)


@dataclass(frozen=True)
class Frames:
    """The array that holds the frames, seen in canonical order.

    ``values`` is a view (n, M, N) of the array named ``key``; ``transposed`` says that it is stored (N, N, n).
    """

    key: str
    values: NDArray[Any]
    transposed: bool

    @property
    def size(self) -> int | None:
        """Frame side N [px], None where the frames are not square."""
        rows, columns = self.values.shape[1:]
        return int(rows) if rows == columns else None


def squeezed(array: NDArray[Any], axes: int) -> NDArray[Any]:
    """The array without axes of length 1, leading ones first, until ``axes`` are left or no such axis is."""
    while array.ndim > axes and 1 in array.shape:
        array = np.squeeze(array, axis=array.shape.index(1))
    return array


def probe_of(arrays: Arrays) -> NDArray[Any] | None:
    """The probe of a file without axes of length 1, (N, N) or (M, N, N); None where it has others, or no numbers."""
    probe = arrays.get(schema.PROBE)
    if probe is None or probe.dtype.kind not in "fc":
        return None
    axes = schema.axes_of(schema.PROBE, probe)
    probe = squeezed(probe, axes)
    return probe if probe.ndim == axes else None


def coordinate_length(arrays: Arrays) -> int | None:
    """Length of the coordinates, None where they are missing, disagree or are not one-dimensional."""
    lengths = {len(arrays[k]) for k in (schema.XCOORDS, schema.YCOORDS) if k in arrays and arrays[k].ndim == 1}
    return lengths.pop() if len(lengths) == 1 else None


def is_frames_last(shape: tuple[int, ...], positions: int | None) -> bool:
    """Whether three axes are (N, N, n): the first two equal, the last different, and as many positions as n."""
    rows, columns, last = shape
    return rows == columns != last and positions in (None, last)


def find_frames(arrays: Arrays) -> Frames | None:
    """The frames under ``diffraction``, or under the key that looks most like them, or None."""
    positions = coordinate_length(arrays)
    for key in (schema.FRAMES, schema.LEGACY_FRAMES, *unknown_keys(arrays)):
        if key not in arrays or (key not in schema.KNOWN_KEYS and not looks_like_frames(key, arrays[key])):
            continue
        stack = squeezed(arrays[key], 3)
        if stack.ndim != 3 or stack.dtype.kind not in NUMERIC_KINDS:
            continue
        transposed = is_frames_last(stack.shape, positions)
        return Frames(key, np.moveaxis(stack, -1, 0) if transposed else stack, transposed)
    return None


def unknown_keys(arrays: Arrays) -> list[str]:
    """Keys that the contract does not know, in a fixed order."""
    return sorted(key for key in arrays if key not in schema.KNOWN_KEYS)


def looks_like_frames(key: str, array: NDArray[Any]) -> bool:
    """Whether an unknown array could be the diffraction frames: a stack of real squares."""
    stack = squeezed(array, 3)
    if stack.ndim != 3 or stack.dtype.kind not in REAL_KINDS or min(stack.shape) == 0:
        return False
    first, second, third = stack.shape
    square = (second == third and third > 3) or (first == second and second > 3)
    return square and (bool(FRAME_NAMES.search(key)) or first > 1)


def looks_like_probe(key: str, array: NDArray[Any], size: int | None = None) -> bool:
    """Whether an unknown array could be the probe: one complex square, of the frames' side or so named."""
    square = squeezed(array, 2)
    if square.ndim < 2 or square.dtype.kind != "c" or square.shape[-1] != square.shape[-2]:
        return False
    return square.shape[-1] == size or bool(PROBE_NAMES.search(key))


def looks_like_object(key: str, array: NDArray[Any]) -> bool:
    """Whether an unknown array could be the object: a complex picture so named."""
    return squeezed(array, 2).ndim == 2 and array.dtype.kind == "c" and bool(OBJECT_NAMES.search(key))


def looks_like_coordinate(key: str, array: NDArray[Any], axis: str) -> bool:
    """Whether an unknown array could be one coordinate of all positions: a list of real numbers so named."""
    listed = squeezed(array, 1)
    name = key.lower()
    named = name.startswith(axis) or name.endswith(axis)
    return named and listed.ndim == 1 and len(listed) > 1 and listed.dtype.kind in REAL_KINDS


def looks_like_positions(key: str, array: NDArray[Any], frames: int | None = None) -> bool:
    """Whether an unknown array could be all positions as pairs: (n, 2), with n the number of frames or so named."""
    pairs = squeezed(array, 2)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in REAL_KINDS:
        return False
    return pairs.shape[0] == frames or bool(SCAN_NAMES.search(key))
