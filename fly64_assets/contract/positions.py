"""Conventions of scan positions: from where they count, which is x and which is y, and which of these a file allows."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema

EDGE_TOLERANCE_PX: Final = 1e-6

Origin = Literal["from-centre", "corners"]
ORIGINS: Final[tuple[Origin, ...]] = get_args(Origin)
"""Other meanings of positions than window centres from the object's first pixel; also the values of ``--positions``."""

MEANING: Final = {
    "from-centre": "count from the object's centre, to the right and down",
    "corners": "are the first pixels of the windows",
}
LEAST_SPREAD_PX: Final = 1.0
"""A scan in object pixels spreads over more; one in metres does not."""

METRES_BELOW: Final = 1e-2
"""Positions that are all nearer to 0 are metres, as no scan in pixels is."""

LARGEST_GRID: Final = 2**28
"""Pixels of a grid that is made for positions without an object."""

Positions = NDArray[np.float64]


def window_range(size: int, side: int) -> tuple[int, int]:
    """First and last window centre [px] whose window of N = ``size`` pixels lies inside a side of the object."""
    return size // 2, side - size + size // 2


def inside(centres: Positions, size: int, side: int) -> NDArray[np.bool_]:
    """Which windows lie inside a side of the object."""
    low, high = window_range(size, side)
    held: NDArray[np.bool_] = (centres >= low - EDGE_TOLERANCE_PX) & (centres <= high + EDGE_TOLERANCE_PX)
    return held


def centred(positions: Positions, origin: Origin, size: int, side: int) -> Positions:
    """Window centres from the object's first pixel, of positions of another origin along one axis.

    ``size`` is N, ``side`` that of the object [px]; its centre is the pixel ``side // 2``.
    """
    return positions + (side // 2 if origin == "from-centre" else size // 2)


def guesses(
    x: Positions,
    y: Positions,
    shape: tuple[int, int],
    size: int,
    names: tuple[str, str] = (schema.XCOORDS, schema.YCOORDS),
) -> tuple[str, ...]:
    """What positions must be for every window to lie inside the object, where they are not window centres as expected.

    Each guess is a sentence with the option that confirms it; ``names`` are the keys of x and y in the file. Empty if
    all windows lie inside, or none would.

    Examples
    --------
    >>> positions = np.array([-10.0, 10.0])
    >>> guesses(positions, positions, (100, 100), 64)
    ("they count from the object's centre, to the right and down: confirm with --positions from-centre",)
    """
    if spread(x, y) < LEAST_SPREAD_PX or _fits(x, y, shape, size):
        return ()
    simple: list[str] = []
    both: list[str] = []
    for exchanged, origin in itertools.product((False, True), (None, *ORIGINS)):
        columns, rows = (y, x) if exchanged else (x, y)
        if origin is not None:
            columns, rows = centred(columns, origin, size, shape[1]), centred(rows, origin, size, shape[0])
        if not _fits(columns, rows, shape, size):
            continue
        says = [*(["x and y are exchanged"] if exchanged else []), *([f"they {MEANING[origin]}"] if origin else [])]
        options = [*([_exchange(*names)] if exchanged else []), *([f"--positions {origin}"] if origin else [])]
        guess = f"{' and '.join(says)}: confirm with {' '.join(options)}"
        (both if exchanged and origin else simple).append(guess)
    return tuple(simple or both)


def unit_guess(x: Positions, y: Positions, shape: tuple[int, int], size: int) -> str:
    """In which unit positions are that leave the object and lie within less than a pixel; empty for others.

    Examples
    --------
    >>> positions = np.array([-1e-6, 1e-6])
    >>> unit_guess(positions, positions, (100, 100), 64)[:61]
    'they look like metres: convert them with --positions-unit m -'
    """
    if len(x) < 2 or not spread(x, y) < LEAST_SPREAD_PX or _fits(x, y, shape, size):
        return ""
    return unit_advice(x, y)


def unit_advice(x: Positions, y: Positions, *, of_object: bool = True) -> str:
    """In which unit positions are that lie within less than a pixel, and the options that convert them.

    Without ``of_object`` the file has no object from whose centre they could count.
    """
    largest = max(float(np.abs(x).max()), float(np.abs(y).max()))
    word, unit = ("metres", "m") if largest < METRES_BELOW else ("micrometres", "um")
    around = of_object and x.min() < 0 < x.max() and y.min() < 0 < y.max()
    about = " (about zero: with --positions from-centre)" if around else ""
    return (
        f"they look like {word}: convert them with --positions-unit {unit} --pixel-size P, where P is the side of an "
        f"object pixel in metres{about}"
    )


def _exchange(x_name: str, y_name: str) -> str:
    return f"--rename {x_name}={schema.YCOORDS} --rename {y_name}={schema.XCOORDS}"


def spread(x: Positions, y: Positions) -> float:
    """How far apart the outermost positions are, along x or y."""
    return float(max(np.ptp(x), np.ptp(y))) if len(x) else 0.0


def _fits(x: Positions, y: Positions, shape: tuple[int, int], size: int) -> bool:
    return bool(inside(x, size, shape[1]).all() and inside(y, size, shape[0]).all())


def too_close(x: Positions, y: Positions, *, of_object: bool = True) -> str:
    """What positions are that lie within less than a pixel."""
    if spread(x, y) == 0:
        return f"all {len(x)} positions are the same ({x[0]:g}, {y[0]:g}); expected those of a scan, which differ"
    return (
        f"all positions lie within {spread(x, y):.3g} of each other, so they are no object pixels (metres?): divide "
        f"them by the pixel size of the object; {unit_advice(x, y, of_object=of_object)}"
    )


@dataclass(frozen=True)
class Grid:
    """A grid that holds every window: its shape [px], and by how many whole pixels x and y move to lie on it."""

    shape: tuple[int, int]
    shift: tuple[int, int]


def _side(pixel_size_m: float | None) -> str:
    known = "" if pixel_size_m is None else f", {pixel_size_m:.6g} by its geometry"
    return f"P, where P is the side of an object pixel in metres{known}"


def grid(x: Positions, y: Positions, size: int, pixel_size_m: float | None = None) -> Grid:
    """The grid of finite positions that come without an object.

    Positions that lie on a grid from its first pixel stay; others move by whole pixels. ``pixel_size_m``, where it is
    known, is for the message. Raises ``ValueError`` where they cannot be object pixels.
    """
    if len(x) > 1 and spread(x, y) < LEAST_SPREAD_PX:
        raise ValueError(too_close(x, y, of_object=False))
    sides, shifts = [], []
    for centres in (y, x):
        first, last = math.floor(centres.min()) - size // 2, math.ceil(centres.max()) + size // 2
        shift = 0 if 0 <= first <= size else 1 - first
        sides.append(last + shift + 1)
        shifts.append(shift)
    if math.prod(sides) > LARGEST_GRID:
        raise ValueError(
            f"its grid would have {sides[0]} x {sides[1]} pixels, so the positions are hardly object pixels: say what "
            f"the numbers of the file are with --positions-unit um (or m) --pixel-size {_side(pixel_size_m)}"
        )
    return Grid((sides[0], sides[1]), (shifts[1], shifts[0]))
