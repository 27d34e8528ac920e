"""The study in one document: every cell's numbers, verdicts, skips, failures and provenance.

Belongs here: the summary that the report pages, the plots and a notebook read. Does not belong here: how it looks
(``report``), where its parts come from (the asset).

A cell, as handed to :func:`study_summary`::

    {"dose": int, "view": str,
     "stages": {name: {"outcome", "reason", "seconds", "stale", "stale_reason"}},
     "comparisons": {repeat: document of CellComparison.to_dict()}, those that exist,
     "overlap": {split: metrics document}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.scores.compare import FLAT, TRUTH
from fly64_assets.evaluation.scores.efficiency import SCOPE
from fly64_assets.evaluation.scores.repeats import Difference, difference, mean, split_samples
from fly64_assets.evaluation.scores.verdicts import LEVEL
from fly64_assets.physics.scan import SPLITS

SHOWN_METRICS: Final = (
    ("phase", "rmse"),
    ("phase", "efficiency"),
    ("phase", "psnr"),
    ("phase", "ssim"),
    ("phase", "frc_05"),
    ("phase", "frc_half_bit"),
    ("amplitude", "rmse"),
    ("amplitude", "ssim"),
    ("complex", "nll_excess"),
)
"""Metrics of the tables, in their order; the CSV files hold all of them."""

JUDGED_SPLIT: Final = "test"
DECIDES: Final = "phase rmse"
"""The score that verdicts are about."""


def study_summary(
    name: str,
    doses: Sequence[int],
    views: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    *,
    design: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect the cells of a study into the document that the report shows.

    Parameters
    ----------
    name : str
        Of the study.
    doses : sequence of int
        Photons per frame, in the order in which they are shown.
    views : sequence of mapping
        ``name``, ``gridsize``, ``overlap`` and ``spacing_px`` of each view, in the order in which they are shown.
    cells : sequence of mapping
        As in this module's docstring.
    design, provenance : mapping
        Documents that are shown as they are.

    Returns
    -------
    dict
        ``study``, ``doses``, ``views``, ``arms`` (names of the methods), ``verdicts`` (one sentence per dose),
        ``cells``, ``skips``, ``failures``, ``stale``, ``design`` and ``provenance``; plain JSON types.
    """
    rows = [_cell(cell) for cell in cells]
    arms = list(dict.fromkeys(arm for row in rows for one in row["splits"].values() for arm in one["arms"]))
    return {
        "study": name,
        "doses": list(doses),
        "views": [dict(view) for view in views],
        "arms": [arm for arm in arms if arm not in (FLAT, TRUTH)],
        "verdicts": [{"dose": dose, "sentence": dose_sentence(dose, rows)} for dose in doses],
        "cells": rows,
        "skips": list(_stages_with(cells, "skipped")),
        "failures": list(_stages_with(cells, "failed")),
        "stale": [
            {"cell": _place(cell), "stage": stage_name, "reason": stage["stale_reason"]}
            for cell in cells
            for stage_name, stage in cell["stages"].items()
            if stage["stale"]
        ],
        "limit_scope": SCOPE,
        "design": dict(design),
        "provenance": dict(provenance),
    }


def dose_sentence(dose: int, cells: Iterable[Mapping[str, Any]]) -> str:
    """Who wins at one dose on the test half, view by view, in one sentence."""
    parts = []
    for cell in cells:
        if cell["dose"] != dose:
            continue
        split = cell["splits"].get(JUDGED_SPLIT)
        if split is None or not split["arms"]:
            parts.append(f"{cell['view']}: no result ({_brief(cell)})")
        else:
            parts.append(f"{cell['view']}: {_winner(split)}")
    return f"At {dose:,} photons per frame, on the half that the network never saw: {'; '.join(parts)}."


def _brief(cell: Mapping[str, Any]) -> str:
    """Why a cell has no result, without its place and without the other split's like reason."""
    place = _place(cell)
    first = str(cell["reason"]).split(f"; {place}: ")[0]
    return first.removeprefix(f"{place}: ").removesuffix(" (view skipped)") or "not compared yet"


def _winner(split: Mapping[str, Any]) -> str:
    errors = {
        arm: one["values"][DECIDES]
        for arm, one in split["arms"].items()
        if arm != TRUTH and one["values"].get(DECIDES) is not None
    }
    flat = errors.pop(FLAT, None)
    if not errors:
        return "no arm has a result"
    ranking = sorted(errors, key=lambda arm: float(errors[arm]))
    spreads = {arm: one.get("standard_errors", {}).get(DECIDES) for arm, one in split["arms"].items()}
    numbers = ", ".join(f"{arm} {_with_spread(errors[arm], spreads[arm])}" for arm in ranking)
    if flat is not None:
        numbers += f", flat {flat:.3f} rad"
        if errors[ranking[0]] >= flat:
            return f"no arm beats a flat object ({numbers})"
    worse = [arm for arm in ranking if flat is not None and errors[arm] >= flat]
    note = f"; {', '.join(worse)} worse than flat" if worse else ""
    if len(ranking) > 1:
        equal = _undecided(split, ranking[0], ranking[1])
        if equal:
            clear = len(ranking) > 2 and not any(_undecided(split, arm, ranking[2]) for arm in ranking[:2])
            ahead = f", ahead of {ranking[2]}" if clear else ""
            return f"{ranking[0]} and {ranking[1]} are level{ahead} ({numbers}{note}{equal})"
    return f"{ranking[0]} is best ({numbers}{note}{_certainty(split, ranking)})"


def _with_spread(value: float, spread: float | None) -> str:
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"


def _undecided(split: Mapping[str, Any], first: str, second: str) -> str:
    """Why the two best arms count as level, to go behind the numbers; empty if one of them is better."""
    found = _difference(split, first, second)
    if found.significant is not None:
        chance = f"p = {found.p:.2g} over {found.repeats} repeats"
        return "" if found.significant else f"; the difference is not significant, {chance}"
    low, high = (split["arms"][arm]["values"][DECIDES] for arm in (first, second))
    return f"; less than {100 * LEVEL:.0f} % apart" if high - low < LEVEL * high else ""


def _certainty(split: Mapping[str, Any], ranking: Sequence[str]) -> str:
    if len(ranking) < 2:
        return ""
    found = _difference(split, ranking[0], ranking[1])
    return "" if found.p is None else f"; significant, p = {found.p:.2g} over {found.repeats} repeats"


def _difference(split: Mapping[str, Any], first: str, second: str) -> Difference:
    samples = [split["arms"][arm].get("samples", {}) for arm in (first, second)]
    return difference(*({int(repeat): value for repeat, value in one.items()} for one in samples))


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    documents = cell["comparisons"]
    splits: dict[str, Any] = {}
    reasons = []
    for split in SPLITS:
        existing = {repeat: d["splits"][split] for repeat, d in documents.items() if split in d["splits"]}
        compared = {repeat: one for repeat, one in existing.items() if one["outcome"] == "compared"}
        if compared:
            splits[split] = _split(compared[min(compared)], split_samples(documents, split), sorted(compared))
        else:
            reasons += [str(one["reason"]) for one in existing.values()]
    if not documents:
        told = (stage["reason"] or stage["stale_reason"] for stage in cell["stages"].values())
        reasons = [str(reason) for reason in told if reason][:1]
    seconds = {name: stage["seconds"] for name, stage in cell["stages"].items() if stage["seconds"] is not None}
    return {
        "dose": cell["dose"],
        "view": cell["view"],
        "splits": splits,
        "reason": "; ".join(dict.fromkeys(reasons)),
        "measured_overlap": {s: metrics["metric_2_image_based_avg"] for s, metrics in cell["overlap"].items()},
        "seconds": seconds,
        "frames_per_second": _rates(seconds, {split: one["frames"] for split, one in splits.items()}),
        "stages": {name: dict(stage) for name, stage in cell["stages"].items()},
    }


def _rates(seconds: Mapping[str, float], frames: Mapping[str, int]) -> dict[str, float]:
    """Frames per second of the stages that turn frames into an object; a stage without a split does both."""
    rates = {}
    for name, duration in seconds.items():
        if "reconstruction" not in name and "inference" not in name:
            continue
        split = next((split for split in SPLITS if name.endswith(f" {split}")), None)
        count = sum(frames.values()) if split is None else frames.get(split, 0)
        if count and duration > 0:
            rates[name] = count / duration
    return rates


def _split(
    one: Mapping[str, Any], samples: Mapping[str, Mapping[str, Mapping[int, float]]], repeats: Sequence[int]
) -> dict[str, Any]:
    """One split: words, region and curves of its first repeat; scores as means over all repeats that have them."""
    arms = {}
    for arm, result in one["arms"].items():
        means = {metric: mean(by_repeat) for metric, by_repeat in samples[arm].items()}
        reasons = {f"{r['part']} {r['metric']}": r["reason"] for r in one["rows"] if r["arm"] == arm and r["reason"]}
        arms[arm] = {
            "outcome": result["outcome"],
            "reason": result["reason"],
            "verdict": result["verdict"],
            "values": {metric: None if m is None else m.value for metric, m in means.items()},
            "standard_errors": {metric: m.standard_error for metric, m in means.items() if m is not None},
            "reasons": reasons,
            "samples": {str(repeat): value for repeat, value in samples[arm].get(DECIDES, {}).items()},
        }
    return {
        "arms": arms,
        "repeats": list(repeats),
        "contests": [contest["sentence"] for contest in one["contests"]],
        "frames": one["photons"]["frames"],
        "photons_per_pixel": one["photons"]["photons_per_pixel"],
        "phase_floor_rad": one["photons"]["phase_floor_rad"],
        "limit": one["limit"],
        "covered_fraction": one["region"]["covered_fraction"],
        "probe_diameter_px": one["region"]["probe_diameter_px"],
        "frc": {arm: parts["complex"] for arm, parts in one["frc"].items() if "complex" in parts},
    }


def _stages_with(cells: Sequence[Mapping[str, Any]], outcome: str) -> Iterable[dict[str, str]]:
    """Cells and reasons of an outcome; stages that repeat one reason come as one entry."""
    for cell in cells:
        by_reason: dict[str, list[str]] = {}
        for name, stage in cell["stages"].items():
            if stage["outcome"] == outcome:
                by_reason.setdefault(str(stage["reason"]), []).append(name)
        for reason, names in by_reason.items():
            yield {"cell": _place(cell), "stage": ", ".join(names), "reason": reason}


def _place(cell: Mapping[str, Any]) -> str:
    return f"dose_{cell['dose']}/{cell['view']}"
