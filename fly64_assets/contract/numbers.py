"""Numbers in other forms: complex ones as records or pairs, and other precisions, converted without loss or refused."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import MAPPED_FROM_BYTES, row_blocks
from fly64_assets.contract.frames import REAL_KINDS
from fly64_assets.contract.schema import Arrays
from fly64_assets.contract.scratch import mapped

REAL_NAMES: Final = ("real", "re", "r")
IMAGINARY_NAMES: Final = ("imag", "imaginary", "im", "i")
COMPLEX_KEYS: Final = (schema.OBJECT, schema.PROBE, schema.PATCHES)


def from_records(array: NDArray[Any]) -> NDArray[np.complexfloating] | None:
    """Complex numbers of records with a real and an imaginary part, as HDF5 has them; None for anything else.

    Examples
    --------
    >>> from_records(np.array([(1.0, 2.0)], dtype=[("r", "<f8"), ("i", "<f8")]))
    array([1.+2.j])
    """
    names = array.dtype.names or ()
    parts = {name.lower(): array[name] for name in names}
    real = next((parts[name] for name in REAL_NAMES if name in parts), None)
    imaginary = next((parts[name] for name in IMAGINARY_NAMES if name in parts), None)
    if len(names) != 2 or real is None or imaginary is None:
        return None
    if any(part.dtype.kind not in REAL_KINDS or part.shape != array.shape for part in (real, imaginary)):
        return None
    return joined(real, imaginary)


def pairs(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Arrays that should be complex and are real, with a last axis of two more than they should have."""
    return {
        key: arrays[key]
        for key in COMPLEX_KEYS
        if key in arrays
        and arrays[key].dtype.kind in REAL_KINDS
        and arrays[key].ndim == schema.AXES[key] + 1
        and arrays[key].shape[-1] == 2
    }


def shows_real_parts(array: NDArray[Any]) -> bool:
    """Whether the first of a pair is negative anywhere: then it is a real part, and no amplitude."""
    return bool((array[..., 0] < 0).any())


def joined(real: NDArray[Any], imaginary: NDArray[Any]) -> NDArray[np.complexfloating]:
    """Complex numbers of two real arrays, as precise as the more precise one."""
    precise = np.result_type(real, imaginary, np.float32)
    together = np.empty(real.shape, np.complex64 if precise == np.float32 else np.complex128)
    together.real, together.imag = real, imaginary
    return together


def converted(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array as ``dtype``. Raises ``ValueError`` where numbers lie outside of its range, or lose digits at its end.

    Examples
    --------
    >>> converted(np.array([1e45 + 0j]), np.dtype(np.complex64))
    Traceback (most recent call last):
    ...
    ValueError: its numbers reach 1e+45; complex64 holds at most 3.4e+38: divide all of them by a constant
    """
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if array.size and not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
            raise ValueError(f"its numbers reach {int(array.max())}; {dtype} holds at most {limits.max}")
    elif array.dtype.kind in "fc" and array.dtype.itemsize > dtype.itemsize:
        limit, largest = np.finfo(dtype), _largest(array)
        if largest > limit.max:
            reach = f"its numbers reach {largest:.3g}; {dtype} holds at most {float(limit.max):.2g}"
            raise ValueError(f"{reach}: divide all of them by a constant")
        # Below this the largest number itself has fewer digits than the type has elsewhere.
        if 0 < largest < limit.tiny / limit.eps:
            raise ValueError(
                f"its largest number is {largest:.3g}, too small for {dtype}, which loses digits below "
                f"{float(limit.tiny / limit.eps):.2g}: multiply all of them by a constant"
            )
    if array.ndim and array.nbytes >= MAPPED_FROM_BYTES:
        return mapped(array, lambda block: block, dtype)
    return array.astype(dtype)


def _largest(array: NDArray[Any]) -> np.floating[Any]:
    """The largest finite real or imaginary part, without its sign."""
    largest: np.floating[Any] = np.float64(0)
    for _, block in row_blocks(array):
        for part in (block.real, block.imag) if block.dtype.kind == "c" else (block,):
            finite = np.abs(part[np.isfinite(part)])
            largest = max(largest, finite.max(initial=0))
    return largest
