"""Figures of one data set or one compared cell as PNG bytes, and the names of their files.

Does not belong here: how an object is drawn (``engines.figures``) and figures of the whole study (``plots``).
"""

from __future__ import annotations

import csv
import io
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import draw_object, draw_picture, percentile_limits, png
from fly64_assets.evaluation.scores.compare import REFERENCE, TRUTH, CellComparison, SplitComparison
from fly64_assets.evaluation.scores.metrics import phase_part
from fly64_assets.evaluation.scores.resolution import RingCorrelation
from fly64_assets.physics.illumination import illumination_picture
from fly64_assets.physics.probe_modes import MODES_AXES, added
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.physics.windows import Scan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREVIEW_BYTES: Final = 200_000
"""Largest picture that Dagster's UI shows inline without trouble."""

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette: distinguishable with every kind of colour vision."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")

KNOWN: Final = ("pinn", "lsqml", "legacy_pinn", "lsqml_from_pinn")
"""Methods that keep the first colours of the palette, so that figures of different studies can be compared."""

QUANTITIES: Final = {"phase": "phase", "error": "phase error", "amplitude": "amplitude"}
"""What is drawn of a reconstruction, with its label."""

LABELS: Final = {"phase": "phase [rad]", "error": "phase error [rad]", "amplitude": "amplitude"}
LABELS_TO_REFERENCE: Final = LABELS | {"error": "phase - reference [rad]"}
"""Labels where there is no truth."""
MAPS: Final = {"phase": "cividis", "error": "coolwarm", "amplitude": "gray"}

RINGS: Final = {
    TRUTH: {"phase": "ring correlation with the truth, phase", "complex": "ring correlation with the truth, complex"},
    REFERENCE: {
        "photons": "ring correlation, halves of the photons",
        "frames": "ring correlation, halves of the frames",
    },
}
"""Curves of a cell's figure with their titles, by what the methods are compared with."""

Histories = Mapping[str, Mapping[str, Sequence[float]]]
"""Loss curves: method -> series -> values per epoch."""

Pictures = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Quantity -> name (the truth or a method) -> picture (H, W)."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure [inches]."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def method_style(methods: Sequence[str], method: str) -> dict[str, Any]:
    """Colour and marker of a method: fixed ones for :data:`KNOWN` names, for others the next free ones in their order.

    Examples
    --------
    >>> method_style(["pinn", "tv_ml", "lsqml"], "lsqml")
    {'color': '#D55E00', 'marker': 's'}
    >>> method_style(["pinn", "tv_ml", "lsqml"], "tv_ml")
    {'color': '#009E73', 'marker': '^'}
    """
    fixed = {name: place for place, name in enumerate(KNOWN) if name in methods}
    free = (place for place in itertools.count() if place not in fixed.values())
    place = (fixed | dict(zip((name for name in methods if name not in KNOWN), free, strict=False)))[method]
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def cell_pictures(
    comparison: CellComparison, *, coverage_threshold: float, histories: Mapping[str, Histories]
) -> dict[str, bytes]:
    """All pictures of a compared cell as PNG, by file name.

    These are ``comparison_SPLIT.png``, ``limit_SPLIT.png`` where there is a bound, and of the :data:`JUDGED_SPLIT`
    ``tile_SPLIT.METHOD.QUANTITY.png``; :func:`picture_name` reads these names.

    Parameters
    ----------
    coverage_threshold : float
        Factor of the evaluation region, stated in the figures.
    histories : split -> method -> series -> values per epoch
        Loss curves, those that exist.
    """
    pictures: dict[str, bytes] = {}
    dose, view = comparison.dose, comparison.view
    for split, compared in comparison.splits.items():
        pictures[f"comparison_{split}.png"] = cell_figure(
            compared, dose=dose, view=view, coverage_threshold=coverage_threshold, histories=histories.get(split, {})
        )
        if compared.limit.state == "regular":
            pictures[f"limit_{split}.png"] = _limit_figure(compared, dose=dose, view=view)
        if split == JUDGED_SPLIT:
            # No method and no split has a dot in its name.
            for (method, quantity), tile in tiles(compared).items():
                pictures[f"tile_{split}.{method}.{quantity}.png"] = tile
    return pictures


def picture_name(file: str) -> str | None:
    """What the report calls a file of :func:`cell_pictures`; None for any other file.

    Examples
    --------
    >>> picture_name("comparison_test.png"), picture_name("limit_train.png"), picture_name("comparison.json")
    ('test', 'train/limit', None)
    >>> picture_name("tile_test.lsqml.phase.png")
    'test/lsqml/phase'
    """
    kind, _, rest = file.removesuffix(".png").partition("_")
    if not file.endswith(".png") or kind not in ("comparison", "limit", "tile", "residuals"):
        return None
    return f"{rest}/{kind}" if kind in ("limit", "residuals") else rest.replace(".", "/")


def loss_history(recorded: str | NDArray[np.floating]) -> dict[str, list[float]]:
    r"""Loss curves, series -> values per epoch, from the text of a ``history.csv`` or from the losses (epochs,).

    Examples
    --------
    >>> loss_history("epoch,train_loss,rate\n1,3.0,0.1\n2,2.5,0.1\n")
    {'train_loss': [3.0, 2.5]}
    >>> loss_history(np.array([2.0, 1.0]))
    {'loss': [2.0, 1.0]}
    """
    if not isinstance(recorded, str):
        return {"loss": recorded.astype(float).tolist()}
    rows = list(csv.DictReader(io.StringIO(recorded)))
    names = [name for name in (rows[0] if rows else {}) if "loss" in name]
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}


def cell_figure(
    comparison: SplitComparison, *, dose: int, view: str, coverage_threshold: float, histories: Histories
) -> bytes:
    """Truth, every method, phase errors, ring correlations and loss curves of one split; see :func:`cell_pictures`."""
    methods = comparison.candidates
    columns = 1 + len(methods)
    tall = 3 * min(2.4, max(0.9, _height(comparison, 2.6))) + 3.4
    figure = new_figure(2.9 * columns + 0.8, tall)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[tall - 2.7, 2.7])[:, 0]
    _draw_objects(top, top.subplots(3, columns, squeeze=False), comparison, ("phase", "error", "amplitude"))
    panels = bottom.subplots(1, 2 + len(histories), squeeze=False)[0]
    for panel, (kind, title) in zip(panels, RINGS[comparison.standard].items(), strict=False):
        curves = {method: comparison.curves.get(method, {}).get(kind) for method in methods}
        draw_correlations(panel, methods, {m: c.to_dict() for m, c in curves.items() if isinstance(c, RingCorrelation)})
        _labels(panel, title, "frequency [1/px]", "FRC")
    for panel, (method, series) in zip(panels[2:], histories.items(), strict=True):
        for i, (name, values) in enumerate(series.items()):
            epochs = np.arange(1, len(values) + 1)
            panel.plot(epochs, values, color=COLOURS[i % len(COLOURS)], label=name, linewidth=1.2)
        _labels(panel, f"{method}: loss", "epoch", "loss")
    budget = comparison.photons
    photons = "no" if budget.photons_per_pixel is None else f"{budget.photons_per_pixel:,.3g}"
    figure.suptitle(
        f"{dose:,} photons per frame, {view}, {comparison.split}: {budget.frames} frames, "
        f"{photons} photons per pixel\n"
        f"evaluated where the illumination W is at least {coverage_threshold:g} of one frame's mean: "
        f"{100 * comparison.region.covered_fraction:.0f} % of the scanned box",
        fontsize=10,
    )
    return png(figure)


def phase_strip(comparison: SplitComparison) -> bytes:
    """Small picture: phases of truth and methods above, phase errors below, on common scales; under 200 kB."""
    columns = 1 + len(comparison.candidates)
    tall = 2 * min(1.8, max(0.6, _height(comparison, 1.5))) + 0.5
    figure = new_figure(1.6 * columns + 0.6, tall)
    axes = figure.subplots(2, columns, squeeze=False)
    _draw_objects(figure, axes, comparison, ("phase", "error"))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def _limit_figure(comparison: SplitComparison, *, dose: int, view: str) -> bytes:
    """Least error of an unbiased estimate on every pixel, phase and amplitude on logarithmic scales; under 200 kB."""
    from matplotlib.colors import LogNorm

    figure = new_figure(9.6, min(4.8, max(1.9, _height(comparison, 4.2) + 0.8)))
    for axis, part in zip(figure.subplots(1, 2), ("phase", "amplitude"), strict=True):
        least = comparison.limit.error_map(part)
        if least is None:
            raise ValueError(f"there is no photon limit to draw: {comparison.limit.reason}")
        low, high = percentile_limits(least[comparison.region.mask])
        image = _draw(axis, comparison, least, "cividis", norm=LogNorm(low, max(high, 1.01 * low)))
        where = ", at the reference" if comparison.standard == REFERENCE else ""
        axis.set_title(f"photon limit of the {part}{where}, {dose:,} photons per frame, {view}", fontsize=8)
        figure.colorbar(image, ax=axis, shrink=0.9).set_label(LABELS[part], fontsize=7)
    return png(figure, max_bytes=PREVIEW_BYTES)


def tiles(comparison: SplitComparison) -> dict[tuple[str, str], bytes]:
    """PNG by (method, quantity), one picture each on common scales, for the truth and every method that was compared.

    The truth has no error; an empty region has no tiles.
    """
    pictures, limits = _object_pictures(comparison)
    made = {}
    for quantity, by_name in pictures.items():
        figure, image = new_figure(4.4, min(4.4, max(1.6, _height(comparison, 3.5) + 0.5))), None
        for name, picture in by_name.items():
            if image is None:
                axis = figure.subplots()
                low, high = limits[quantity]
                image = _draw(axis, comparison, picture, MAPS[quantity], vmin=low, vmax=high)
                _colour_bar(figure, image, axis, _labels_of(comparison)[quantity], 0.02)
            else:  # in the same place: what is around it is laid out once
                image.set_data(_cropped(comparison, picture))
            made[name, quantity] = png(figure, dpi=110, max_bytes=PREVIEW_BYTES)
    return made


def draw_correlations(axis: Axes, methods: Sequence[str], curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw ring correlations, documents of ``RingCorrelation`` by method, with the thresholds 0.5 and half-bit."""
    for i, (method, curve) in enumerate(curves.items()):
        colour = method_style(methods, method)["color"]
        axis.plot(curve["frequency_per_px"], curve["correlation"], color=colour, label=method, linewidth=1.2)
        if i == 0:
            axis.plot(curve["frequency_per_px"], curve["half_bit"], ":", color="0.4", label="half-bit", linewidth=1)
    axis.axhline(0.5, color="0.4", linestyle="--", linewidth=0.8, label="0.5")
    axis.set(xlim=(0, 0.5), ylim=(-0.15, 1.05))


def _crop(comparison: SplitComparison) -> tuple[slice, slice]:
    """Rows and columns that hold the region; the whole object where the region is empty."""
    mask = comparison.region.mask if comparison.region.mask.any() else np.ones_like(comparison.region.mask)
    occupied = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(int(places[0]), int(places[-1]) + 1) for places in occupied)
    return rows, columns


def _height(comparison: SplitComparison, width: float) -> float:
    """Height of a picture that is so wide."""
    rows, columns = _crop(comparison)
    return width * float(rows.stop - rows.start) / float(columns.stop - columns.start)


def _draw(axis: Axes, comparison: SplitComparison, picture: NDArray[np.float64], colours: str, **scale: Any) -> Any:
    """Draw the part of a picture (H, W) that holds the region."""
    rows, columns = _crop(comparison)
    extent = (columns.start, columns.stop, rows.stop, rows.start)
    return draw_picture(axis, _cropped(comparison, picture), colours, extent, **scale)


def _cropped(comparison: SplitComparison, picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """That part, NaN outside of the region."""
    return np.where(comparison.region.mask, picture, np.nan)[_crop(comparison)]


def _colour_bar(figure: Any, image: Any, axes: Any, label: str, pad: float) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=pad)
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7)


def _labels_of(comparison: SplitComparison) -> dict[str, str]:
    return LABELS_TO_REFERENCE if comparison.standard == REFERENCE else LABELS


def _object_pictures(comparison: SplitComparison) -> tuple[Pictures, dict[str, tuple[float, float]]]:
    """Phase, phase error and amplitude of the standard and of all aligned methods, with common limits per quantity."""
    mask = comparison.region.mask
    pictures: dict[str, dict[str, NDArray[np.float64]]] = {quantity: {} for quantity in QUANTITIES}
    if not mask.any():
        return pictures, {}
    fields = comparison.fields
    for name in (comparison.standard, *(n for n in comparison.candidates if n in fields)):
        field = fields[name]
        truth, pictures["phase"][name] = phase_part(field, comparison.truth, mask, None).pictures(slice(None))
        pictures["amplitude"][name] = np.abs(field.field)
        if name != comparison.standard:
            pictures["error"][name] = pictures["phase"][name] - truth
    errors = [float(np.percentile(np.abs(picture[mask]), 99)) for picture in pictures["error"].values()]
    reach = max([*errors, 1e-6])
    limits = {q: percentile_limits(pictures[q][comparison.standard][mask]) for q in ("phase", "amplitude")}
    return pictures, limits | {"error": (-reach, reach)}


def _draw_objects(figure: Any, axes: NDArray[Any], comparison: SplitComparison, quantities: Sequence[str]) -> None:
    """A row per quantity, a column for the truth and for every method."""
    pictures, limits = _object_pictures(comparison)
    names = (comparison.standard, *comparison.candidates)
    for row, quantity in zip(axes, quantities, strict=True):
        image = None
        for axis, name in zip(row, names, strict=True):
            if name in pictures[quantity]:
                low, high = limits[quantity]
                image = _draw(axis, comparison, pictures[quantity][name], MAPS[quantity], vmin=low, vmax=high)
        if image is not None:
            _colour_bar(figure, image, list(row), _labels_of(comparison)[quantity], 0.01)
    axes[1][0].axis("off")
    for column, name in zip(axes.T, names, strict=True):
        column[0].set_title(name, fontsize=9)
        if name not in comparison.fields:
            for axis in column:
                axis.axis("off")
            result = comparison.methods[name]
            reason = "\n".join(textwrap.wrap(result.reason or result.outcome, 30)[:7])
            column[0].text(0.5, 0.5, reason, transform=column[0].transAxes, ha="center", va="center", fontsize=7)
    _label_outer(axes)


def _label_outer(axes: NDArray[Any]) -> None:
    """Leave numbers and names of axes to the lowest row and to the first picture of every row: they are the same."""
    for axis in axes[:-1].flat:
        axis.tick_params(labelbottom=False)
        axis.set_xlabel("")
    for row in axes:
        for axis in [axis for axis in row if axis.axison][1:]:
            axis.tick_params(labelleft=False)
            axis.set_ylabel("")


def _labels(axis: Axes, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title, fontsize=8)
    axis.set_xlabel(x_label, fontsize=7)
    axis.set_ylabel(y_label, fontsize=7)
    axis.tick_params(labelsize=7)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=6)


def preview(obj: NDArray[np.complexfloating]) -> bytes:
    """Small picture of an object's amplitude and phase (H, W), under 200 kB; pixels that are not finite are grey."""
    figure = new_figure(7.2, 3.2)
    known = np.isfinite(obj)
    draw_object(figure, list(figure.subplots(1, 2)), np.where(known, obj, 1), known)
    return png(figure, max_bytes=PREVIEW_BYTES)


def scan_figure(probe: NDArray[np.complexfloating], scan: Scan) -> bytes:
    """Positions of a scan on the illumination they give, and the probe's amplitude; under 200 kB.

    ``probe`` is (N, N), or (M, N, N) with all its incoherent modes.
    """
    figure = new_figure(7.2, 3.6)
    axes = figure.subplots(1, 2, width_ratios=[2, 1])
    total, side = illumination_picture(probe, scan)
    image = draw_picture(axes[0], total, "cividis", (0, side * total.shape[1], side * total.shape[0], 0))
    size = max(0.6, min(4.0, 90 / np.sqrt(len(scan))))
    axes[0].plot(scan.x + 0.5, scan.y + 0.5, ".", color="white", markersize=size, alpha=0.8)
    axes[0].set_title(f"{len(scan)} positions on their illumination W", fontsize=9)
    figure.colorbar(image, ax=axes[0], shrink=0.85)
    amplitude = np.sqrt(added(np.abs(probe) ** 2)) if probe.ndim == MODES_AXES else np.abs(probe)
    image = draw_picture(axes[1], amplitude, "gray", (0, amplitude.shape[1], amplitude.shape[0], 0))
    axes[1].set_title("probe amplitude", fontsize=9)
    figure.colorbar(image, ax=axes[1], shrink=0.6)
    return png(figure, max_bytes=PREVIEW_BYTES)


def frames_figure(counts: NDArray[np.floating]) -> bytes:
    """A few frames of photon counts (k, N, N) on one logarithmic scale, under 200 kB."""
    from matplotlib.colors import LogNorm

    figure = new_figure(1.9 * len(counts) + 0.9, 2.4)
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    size = counts.shape[-1]
    norm = LogNorm(0.5, max(1.0, float(counts.max())))
    for axis, frame in zip(axes, counts, strict=True):
        draw_picture(axis, np.where(frame > 0, frame, np.nan), "cividis", (0, size, size, 0), norm=norm)
        axis.set_title(f"{frame.sum():,.0f} photons", fontsize=9)
    figure.colorbar(axes[0].images[0], ax=list(axes), label="counts", shrink=0.85)
    return png(figure, max_bytes=PREVIEW_BYTES)
