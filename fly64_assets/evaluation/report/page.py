"""The study report as one self-contained HTML page and as Markdown, and how numbers are written in all reports.

Belongs here: the page, its embedded pictures, tables and lists. Does not belong here: the numbers themselves
(``summary``) and figures (``plots``, ``figures``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.figures import QUANTITIES
from fly64_assets.evaluation.report.sentences import DECIDING_SCORE, with_spread
from fly64_assets.evaluation.report.summary import SHOWN_METRICS
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

QUALITY: Final = 80
"""Of lossy WebP. Noise, which fills the pictures of objects, takes four times less than as PNG; text stays sharp."""


def number(value: float | None) -> str:
    """Three significant digits, whole numbers from 100 on; a dash where there is no value.

    Examples
    --------
    >>> number(0.012345), number(1234.5), number(None)
    ('0.0123', '1,234', '–')
    """
    return NO_VALUE if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """Per cent."""
    return NO_VALUE if value is None else f"{100 * value:.0f} %"


def render_report(summary: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page as HTML: no script, no reference to another file or host.

    ``summary`` is from :func:`~fly64_assets.evaluation.report.summary.study_summary`; ``figures`` holds PNG by
    ``DOSE/VIEW/NAME``, the NAME as :func:`~fly64_assets.evaluation.report.figures.picture_name` gives it to the files
    of a cell, and those of :func:`~fly64_assets.evaluation.report.plots.study_plots`; missing ones are left out.
    """
    return render_page(
        "report.html.j2",
        summary,
        figures,
        shown=[TRUTH, *summary["arms"]],
        truth=TRUTH,
        quantities=QUANTITIES,
        metrics=[" ".join(entry) for entry in SHOWN_METRICS],
        units=UNITS,
    )


def render_page(template: str, summary: Mapping[str, Any], figures: Mapping[str, bytes], **values: Any) -> str:
    """A page of the folder ``templates``, with what all reports show and its own ``values``.

    A template that extends ``page.html.j2`` needs ``shown``, the names between which its pictures are switched, and
    ``quantities`` with their labels.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("fly64_assets.evaluation.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": number, "share": share, "metric": _metric}
    environment.filters["bytes"] = lambda value: f"{value / 1e6:,.2f} MB"
    environment.globals["spread"] = _metric
    return environment.get_template(template).render(
        summary=summary,
        cells={(cell["dose"], cell["view"]): cell for cell in summary["cells"]},
        splits=SPLITS,
        split_titles=SPLIT_TITLES,
        judged=JUDGED_SPLIT,
        uniform=UNIFORM,
        names={UNIFORM: "uniform object"},
        **{"seed_names": {}, **values},
        verdicts=VERDICT_TEXTS,
        pictures={name: data_uri(png, lossless=name.startswith("study/")) for name, png in figures.items()},
    )


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
    """Four significant digits, whole numbers from 1000 on, and the standard error where there is one."""
    if value is None:
        return NO_VALUE
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text if spread is None else f"{text} ± {spread:.2g}"


# -- Markdown ------------------------------------------------------------------------------------------------------


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The report as Markdown, for terminals and diffs."""
    verdicts = "\n".join(f"- {verdict['sentence']}" for verdict in summary["verdicts"])
    blocks = [f"# Study {summary['study']}", verdicts, summary["seeds"], *filter(None, [summary.get("detector")])]
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
    lines = (
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
        row += [_scored(scores["arms"].get(name)) for name in [*methods, UNIFORM]]
        limit = scores["limit"]
        bound = number(limit["phase_rad"]) if limit["state"] == "regular" else limit["state"]
        rows.append([*row, bound, number(scores["phase_floor_rad"])])
    return table(head, rows)


def _efficiencies(summary: Mapping[str, Any], split: str) -> str:
    rows = []
    for cell in summary["cells"]:
        scores = cell["splits"].get(split, {"arms": {}, "limit": {"state": "regular"}})
        state, results = scores["limit"]["state"], (scores["arms"].get(name) for name in summary["arms"])
        values = (result["values"].get("phase efficiency") if result else None for result in results)
        shown = [number(value) if state == "regular" else state for value in values]
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


def _scored(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "missing"
    value = result["values"].get(DECIDING_SCORE)
    if value is None:
        return str(result["reason"] or "no value")
    text = with_spread(value, result["standard_errors"].get(DECIDING_SCORE))
    return f"{text} (worse than the uniform object)" if result["verdict"] == "worse than flat" else text
