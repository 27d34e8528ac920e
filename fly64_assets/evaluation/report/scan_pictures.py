"""What a study's scan looks like: positions and probe of each view to scale, and one frame of each dose, as PNG bytes.

Does not belong here: reading the files (``assets``), figures of a whole view in Dagster's UI (``figures``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import png
from fly64_assets.evaluation.report.figures import COLOURS, frames_figure, new_figure
from fly64_assets.physics.measurement import Measurement

SHOWN_WINDOWS: Final = 4
"""Side of the part of the scan that is drawn, in windows of N pixels: small enough to see single discs."""


def scan_pictures(
    views: Mapping[str, Measurement], diameters: Mapping[str, float], doses: Mapping[int, Measurement]
) -> dict[str, bytes]:
    """Pictures of the page by name: ``study/scan/VIEW`` and ``study/frame/DOSE``.

    Parameters
    ----------
    views : view -> Measurement
        One half of each view, at any dose: all have the same positions.
    diameters : view -> float
        Diameter of the probe's disc, as the overlap metrics of the view have it [px].
    doses : dose -> Measurement
        One half at each dose; its first frame is shown.
    """
    pictures = {f"study/scan/{view}": positions_figure(found, diameters[view]) for view, found in views.items()}
    for dose, found in doses.items():
        counts = (found.amplitude[:1].astype(np.float64) * found.intensity_scale) ** 2
        pictures[f"study/frame/{dose}"] = frames_figure(np.rint(counts))
    return pictures


def positions_figure(scan: Measurement, diameter_px: float) -> bytes:
    """Positions about the middle of a scan with the disc of the probe at each, and one window of N pixels, to scale."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.patches import Rectangle

    size = scan.amplitude.shape[-1]
    side = min(SHOWN_WINDOWS * size, max(float(np.ptp(scan.x)), float(np.ptp(scan.y))) + size)
    middle = (_middle(scan.x), _middle(scan.y))
    figure = new_figure(3.0, 3.2)
    axis = figure.subplots()
    axis.set(
        xlim=(middle[0] - side / 2, middle[0] + side / 2), ylim=(middle[1] + side / 2, middle[1] - side / 2),
        aspect="equal",
    )  # fmt: skip
    near = (np.abs(scan.x - middle[0]) < side) & (np.abs(scan.y - middle[1]) < side)
    places = np.column_stack([scan.x[near], scan.y[near]])
    one = np.full(len(places), diameter_px)
    discs = EllipseCollection(
        one, one, np.zeros(len(places)), units="xy", offsets=places, transOffset=axis.transData,
        facecolor=COLOURS[0], alpha=min(0.35, max(0.06, 30 / max(1, len(places)))), edgecolor="none",
    )  # fmt: skip
    axis.add_collection(discs)
    axis.plot(*places.T, ".", color="0.1", markersize=3 if len(places) < 300 else 1.5)
    nearest = places[np.argmin(np.hypot(*(places - middle).T))]
    axis.add_patch(Rectangle(nearest - size / 2, size, size, fill=False, edgecolor=COLOURS[1], linewidth=1.5))
    axis.tick_params(labelsize=7)
    axis.set_xlabel("x [px]", fontsize=7)
    axis.set_ylabel("y [px]", fontsize=7)
    return png(figure, dpi=110)


def _middle(positions: NDArray[np.float64]) -> float:
    return float(positions.min() + positions.max()) / 2
