"""The study report as self-contained HTML pages and as Markdown, and how numbers are written in all reports.

Belongs here: the page, its embedded pictures, tables and lists. Does not belong here: the numbers themselves
(``summary``) and figures (``plots``, ``figures``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.answer import photons_text, ratio_text
from fly64_assets.evaluation.report.figures import QUANTITIES
from fly64_assets.evaluation.report.glossary import GLOSSARY, GLOSSARY_OF_TRUTH
from fly64_assets.evaluation.report.heat_map import heat_map
from fly64_assets.evaluation.report.outside import MARK, is_outside
from fly64_assets.evaluation.report.sentences import DECIDING_SCORE, three_digits, with_spread
from fly64_assets.evaluation.report.summary import SHOWN_METRICS, overlap_columns
from fly64_assets.evaluation.scores.compare import TRUTH, UNIFORM
from fly64_assets.evaluation.scores.verdicts import VERDICT_TEXTS
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS

NO_VALUE: Final = "–"

SPLIT_TITLES: Final = {
    "test": "test split (no method was trained on it)",
    "train": "train split (learned methods were trained on it)",
}

UNITS: Final = {
    "phase rmse": "rad",
    "phase psnr": "dB",
    "phase frc_05": "px",
    "phase frc_half_bit": "px",
    "complex nll_excess": "per frame",
}

WINDOWED: Final = ("ssim", "frc")
"""Scores of a rectangle or of windows, which need neighbouring pixels that were measured."""

FEW_CELLS: Final = 12
"""Up to so many cells a page shows them all, those of one dose open; of more, each has a page of its own."""

INDEX: Final = "index.html"

QUALITY: Final = 80
"""Of lossy WebP. Noise, which fills the pictures of objects, takes four times less than as PNG; text stays sharp."""


def number(value: float | None) -> str:
    """Three significant digits, whole numbers from 100 on; a dash where there is no value.

    Examples
    --------
    >>> number(0.012345), number(0.05), number(1234.5), number(None)
    ('0.0123', '0.0500', '1,234', '–')
    """
    return NO_VALUE if value is None else f"{value:,.0f}" if abs(value) >= 100 else three_digits(value)


def share(value: float | None) -> str:
    """Per cent."""
    return NO_VALUE if value is None else f"{100 * value:.0f} %"


def overlap(value: float | None) -> str:
    """Linear overlap in per cent, or the gap between discs that do not touch, in diameters.

    Examples
    --------
    >>> overlap(0.4), overlap(-1.48), overlap(-0.001), overlap(None)
    ('40 %', 'none: a gap of 1.5 diameters', '0 %', '–')
    """
    if value is None or round(value, 2) >= 0:
        return share(None if value is None else abs(round(value, 2)))
    return f"none: a gap of {-value:.2g} diameters"


def render_report(summary: Mapping[str, Any], figures: Mapping[str, bytes]) -> dict[str, str]:
    """The pages as HTML by file name: no script, no reference to another host, links to files of their folder only.

    ``index.html`` is the report; in a study of more than a dozen cells each that was compared has a page besides.

    ``summary`` is from :func:`~fly64_assets.evaluation.report.summary.study_summary`; ``figures`` holds PNG by
    ``DOSE/VIEW/NAME``, the NAME as :func:`~fly64_assets.evaluation.report.figures.picture_name` gives it to the files
    of a cell, and those of :func:`~fly64_assets.evaluation.report.plots.study_plots` and
    :func:`~fly64_assets.evaluation.report.scan_pictures.scan_pictures`; missing ones are left out.
    """
    from markupsafe import Markup

    judged = [(cell, cell["splits"][JUDGED_SPLIT]) for cell in summary["cells"] if JUDGED_SPLIT in cell["splits"]]
    singular = [scores["limit"]["reason"] for _, scores in judged if scores["limit"]["state"] != "regular"]
    return render_pages(
        "report.html.j2",
        summary,
        figures,
        shown=[TRUTH, *summary["arms"]],
        truth=TRUTH,
        quantities=QUANTITIES,
        metrics=[" ".join(entry) for entry in SHOWN_METRICS],
        units=UNITS,
        glossary=GLOSSARY | GLOSSARY_OF_TRUTH,
        heat_maps={method: Markup(drawing) for method, drawing in _heat_maps(summary).items()},  # noqa: S704
        scans=_scans(summary),
        singular_reasons=list(dict.fromkeys(singular)),
    )


def render_pages(
    template: str, summary: Mapping[str, Any], figures: Mapping[str, bytes], **values: Any
) -> dict[str, str]:
    """Pages by file name from the folder ``templates``, with what all reports show and the ``values`` of this kind.

    A template ``KIND.html.j2`` that extends ``page.html.j2`` needs ``shown``, the names whose pictures stand side by
    side, ``quantities`` with their labels, the ``glossary``, and ``KIND_cell.html.j2`` for one cell.
    """
    doses, few = summary["doses"], len(summary["cells"]) <= FEW_CELLS
    cells = {(cell["dose"], cell["view"]): cell for cell in summary["cells"]}
    compared = {} if few else {place: cell for place, cell in cells.items() if JUDGED_SPLIT in cell["splits"]}
    common: dict[str, Any] = {
        "summary": summary,
        "cells": cells,
        "separate": {(dose, view): f"cell_{dose}_{view}.html" for dose, view in compared},
        "cell_template": template.replace(".html", "_cell.html"),
        "index": "",
        "open_dose": doses[len(doses) // 2] if doses and few else None,
        "splits": SPLITS,
        "split_titles": SPLIT_TITLES,
        "judged": JUDGED_SPLIT,
        "uniform": UNIFORM,
        "names": {UNIFORM: "uniform object"},
        "seed_names": {},
        "verdicts": VERDICT_TEXTS,
        **values,
    }
    environment = _environment()
    own = {name: png for name, png in figures.items() if few or name.startswith("study/")}
    pages = {INDEX: environment.get_template(template).render(common, pictures=_embedded(own))}
    order = list(compared)
    for number, ((dose, view), cell) in enumerate(compared.items()):
        place = f"{dose}/{view}/"
        pages[common["separate"][dose, view]] = environment.get_template("cell.html.j2").render(
            common,
            index=INDEX,
            before=order[number - 1] if number else None,
            after=order[number + 1] if number + 1 < len(order) else None,
            dose=dose,
            view={"name": view},
            cell=cell,
            scores=cell["splits"][JUDGED_SPLIT],
            name=place + JUDGED_SPLIT,
            pictures=_embedded({name: png for name, png in figures.items() if name.startswith(place)}),
        )
    return pages


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("fly64_assets.evaluation.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "figure": number,
        "share": share,
        "overlap": overlap,
        "photons": photons_text,
        "ratio": ratio_text,
    }
    environment.filters["round_photons"] = lambda value: photons_text({"sign": "", "photons": value})
    environment.filters["bytes"] = lambda value: f"{value / 1e6:,.2f} MB"
    environment.globals |= {"spread": _metric, "score_cell": score_cell, "is_outside": is_outside, "mark": MARK}
    return environment


def _embedded(figures: Mapping[str, bytes]) -> dict[str, str]:
    return {name: data_uri(png, lossless=name.startswith("study/")) for name, png in figures.items()}


def _heat_maps(summary: Mapping[str, Any]) -> dict[str, str]:
    """A drawing for each method that has results, all with one colour scale."""
    grids = {
        method: {
            (cell["dose"], cell["view"]): value
            for cell in summary["cells"]
            if (value := _score(cell["splits"].get(JUDGED_SPLIT), method, DECIDING_SCORE))
        }
        for method in summary["arms"]
    }
    errors = [error for grid in grids.values() for error in grid.values()]
    if not errors:
        return {}
    needed, threshold_rad = summary["answer"]["needed"], summary["answer"]["threshold_rad"]
    return {
        method: heat_map(
            method,
            grid,
            doses=sorted(summary["doses"]),
            views=[view["name"] for view in summary["views"]],
            limits=(min(errors), max(errors)),
            needed={view: found[method] for view, found in needed.items() if method in found},
            threshold_rad=threshold_rad,
            marked={
                (cell["dose"], cell["view"])
                for cell in summary["cells"]
                if is_outside(cell["splits"].get(JUDGED_SPLIT), method)
            },
        )
        for method, grid in grids.items()
        if grid
    }


def _score(scores: Mapping[str, Any] | None, method: str, metric: str) -> float | None:
    result = (scores or {"arms": {}})["arms"].get(method)
    value: float | None = result["values"].get(metric) if result else None
    return value


def _scans(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Frames and overlap of every view: the same at all doses, so that the first cell with a result says it."""
    found: dict[str, dict[str, Any]] = {}
    for cell in summary["cells"]:
        if cell["splits"] and cell["view"] not in found:
            found[cell["view"]] = {
                "frames": sum(scores["frames"] for scores in cell["splits"].values()),
                **overlap_columns(cell["probe_overlap"].get(JUDGED_SPLIT)),
                "counts": cell["overlap_counts"].get(JUDGED_SPLIT, ""),
            }
    return found


def score_cell(scores: Mapping[str, Any], method: str, metric: str) -> Any:
    """A score of a method as the cell of a table, with its reason as the tooltip: HTML that is escaped.

    A score that would mislead is replaced: an efficiency above 1, which a prior makes, and similarities and ring
    correlations where the discs of frames do not overlap, so that most of the picture was not measured.
    """
    from markupsafe import Markup

    result = scores["arms"].get(method)
    if result is None:
        return Markup("<td>{}</td>").format(NO_VALUE)
    value, reason = result["values"].get(metric), result["reasons"].get(metric, "")
    state, part = scores["limit"]["state"], metric.partition(" ")[2]
    if part == "efficiency":
        text = efficiency_text(state, value)
    elif value is not None and state == "singular" and part.startswith(WINDOWED):
        text, reason = NO_VALUE, f"{number(value)}, which means little: {scores['limit']['reason']}"
    else:
        text = _metric(value, result["standard_errors"].get(metric))
        if part == "ssim" and method not in (UNIFORM, TRUTH):
            text += f" ({_metric(_score(scores, UNIFORM, metric))})"
    return Markup('<td title="{}">{}</td>').format(reason, text)


def efficiency_text(state: str, value: float | None) -> str:
    """An efficiency, *prior* above 1, or the state of a bound that does not exist."""
    return state if state != "regular" else "prior" if value is not None and value > 1 else number(value)


def data_uri(png: bytes, *, lossless: bool) -> str:
    """A PNG as a WebP data URI, to be embedded in the page; ``lossless`` for line drawings."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        # No transparency: figures have a white background.
        opaque = picture.convert("RGB")
    opaque.save(buffer, "WEBP", lossless=lossless, quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _metric(value: float | None, spread: float | None = None) -> str:
    """Three significant digits, whole numbers from 1000 on, and the standard error where there is one."""
    if value is None:
        return NO_VALUE
    text = f"{value:,.0f}" if abs(value) >= 1000 else three_digits(value)
    return text if spread is None else f"{text} ± {spread:.1g}"


# -- Markdown ------------------------------------------------------------------------------------------------------


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The report as Markdown, for terminals and diffs."""
    verdicts = "\n".join(f"- {verdict['sentence']}" for verdict in summary["verdicts"])
    answer = [summary["answer"][name] for name in ("sentence", "saved") if summary["answer"][name]]
    blocks = [
        f"# Study {summary['study']}",
        *answer,
        verdicts,
        *summary["outside_of_training"],
        summary["seeds"],
        *filter(None, [summary.get("view_rule"), summary.get("detector")]),
    ]
    for split in SPLITS:
        blocks += [f"## Phase RMSE [rad], {SPLIT_TITLES[split]}", _errors(summary, split)]
        blocks += [f"## Efficiency (bound / mean squared phase error), {split} split", _efficiencies(summary, split)]
    blocks += [f"Overlap of discs, {sentence}." for sentence in summary["overlap_counts"]]
    blocks += [summary["limit_scope"], *record_blocks(summary)]
    return "\n\n".join(blocks) + "\n"


def record_blocks(summary: Mapping[str, Any]) -> list[str]:
    """Times, skips, failures, out-of-date results and provenance of a study as blocks of Markdown."""
    times = []
    for cell in summary["cells"]:
        seconds = ", ".join(f"{name} {number(value)}" for name, value in cell["seconds"].items())
        times.append(f"- {cell['dose']:,}/{cell['view']}: {seconds or 'nothing has run'}")
    blocks = ["## Time [s]", "\n".join(times)]
    for title, key in (("Skipped", "skips"), ("Failed", "failures"), ("Out of date", "stale")):
        if summary[key]:
            entries = [f"- {entry['cell']}, {entry['stage']}: {entry['reason']}" for entry in summary[key]]
            blocks += [f"## {title}", "\n".join(entries)]
    provenance = summary["provenance"]
    made = provenance["made"]
    lines = (
        f"written {made['time']} on {made['host']} ({made['cores']} cores, load {' '.join(map(str, made['load']))})",
        f"again: `{made['command']}`",
        f"base `{provenance['base_id']}`, SHA256 `{provenance['base_sha256']}`",
        f"design SHA256 `{provenance['design_sha256']}`",
        ", ".join(f"{name} {version}" for name, version in provenance["versions"].items()),
        f"{len(provenance['artifacts'])} artifacts, listed in `SHA256SUMS`",
    )
    return [*blocks, "## Provenance", "\n".join(f"- {line}" for line in lines)]


def _errors(summary: Mapping[str, Any], split: str) -> str:
    methods = summary["arms"]
    head = ["photons / frame", "view", "frames", "photons / px", "covered", "overlap of discs", *methods]
    head += ["uniform object", "bound", "floor"]
    rows = []
    for cell in summary["cells"]:
        scores = cell["splits"].get(split)
        row = [f"{cell['dose']:,}", cell["view"]]
        if scores is None:
            rows.append([*row, f"no result: {cell['reason']}", *[""] * (len(head) - 3)])
            continue
        row += [str(scores["frames"]), number(scores["photons_per_pixel"]), share(scores["covered_fraction"])]
        row += [share(cell["measured_overlap"].get(split))]
        row += [_scored(scores, name) for name in [*methods, UNIFORM]]
        limit = scores["limit"]
        bound = number(limit["phase_rad"]) if limit["state"] == "regular" else limit["state"]
        rows.append([*row, bound, number(scores["phase_floor_rad"])])
    return table(head, rows)


def _efficiencies(summary: Mapping[str, Any], split: str) -> str:
    rows = []
    for cell in summary["cells"]:
        scores = cell["splits"].get(split, {"arms": {}, "limit": {"state": "regular"}})
        values = (_score(scores, name, "phase efficiency") for name in summary["arms"])
        shown = [efficiency_text(scores["limit"]["state"], value) for value in values]
        rows.append([f"{cell['dose']:,}", cell["view"], *shown])
    return table(["photons / frame", "view", *summary["arms"]], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    Examples
    --------
    >>> print(table(["view", "error"], [["dense", "0.1"]]))
    | view | error |
    |---|---|
    | dense | 0.1 |
    """
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _scored(scores: Mapping[str, Any], method: str) -> str:
    result = scores["arms"].get(method)
    if result is None:
        return "missing"
    value = result["values"].get(DECIDING_SCORE)
    if value is None:
        return str(result["reason"] or "no value")
    text = with_spread(value, result["standard_errors"].get(DECIDING_SCORE))
    text += f" {MARK}" if is_outside(scores, method) else ""
    return f"{text} (worse than the uniform object)" if result["verdict"] == "worse than flat" else text
