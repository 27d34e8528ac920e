"""Windows of an object at the positions of a scan: the one operator that every method of the study shares.

A frame of side N at (x, y) sees the rows y - N/2 ... y + N/2 - 1 of the object, and the columns likewise: the centre
of a window is its pixel (N/2, N/2), not the middle between pixels (the half-pixel convention). Between pixels the
object is interpolated bilinearly, so that each window needs (N + 1) x (N + 1) pixels and two fractions. The same on
tensors is in ``torch_windows``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CACHED_PIXELS: Final = 2**16
"""Pixels of frames that are handled together: as complex128 they take a mebibyte."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Positions of a scan and the grid on which their windows lie.

    Attributes
    ----------
    x, y : (n,) float64 [px]
        Window centres: column and row.
    object_shape : (H, W)
        Rows and columns of the grid.
    patch_size : int
        Window side N.
    origin : (row, column)
        Where the grid's first pixel lies in the coordinates in which ``x`` and ``y`` count; (0, 0) for the whole
        object, something else for a part of it or for a grid that reaches beyond it. Positions are not recomputed for
        another grid, so that their fractions of a pixel stay the same to the last bit.

    Examples
    --------
    >>> import numpy as np
    >>> scan = Scan(np.array([8.25, 10.0]), np.array([9.5, 7.0]), (20, 24), patch_size=8)
    >>> scan.corners.tolist()
    [[5, 4], [3, 6]]
    >>> scan.fractions.tolist()
    [[0.5, 0.25], [0.0, 0.0]]
    >>> scan.tight().origin, scan.tight().object_shape
    ((3, 4), (11, 11))
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    object_shape: tuple[int, int]
    patch_size: int
    origin: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, frames: slice | NDArray[Any]) -> Scan:
        """The scan of some frames: a slice, indices or a mask."""
        return replace(self, x=self.x[frames], y=self.y[frames])

    @cached_property
    def corners(self) -> NDArray[np.int64]:
        """First row and column (n, 2) int64 of every window on the grid; negative or too large outside it."""
        whole = np.stack([np.floor(self.y), np.floor(self.x)], axis=1).astype(np.int64)
        corners: NDArray[np.int64] = whole - self.patch_size // 2 - np.array(self.origin)
        return corners

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """How far (n, 2) every window lies beyond its first row and column [px], in [0, 1)."""
        return np.stack([self.y - np.floor(self.y), self.x - np.floor(self.x)], axis=1)

    @cached_property
    def inside(self) -> bool:
        """Whether all windows, with the row and column that interpolation adds, lie on the grid."""
        corners, last = self.corners, np.array(self.object_shape) - (self.patch_size + 1)
        return bool(((corners >= 0) & (corners <= last)).all())

    def on(self, origin: tuple[int, int], shape: tuple[int, int]) -> Scan:
        """The same positions on another grid: its first pixel, in the coordinates of x and y, and its shape."""
        return replace(self, origin=origin, object_shape=shape)

    def tight(self, margin: int = 0) -> Scan:
        """The same positions on the smallest grid that holds all windows, and ``margin`` pixels around them."""
        corners = self.corners + np.array(self.origin)
        first, last = corners.min(axis=0) - margin, corners.max(axis=0) + self.patch_size + 1 + margin
        (top, left), (bottom, right) = first.tolist(), last.tolist()
        return self.on((top, left), (bottom - top, right - left))


def cached_frames(patch_size: int) -> int:
    """How many frames of N x N complex numbers fit into a processor's cache with what is computed from them.

    Arithmetic on so many frames at a time runs at the speed of the cache; on more, at that of the memory.
    """
    return max(1, CACHED_PIXELS // patch_size**2)


def corner_weights(fy: Any, fx: Any) -> list[tuple[int, int, Any]]:
    """Bilinear weights of the four neighbours: (row offset, column offset, weight), for floats, arrays or tensors."""
    return [(dy, dx, wy * wx) for dy, wy in ((0, 1.0 - fy), (1, fy)) for dx, wx in ((0, 1.0 - fx), (1, fx))]


def read(
    obj: NDArray[Any], scan: Scan, dtype: type[np.complex128] | type[np.complex64] = np.complex128
) -> NDArray[Any]:
    """Windows of an object, bilinear between pixels and zero outside the object.

    Parameters
    ----------
    obj : (H, W) complex
    scan : Scan
        On a grid of the object's shape.
    dtype : numpy dtype
        Precision of the arithmetic and of the result.

    Returns
    -------
    (n, N, N) complex

    Raises
    ------
    ValueError
        If the object has another shape than the grid of the scan.

    Examples
    --------
    >>> import numpy as np
    >>> obj = np.arange(100.0).reshape(10, 10)  # value 10 * row + column
    >>> scan = Scan(np.array([5.0, 5.5]), np.array([4.0, 4.25]), obj.shape, patch_size=2)
    >>> read(obj, scan).real
    array([[[34., 35.],
            [44., 45.]],
    <BLANKLINE>
           [[37., 38.],
            [47., 48.]]])
    """
    _require_shape("object", obj, scan.object_shape)
    n, side = scan.patch_size, scan.patch_size + 1
    corners, fractions = scan.corners, scan.fractions.astype(np.empty(0, dtype).real.dtype)
    if not scan.inside:
        # A margin of one window on each side holds every window that touches the object.
        obj = np.pad(obj, side)
        corners = np.clip(corners + side, 0, np.array(scan.object_shape) + side)
    windows = np.empty((len(scan), n, n), dtype)
    at_once = min(cached_frames(n), len(scan))
    pixels, steps = np.empty((2, at_once, side, side), dtype)
    for start in range(0, len(scan), cached_frames(n)):
        part = slice(start, min(start + at_once, len(scan)))
        pixel, step = pixels[: part.stop - start], steps[: part.stop - start]
        for place, (top, left) in zip(pixel, corners[part].tolist(), strict=True):
            place[...] = obj[top : top + side, left : left + side]
        _differences(pixel, side, fractions[part, 0], step)
        np.add(pixel, step, out=pixel)
        _differences(pixel, 1, fractions[part, 1], step)
        np.add(pixel[:, :-1, :-1], step[:, :-1, :-1], out=windows[part])
    return windows


def _differences(pixels: NDArray[Any], distance: int, fractions: NDArray[Any], result: NDArray[Any]) -> None:
    """Steps f (b - a) from every pixel a to the pixel b so far behind it in memory, complex; one f for each frame."""
    flat, found = pixels.reshape(-1), result.reshape(-1)
    np.subtract(flat[distance:], flat[:-distance], out=found[:-distance])
    found[-distance:] = 0  # like all of the last row or column, it is not used
    factors = fractions[:, None, None]
    if fractions.all():
        parts = result.view(fractions.dtype)
        np.multiply(factors, parts, out=parts)
    else:
        # A product of complex numbers gives some zeros another sign than those of their parts do, if a factor is 0.
        np.multiply(factors, result, out=result)


def add(total: NDArray[Any], scan: Scan, windows: NDArray[Any]) -> None:
    """Add windows (n, N, N) to a grid (H, W) in place: the exact adjoint of :func:`read`.

    What falls outside the grid is dropped. Windows are added frame after frame, so that equal input gives equal bytes.

    Raises
    ------
    ValueError
        If the grid or the windows have another shape than the scan says.

    Examples
    --------
    >>> import numpy as np
    >>> total = np.zeros((4, 4))
    >>> add(total, Scan(np.array([2.0]), np.array([1.5]), total.shape, patch_size=2), np.ones((1, 2, 2)))
    >>> total
    array([[0. , 0.5, 0.5, 0. ],
           [0. , 1. , 1. , 0. ],
           [0. , 0.5, 0.5, 0. ],
           [0. , 0. , 0. , 0. ]])
    """
    n = scan.patch_size
    _require_shape("grid", total, scan.object_shape)
    _require_shape("array of windows", windows, (len(scan), n, n))
    height, width = scan.object_shape
    inside = scan.inside
    for window, (top, left), (fy, fx) in zip(windows, scan.corners.tolist(), scan.fractions.tolist(), strict=True):
        for dy, dx, weight in corner_weights(fy, fx):
            if not weight:
                continue
            row, column, values = top + dy, left + dx, weight * window
            if inside:
                total[row : row + n, column : column + n] += values
            else:
                rows, own_rows = _common(row, n, height)
                columns, own_columns = _common(column, n, width)
                total[rows, columns] += values[own_rows, own_columns]


def _common(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """Pixels that start ... start + length and 0 ... limit share: counted from 0, and counted from ``start``."""
    low = min(max(start, 0), limit)
    high = max(low, min(start + length, limit))
    return slice(low, high), slice(low - start, high - start)


def common_part(
    origin: tuple[int, int], shape: tuple[int, int], whole: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a grid with an origin and a whole object overlap: slices of the object, and slices of the grid.

    Examples
    --------
    >>> common_part((-2, 3), (6, 4), (10, 5))
    ((slice(0, 4, None), slice(3, 5, None)), (slice(2, 6, None), slice(0, 2, None)))
    """
    rows, own_rows = _common(origin[0], shape[0], whole[0])
    columns, own_columns = _common(origin[1], shape[1], whole[1])
    return (rows, columns), (own_rows, own_columns)


def _require_shape(name: str, array: NDArray[Any], expected: tuple[int, ...]) -> None:
    if array.shape != tuple(expected):
        raise ValueError(f"the {name} has the shape {array.shape}; the scan needs {tuple(expected)}")
