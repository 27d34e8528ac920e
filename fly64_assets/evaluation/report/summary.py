"""The study in one document: every cell's numbers, verdicts, skips, failures and provenance; and all scores as a table.

Belongs here: the summary that the page, the plots and a notebook read. Does not belong here: how it looks.

A cell, as handed to :func:`study_summary`::

    {"dose": int, "view": str,
     "stages": {name: {"outcome", "reason", "seconds", "stale", "stale_reason"}},
     "comparisons": {repeat: document of CellComparison.to_dict()}, those that exist,
     "overlap": {split: metrics document}}

and the seeds of the repeats, as in ``provenance["seeds"]``::

    {"simulation": int, "repeats": [int, ...], "training": [int, ...]}
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.scores.compare import REFERENCES, UNIFORM
from fly64_assets.evaluation.scores.photons import SCOPE
from fly64_assets.evaluation.scores.verdicts import (
    LEAST_DIFFERENCE,
    Difference,
    difference,
    mean,
    repeated_contests,
    split_samples,
)
from fly64_assets.physics.overlap import counted
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS

SHOWN_METRICS: Final = (
    ("phase", "rmse"),
    ("phase", "correlation"),
    ("phase", "ssim"),
    ("phase", "efficiency"),
    ("phase", "psnr"),
    ("phase", "frc_05"),
    ("phase", "frc_half_bit"),
    ("amplitude", "rmse"),
    ("amplitude", "correlation"),
    ("amplitude", "ssim"),
    ("complex", "nll_excess"),
)
"""Metrics of the tables, in their order, a similarity always after its error; the CSV files hold all of them."""

DECIDING_SCORE: Final = "phase rmse"
"""The score that verdicts are about."""

TABLE_COLUMNS: Final = (
    "dose", "view", "repeat", "split", "frames", "photons_per_pixel", "covered_fraction", "limit", "arm", "part",
    "metric", "value", "reason",
)  # fmt: skip
TABLE_NUMBERS: Final = {"dose": int, "repeat": int, "frames": int} | dict.fromkeys(
    ("photons_per_pixel", "covered_fraction", "value"), float
)
"""Types of the columns that hold no texts."""


def study_summary(
    name: str,
    doses: Sequence[int],
    views: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    *,
    design: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect the cells of a study into the document that the report shows, plain JSON types.

    Parameters
    ----------
    doses : sequence of int
        Photons per frame, in the order in which they are shown.
    views : sequence of mapping
        ``name``, ``gridsize``, ``overlap`` and ``spacing_px`` of each view, in the order in which they are shown.
    cells : sequence of mapping
        As in this module's docstring.
    """
    rows = [_cell(cell) for cell in cells]
    methods = dict.fromkeys(name for row in rows for scores in row["splits"].values() for name in scores["arms"])
    return {
        "study": name,
        "doses": list(doses),
        "views": [dict(view) for view in views],
        "arms": [name for name in methods if name not in REFERENCES],
        "verdicts": [{"dose": dose, "sentence": dose_sentence(dose, rows)} for dose in doses],
        "seeds": seeds_sentence(provenance["seeds"]),
        "cells": rows,
        "overlap_counts": list(dict.fromkeys(text for row in rows for text in row["overlap_counts"].values())),
        "skips": list(_stages_with(cells, "skipped")),
        "failures": list(_stages_with(cells, "failed")),
        "stale": [
            {"cell": _cell_name(cell), "stage": stage_name, "reason": stage["stale_reason"]}
            for cell in cells
            for stage_name, stage in cell["stages"].items()
            if stage["stale"]
        ],
        "limit_scope": SCOPE,
        **({"detector": detector_sentence(design["detector"])} if "detector" in design else {}),
        "design": dict(design),
        "provenance": dict(provenance),
    }


def detector_sentence(detector: Mapping[str, Any]) -> str:
    """What the simulated detector misses and adds, from the section of that name in a design.

    Examples
    --------
    >>> detector_sentence({"gap_rows": [[38, 4]], "read_noise": 0.5})[:73]
    'The simulated detector has a gap of 4 rows from 38 on, read-out noise of '
    """
    found = [f"the bad pixels of {detector['mask']}"] if detector.get("mask") else []
    for name in ("rows", "columns"):
        found += [f"a gap of {width} {name} from {first} on" for first, width in detector.get(f"gap_{name}", ())]
    if radius := detector.get("beamstop_radius"):
        found.append(f"a beamstop of {radius:g} px radius")
    if saturation := detector.get("saturation"):
        found.append(f"counts cut at {saturation:,}")
    if noise := detector.get("read_noise"):
        found.append(f"read-out noise of {noise:g} counts")
    return (
        f"The simulated detector has {', '.join(found) or 'no loss'}. The dose counts photons before these losses; "
        "methods know which pixels are bad, and take every other count for a Poisson number."
    )


def seeds_sentence(seeds: Mapping[str, Any]) -> str:
    """What was repeated with which seeds, and from which difference on two methods count as different.

    Examples
    --------
    >>> seeds_sentence({"simulation": 42, "repeats": [1], "training": [123]})[:73]
    'One run per cell: noise of seed 42, training and count splits of seed 123'
    """
    repeats, training = list(map(str, seeds["repeats"])), list(map(str, seeds["training"]))
    if len(repeats) == 1:
        which = f", repeat {repeats[0]}" if repeats[0] != "1" else ""
        return (
            f"One run per cell: noise of seed {seeds['simulation']}{which}, training and count splits of seed "
            f"{training[0]}. How much the errors vary with the seeds is not known from one run; methods less than "
            f"{100 * LEAST_DIFFERENCE:.0f} % apart, whose order another seed may well reverse, are called not "
            "distinguishable."
        )
    return (
        f"Means ± standard errors over {len(repeats)} repeats ({_listed(repeats)}) of the noise of seed "
        f"{seeds['simulation']}, with training and count splits of seeds {_listed(training)}; pictures "
        "are of the first. Methods are called not distinguishable where a paired t-test over the repeats finds their "
        "difference no larger than chance."
    )


def dose_sentence(dose: int, cells: Iterable[Mapping[str, Any]]) -> str:
    """The best method at one dose on the test split, view by view, in one sentence."""
    parts = []
    for cell in cells:
        if cell["dose"] != dose:
            continue
        split = cell["splits"].get(JUDGED_SPLIT)
        result = _best(split) if split and split["arms"] else f"no result ({_brief(cell)})"
        parts.append(f"{cell['view']}: {result}")
    return f"At {dose:,} photons per frame, on the test half, which no method was trained on: {'; '.join(parts)}."


def _brief(cell: Mapping[str, Any]) -> str:
    """Why a cell has no result, without its name and without the other split's like reason."""
    name = _cell_name(cell)
    first = str(cell["reason"]).split(f"; {name}: ")[0]
    return first.removeprefix(f"{name}: ").removesuffix(" (view skipped)") or "not compared yet"


def _best(split: Mapping[str, Any]) -> str:
    """The best method, or those that are not distinguishable from it, with all errors in rising order."""
    values = {name: entry["values"].get(DECIDING_SCORE) for name, entry in split["arms"].items()}
    uniform = values.get(UNIFORM)
    errors = {name: float(v) for name, v in values.items() if v is not None and name not in REFERENCES}
    if not errors:
        return "no method has a result"
    ranking = sorted(errors, key=errors.__getitem__)
    best = ranking[0]
    spreads = {name: split["arms"][name].get("standard_errors", {}).get(DECIDING_SCORE) for name in ranking}
    numbers = ", ".join(f"{name} {with_spread(errors[name], spreads[name], 3)}" for name in ranking)
    if uniform is not None:
        numbers += f", uniform object {uniform:.3f} rad"
        if errors[best] >= uniform:
            return f"no method is better than a uniform object ({numbers})"
        worse = [name for name in ranking if errors[name] >= uniform]
        numbers += f"; {_listed(worse)} worse than the uniform object" if worse else ""
    tied = [best, *(name for name in ranking[1:] if not _distinguishable(split, best, name))]
    if len(tied) == 1:
        return f"{best} is best ({numbers}{_evidence(split, best, ranking[1:])})"
    behind = next((name for name in ranking if name not in tied), None)
    clear = behind is not None and all(_distinguishable(split, name, behind) for name in tied)
    ahead = f", ahead of {behind}" if clear else ""
    reason = _evidence(split, best, tied[1:]) or f"; less than {100 * LEAST_DIFFERENCE:.0f} % apart"
    return f"{_listed(tied)} are not distinguishable{ahead} ({numbers}{reason})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def with_spread(value: float, spread: float | None, digits: int = 4) -> str:
    """Value and its standard error, where there is one."""
    return f"{value:.{digits}f}" if spread is None else f"{value:.{digits}f} ± {spread:.{digits}f}"


def _distinguishable(split: Mapping[str, Any], first: str, second: str) -> bool:
    """Whether two methods differ by more than chance over the repeats or, in a single run, by the least difference."""
    significant = _difference(split, first, second).significant
    if significant is not None:
        return significant
    low, high = sorted(split["arms"][name]["values"][DECIDING_SCORE] for name in (first, second))
    return bool(high - low >= LEAST_DIFFERENCE * high)


def _evidence(split: Mapping[str, Any], best: str, others: Sequence[str]) -> str:
    """What the repeats say about the difference between the best method and others; empty for a single run.

    Of several others the p of the least certain statement is given: the largest of significant differences, the
    smallest of differences that are not.
    """
    differences = [_difference(split, best, other) for other in others]
    tested = [(d.p, d.repeats, bool(d.significant)) for d in differences if d.p is not None]
    if not tested:
        return ""
    significant = all(entry[2] for entry in tested)
    p, repeats, _ = max(tested) if significant else min(entry for entry in tested if not entry[2])
    sign = "=" if len(tested) == 1 else "≤" if significant else "≥"
    words = "significant" if significant else "the difference is not significant"
    return f"; {words}, p {sign} {p:.2g} over {repeats} repeats"


def _difference(split: Mapping[str, Any], first: str, second: str) -> Difference:
    samples = [split["arms"][name].get("samples", {}) for name in (first, second)]
    return difference(*({int(repeat): value for repeat, value in entry.items()} for entry in samples))


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    documents = cell["comparisons"]
    splits: dict[str, Any] = {}
    reasons = []
    for split in SPLITS:
        existing = {repeat: d["splits"][split] for repeat, d in documents.items() if split in d["splits"]}
        compared = {repeat: d for repeat, d in existing.items() if d["outcome"] == "compared"}
        if compared:
            splits[split] = _split(compared[min(compared)], split_samples(documents, split), sorted(compared))
        else:
            reasons += [str(d["reason"]) for d in existing.values()]
    if not documents:
        stage_reasons = (stage["reason"] or stage["stale_reason"] for stage in cell["stages"].values())
        reasons = [str(reason) for reason in stage_reasons if reason][:1]
    seconds = {name: stage["seconds"] for name, stage in cell["stages"].items() if stage["seconds"] is not None}
    return {
        "dose": cell["dose"],
        "view": cell["view"],
        "splits": splits,
        "reason": "; ".join(dict.fromkeys(reasons)),
        "measured_overlap": {s: metrics["metric_2_image_based_avg"] for s, metrics in cell["overlap"].items()},
        "overlap_counts": {s: counted(metrics) for s, metrics in cell["overlap"].items()},
        "seconds": seconds,
        "frames_per_second": _rates(seconds, {split: scores["frames"] for split, scores in splits.items()}),
        "stages": {name: dict(stage) for name, stage in cell["stages"].items()},
    }


def _rates(seconds: Mapping[str, float], frames: Mapping[str, int]) -> dict[str, float]:
    """Frames per second of the stages that turn frames into an object; a stage without a split does both."""
    rates = {}
    for name, duration in seconds.items():
        split = next((split for split in SPLITS if name.endswith(f" {split}")), None)
        count = sum(frames.values()) if split is None else frames.get(split, 0)
        if count and duration > 0 and ("reconstruction" in name or "inference" in name):
            rates[name] = count / duration
    return rates


def _split(
    document: Mapping[str, Any], samples: Mapping[str, Mapping[str, Mapping[int, float]]], repeats: Sequence[int]
) -> dict[str, Any]:
    """One split: sentences, region and curves of its first repeat; scores as means over all repeats that have them."""
    methods = {}
    for name, result in document["arms"].items():
        means = {metric: mean(by_repeat) for metric, by_repeat in samples[name].items()}
        own_rows = [row for row in document["rows"] if row["arm"] == name]
        methods[name] = {
            "outcome": result["outcome"],
            "reason": result["reason"],
            "verdict": result["verdict"],
            "values": {metric: value for metric, (value, _) in means.items()},
            "standard_errors": {metric: error for metric, (value, error) in means.items() if value is not None},
            "reasons": {f"{row['part']} {row['metric']}": row["reason"] for row in own_rows if row["reason"]},
            "samples": {str(repeat): value for repeat, value in samples[name].get(DECIDING_SCORE, {}).items()},
        }
    contests = [contest["sentence"] for contest in document["contests"]]
    if len(repeats) > 1:
        part = str(document["primary"]).removesuffix(" rmse")
        compared = [name for name in methods if name not in REFERENCES]
        contests = list(repeated_contests({n: samples[n].get(f"{part} rmse", {}) for n in compared}, part))
    return {
        "arms": methods,
        "repeats": list(repeats),
        "contests": contests,
        "frames": document["photons"]["frames"],
        "photons_per_pixel": document["photons"]["photons_per_pixel"],
        "phase_floor_rad": document["photons"]["phase_floor_rad"],
        "limit": document["limit"],
        "covered_fraction": document["region"]["covered_fraction"],
        "probe_diameter_px": document["region"]["probe_diameter_px"],
        "frc": {name: parts["complex"] for name, parts in document["frc"].items() if "complex" in parts},
    }


def _stages_with(cells: Sequence[Mapping[str, Any]], outcome: str) -> Iterable[dict[str, str]]:
    """Cells and reasons of an outcome; stages that repeat one reason come as one entry."""
    for cell in cells:
        by_reason: dict[str, list[str]] = {}
        for name, stage in cell["stages"].items():
            if stage["outcome"] == outcome:
                by_reason.setdefault(str(stage["reason"]), []).append(name)
        for reason, names in by_reason.items():
            yield {"cell": _cell_name(cell), "stage": ", ".join(names), "reason": reason}


def _cell_name(cell: Mapping[str, Any]) -> str:
    return f"dose_{cell['dose']}/{cell['view']}"


def study_table(cells: Sequence[Mapping[str, Any]]) -> bytes:
    """All scores of the cells of a study as CSV, a row per score; a score without a value is empty, with its reason."""
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        for repeat, comparison in cell["comparisons"].items():
            for split, document in comparison["splits"].items():
                for row in document.get("rows", ()):
                    place = {
                        "dose": cell["dose"],
                        "view": cell["view"],
                        "repeat": repeat,
                        "split": split,
                        "frames": document["photons"]["frames"],
                        "photons_per_pixel": document["photons"]["photons_per_pixel"],
                        "covered_fraction": document["region"]["covered_fraction"],
                        "limit": document["limit"]["state"],
                    }
                    writer.writerow(place | row)
    return text.getvalue().encode()
