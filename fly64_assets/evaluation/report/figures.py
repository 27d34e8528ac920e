"""Pictures of measurements and comparisons as PNG bytes.

Belongs here: figures of one cell or one data set. Does not belong here: figures of the whole study (``plots``), files.
Matplotlib is used through its objects, never through its global state, so that threads may draw at once. Pictures of
amplitude are grey, of phase ``cividis``, of errors ``coolwarm``: readable in print and to the colour-blind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import draw_picture, percentile_limits, png
from fly64_assets.evaluation.scores.compare import FLAT, TRUTH, SplitComparison
from fly64_assets.evaluation.scores.metrics import phase_part
from fly64_assets.evaluation.scores.resolution import RingCorrelation
from fly64_assets.physics.illumination import illumination

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREVIEW_BYTES: Final = 200_000
"""Largest picture that Dagster's UI shows inline without trouble."""

ARM_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette: told apart with every kind of colour vision."""

Histories = Mapping[str, Mapping[str, Sequence[float]]]
Limits = tuple[float, float]


def cell_figure(
    comparison: SplitComparison,
    *,
    dose: int,
    view: str,
    coverage_threshold: float,
    histories: Histories,
    max_bytes: int | None = None,
) -> bytes:
    """Truth, every arm, phase errors, ring correlations and loss curves of one split.

    Parameters
    ----------
    comparison : SplitComparison
    coverage_threshold : float
        Factor of the evaluation region, named on the figure.
    histories : arm -> series -> values per epoch
        Loss curves; may be empty.
    max_bytes : int, optional
        Upper limit of the picture's size, reached by a lower resolution.
    """
    from matplotlib.figure import Figure

    arms = _arms(comparison)
    columns = 1 + len(arms)
    height, width = crop(comparison)[2]
    tall = 3 * min(2.4, max(0.9, 2.6 * height / width)) + 3.4
    figure = Figure(figsize=(2.9 * columns + 0.8, tall), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[tall - 2.7, 2.7])[:, 0]
    axes = top.subplots(3, columns, squeeze=False)
    _object_rows(top, axes, comparison, arms)
    panels = bottom.subplots(1, 2 + len(histories), squeeze=False)[0]
    _correlation_panel(panels[0], comparison, arms, "phase")
    _correlation_panel(panels[1], comparison, arms, "complex")
    for panel, (arm, series) in zip(panels[2:], histories.items(), strict=True):
        _history_panel(panel, arm, series)
    budget = comparison.photons
    figure.suptitle(
        f"{dose:,} photons per frame, {view}, {comparison.split}: {budget.frames} frames, "
        f"{_number(budget.photons_per_pixel)} photons per pixel\n"
        f"evaluated where W >= {coverage_threshold:g} of one frame's mean: "
        f"{100 * comparison.region.covered_fraction:.0f} % of the scanned box",
        fontsize=10,
    )
    return png(figure, max_bytes=max_bytes)


def phase_strip(comparison: SplitComparison) -> bytes:
    """Small picture: phase of truth and arms above, their phase errors below, on common scales; under 200 kB."""
    from matplotlib.figure import Figure

    arms = _arms(comparison)
    columns = 1 + len(arms)
    height, width = crop(comparison)[2]
    tall = 2 * min(1.8, max(0.6, 1.5 * height / width)) + 0.5
    figure = Figure(figsize=(1.6 * columns + 0.6, tall), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    _object_rows(figure, axes, comparison, arms)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel("")
        axis.set_ylabel("")
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def limit_figure(comparison: SplitComparison, *, dose: int, view: str) -> bytes:
    """Least error of an unbiased estimate, pixel by pixel, for phase and amplitude on logarithmic scales; under 200 kB.

    Raises
    ------
    ValueError
        Where the limit is not regular.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    rows, columns, (height, width) = crop(comparison)
    extent = (columns.start, columns.stop, rows.stop, rows.start)
    figure = Figure(figsize=(9.6, min(4.8, max(1.9, 4.2 * height / width + 0.8))), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, part, label in zip(axes, ("phase", "amplitude"), ("phase [rad]", "amplitude"), strict=True):
        least = comparison.limit.error_map(part)
        if least is None:
            raise ValueError(f"there is no photon limit to draw: {comparison.limit.reason}")
        low, high = percentile_limits(least[comparison.region.mask])
        shown = np.where(comparison.region.mask, least, np.nan)[rows, columns]
        image = draw_picture(axis, shown, "cividis", extent, norm=LogNorm(low, max(high, 1.01 * low)))
        axis.set_title(f"photon limit of the {part}, {dose:,} photons per frame, {view}", fontsize=8)
        figure.colorbar(image, ax=axis, shrink=0.9).set_label(label, fontsize=7)
    return png(figure, max_bytes=PREVIEW_BYTES)


def preview(obj: NDArray[np.complexfloating], mask: NDArray[np.bool_] | None = None) -> bytes:
    """Small picture of an object's amplitude and phase (H, W), under 200 kB."""
    from matplotlib.figure import Figure

    shown = np.ones(obj.shape, dtype=np.bool_) if mask is None else mask
    shown = shown & np.isfinite(obj)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    safe = np.where(shown, obj, 1)
    for axis, picture, title, colours in (
        (axes[0], np.abs(safe), "amplitude", "gray"),
        (axes[1], np.angle(safe), "phase [rad]", "cividis"),
    ):
        image = draw_picture(axis, np.where(shown, picture, np.nan), colours, (0, obj.shape[1], obj.shape[0], 0))
        axis.set_title(title, fontsize=9)
        figure.colorbar(image, ax=axis, shrink=0.85)
    return png(figure, max_bytes=PREVIEW_BYTES)


def scan_figure(
    probe: NDArray[np.complexfloating], x: NDArray[np.float64], y: NDArray[np.float64], object_shape: tuple[int, int]
) -> bytes:
    """Positions (n,) [px] on the illumination they give, and the probe's amplitude; under 200 kB."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=[2, 1])
    light = illumination(probe, x, y, object_shape)
    image = draw_picture(axes[0], light, "cividis", (0, object_shape[1], object_shape[0], 0))
    axes[0].plot(x + 0.5, y + 0.5, ".", color="white", markersize=max(0.6, min(4.0, 90 / np.sqrt(len(x)))), alpha=0.8)
    axes[0].set_title(f"{len(x)} positions on their illumination W", fontsize=9)
    figure.colorbar(image, ax=axes[0], shrink=0.85)
    image = draw_picture(axes[1], np.abs(probe), "gray", (0, probe.shape[1], probe.shape[0], 0))
    axes[1].set_title("probe amplitude", fontsize=9)
    figure.colorbar(image, ax=axes[1], shrink=0.6)
    return png(figure, max_bytes=PREVIEW_BYTES)


def frames_figure(counts: NDArray[np.floating]) -> bytes:
    """A few frames of photon counts (k, N, N) on one logarithmic scale, under 200 kB."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.9 * len(counts) + 0.9, 2.4), layout="constrained")
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    size = counts.shape[-1]
    norm = LogNorm(0.5, max(1.0, float(counts.max())))
    for axis, frame in zip(axes, counts, strict=True):
        shown = np.where(frame > 0, frame, np.nan)
        draw_picture(axis, shown, "cividis", (0, size, size, 0), norm=norm)
        axis.set_title(f"{frame.sum():,.0f} photons", fontsize=9)
    figure.colorbar(axes[0].images[0], ax=list(axes), label="counts", shrink=0.85)
    return png(figure, max_bytes=PREVIEW_BYTES)


# -- panels ------------------------------------------------------------------------------------------------------


def _arms(comparison: SplitComparison) -> list[str]:
    return [arm for arm in comparison.arms if arm not in (FLAT, TRUTH)]


def crop(comparison: SplitComparison) -> tuple[slice, slice, tuple[int, int]]:
    """Rows and columns that hold the region, and their numbers; the whole object where the region is empty."""
    mask = comparison.region.mask
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1]), (mask.shape[0], mask.shape[1])
    spans = []
    for axis in (1, 0):
        lit = np.flatnonzero(mask.any(axis=axis))
        spans.append(slice(int(lit[0]), int(lit[-1]) + 1))
    return spans[0], spans[1], (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)


def _object_rows(figure: Any, axes: NDArray[Any], comparison: SplitComparison, arms: Sequence[str]) -> None:
    """Rows of pictures: phase, phase error and, if there are three rows, amplitude; one column per arm."""
    rows, columns, _ = crop(comparison)
    extent = (columns.start, columns.stop, rows.stop, rows.start)
    mask = comparison.region.mask

    def masked(picture: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(mask, picture, np.nan)[rows, columns]

    def row(index: int, pictures: Mapping[str, NDArray[np.float64]], colours: str, limits: Limits) -> None:
        image = None
        for axis, name in zip(axes[index], [TRUTH, *arms], strict=True):
            if name in pictures:
                image = draw_picture(axis, pictures[name], colours, extent, vmin=limits[0], vmax=limits[1])
        if image is not None:
            bar = figure.colorbar(image, ax=list(axes[index]), shrink=0.9, pad=0.01)
            bar.set_label(labels[index], fontsize=7)
            bar.ax.tick_params(labelsize=7)

    labels = ("phase [rad]", "phase error [rad]", "amplitude")
    names = [name for name in (TRUTH, *arms) if name in comparison.fields]
    parts = {name: phase_part(comparison.fields[name], comparison.truth, mask, None) for name in names}
    if mask.any():
        truth = parts[TRUTH].truth
        row(0, {n: masked(p.estimate) for n, p in parts.items()}, "cividis", percentile_limits(truth[mask]))
        errors = {n: p.estimate - p.truth for n, p in parts.items() if n != TRUTH}
        reach = max([float(np.percentile(np.abs(e[mask]), 99)) for e in errors.values()] or [1.0]) or 1.0
        row(1, {n: masked(e) for n, e in errors.items()}, "coolwarm", (-reach, reach))
        if len(axes) > 2:
            amplitudes = {n: masked(np.abs(comparison.fields[n].field)) for n in names}
            row(2, amplitudes, "gray", percentile_limits(np.abs(comparison.truth[mask])))
    axes[1][0].axis("off")
    for column, name in enumerate((TRUTH, *arms)):
        axes[0][column].set_title(name, fontsize=9)
        if name not in comparison.fields:
            _absent(axes[:, column], comparison.arms[name].reason or comparison.arms[name].outcome)


def _absent(axes: NDArray[Any], reason: str) -> None:
    import textwrap

    for axis in axes:
        axis.axis("off")
    text = "\n".join(textwrap.wrap(reason, 30)[:7])
    axes[0].text(0.5, 0.5, text, transform=axes[0].transAxes, ha="center", va="center", fontsize=7)


def _correlation_panel(axis: Axes, comparison: SplitComparison, arms: Sequence[str], part: str) -> None:
    half_bit_drawn = False
    for colour, arm in zip(_colours(arms), arms, strict=True):
        curve = comparison.curves.get(arm, {}).get(part)
        if not isinstance(curve, RingCorrelation):
            continue
        axis.plot(curve.frequency, curve.correlation, color=colour, label=arm, linewidth=1.2)
        if not half_bit_drawn:
            axis.plot(curve.frequency, curve.half_bit, color="0.4", linestyle=":", label="half-bit", linewidth=1)
            half_bit_drawn = True
    axis.axhline(0.5, color="0.4", linestyle="--", linewidth=0.8, label="0.5")
    axis.set_xlim(0, 0.5)
    axis.set_ylim(-0.15, 1.05)
    _labels(axis, f"ring correlation with the truth, {part}", "frequency [1/px]", "FRC")


def _history_panel(axis: Axes, arm: str, series: Mapping[str, Sequence[float]]) -> None:
    for colour, (name, values) in zip(_colours(list(series)), series.items(), strict=True):
        axis.plot(np.arange(1, len(values) + 1), values, color=colour, label=name, linewidth=1.2)
    _labels(axis, f"{arm}: loss", "epoch", "loss")


def _labels(axis: Axes, title: str, x_label: str, y_label: str) -> None:
    axis.set_title(title, fontsize=8)
    axis.set_xlabel(x_label, fontsize=7)
    axis.set_ylabel(y_label, fontsize=7)
    axis.tick_params(labelsize=7)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=6)


def _colours(names: Sequence[str]) -> list[str]:
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(names))]


def _number(value: float | None) -> str:
    return "no" if value is None else f"{value:,.3g}"
