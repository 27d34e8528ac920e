"""Two studies against each other: what changed, cell by cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fly64_assets.evaluation.report.measured.sentences import COMPLEMENT, nats
from fly64_assets.evaluation.report.page import NO_VALUE, number, table
from fly64_assets.evaluation.report.sentences import DECIDING_SCORE, with_spread
from fly64_assets.evaluation.scores.compare import REFERENCE, TRUTH
from fly64_assets.evaluation.scores.verdicts import LEAST_DIFFERENCE
from fly64_assets.physics.scan import SPLITS

SIGNIFICANT: Final = 2.0
"""Least difference, in units of its standard error, that counts as more than chance."""

SCORES: Final[Mapping[str, tuple[str, Callable[[float, float | None], str]]]] = {
    DECIDING_SCORE: ("Phase RMSE [rad]", with_spread),
    COMPLEMENT: ("Counts kept aside [nats per frame above the reference]", nats),
}
"""Title and form of the numbers by deciding score."""

VERDICTS: Final = {
    "better": "better",
    "worse": "worse",
    "level": "not distinguishable",
    "only here": "only here",
    "only there": "only there",
}
"""What readers see for the verdicts of the document, in the order in which they are counted."""


def compare_studies(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of two studies, from their summaries (``metrics_summary.json``), plain JSON types.

    ``design``: fields that differ, with both values; ``base``: whether both have the same base; ``deciding``: the score
    that both are judged by, None where one is of simulated frames and the other of measured ones; ``scores``: one entry
    per cell, split and method that either has, with both values of that score, the change in per cent (positive: ours
    is worse) and a verdict (a key of :data:`VERDICTS`).
    """
    deciding = {study.get("deciding", DECIDING_SCORE) for study in (ours, theirs)}
    score = deciding.pop() if len(deciding) == 1 else None
    return {
        "ours": ours["study"],
        "theirs": theirs["study"],
        "base": ours["provenance"].get("base_sha256") == theirs["provenance"].get("base_sha256"),
        "design": list(_design_changes(ours["design"], theirs["design"], "")),
        "deciding": score,
        "scores": [] if score is None else list(_scores(ours, theirs, score)),
    }


def _design_changes(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys((*ours, *theirs)):
        here, there = ours.get(name), theirs.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from _design_changes(here, there, f"{prefix}{name}.")
        elif here != there:
            yield {"field": f"{prefix}{name}", "ours": here, "theirs": there}


def _scores(ours: Mapping[str, Any], theirs: Mapping[str, Any], score: str) -> Iterator[dict[str, Any]]:
    cells = [{(cell["dose"], cell["view"]): cell for cell in study["cells"]} for study in (ours, theirs)]
    for dose, view in dict.fromkeys((*cells[0], *cells[1])):
        for split in SPLITS:
            methods = [own.get((dose, view), {}).get("splits", {}).get(split, {}).get("arms", {}) for own in cells]
            for method in dict.fromkeys((*methods[0], *methods[1])):
                pair = [_score(own.get(method, {}), score) for own in methods]
                if method not in (TRUTH, REFERENCE) and any(value is not None for value, _ in pair):
                    yield {"dose": dose, "view": view, "split": split, "arm": method, **_change(*pair)}


def _score(result: Mapping[str, Any], score: str) -> tuple[float | None, float | None]:
    """The deciding score and its standard error: over repeats or, of counts, over frames; otherwise none."""
    values = result.get("values", {})
    return values.get(score), result.get("standard_errors", {}).get(score) or values.get(f"{score}_error")


def _change(ours: tuple[float | None, float | None], theirs: tuple[float | None, float | None]) -> dict[str, Any]:
    (here, here_error), (there, there_error) = ours, theirs
    entry = {"ours": here, "theirs": there, "ours_error": here_error, "theirs_error": there_error, "percent": None}
    if here is None or there is None:
        return entry | {"verdict": "only there" if here is None else "only here"}
    entry["percent"] = 100 * (here / there - 1) if there > 0 else None
    if here_error is not None and there_error is not None:
        level = abs(here - there) <= SIGNIFICANT * math.hypot(here_error, there_error)
    else:
        level = abs(here - there) < LEAST_DIFFERENCE * max(here, there)
    return entry | {"verdict": "level" if level else "better" if here < there else "worse"}


def render_against(changes: Mapping[str, Any]) -> str:
    """The differences, as from :func:`compare_studies`, in Markdown."""
    ours, theirs = changes["ours"], changes["theirs"]
    verdicts = [entry["verdict"] for entry in changes["scores"]]
    counts = [f"{verdicts.count(name)} {text}" for name, text in VERDICTS.items() if name in verdicts]
    blocks = [
        f"# {ours} against {theirs}",
        ", ".join(counts) or "nothing to compare",
        f"The bases are {'the same' if changes['base'] else 'different'}.",
    ]
    if changes["design"]:
        rows = [[change["field"], str(change["ours"]), str(change["theirs"])] for change in changes["design"]]
        blocks += ["## Design", table(["field", ours, theirs], rows)]
    if changes["deciding"] is None:
        blocks.append(
            "One study is of simulated frames, the other of measured ones: they have no deciding score in common."
        )
    if changes["scores"]:
        rows = []
        title, written = SCORES[changes["deciding"]]
        for entry in changes["scores"]:
            pairs = ((entry[side], entry[f"{side}_error"]) for side in ("ours", "theirs"))
            sides = [NO_VALUE if value is None else written(value, spread) for value, spread in pairs]
            change = NO_VALUE if entry["percent"] is None else f"{entry['percent']:+.1f} %"
            cell = f"{number(entry['dose'])} / {entry['view']}"
            rows.append([cell, entry["split"], entry["arm"], *sides, change, VERDICTS[entry["verdict"]]])
        blocks += [f"## {title}", table(["cell", "split", "method", ours, theirs, "change", "verdict"], rows)]
    return "\n\n".join(blocks) + "\n"
