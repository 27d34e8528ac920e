"""Bands of rows, by which an object of any size is scored in little more memory than it takes itself.

Belongs here: how pictures are read band by band, and the sums over pixels that are gathered in this way. Does not
belong here: what a score means (``metrics``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.region import Rectangle
from fly64_assets.physics.forward import blocks

BAND_PIXELS: Final = 2**21
"""Pixels of a band, 34 MB of complex numbers; a score depends on it by rounding alone."""

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


def masked_bands(mask: NDArray[np.bool_]) -> Iterator[slice]:
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


def cropped(pictures: Pictures, rectangle: Rectangle) -> Pictures:
    """Both pictures in a rectangle, whose rows count from its top."""
    columns = slice(rectangle.left, rectangle.left + rectangle.width)

    def inside(part: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        start, stop, _ = part.indices(rectangle.height)
        truth, estimate = pictures(slice(rectangle.top + start, rectangle.top + stop))
        return truth[:, columns], estimate[:, columns]

    return inside


@dataclass(frozen=True)
class Moments:
    """Sums over pixels of truth t and estimate e, real or complex; pairs are those of (t, e).

    Means, sums of |t - mean|^2 and |e - mean|^2, the real part of the sum of conj(t - mean) (e - mean), sums of |t|^2
    and |e|^2, and of |e - t| and |e - t|^2.
    """

    pixels: int
    means: tuple[complex, complex]
    centred: tuple[float, float]
    common: float
    power: tuple[float, float]
    absolute_error: float
    squared_error: float

    @classmethod
    def of(cls, truth: NDArray[np.inexact], estimate: NDArray[np.inexact]) -> Moments:
        """Sums over vectors (pixels,), at least one pixel."""
        means = (complex(truth.mean()), complex(estimate.mean()))
        a, b = truth - truth.mean(), estimate - estimate.mean()
        common = float(np.real(np.vdot(a, b)))
        error = np.abs(estimate - truth)
        errors = float(error.sum()), float((error**2).sum())
        return cls(truth.size, means, (_power(a), _power(b)), common, (_power(truth), _power(estimate)), *errors)

    def joined(self, other: Moments) -> Moments:
        """Sums over the pixels of both, free of cancellation.

        The pairwise update of Chan, Golub and LeVeque (Am. Stat. 37, 242, 1983, eq. 2.1): sums about the common mean
        follow from those about each mean and the step between the means.
        """
        n = self.pixels + other.pixels
        weight = self.pixels * other.pixels / n
        (t, e), (step_t, step_e) = self.means, (b - a for a, b in zip(self.means, other.means, strict=True))
        return Moments(
            n,
            (t + step_t * other.pixels / n, e + step_e * other.pixels / n),
            (
                self.centred[0] + other.centred[0] + weight * abs(step_t) ** 2,
                self.centred[1] + other.centred[1] + weight * abs(step_e) ** 2,
            ),
            self.common + other.common + weight * (step_t.conjugate() * step_e).real,
            (self.power[0] + other.power[0], self.power[1] + other.power[1]),
            self.absolute_error + other.absolute_error,
            self.squared_error + other.squared_error,
        )


def masked_moments(pictures: Pictures, mask: NDArray[np.bool_]) -> Moments:
    """Sums over the pixels of a mask (H, W), which holds at least one."""

    def of(part: slice) -> Moments:
        truth, estimate = pictures(part)
        return Moments.of(truth[mask[part]], estimate[mask[part]])

    return functools.reduce(Moments.joined, map(of, masked_bands(mask)))


def _power(values: NDArray[np.inexact]) -> float:
    return float(np.vdot(values, values).real)
