"""Pictures of a reconstructed object, drawn alike by every engine and by the report.

Matplotlib is used through its objects, never through its global state, so that threads may draw at once.
Amplitude is grey, phase ``cividis``: readable in print and with every kind of colour vision.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WITHOUT_VALUE: Final = "0.85"
"""Grey of the pixels that have no value."""

LEAST_COVERAGE: Final = 0.02
"""Illumination, relative to the largest, from which a pixel of an object is drawn."""

Extent = tuple[float, float, float, float]
"""Left, right, bottom and top edge of a picture [px]."""


def png(figure: Figure, *, dpi: int = 110, max_bytes: int | None = None) -> bytes:
    """The figure as PNG; with ``max_bytes`` at the largest resolution that fits. What it lays out stays in place."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    while True:
        buffer = io.BytesIO()
        # ``savefig`` would draw twice, the first time for the layout alone.
        figure.set_dpi(dpi)
        canvas.print_png(buffer, metadata={"Software": None})
        figure.set_layout_engine("none")
        if max_bytes is None or buffer.tell() <= max_bytes or dpi <= 20:
            return buffer.getvalue()
        dpi = int(dpi * 0.8)


def draw_picture(axis: Axes, picture: NDArray[np.floating], colours: str, extent: Extent, **scale: Any) -> Any:
    """Draw one picture (H, W) with axes in object pixels; pixels that are NaN are grey. Returns matplotlib's image."""
    from matplotlib import colormaps

    image = axis.imshow(picture, cmap=colormaps[colours].with_extremes(bad=WITHOUT_VALUE), extent=extent, **scale)
    axis.tick_params(labelsize=7)
    axis.locator_params(nbins=4)
    axis.set_xlabel("x [px]", fontsize=7)
    axis.set_ylabel("y [px]", fontsize=7)
    return image


def percentile_limits(values: NDArray[np.floating]) -> tuple[float, float]:
    """Limits of a colour scale that a few stray pixels cannot stretch."""
    low, high = np.percentile(values, (0.5, 99.5))
    return float(low), float(high)


def illuminated(coverage: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Pixels (H, W) that are drawn of an object with an illumination (H, W)."""
    drawn: NDArray[np.bool_] = coverage > LEAST_COVERAGE * coverage.max()
    return drawn


def rectangle(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle that holds all pixels of a mask (H, W), which has some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def relative_phase(obj: NDArray[np.complexfloating], mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Phase (H, W) [rad] relative to that of the object's sum over a mask, as a global phase is undetermined."""
    phase: NDArray[np.floating] = np.angle(obj * np.exp(-1j * np.angle(obj[mask].sum())))
    return phase


def draw_object(
    figure: Figure, axes: Sequence[Axes], obj: NDArray[np.complexfloating], mask: NDArray[np.bool_]
) -> None:
    """Draw amplitude and phase of a complex object on two axes, each with a colour bar.

    Of ``obj`` (H, W) the pixels of ``mask`` (H, W) are drawn, the others are grey, and the picture is cropped to the
    rectangle that holds them; all pixels are drawn if there are none. The phase is that of :func:`relative_phase`.
    """
    mask = mask if mask.any() else np.ones_like(mask)
    rows, columns = part = rectangle(mask)
    extent = (columns.start, columns.stop, rows.stop, rows.start)
    pictures = ((np.abs(obj), "amplitude", "gray"), (relative_phase(obj, mask), "phase [rad]", "cividis"))
    for axis, (picture, title, colours) in zip(axes, pictures, strict=True):
        low, high = percentile_limits(picture[mask])
        shown = np.where(mask, picture, np.nan)[part]
        image = draw_picture(axis, shown, colours, extent, vmin=low, vmax=high)
        axis.set_title(title, fontsize=9)
        figure.colorbar(image, ax=axis, shrink=0.85)
