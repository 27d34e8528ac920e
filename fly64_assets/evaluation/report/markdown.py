"""The study report as Markdown: the same numbers as the page, for terminals and diffs.

Belongs here: tables and lists. Does not belong here: numbers (``summary``), the page (``report``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from fly64_assets.evaluation.report.numbers import number, share, with_spread
from fly64_assets.evaluation.report.summary import DECIDES
from fly64_assets.evaluation.scores.compare import FLAT
from fly64_assets.physics.scan import SPLITS


def render_markdown(summary: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    out = io.StringIO()
    print(f"# Study {summary['study']}\n", file=out)
    for verdict in summary["verdicts"]:
        print(f"- {verdict['sentence']}", file=out)
    for split in SPLITS:
        where = "that the network never saw" if split == "test" else "on which the network was trained"
        print(f"\n## Phase RMSE [rad], {split} split (the half {where})\n", file=out)
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
    arms = summary["arms"]
    head = ["photons / frame", "view", "frames", "photons / px", "covered", "overlap", *arms, "flat", "bound", "floor"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in summary["cells"]:
        one = cell["splits"].get(split)
        start = [f"{cell['dose']:,}", cell["view"]]
        if one is None:
            lines.append("| " + " | ".join([*start, f"no result: {cell['reason']}"]) + " |" * (len(head) - 2))
            continue
        row = [*start, str(one["frames"]), number(one["photons_per_pixel"]), share(one["covered_fraction"])]
        row += [share(cell["measured_overlap"].get(split))]
        row += [_scored(one["arms"].get(arm)) for arm in [*arms, FLAT]]
        limit = one["limit"]
        bound = number(limit["phase_rad"]) if limit["state"] == "regular" else limit["state"]
        lines.append("| " + " | ".join([*row, bound, number(one["phase_floor_rad"])]) + " |")
    return "\n".join(lines)


def _efficiencies(summary: Mapping[str, Any], split: str) -> str:
    arms = summary["arms"]
    head = ["photons / frame", "view", *arms]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in summary["cells"]:
        one = cell["splits"].get(split)
        row = [f"{cell['dose']:,}", cell["view"]]
        for arm in arms:
            value = one["arms"].get(arm, {"values": {}})["values"].get("phase efficiency") if one else None
            row.append(number(value) if value is not None else one["limit"]["state"] if one else "–")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _scored(arm: Mapping[str, Any] | None) -> str:
    if arm is None:
        return "missing"
    value = arm["values"].get(DECIDES)
    if value is None:
        return str(arm["reason"] or "no value")
    text = with_spread(value, arm["standard_errors"].get(DECIDES))
    return f"{text} (worse than flat)" if arm["verdict"] == "worse than flat" else text
