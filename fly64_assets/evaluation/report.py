"""The study report as one self-contained HTML page and as Markdown.

Belongs here: what the reader sees. Does not belong here: numbers (``summary``), single-cell figures (``figures``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, Final

from fly64_assets.design import SPLITS
from fly64_assets.evaluation.compare import FLAT, TRUTH
from fly64_assets.evaluation.figures import png
from fly64_assets.evaluation.summary import JUDGED_SPLIT, SHOWN_METRICS

MARKERS: Final = ("o", "s", "^", "D", "v", "P")
UNITS: Final = {
    "phase rmse": "rad",
    "phase psnr": "dB",
    "phase frc_05": "px",
    "complex nll_excess": "per frame",
}


def render_report(summary: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page as HTML: no script, no reference to another file or host.

    Parameters
    ----------
    summary : mapping
        From :func:`~fly64_assets.evaluation.summary.study_summary`.
    figures : mapping of str to bytes
        PNG by ``DOSE/VIEW/SPLIT`` (the cell's figure) and ``DOSE/VIEW/SPLIT/strip`` (the small picture of the
        matrix); missing ones are left out.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("fly64_assets.evaluation"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": _number, "share": _share, "metric": _metric, "bytes": _bytes}
    return environment.get_template("report.html.j2").render(
        summary=summary,
        cells={(cell["dose"], cell["view"]): cell for cell in summary["cells"]},
        splits=SPLITS,
        judged=JUDGED_SPLIT,
        metrics=[" ".join(entry) for entry in SHOWN_METRICS],
        units=UNITS,
        flat=FLAT,
        truth=TRUTH,
        pictures={name: _inline(content) for name, content in figures.items()},
        curves={split: _inline(dose_figure(summary, split)) for split in SPLITS},
    )


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The same numbers as Markdown."""
    out = io.StringIO()
    print(f"# Study {summary['study']}\n", file=out)
    for verdict in summary["verdicts"]:
        print(f"- {verdict['sentence']}", file=out)
    for split in SPLITS:
        where = "that the network never saw" if split == "test" else "on which the network was trained"
        print(f"\n## Phase RMSE [rad], {split} split (the half {where})\n", file=out)
        print(_markdown_table(summary, split), file=out)
    for title, key in (("Skipped", "skips"), ("Failed", "failures"), ("Out of date", "stale")):
        if summary[key]:
            print(f"\n## {title}\n", file=out)
            for entry in summary[key]:
                print(f"- {entry['cell']}, {entry['stage']}: {entry['reason']}", file=out)
    provenance = summary["provenance"]
    print("\n## Provenance\n", file=out)
    print(f"- base `{provenance['base_id']}`, SHA256 `{provenance['base_sha256']}`", file=out)
    print(f"- design SHA256 `{provenance['design_sha256']}`", file=out)
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    print(f"- {versions}", file=out)
    print(f"- {len(provenance['artifacts'])} artifacts, listed in `SHA256SUMS`", file=out)
    return out.getvalue()


def _markdown_table(summary: Mapping[str, Any], split: str) -> str:
    arms = summary["arms"]
    head = ["photons / frame", "view", "frames", "photons / px", "covered", *arms, "flat", "photon floor"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in summary["cells"]:
        one = cell["splits"].get(split)
        start = [f"{cell['dose']:,}", cell["view"]]
        if one is None:
            lines.append("| " + " | ".join([*start, f"no result: {cell['reason']}"]) + " |" * (len(head) - 2))
            continue
        row = [*start, str(one["frames"]), _number(one["photons_per_pixel"]), _share(one["covered_fraction"])]
        row += [_scored(one["arms"].get(arm)) for arm in [*arms, FLAT]]
        lines.append("| " + " | ".join([*row, _number(one["phase_floor_rad"])]) + " |")
    return "\n".join(lines)


def _scored(arm: Mapping[str, Any] | None) -> str:
    if arm is None:
        return "missing"
    value = arm["values"].get("phase rmse")
    if value is None:
        return str(arm["reason"] or "no value")
    return f"{value:.4f} (worse than flat)" if arm["verdict"] == "worse than flat" else f"{value:.4f}"


def dose_figure(summary: Mapping[str, Any], split: str) -> bytes:
    """Phase error against dose, a panel per view: every arm, the flat object and the photon floor."""
    from matplotlib.figure import Figure

    views = [view["name"] for view in summary["views"]]
    figure = Figure(figsize=(3.6 * len(views), 3.4), layout="constrained")
    axes = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axis, view in zip(axes, views, strict=True):
        for marker, arm in zip(MARKERS, summary["arms"], strict=False):
            points = _points(summary, view, split, arm)
            if points:
                axis.plot(*zip(*points, strict=True), marker=marker, label=arm)
        flat = _points(summary, view, split, FLAT)
        if flat:
            axis.plot(*zip(*flat, strict=True), "--", color="0.5", label="flat object")
        floor = [
            (cell["dose"], cell["splits"][split]["phase_floor_rad"])
            for cell in summary["cells"]
            if cell["view"] == view and split in cell["splits"] and cell["splits"][split]["phase_floor_rad"]
        ]
        if floor:
            axis.plot(*zip(*floor, strict=True), ":", color="0.2", label="photon floor 1/(2√n)")
        limits = (min(summary["doses"]) / 1.6, max(summary["doses"]) * 1.6)
        axis.set(xscale="log", yscale="log", title=view, xlabel="photons per frame", xlim=limits)
        axis.grid(True, which="both", alpha=0.25)
    axes[0].set_ylabel(f"phase RMSE [rad], {split}")
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        axes[0].legend(handles, labels, fontsize=8)
    return png(figure, dpi=100, max_bytes=200_000)


def _points(summary: Mapping[str, Any], view: str, split: str, arm: str) -> list[tuple[int, float]]:
    points = []
    for cell in summary["cells"]:
        one = cell["splits"].get(split) if cell["view"] == view else None
        value = one["arms"].get(arm, {"values": {}})["values"].get("phase rmse") if one else None
        if value:
            points.append((cell["dose"], value))
    return points


def _inline(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _metric(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:,.2f} MB"
