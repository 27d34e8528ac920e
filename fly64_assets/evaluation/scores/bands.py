"""Bands of rows, by which an object of any size is scored with little memory.

Belongs here: how pictures are divided and read band by band. Does not belong here: what is found in a band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.region import Rectangle
from fly64_assets.physics.forward import blocks

BAND_PIXELS: Final = 2**21
"""Pixels of a band, 34 MB of complex numbers; no score depends on it but for rounding."""

SINGLE_FROM: Final = 2**24
"""Pixels from which on Fourier transforms are in single precision, which halves their memory."""

Complex = NDArray[np.complex128]
Pictures = Callable[[slice], tuple[NDArray[Any], NDArray[Any]]]
"""Truth and estimate on a slice of rows."""


class Banded(Protocol):
    """A field (H, W) that is read by rows."""

    def rows(self, part: slice) -> Complex:
        """The field on a slice of rows, (rows, W) complex128."""


Field = Banded | NDArray[np.complexfloating]


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows that cover a picture (H, W)."""
    return blocks(shape[0], max(1, BAND_PIXELS // max(1, shape[1])))


def lit_bands(mask: NDArray[np.bool_]) -> Iterator[slice]:
    """Bands that hold a pixel of the mask (H, W)."""
    return (part for part in bands(mask.shape) if mask[part].any())


def widened(part: slice, reach: int, height: int) -> tuple[slice, slice]:
    """The band with ``reach`` more rows on either side where there are any, and the band's own rows within it."""
    start, stop, _ = part.indices(height)
    outer = slice(max(0, start - reach), min(height, stop + reach))
    return outer, slice(start - outer.start, stop - outer.start)


def rows_of(field: Field, part: slice) -> Complex:
    """Rows of a field or an array (H, W), complex128."""
    return field[part].astype(np.complex128) if isinstance(field, np.ndarray) else field.rows(part)


def cut(pictures: Pictures, rectangle: Rectangle) -> Pictures:
    """The pictures in a rectangle, whose rows count from its top."""
    columns = rectangle.slices[1]

    def inside(part: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        start, stop, _ = part.indices(rectangle.height)
        truth, estimate = pictures(slice(rectangle.top + start, rectangle.top + stop))
        return truth[:, columns], estimate[:, columns]

    return inside
