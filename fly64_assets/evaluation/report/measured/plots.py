"""Figures over all cells of a measured study as PNG bytes: independent counts and resolution against dose.

A method has the same colour and marker in all figures. Does not belong here: figures of one cell (``pictures``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fly64_assets.engines.figures import png
from fly64_assets.evaluation.report.figures import PREVIEW_BYTES, method_style, new_figure
from fly64_assets.evaluation.report.measured.calibration import calibrated_resolution
from fly64_assets.evaluation.report.measured.sentences import COMPLEMENT, LEFT_OUT
from fly64_assets.evaluation.report.plots import correlation_figure, scored_cells, shared_legend
from fly64_assets.evaluation.scores.compare import UNIFORM
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIKELIHOODS: Final = {COMPLEMENT: "counts kept aside", LEFT_OUT: "frames left out"}
HALVES: Final = {"photons": "halves of the photons", "frames": "halves of the frames"}
"""Pairs of independent reconstructions: of disjoint photons of the same frames, and of alternate frames."""
FINEST_PX: Final = 2.0
"""Full period of the highest frequency that a grid of pixels holds."""


def measured_plots(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """All figures by name: ``study/likelihood/SPLIT``, ``study/resolution`` and ``study/correlation/PAIR``."""
    plots = {f"study/likelihood/{split}": likelihood_figure(summary, split) for split in SPLITS}
    plots["study/resolution"] = resolution_figure(summary, JUDGED_SPLIT)
    for pair in HALVES:
        plots[f"study/correlation/{pair}"] = correlation_figure(summary, JUDGED_SPLIT, pair)
    return plots


def likelihood_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Nats per frame above the reference against dose, a column per view: kept-aside counts, and left-out frames.

    The axis is linear about the reference and logarithmic beyond, so that a method close to the reference and the
    uniform object are both on it; bars are standard errors.
    """
    views = [view["name"] for view in summary["views"]]
    figure = new_figure(3.7 * len(views), 6.2)
    axes = figure.subplots(2, len(views), sharey="row", squeeze=False)
    for row, (score, label) in zip(axes, LIKELIHOODS.items(), strict=True):
        cells = scored_cells(summary, split)
        smallest = _linear_range(value for _, scores in cells for value in _values(scores, score))
        for axis, view in zip(row, views, strict=True):
            _prepare(axis, summary, view)
            axis.set_yscale("symlog", linthresh=smallest)
            here = [(cell, scores) for cell, scores in cells if cell["view"] == view]
            _likelihood_panel(axis, summary, here, score)
        row[0].set_ylabel(f"{label}, {split}\n[nats per frame above the reference]", fontsize=8)
    shared_legend(figure, axes.ravel().tolist())
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def resolution_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Half-bit resolution of every method against dose, a column per view: halves of the photons and of the frames."""
    views = [view["name"] for view in summary["views"]]
    figure = new_figure(3.7 * len(views), 5.8)
    axes = figure.subplots(2, len(views), sharex=True, sharey=True, squeeze=False)
    halves = calibrated_resolution(summary["calibration"])
    for row, (pair, label) in zip(axes, HALVES.items(), strict=True):
        score = f"complex frc_{pair}_half_bit"
        for axis, view in zip(row, views, strict=True):
            _prepare(axis, summary, view)
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter("{x:g}")
            cells = [(c, scores) for c, scores in scored_cells(summary, split) if c["view"] == view]
            for method in summary["arms"]:
                points = [(c["dose"], value) for c, s in cells if (value := _value(s, method, score))]
                if points:
                    axis.plot(*zip(*points, strict=True), label=method, **method_style(summary["arms"], method))
            if not any(_value(s, method, score) for _, s in cells for method in summary["arms"]):
                _no_value(axis, "no pairs" if cells else "no result")
            if halves is not None:
                axis.axhline(halves, color="0.1", linewidth=1, label="reference, halves of its frames at full counts")
            axis.axhline(FINEST_PX, color="0.4", linestyle=":", linewidth=1, label="finest period of the grid, 2 px")
        row[0].set_ylabel(f"{label}, {split}\nfull period [px]", fontsize=8)
    shared_legend(figure, axes.ravel().tolist())
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def _prepare(axis: Axes, summary: Mapping[str, Any], view: str) -> None:
    # Limits before anything is drawn: a panel may hold a single point, whose own limits would be one number.
    axis.set(xscale="log", xlim=(min(summary["doses"]) / 1.6, max(summary["doses"]) * 1.6))
    axis.set_xlabel("photons per frame", fontsize=8)
    axis.set_title(view, fontsize=9)
    axis.grid(True, which="major", alpha=0.25)
    axis.tick_params(labelsize=7)


def _likelihood_panel(axis: Axes, summary: Mapping[str, Any], cells: Sequence[Any], score: str) -> None:
    axis.axhline(0, color="0.1", linewidth=1, label="reference (saw all counts)")
    for method in summary["arms"]:
        points = [
            (cell["dose"], value, _error(scores, method, score))
            for cell, scores in cells
            if (value := _value(scores, method, score)) is not None
        ]
        if points:
            dose, excess, error = zip(*points, strict=True)
            axis.errorbar(dose, excess, yerr=error, label=method, capsize=3, **method_style(summary["arms"], method))
    uniform = [(c["dose"], value) for c, scores in cells if (value := _value(scores, UNIFORM, score)) is not None]
    if uniform:
        axis.plot(*zip(*uniform, strict=True), "--x", color="0.5", markersize=4, label="uniform object")
    if not any(_values(scores, score) for _, scores in cells):
        _no_value(axis, "no frames left out" if cells and score == LEFT_OUT else "no result")


def _no_value(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.6, text, ha="center", va="center", transform=axis.transAxes, fontsize=8, color="0.35")


def _linear_range(values: Iterable[float]) -> float:
    """Half width of the linear part of the axis: a power of ten near the smallest excess, at least 1 nat."""
    sizes = [abs(value) for value in values if value]
    return float(10.0 ** max(0, math.floor(math.log10(min(sizes))))) if sizes else 1.0


def _values(scores: Mapping[str, Any], score: str) -> list[float]:
    found = (entry["values"].get(score) for entry in scores["arms"].values())
    return [float(value) for value in found if value]


def _value(scores: Mapping[str, Any], name: str, score: str) -> float | None:
    value: float | None = scores["arms"].get(name, {"values": {}})["values"].get(score)
    return value


def _error(scores: Mapping[str, Any], name: str, score: str) -> float:
    """Standard error over repeats, or over frames where there is one run."""
    entry = scores["arms"][name]
    return float(entry["standard_errors"].get(score) or entry["values"].get(f"{score}_error") or 0.0)
