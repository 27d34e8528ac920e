"""The study report as Markdown, for terminals and diffs, and how numbers are written in all reports.

Belongs here: tables and lists. Does not belong here: the numbers themselves (``summary``), the page (``page``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.summary import DECIDING_SCORE
from fly64_assets.evaluation.scores.compare import UNIFORM
from fly64_assets.physics.scan import SPLITS

NO_VALUE: Final = "–"

SPLIT_TITLES: Final = {
    "test": "test split (no method was trained on it)",
    "train": "train split (learned methods were trained on it)",
}


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


def with_spread(value: float | None, spread: float | None) -> str:
    """Value with four decimals and its standard error, where there is one."""
    if value is None:
        return NO_VALUE
    return f"{value:.4f}" if spread is None else f"{value:.4f} ± {spread:.4f}"


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    out = io.StringIO()
    print(f"# Study {summary['study']}\n", file=out)
    for verdict in summary["verdicts"]:
        print(f"- {verdict['sentence']}", file=out)
    for split in SPLITS:
        print(f"\n## Phase RMSE [rad], {SPLIT_TITLES[split]}\n", file=out)
        print(_errors(summary, split), file=out)
        print(f"\n## Efficiency (bound / mean squared phase error), {split} split\n", file=out)
        print(_efficiencies(summary, split), file=out)
    print(f"\n{summary['limit_scope']}", file=out)
    print("\n## Time [s]\n", file=out)
    for cell in summary["cells"]:
        seconds = ", ".join(f"{name} {number(value)}" for name, value in cell["seconds"].items())
        print(f"- {cell['dose']:,}/{cell['view']}: {seconds or 'nothing has run'}", file=out)
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


def _errors(summary: Mapping[str, Any], split: str) -> str:
    methods = summary["arms"]
    head = ["photons / frame", "view", "frames", "photons / px", "covered", "overlap", *methods]
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
        scores = cell["splits"].get(split)
        row = [f"{cell['dose']:,}", cell["view"]]
        for name in summary["arms"]:
            value = scores["arms"].get(name, {"values": {}})["values"].get("phase efficiency") if scores else None
            singular = scores is not None and scores["limit"]["state"] != "regular"
            row.append(scores["limit"]["state"] if scores and singular else number(value))
        rows.append(row)
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
