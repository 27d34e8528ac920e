"""Figures of a whole study as PNG bytes: errors against dose and photons, and ring correlations of all cells.

Belongs here: figures over all cells, from the study's summary. Does not belong here: figures of one cell (``figures``),
numbers (``summary``).

Every arm keeps its colour and its marker through all figures (Okabe and Ito's palette), so that none of them depends on
colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fly64_assets.engines.figures import png
from fly64_assets.evaluation.report.figures import ARM_COLOURS, PREVIEW_BYTES
from fly64_assets.evaluation.report.summary import JUDGED_SPLIT
from fly64_assets.evaluation.scores.compare import FLAT
from fly64_assets.physics.scan import SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
VIEW_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
PARTS: Final = (("phase", "phase RMSE [rad]"), ("amplitude", "amplitude RMSE"))


def arm_style(arms: Sequence[str], arm: str) -> dict[str, Any]:
    """Colour and marker of an arm."""
    place = list(arms).index(arm)
    return {"color": ARM_COLOURS[place % len(ARM_COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def study_plots(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """All figures of the page by name: ``study/dose/SPLIT``, ``study/photons`` and ``study/correlation``."""
    plots = {f"study/dose/{split}": dose_figure(summary, split) for split in SPLITS}
    plots["study/photons"] = photon_figure(summary, JUDGED_SPLIT)
    plots["study/correlation"] = correlation_figure(summary, JUDGED_SPLIT)
    return plots


def dose_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Error against dose, a column per view: every arm with its spread over repeats, flat object, bound and floor."""
    from matplotlib.figure import Figure

    views = [view["name"] for view in summary["views"]]
    figure = Figure(figsize=(3.6 * len(views), 6.0), layout="constrained")
    axes = figure.subplots(2, len(views), sharey="row", squeeze=False)
    for row, (part, label) in zip(axes, PARTS, strict=True):
        for axis, view in zip(row, views, strict=True):
            _dose_panel(axis, summary, view, split, part)
        row[0].set_ylabel(f"{label}, {split}")
    _shared_legend(figure, axes.ravel().tolist())
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def photon_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Phase error against photons per pixel over all cells: whether more photons or another algorithm would help."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.set(xscale="log", yscale="log", xlabel="expected photons per pixel", ylabel=f"phase RMSE [rad], {split}")
    views = [view["name"] for view in summary["views"]]
    for arm in summary["arms"]:
        for marker, view in zip(VIEW_MARKERS, views, strict=False):
            points = [
                (one["photons_per_pixel"], value)
                for cell, one in _splits(summary, split)
                if cell["view"] == view and (value := _value(one, arm, "phase")) and one["photons_per_pixel"]
            ]
            if points:
                style = arm_style(summary["arms"], arm)
                axis.plot(*zip(*points, strict=True), marker, color=style["color"], label=f"{arm}, {view}")
    bounds = [
        (one["photons_per_pixel"], one["limit"]["phase_rad"])
        for _, one in _splits(summary, split)
        if one["limit"]["phase_rad"]
    ]
    if bounds:
        axis.plot(*zip(*bounds, strict=True), "_", color="0.1", markersize=14, label="bound of unbiased estimates")
    photons = sorted(one["photons_per_pixel"] for _, one in _splits(summary, split) if one["photons_per_pixel"])
    if photons:
        ends = [photons[0] / 1.5, photons[-1] * 1.5]
        axis.plot(ends, [0.5 / n**0.5 for n in ends], ":", color="0.2", label="photon floor 1/(2√n)")
    axis.grid(True, which="both", alpha=0.25)
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", fontsize=7)
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def correlation_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Ring correlation with the truth, a panel per cell, complex fields."""
    from matplotlib.figure import Figure

    doses, views = summary["doses"], [view["name"] for view in summary["views"]]
    size = (3.4 * len(views), 2.1 * len(doses) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(doses), len(views), sharex=True, sharey=True, squeeze=False)
    found = {(cell["dose"], cell["view"]): one for cell, one in _splits(summary, split)}
    for row, dose in zip(axes, doses, strict=True):
        for axis, view in zip(row, views, strict=True):
            one = found.get((dose, view))
            axis.set_title(f"{dose:,} photons, {view}", fontsize=8)
            axis.tick_params(labelsize=7)
            if one is None:
                axis.text(0.5, 0.5, "no result", ha="center", va="center", transform=axis.transAxes, fontsize=8)
                continue
            _correlation_panel(axis, one, summary["arms"])
    for axis in axes[-1]:
        axis.set_xlabel("frequency [1/px]", fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("FRC", fontsize=7)
    axes[0][0].set(xlim=(0, 0.5), ylim=(-0.15, 1.05))
    _shared_legend(figure, axes.ravel().tolist())
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


# -- panels ------------------------------------------------------------------------------------------------------


def _dose_panel(axis: Axes, summary: Mapping[str, Any], view: str, split: str, part: str) -> None:
    cells = [(cell, one) for cell, one in _splits(summary, split) if cell["view"] == view]
    # Fixed before anything is drawn: a panel may hold a single point, whose own limits would be one number.
    axis.set(xscale="log", yscale="log", xlim=(min(summary["doses"]) / 1.6, max(summary["doses"]) * 1.6))
    for arm in summary["arms"]:
        points = [
            (cell["dose"], value, one["arms"][arm].get("standard_errors", {}).get(f"{part} rmse") or 0.0)
            for cell, one in cells
            if (value := _value(one, arm, part))
        ]
        if points:
            dose, error, spread = zip(*points, strict=True)
            axis.errorbar(dose, error, yerr=spread, label=arm, capsize=3, **arm_style(summary["arms"], arm))
    flat = [(cell["dose"], value) for cell, one in cells if (value := _value(one, FLAT, part))]
    if flat:
        axis.plot(*zip(*flat, strict=True), "--", color="0.5", label="flat object")
    key = "phase_rad" if part == "phase" else "amplitude"
    bound = [(cell["dose"], one["limit"][key]) for cell, one in cells if one["limit"][key]]
    if bound:
        axis.plot(*zip(*bound, strict=True), "-", color="0.1", linewidth=1, label="bound of unbiased estimates")
    floor = [(cell["dose"], one["phase_floor_rad"]) for cell, one in cells if one["phase_floor_rad"]]
    if part == "phase" and floor:
        axis.plot(*zip(*floor, strict=True), ":", color="0.2", label="photon floor 1/(2√n)")
    singular = any(one["limit"]["state"] == "singular" for _, one in cells)
    title = f"{view} (singular: no bound)" if singular else view
    axis.set_xlabel("photons per frame")
    axis.set_title(title, fontsize=9)
    axis.grid(True, which="both", alpha=0.25)


def _correlation_panel(axis: Axes, one: Mapping[str, Any], arms: Sequence[str]) -> None:
    drawn = False
    for arm in arms:
        curve = one["frc"].get(arm, {})
        if "correlation" not in curve:
            continue
        colour = arm_style(arms, arm)["color"]
        axis.plot(curve["frequency_per_px"], curve["correlation"], color=colour, label=arm, linewidth=1.3)
        if not drawn:
            axis.plot(curve["frequency_per_px"], curve["half_bit"], ":", color="0.4", label="half-bit", linewidth=1)
            drawn = True
    axis.axhline(0.5, color="0.4", linestyle="--", linewidth=0.8, label="0.5")
    axis.grid(True, alpha=0.25)


def _shared_legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend below all panels, each entry once."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=min(6, len(entries)), fontsize=8
        )


def _splits(summary: Mapping[str, Any], split: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return [(cell, cell["splits"][split]) for cell in summary["cells"] if split in cell["splits"]]


def _value(one: Mapping[str, Any], arm: str, part: str) -> float | None:
    value: float | None = one["arms"].get(arm, {"values": {}})["values"].get(f"{part} rmse")
    return value
