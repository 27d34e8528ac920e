"""Errors over doses and views as a small drawing (SVG) for the page, with the contour of the wanted error.

Does not belong here: the photons that the contour is drawn at (``answer``), and figures as PNG (``plots``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any, Final

from fly64_assets.evaluation.report.outside import MARK
from fly64_assets.evaluation.report.sentences import three_digits

CELL: Final = (92, 44)
"""Width and height of a cell [units of the drawing]."""
MARGIN: Final = (74, 8, 8, 40)
"""Left, top, right and bottom."""

CIVIDIS: Final = ("#00224e", "#26456e", "#575d6d", "#7c7b78", "#a59c74", "#d2c060", "#fee838")
"""Matplotlib's map ``cividis`` at seven equal steps, from the smallest error to the largest."""

AXIS_TITLE_PX: Final = 140
"""Width of *photons per frame* below the columns."""

DARK: Final = 0.5
"""Levels below this have colours on which white is readable."""

Grid = Mapping[tuple[int, str], float]
"""Error [rad] by dose and view; cells without a result are missing."""


def heat_map(
    method: str,
    errors: Grid,
    *,
    doses: Sequence[int],
    views: Sequence[str],
    limits: tuple[float, float],
    needed: Mapping[str, Mapping[str, Any]],
    threshold_rad: float,
    marked: Collection[tuple[int, str]] = (),
) -> str:
    """A drawing as SVG, a column per dose and a row per view.

    Parameters
    ----------
    errors : (dose, view) -> float
        Phase errors of the method [rad].
    doses : sequence of int
        Photons per frame, in rising order.
    limits : (float, float)
        Errors at the ends of the logarithmic colour scale, the same for all methods [rad].
    needed : view -> ``sign`` and ``photons``
        Photons per frame at the wanted error, as ``answer.needed`` of the summary has them for each method; the
        contour goes through them, and right of it errors are smaller.
    marked : collection of (dose, view)
        Cells outside of what the method was trained for.
    """
    left, top, right, bottom = MARGIN
    middle = left + len(doses) * CELL[0] / 2
    # At least as wide as the words below the axis, which are wider than one column.
    width = max(left + right + CELL[0] * len(doses), math.ceil(middle + AXIS_TITLE_PX / 2))
    height = top + bottom + CELL[1] * len(views)
    parts = [
        f'<svg class="heat" role="img" viewBox="0 0 {width} {height}" style="--width: {width}" '
        f'aria-label="{escape(_spoken(method, errors, doses, views))}">'
    ]
    numbers: list[str] = []
    for row, view in enumerate(views):
        y = top + row * CELL[1]
        parts.append(
            f'<text class="axis" x="{left - 8}" y="{y + CELL[1] / 2 + 4}" text-anchor="end">{escape(view)}</text>'
        )
        for column, dose in enumerate(doses):
            mark = f" {MARK}" if (dose, view) in marked else ""
            rectangle, number = _cell(errors.get((dose, view)), left + column * CELL[0], y, limits, mark)
            parts.append(rectangle)
            numbers.append(number)
    for column, dose in enumerate(doses):
        x = left + (column + 0.5) * CELL[0]
        parts.append(f'<text class="axis" x="{x}" y="{height - bottom + 16}" text-anchor="middle">{dose:,}</text>')
    parts.append(f'<text class="axis" x="{middle}" y="{height - 6}" text-anchor="middle">photons per frame</text>')
    parts += _contour(needed, doses, views, threshold_rad)
    # Numbers last: the contour may go through the middle of a cell.
    return "".join([*parts, *numbers, "</svg>"])


def _cell(error: float | None, x: float, y: float, limits: tuple[float, float], mark: str) -> tuple[str, str]:
    """Rectangle and number of a cell, the number with its mark."""
    frame = f'x="{x}" y="{y}" width="{CELL[0]}" height="{CELL[1]}"'
    place = f'x="{x + CELL[0] / 2}" y="{y + CELL[1] / 2 + 5}" text-anchor="middle"'
    if error is None:
        return f'<rect class="empty" {frame}/>', f'<text class="axis" {place}>no result</text>'
    low, high = (math.log(limit) for limit in limits)
    level = 0.0 if high <= low else min(1.0, max(0.0, (math.log(error) - low) / (high - low)))
    fill, ink = colour(level), "#fff" if level < DARK else "#000"
    rectangle = f'<rect {frame} fill="{fill}"/>'
    return rectangle, f'<text class="number" {place} fill="{ink}" stroke="{fill}">{three_digits(error)}{mark}</text>'


def colour(level: float) -> str:
    """Colour of a level in [0, 1].

    Examples
    --------
    >>> colour(0.0), colour(1.0), colour(0.25)
    ('#00224e', '#fee838', '#3e516d')
    """
    place = level * (len(CIVIDIS) - 1)
    first = min(int(place), len(CIVIDIS) - 2)
    part = place - first
    pairs = ((int(CIVIDIS[first][k : k + 2], 16), int(CIVIDIS[first + 1][k : k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{int(low + part * (high - low)):02x}" for low, high in pairs)


def _contour(
    needed: Mapping[str, Mapping[str, Any]], doses: Sequence[int], views: Sequence[str], threshold_rad: float
) -> list[str]:
    """The line through the photons needed in each view, a step where the next view needs others."""
    left, top = MARGIN[:2]
    steps: list[str] = []
    for row, view in enumerate(views):
        entry = needed.get(view)
        if entry is None:
            continue
        x = left + CELL[0] * _column(entry, doses)
        connected = row > 0 and needed.get(views[row - 1]) is not None
        steps.append(f"{'L' if connected else 'M'}{x:.1f} {top + row * CELL[1]} L{x:.1f} {top + (row + 1) * CELL[1]}")
    if not steps:
        return []
    path = " ".join(steps)
    return [
        f'<path class="under" d="{path}"/><path class="contour" d="{path}"><title>{threshold_rad:g} rad</title></path>'
    ]


def _column(entry: Mapping[str, Any], doses: Sequence[int]) -> float:
    """Where a number of photons lies on the axis, in columns: doses in the middle of theirs, others between."""
    if entry["sign"] or len(doses) == 1:
        return 0.0 if entry["sign"] == "<" else float(len(doses)) if entry["sign"] else 0.5
    after = next((k for k, dose in enumerate(doses) if dose >= entry["photons"]), len(doses) - 1)
    low, high = doses[max(after - 1, 0)], doses[max(after, 1)]
    part = math.log(entry["photons"] / low) / math.log(high / low)
    return max(after - 1, 0) + 0.5 + part


def _spoken(method: str, errors: Grid, doses: Sequence[int], views: Sequence[str]) -> str:
    """What the drawing shows, for who does not see it."""
    rows = []
    for view in views:
        found = (f"{three_digits(errors[dose, view])} at {dose:,}" for dose in doses if (dose, view) in errors)
        rows.append(f"{view}: {', '.join(found) or 'no result'}")
    return f"Phase error of {method} in rad by view and photons per frame. {'; '.join(rows)}."
