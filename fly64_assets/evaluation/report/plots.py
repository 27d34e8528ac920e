"""Figures of a whole study as PNG bytes: errors against dose and photons, and ring correlations of all cells.

Belongs here: figures over all cells, from the study's summary. Does not belong here: figures of one cell (``figures``).
A method has the same colour and marker in all figures, so that none of them depends on colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fly64_assets.engines.figures import png
from fly64_assets.evaluation.report.figures import MARKERS, PREVIEW_BYTES, draw_correlations, method_style, new_figure
from fly64_assets.evaluation.scores.compare import UNIFORM
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS: Final = (("phase", "phase RMSE [rad]"), ("amplitude", "amplitude RMSE"))
BOUND_LABEL: Final = "bound of unbiased estimates"
FLOOR_LABEL: Final = "photon floor 1/(2√n)"


def study_plots(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """All figures of the page by name: ``study/dose/SPLIT``, ``study/photons`` and ``study/correlation``."""
    plots = {f"study/dose/{split}": dose_figure(summary, split) for split in SPLITS}
    plots["study/photons"] = photon_figure(summary, JUDGED_SPLIT)
    plots["study/correlation"] = correlation_figure(summary, JUDGED_SPLIT)
    return plots


def dose_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Error against dose, a column per view: methods with spread over repeats, uniform object, bound and floor."""
    views = [view["name"] for view in summary["views"]]
    figure = new_figure(3.6 * len(views), 6.0)
    axes = figure.subplots(2, len(views), sharey="row", squeeze=False)
    for row, (part, label) in zip(axes, PARTS, strict=True):
        for axis, view in zip(row, views, strict=True):
            _dose_panel(axis, summary, view, split, part)
        row[0].set_ylabel(f"{label}, {split}")
    shared_legend(figure, axes.ravel().tolist())
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def photon_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Phase error against photons per pixel over all cells, beside what the number of photons allows."""
    figure = new_figure(7.6, 4.6)
    axis = figure.subplots()
    axis.set(xscale="log", yscale="log", xlabel="expected photons per pixel", ylabel=f"phase RMSE [rad], {split}")
    views = [view["name"] for view in summary["views"]]
    scored = [(cell, scores) for cell, scores in scored_cells(summary, split) if scores["photons_per_pixel"]]
    for method in summary["arms"]:
        colour = method_style(summary["arms"], method)["color"]
        for i, view in enumerate(views):
            points = [
                (scores["photons_per_pixel"], value)
                for cell, scores in scored
                if cell["view"] == view and (value := _value(scores, method, "phase"))
            ]
            if points:
                marker = MARKERS[i % len(MARKERS)]
                axis.plot(*zip(*points, strict=True), marker, color=colour, label=f"{method}, {view}")
    bounds = [(s["photons_per_pixel"], s["limit"]["phase_rad"]) for _, s in scored if s["limit"]["phase_rad"]]
    if bounds:
        axis.plot(*zip(*bounds, strict=True), "_", color="0.1", markersize=14, label=BOUND_LABEL)
    if photons := [scores["photons_per_pixel"] for _, scores in scored]:
        ends = [min(photons) / 1.5, max(photons) * 1.5]
        axis.plot(ends, [0.5 / n**0.5 for n in ends], ":", color="0.2", label=FLOOR_LABEL)
    axis.grid(True, which="both", alpha=0.25)
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", fontsize=7)
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def correlation_figure(summary: Mapping[str, Any], split: str, kind: str | None = None) -> bytes:
    """Ring correlation of complex fields, a panel per cell: with the truth, or the one of a ``kind`` among several."""
    doses, views = summary["doses"], [view["name"] for view in summary["views"]]
    figure = new_figure(3.4 * len(views), 2.1 * len(doses) + 0.5)
    axes = figure.subplots(len(doses), len(views), sharex=True, sharey=True, squeeze=False)
    by_cell = {(cell["dose"], cell["view"]): scores for cell, scores in scored_cells(summary, split)}
    for row, dose in zip(axes, doses, strict=True):
        for axis, view in zip(row, views, strict=True):
            scores = by_cell.get((dose, view))
            axis.set_title(f"{dose:,} photons, {view}", fontsize=8)
            axis.tick_params(labelsize=7)
            if scores is None:
                axis.text(0.5, 0.5, "no result", ha="center", va="center", transform=axis.transAxes, fontsize=8)
                continue
            curves = {m: scores["frc"].get(m, {}) for m in summary["arms"]}
            if kind is not None:
                curves = {m: kinds.get(kind, {}) for m, kinds in curves.items()}
            draw_correlations(axis, summary["arms"], {m: c for m, c in curves.items() if "correlation" in c})
            axis.grid(True, alpha=0.25)
    for axis in axes[-1]:
        axis.set_xlabel("frequency [1/px]", fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("FRC", fontsize=7)
    axes[0][0].set(xlim=(0, 0.5), ylim=(-0.15, 1.05))
    shared_legend(figure, axes.ravel().tolist())
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def _dose_panel(axis: Axes, summary: Mapping[str, Any], view: str, split: str, part: str) -> None:
    cells = [(cell, scores) for cell, scores in scored_cells(summary, split) if cell["view"] == view]
    # Fixed before anything is drawn: a panel may hold a single point, whose own limits would be one number.
    axis.set(xscale="log", yscale="log", xlim=(min(summary["doses"]) / 1.6, max(summary["doses"]) * 1.6))
    for method in summary["arms"]:
        points = [
            (cell["dose"], value, scores["arms"][method].get("standard_errors", {}).get(f"{part} rmse") or 0.0)
            for cell, scores in cells
            if (value := _value(scores, method, part))
        ]
        if points:
            dose, error, spread = zip(*points, strict=True)
            axis.errorbar(dose, error, yerr=spread, label=method, capsize=3, **method_style(summary["arms"], method))
    key = "phase_rad" if part == "phase" else "amplitude"
    lines: tuple[tuple[str, dict[str, Any], list[Any]], ...] = (
        ("uniform object", {"linestyle": "--", "color": "0.5"}, [_value(s, UNIFORM, part) for _, s in cells]),
        (BOUND_LABEL, {"color": "0.1", "linewidth": 1}, [s["limit"][key] for _, s in cells]),
        (FLOOR_LABEL, {"linestyle": ":", "color": "0.2"}, [s["phase_floor_rad"] for _, s in cells if part == "phase"]),
    )
    for label, style, values in lines:
        known = [(cell["dose"], value) for (cell, _), value in zip(cells, values, strict=False) if value]
        if known:
            axis.plot(*zip(*known, strict=True), label=label, **style)
    singular = any(scores["limit"]["state"] == "singular" for _, scores in cells)
    axis.set_xlabel("photons per frame")
    axis.set_title(f"{view} (singular: no bound)" if singular else view, fontsize=9)
    axis.grid(True, which="both", alpha=0.25)


def shared_legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend below all panels, each entry once."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        columns = min(6, len(entries))
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=8)


def scored_cells(summary: Mapping[str, Any], split: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Cells that have scores of a split, with these scores."""
    return [(cell, cell["splits"][split]) for cell in summary["cells"] if split in cell["splits"]]


def _value(scores: Mapping[str, Any], method: str, part: str) -> float | None:
    value: float | None = scores["arms"].get(method, {"values": {}})["values"].get(f"{part} rmse")
    return value
