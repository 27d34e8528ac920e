"""Places in words: lists of numbers with their ranges, and pixels as rows, columns and single ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_RANGES: Final = 8
MOST_PIXELS: Final = 5
WHOLE_LINE: Final = 0.9
"""Share of the pixels of a row or column from which it is named as a whole."""


def number_list(numbers: Sequence[int], joint: str = ", ", most: int = MOST_RANGES) -> str:
    """Ascending numbers with ranges, of which the first ``most`` are named.

    Examples
    --------
    >>> number_list([3, 7, 8, 9, 12])
    '3, 7-9, 12'
    >>> number_list(range(0, 40, 2), most=3)
    '0, 2, 4 and 17 more'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    named = joint.join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:most])
    left = sum(last - first + 1 for first, last in runs[most:])
    return f"{named} and {left} more" if left else named


def parse_number_list(text: str) -> list[int]:
    """The numbers of a list such as ``3,7-9``; ``ValueError`` for anything else.

    Examples
    --------
    >>> parse_number_list("3, 7-9")
    [3, 7, 8, 9]
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or not (last.isdecimal() if dash else True):
            raise ValueError(f"'{part.strip()}' is no number and no range; expected numbers such as 3,7-9")
        if dash and int(last) < int(first):
            raise ValueError(f"'{part.strip()}' ends before it begins; expected numbers such as 3,7-9")
        numbers |= set(range(int(first), int(last if dash else first) + 1))
    return sorted(numbers)


def pixel_list(which: NDArray[Any]) -> str:
    """Pixels (M, N) that are True: whole rows and columns, then single pixels as (row, column).

    Examples
    --------
    >>> which = np.zeros((8, 8), bool)
    >>> which[3:5], which[6, 2] = True, True
    >>> pixel_list(which)
    'rows 3-4, (6, 2)'
    """
    rest = np.asarray(which, dtype=np.bool_).copy()
    rows = np.flatnonzero(rest.mean(axis=1) >= WHOLE_LINE).tolist()
    rest[rows] = False
    others = max(rest.shape[0] - len(rows), 1)
    columns = np.flatnonzero(rest.sum(axis=0) >= WHOLE_LINE * others).tolist()
    rest[:, columns] = False
    pixels = np.argwhere(rest).tolist()
    parts = [
        f"{name}{'s' * (len(lines) > 1)} {number_list(lines)}"
        for name, lines in (("row", rows), ("column", columns))
        if lines
    ]
    parts += [f"({row}, {column})" for row, column in pixels[:MOST_PIXELS]]
    named = ", ".join(parts)
    left = len(pixels) - MOST_PIXELS
    return f"{named} and {left} more" if left > 0 else named
