"""Two studies against each other: what changed, cell by cell.

Belongs here: the differences of two summaries. Does not belong here: the summaries (``summary``) and where they lie.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fly64_assets.evaluation.report.numbers import number, with_spread
from fly64_assets.evaluation.report.summary import DECIDES
from fly64_assets.evaluation.scores.compare import TRUTH
from fly64_assets.evaluation.scores.verdicts import LEVEL
from fly64_assets.physics.scan import SPLITS

CERTAIN: Final = 2.0
"""Difference in units of its standard error from which it counts as more than chance."""


def compare_studies(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of two studies, from their summaries (``metrics_summary.json``).

    Returns
    -------
    dict
        ``design``: fields that differ, with both values; ``base``: whether both have the same base; ``scores``: one
        entry per cell, split and arm that either has, with both phase errors, the change in per cent (positive: ours is
        worse) and a verdict (``better``, ``worse``, ``level``, ``only here``, ``only there``). Plain JSON types.
    """
    return {
        "ours": ours["study"],
        "theirs": theirs["study"],
        "base": ours["provenance"].get("base_sha256") == theirs["provenance"].get("base_sha256"),
        "design": list(_design_changes(ours["design"], theirs["design"], "")),
        "scores": list(_scores(ours, theirs)),
    }


def _design_changes(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys((*ours, *theirs)):
        here, there = ours.get(name), theirs.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from _design_changes(here, there, f"{where}{name}.")
        elif here != there:
            yield {"field": f"{where}{name}", "ours": here, "theirs": there}


def _scores(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    here, there = _cells(ours), _cells(theirs)
    for place in dict.fromkeys((*here, *there)):
        for split in SPLITS:
            arms = [cells.get(place, {}).get("splits", {}).get(split, {}).get("arms", {}) for cells in (here, there)]
            for arm in dict.fromkeys((*arms[0], *arms[1])):
                pair = [_score(one.get(arm)) for one in arms]
                if arm != TRUTH and any(value is not None for value, _ in pair):
                    yield {"dose": place[0], "view": place[1], "split": split, "arm": arm, **_change(*pair)}


def _cells(summary: Mapping[str, Any]) -> dict[tuple[int, str], Mapping[str, Any]]:
    return {(cell["dose"], cell["view"]): cell for cell in summary["cells"]}


def _score(arm: Mapping[str, Any] | None) -> tuple[float | None, float | None]:
    """Phase error and its standard error; the latter only with repeats."""
    if arm is None:
        return None, None
    return arm["values"].get(DECIDES), arm.get("standard_errors", {}).get(DECIDES)


def _change(ours: tuple[float | None, float | None], theirs: tuple[float | None, float | None]) -> dict[str, Any]:
    here, there = ours[0], theirs[0]
    entry: dict[str, Any] = {
        "ours": here,
        "theirs": there,
        "ours_error": ours[1],
        "theirs_error": theirs[1],
        "percent": None,
    }
    if here is None or there is None:
        return entry | {"verdict": "only there" if here is None else "only here"}
    entry["percent"] = 100 * (here / there - 1) if there else None
    if ours[1] is not None and theirs[1] is not None:
        level = abs(here - there) <= CERTAIN * math.hypot(ours[1], theirs[1])
    else:
        level = abs(here - there) < LEVEL * max(here, there)
    return entry | {"verdict": "level" if level else "better" if here < there else "worse"}


def render_against(found: Mapping[str, Any]) -> str:
    """The differences as Markdown."""
    out = io.StringIO()
    ours, theirs = found["ours"], found["theirs"]
    print(f"# {ours} against {theirs}\n", file=out)
    counts = dict.fromkeys(("better", "worse", "level", "only here", "only there"), 0)
    for entry in found["scores"]:
        counts[entry["verdict"]] += 1
    print(
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "nothing to compare", file=out
    )
    print(f"\nThe bases are {'the same' if found['base'] else 'different'}.", file=out)
    if found["design"]:
        print(f"\n## Design\n\n| field | {ours} | {theirs} |\n|---|---|---|", file=out)
        for change in found["design"]:
            print(f"| {change['field']} | {change['ours']} | {change['theirs']} |", file=out)
    if found["scores"]:
        print(f"\n## Phase RMSE [rad]\n\n| cell | split | arm | {ours} | {theirs} | change | |", file=out)
        print("|---|---|---|---|---|---|---|", file=out)
    for entry in found["scores"]:
        change = "–" if entry["percent"] is None else f"{entry['percent']:+.1f} %"
        here, there = (with_spread(entry[side], entry[f"{side}_error"]) for side in ("ours", "theirs"))
        cell = f"{number(entry['dose'])} / {entry['view']}"
        print(
            f"| {cell} | {entry['split']} | {entry['arm']} | {here} | {there} | {change} | {entry['verdict']} |",
            file=out,
        )
    return out.getvalue()
