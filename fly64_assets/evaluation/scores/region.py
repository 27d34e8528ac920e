"""The evaluation region: which pixels of the object count when a split is scored.

Belongs here: coverage by illumination and the rectangle for windowed metrics. Does not belong here: alignment
of reconstructions (``alignment``) and the metrics themselves (``metrics``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.illumination import disc_illumination, illumination, probe_diameter_px
from fly64_assets.physics.windows import Scan

LEAST_RECTANGLE_PX: Final = 7
"""Least side of a rectangle for windowed metrics: the window of the structural similarity."""

NO_RECTANGLE: Final = f"the evaluated region holds no rectangle of {LEAST_RECTANGLE_PX} x {LEAST_RECTANGLE_PX} px"


@dataclass(frozen=True)
class ScanBox:
    """Bounding box of scan positions [px], x = column, y = row."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float


@dataclass(frozen=True)
class Rectangle:
    """Axis-parallel block of pixels: first row and column, number of rows and columns."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Region:
    """Evaluated pixels of one split.

    The mask (H, W) with the largest rectangle inside it (None where no side reaches :data:`LEAST_RECTANGLE_PX`), its
    share of the pixels in the scanned box, the least illumination W of an evaluated pixel in units of |P|^2, W (H, W)
    of the split's own positions, and how many pixels are left out because training frames illuminated them too.
    """

    mask: NDArray[np.bool_]
    rectangle: Rectangle | None
    covered_fraction: float
    threshold_value: float
    probe_diameter_px: float
    illumination: NDArray[np.float64]
    trained_pixels: int

    @property
    def pixels(self) -> int:
        """Number of evaluated pixels."""
        return int(np.count_nonzero(self.mask))

    def to_dict(self) -> dict[str, Any]:
        """Figures of the region without its arrays, in plain JSON types."""
        return {
            "pixels": self.pixels,
            "rectangle": asdict(self.rectangle) if self.rectangle else None,
            "rectangle_reason": None if self.rectangle else NO_RECTANGLE,
            "covered_fraction": self.covered_fraction,
            "threshold_value": self.threshold_value,
            "probe_diameter_px": self.probe_diameter_px,
            "trained_pixels_excluded": self.trained_pixels,
        }


def scan_box(scan: Scan) -> ScanBox:
    """Bounding box of the positions of a scan [px]; for a split, those of its baseline view."""
    return ScanBox(float(scan.x.min()), float(scan.x.max()), float(scan.y.min()), float(scan.y.max()))


def evaluation_region(
    probe: NDArray[np.complexfloating],
    scan: Scan,
    *,
    threshold: float,
    scan_box: ScanBox,
    train_scan: Scan | None = None,
) -> Region:
    """Pixels where W(r) is at least ``threshold`` times one frame's mean illumination over its disc.

    Parameters
    ----------
    probe : (N, N) or (M, N, N) complex
        The known probe; the same for every method.
    threshold : float
        Factor of sum |P|^2 / (pi D^2 / 4), D the probe's diameter.
    scan_box : ScanBox
        Box of the split's baseline positions, to which the covered fraction refers.
    train_scan : Scan, optional
        Positions of the cell's training frames; what they illuminate above the threshold is left out.

    Examples
    --------
    One frame of a uniform 8-px probe, and the same scan without what a training frame 4 px above illuminated:

    >>> probe = np.ones((8, 8), complex)
    >>> test, train = (Scan(np.array([16.0]), np.array([y]), (32, 32), 8) for y in (16.0, 12.0))
    >>> settings = {"threshold": 0.1, "scan_box": ScanBox(12, 19, 12, 19)}
    >>> evaluation_region(probe, test, **settings).pixels
    64
    >>> region = evaluation_region(probe, test, **settings, train_scan=train)
    >>> region.covered_fraction, region.rectangle is None
    (0.5, True)
    """
    diameter = probe_diameter_px(probe)
    value = threshold * disc_illumination(probe, diameter)
    total = illumination(probe, scan)
    bright = total >= value
    mask = bright if train_scan is None else bright & ~(illumination(probe, train_scan) >= value)
    rows, columns = (np.arange(side) for side in scan.object_shape)
    in_box = np.outer(
        (rows >= scan_box.y_min) & (rows <= scan_box.y_max), (columns >= scan_box.x_min) & (columns <= scan_box.x_max)
    )
    # A box thinner than one pixel (a line scan) holds no pixel centre.
    fraction = float(np.count_nonzero(mask & in_box)) / max(1, int(np.count_nonzero(in_box)))
    rectangle = largest_rectangle(mask, LEAST_RECTANGLE_PX)
    trained = int(np.count_nonzero(bright)) - int(np.count_nonzero(mask))
    return Region(mask, rectangle, fraction, value, diameter, total, trained)


def largest_rectangle(mask: NDArray[np.bool_], least_side: int = 1) -> Rectangle | None:
    """Rectangle of largest area inside a mask with no side below ``least_side``; None where there is none.

    Each row is the base of a histogram of the columns' run lengths above it; every rectangle that cannot grow
    is found in one pass with a stack of rising bars (the largest rectangle in a histogram), so that the time is linear
    in the mask's edges.

    Examples
    --------
    >>> mask = np.zeros((8, 10), bool)
    >>> mask[1:4, 2:9] = mask[:, 5] = True
    >>> largest_rectangle(mask)
    Rectangle(top=1, left=2, height=3, width=7)
    >>> largest_rectangle(mask, least_side=4) is None
    True
    """
    best: Rectangle | None = None
    best_area = 0
    heights = np.zeros(mask.shape[1] + 1, dtype=np.int64)  # the last bar is always 0 and empties the stack
    for row in range(mask.shape[0]):
        heights[:-1] = np.where(mask[row], heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []  # (first column, height), heights rising
        # Neighbouring bars of one height are one bar.
        changes = np.flatnonzero(np.r_[True, heights[1:] != heights[:-1]])
        for column, height in zip(changes.tolist(), heights[changes].tolist(), strict=True):
            start = column
            while stack and stack[-1][1] >= height:
                start, bar = stack.pop()
                if min(bar, column - start) >= least_side and bar * (column - start) > best_area:
                    best_area = bar * (column - start)
                    best = Rectangle(row - bar + 1, start, bar, column - start)
            if height:
                stack.append((start, height))
    return best
