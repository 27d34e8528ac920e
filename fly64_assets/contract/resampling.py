"""Frames, probes and objects of another size: cut, extended and moved about the pixel (N/2, N/2), and resampled.

Cutting a frame of side M to N makes the object's pixel M/N times as large; its far field stays as it was.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

SMOOTHING: Final = 0.4
"""Standard deviation, over sqrt(f^2 - 1) for pixels f times as large, of the filter before an object is resampled."""


def resized(array: NDArray[Any], side: int, fill: Any) -> NDArray[Any]:
    """The last two axes cut or extended to ``side``, with the pixel (N/2, N/2) where it was before.

    Examples
    --------
    >>> resized(np.arange(4)[None] * np.ones((4, 1), int), 2, 0).tolist()
    [[1, 2], [1, 2]]
    >>> resized(np.ones((2, 2), int), 4, 0).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    new = np.full((*array.shape[:-2], side, side), fill, array.dtype)
    (rows, new_rows), (columns, new_columns) = (_overlap(old, side) for old in array.shape[-2:])
    new[..., new_rows, new_columns] = array[..., rows, columns]
    return new


def light_left_out(light: NDArray[np.float64], side: int) -> float:
    """Share of the light (M, N) outside of the part that :func:`resized` keeps; 0 of none, or where none is lost.

    Examples
    --------
    >>> light_left_out(np.ones((4, 4)), 2), light_left_out(np.ones((4, 4)), 8)
    (0.75, 0.0)
    """
    outside = light.copy()
    (rows, _), (columns, _) = (_overlap(old, side) for old in light.shape)
    outside[rows, columns] = 0
    return float(outside.sum()) / (float(light.sum()) or 1.0)


def _overlap(old: int, new: int) -> tuple[slice, slice]:
    first = old // 2 - new // 2
    low, high = max(first, 0), min(first + new, old)
    return slice(low, high), slice(low - first, high - first)


def shifted(array: NDArray[Any], move: tuple[int, int], fill: Any) -> NDArray[Any]:
    """The last two axes moved by whole pixels (rows, columns); what comes from outside is ``fill``.

    Examples
    --------
    >>> shifted(np.arange(4).reshape(2, 2), (0, 1), -1).tolist()
    [[-1, 0], [-1, 2]]
    """
    new = np.full_like(array, fill)
    (rows, new_rows), (columns, new_columns) = (
        (slice(max(-step, 0), max(min(side - step, side), 0)), slice(max(step, 0), max(min(side + step, side), 0)))
        for step, side in zip(move, array.shape[-2:], strict=True)
    )
    new[..., new_rows, new_columns] = array[..., rows, columns]
    return new


def far_field_resized(probe: NDArray[np.complexfloating], side: int) -> NDArray[np.complexfloating]:
    """A probe (M, M) on the pixels of a far field of another side N, which is cut or extended with zeros: (N, N).

    Examples
    --------
    >>> probe = np.zeros((8, 8), complex)
    >>> probe[4, 4] = 1
    >>> abs(far_field_resized(probe, 4)).round(3).max(), abs(far_field_resized(probe, 4)).argmax()
    (np.float64(0.5), np.int64(10))
    """
    axes = (-2, -1)
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, axes=axes), norm="ortho"), axes=axes)
    new = resized(far, side, 0)
    return np.asarray(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(new, axes=axes), norm="ortho"), axes=axes))


def object_resized(obj: NDArray[np.complexfloating], factors: tuple[float, float]) -> NDArray[np.complexfloating]:
    """An object on pixels 1/f times as large (rows, columns), cubic between pixels; pixel (0, 0) stays where it is."""
    wide = obj.astype(np.complex128)
    sides = [math.floor((old - 1) * factor) + 1 for old, factor in zip(obj.shape, factors, strict=True)]
    grid = np.meshgrid(*(np.arange(side) / factor for side, factor in zip(sides, factors, strict=True)), indexing="ij")
    sigma = [SMOOTHING * math.sqrt(max(1 / factor**2 - 1, 0.0)) for factor in factors]
    new = np.empty(grid[0].shape, np.complex128)
    for name in ("real", "imag"):
        smooth = scipy.ndimage.gaussian_filter(getattr(wide, name), sigma, mode="nearest")
        setattr(new, name, scipy.ndimage.map_coordinates(smooth, grid, order=3, mode="nearest"))
    return new
