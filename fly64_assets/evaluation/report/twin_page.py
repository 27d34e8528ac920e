"""A study of measured frames beside its simulated twin, as one self-contained HTML page, a figure and Markdown.

Does not belong here: the numbers themselves (``twin``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fly64_assets.engines.figures import png
from fly64_assets.evaluation.report.figures import PREVIEW_BYTES, method_style, new_figure
from fly64_assets.evaluation.report.page import NO_VALUE, data_uri, number, table
from fly64_assets.evaluation.report.sentences import listed
from fly64_assets.evaluation.report.twin import AGREEMENT, BOTH, RELATIVE, TRUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES: Final = {
    BOTH[0]: "complement [nats/frame]",
    BOTH[1]: "± standard error",
    BOTH[2]: "relative",
    BOTH[3]: "left out [nats/frame]",
    BOTH[4]: "half-bit, photons [px]",
    BOTH[5]: "half-bit, frames [px]",
    TRUE[0]: "true phase RMSE [rad]",
    TRUE[1]: "true amplitude RMSE",
}
SIDES: Final = {"measured": "measured", "twin": "twin"}
LINEAR_BELOW: Final = 0.01
"""Relative scores around zero, which a logarithmic axis cannot hold."""


def render_twin(summary: Mapping[str, Any], figure: bytes) -> str:
    """The page as HTML: no script, no reference to another file or host.

    ``summary`` is from :func:`~fly64_assets.evaluation.report.twin.twin_summary`, ``figure`` a PNG of
    :func:`twin_figure`.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("fly64_assets.evaluation.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": number, "best": _named}
    return environment.get_template("twin.html.j2").render(
        summary=summary,
        both=BOTH,
        errors=TRUE,
        titles=TITLES,
        agreement=AGREEMENT,
        picture=data_uri(figure, lossless=True),
    )


def render_twin_markdown(summary: Mapping[str, Any]) -> str:
    """The same as Markdown, for terminals and diffs."""
    measured, twin = summary["measured"], summary["twin"]
    both = [f"{side}: {TITLES[name]}" for name in BOTH for side in SIDES]
    blocks = [
        f"# {measured['study']}: measured frames and their simulated twin",
        f"Base `{measured['base_id']}` and base `{twin['base_id']}` of study {twin['study']}, {summary['split']} half.",
        "\n".join(f"- {sentence}" for sentence in summary["sentences"]),
        "## Best method",
        table(["photons / frame", "view", "measured", "twin", "rank correlation"], [_row(c) for c in summary["cells"]]),
        "## Scores",
        table(
            ["cell", "method", *both, *(TITLES[name] for name in TRUE)],
            [row for cell in summary["cells"] if cell["reason"] is None for row in _score_rows(cell)],
        ),
    ]
    for title, key in (("Where they deviate", "deviations"), ("Likely causes", "causes")):
        lines = [f"- {sentence}" for sentence in summary[key]] or [
            "Nowhere: every pair of methods has the same winner, or none, in both, differences within a factor of 2."
        ]
        blocks += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(blocks) + "\n"


def _row(cell: Mapping[str, Any]) -> list[str]:
    name = [f"{cell['dose']:,}", str(cell["view"])]
    if cell["reason"] is not None:
        return [*name, f"no result: {cell['reason']}", "", ""]
    return [*name, *(_named(cell["best"][side]) for side in SIDES), number(cell["rank_correlation"])]


def _score_rows(cell: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for method, scores in cell["methods"].items():
        values = [number(scores[side]["values"][name]) for name in BOTH for side in SIDES]
        true = [number(scores["twin"]["values"][name]) for name in TRUE]
        rows.append([f"{cell['dose']:,} / {cell['view']}", method, *values, *true])
    return rows


def _named(names: Sequence[str]) -> str:
    return listed(list(names)) if names else NO_VALUE


def twin_figure(summary: Mapping[str, Any]) -> bytes:
    """Relative score of the complement against dose, a panel per view, and the twin's against the measured one.

    Measured frames are drawn with full markers and lines, the twin with empty ones and dashes.
    """
    cells = [cell for cell in summary["cells"] if cell["reason"] is None]
    views = list(dict.fromkeys(cell["view"] for cell in cells))
    figure = new_figure(3.4 * (len(views) + 1), 3.9)
    axes = figure.subplots(1, len(views) + 1, squeeze=False)[0]
    for axis, view in zip(axes[:-1], views, strict=True):
        if axis is not axes[0]:
            axis.sharey(axes[0])
        _dose_panel(axis, [cell for cell in cells if cell["view"] == view], summary["methods"])
        axis.set_title(view, fontsize=9)
    if views:
        axes[0].set_ylabel("complement: reference 0, uniform object 1")
    _agreement_panel(axes[-1], cells, summary["methods"])
    entries: dict[str, Any] = {}
    for axis in axes[:-1]:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=6, fontsize=8)
    return png(figure, dpi=100, max_bytes=PREVIEW_BYTES)


def _dose_panel(axis: Axes, cells: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> None:
    doses = [cell["dose"] for cell in cells]
    axis.set(xscale="log", xlim=(min(doses) / 1.6, max(doses) * 1.6), xlabel="photons per frame")
    axis.set_yscale("symlog", linthresh=LINEAR_BELOW)
    for method in methods:
        for side, line in (("measured", "-"), ("twin", "--")):
            points = sorted(
                (cell["dose"], value) for cell in cells if (value := _relative(cell, method, side)) is not None
            )
            if points:
                style = method_style(methods, method) | ({} if side == "measured" else {"markerfacecolor": "none"})
                axis.plot(*zip(*points, strict=True), line, label=f"{method}, {SIDES[side]}", **style)
    axis.grid(True, alpha=0.25)


def _agreement_panel(axis: Axes, cells: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> None:
    axis.set_xscale("symlog", linthresh=LINEAR_BELOW)
    axis.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axis.set(xlabel="measured", ylabel="twin")
    axis.set_title("all cells, relative score", fontsize=9)
    for method in methods:
        pairs = [[_relative(cell, method, side) for side in SIDES] for cell in cells]
        known = [pair for pair in pairs if None not in pair]
        if known:
            axis.plot(*zip(*known, strict=True), linestyle="none", **method_style(methods, method))
    axis.axline((0, 0), (1, 1), color="0.6", lw=0.8)
    axis.grid(True, alpha=0.25)


def _relative(cell: Mapping[str, Any], method: str, side: str) -> float | None:
    scores = cell["methods"].get(method)
    value: float | None = None if scores is None else scores[side]["values"][RELATIVE]
    return value
