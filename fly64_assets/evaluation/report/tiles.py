"""Small pictures of one split, one per arm and quantity on common scales, between which a reader switches.

Belongs here: the tiles of the report's matrix. Does not belong here: figures with several panels (``figures``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import WITHOUT_VALUE, percentile_limits, png
from fly64_assets.evaluation.report.figures import PREVIEW_BYTES, crop
from fly64_assets.evaluation.scores.compare import FLAT, TRUTH, SplitComparison
from fly64_assets.evaluation.scores.metrics import phase_part

QUANTITIES: Final = {"phase": "phase", "error": "phase error", "amplitude": "amplitude"}
LABELS: Final = {"phase": "phase [rad]", "error": "phase error [rad]", "amplitude": "amplitude"}
COLOURS: Final = {"phase": "cividis", "error": "coolwarm", "amplitude": "gray"}


def tiles(comparison: SplitComparison) -> dict[tuple[str, str], bytes]:
    """PNG by (arm, quantity) for the truth and every arm that was compared; the truth has no error."""
    mask = comparison.region.mask
    if not mask.any():
        return {}
    names = [arm for arm in (TRUTH, *comparison.arms) if arm in comparison.fields and arm != FLAT]
    pictures: dict[str, dict[str, NDArray[np.float64]]] = {quantity: {} for quantity in QUANTITIES}
    for name in dict.fromkeys(names):
        part = phase_part(comparison.fields[name], comparison.truth, mask, None)
        pictures["phase"][name] = part.estimate
        pictures["amplitude"][name] = np.abs(comparison.fields[name].field)
        if name != TRUTH:
            pictures["error"][name] = part.estimate - part.truth
    limits = {q: percentile_limits(p[TRUTH][mask]) for q, p in pictures.items() if TRUTH in p}
    errors = [float(np.percentile(np.abs(picture[mask]), 99)) for picture in pictures["error"].values()]
    reach = max([*errors, 1e-6])
    limits["error"] = (-reach, reach)
    return {
        (name, quantity): _tile(comparison, picture, quantity, limits[quantity])
        for quantity, by_name in pictures.items()
        for name, picture in by_name.items()
    }


def _tile(
    comparison: SplitComparison, picture: NDArray[np.float64], quantity: str, limits: tuple[float, float]
) -> bytes:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    rows, columns, (height, width) = crop(comparison)
    shown = np.where(comparison.region.mask, picture, np.nan)[rows, columns]
    figure = Figure(figsize=(4.4, min(4.4, max(1.6, 3.5 * height / width + 0.5))), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(
        shown,
        cmap=colormaps[COLOURS[quantity]].with_extremes(bad=WITHOUT_VALUE),
        extent=(columns.start, columns.stop, rows.stop, rows.start),
        vmin=limits[0],
        vmax=limits[1],
    )
    axis.set_xlabel("x [px]", fontsize=7)
    axis.set_ylabel("y [px]", fontsize=7)
    axis.tick_params(labelsize=7)
    axis.locator_params(nbins=5)
    bar = figure.colorbar(image, ax=axis, shrink=0.9, pad=0.02)
    bar.set_label(LABELS[quantity], fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return png(figure, dpi=110, max_bytes=PREVIEW_BYTES)
