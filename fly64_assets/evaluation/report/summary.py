"""The study in one document: every cell's numbers, verdicts, skips, failures and provenance; and all scores as a table.

Belongs here: the summary that the page, the plots and a notebook read. Does not belong here: how it looks.

A cell, as handed to :func:`study_summary`::

    {"dose": int, "view": str,
     "stages": {name: {"outcome", "reason", "seconds", "stale", "stale_reason"}},
     "comparisons": {repeat: document of CellComparison.to_dict()}, those that exist,
     "overlap": {split: metrics document},
     "probe_overlap": {split: document of ProbeOverlap.to_dict()}, those that have neighbours}

and the seeds of the repeats, as in ``provenance["seeds"]``::

    {"simulation": int, "repeats": [int, ...], "training": [int, ...]}

and how the report was made, as in ``provenance["made"]``::

    {"time": ISO 8601, "host": str, "cores": int, "load": [float, float, float], "command": str}
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.answer import study_answer
from fly64_assets.evaluation.report.outside import outside_sentences
from fly64_assets.evaluation.report.sentences import (
    DECIDING_SCORE,
    cell_name,
    detector_sentence,
    dose_sentence,
    seeds_sentence,
    view_sentence,
)
from fly64_assets.evaluation.scores.compare import REFERENCES
from fly64_assets.evaluation.scores.photons import SCOPE
from fly64_assets.evaluation.scores.verdicts import mean, repeated_contests, split_samples
from fly64_assets.physics.overlap import counted
from fly64_assets.physics.probe_overlap import DIAMETERS
from fly64_assets.physics.scan import SPLITS

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

OVERLAP_COLUMNS: Final = (
    "linear_overlap", "linear_overlap_low", "linear_overlap_six", "area_overlap_six", "linear_overlap_energy_90",
    "linear_overlap_fwhm", "window_overlap",
)  # fmt: skip
"""Overlap of neighbouring probes in the table of all scores; without another name, for the diameter at half energy."""

TABLE_COLUMNS: Final = (
    "dose", "view", "repeat", "split", "frames", "photons_per_pixel", "covered_fraction", *OVERLAP_COLUMNS, "limit",
    "arm", "part", "metric", "value", "reason",
)  # fmt: skip
SplitSummary = Callable[
    [Mapping[str, Any], Mapping[str, Mapping[str, Mapping[int, float]]], Sequence[int]], dict[str, Any]
]
"""Summary of a split: of the document of its first repeat, its scores by method, score and repeat, and the repeats."""

TABLE_NUMBERS: Final = {"dose": int, "repeat": int, "frames": int} | dict.fromkeys(
    ("photons_per_pixel", "covered_fraction", *OVERLAP_COLUMNS, "value"), float
)
"""Types of the columns that hold no texts."""


def study_summary(
    name: str,
    doses: Sequence[int],
    views: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    *,
    threshold_rad: float,
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
    threshold_rad : float
        The phase error about which the ``answer`` is (``report.threshold_rad`` of the design) [rad].
    """
    rows = [cell_summary(cell, _split) for cell in cells]
    heading = study_heading(name, doses, views, rows)
    remarks = {"limit_scope": SCOPE}
    if sentence := view_sentence(design):
        remarks["view_rule"] = sentence
    if "detector" in design:
        remarks["detector"] = detector_sentence(design["detector"])
    return {
        **heading,
        "answer": study_answer(threshold_rad, [view["name"] for view in views], heading["arms"], rows),
        "verdicts": [{"dose": dose, "sentence": dose_sentence(dose, rows)} for dose in doses],
        "seeds": seeds_sentence(provenance["seeds"]),
        **study_records(cells, rows),
        **remarks,
        "design": dict(design),
        "provenance": dict(provenance),
    }


def study_heading(
    name: str, doses: Sequence[int], views: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a study is about: its name, doses, views and methods, the latter from its cells' summaries (``rows``)."""
    methods = dict.fromkeys(name for row in rows for scores in row["splits"].values() for name in scores["arms"])
    return {
        "study": name,
        "doses": list(doses),
        "views": [dict(view) for view in views],
        "arms": [name for name in methods if name not in REFERENCES],
    }


def study_records(cells: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summaries (``rows``) of all cells, and what was skipped, failed, is out of date, or outside of a training."""
    return {
        "cells": list(rows),
        "outside_of_training": outside_sentences(rows),
        "overlap_counts": list(dict.fromkeys(text for row in rows for text in row["overlap_counts"].values())),
        "skips": list(_stages_with(cells, "skipped")),
        "failures": list(_stages_with(cells, "failed")),
        "stale": [
            {"cell": cell_name(cell), "stage": stage_name, "reason": stage["stale_reason"]}
            for cell in cells
            for stage_name, stage in cell["stages"].items()
            if stage["stale"]
        ],
    }


def cell_summary(cell: Mapping[str, Any], summarise: SplitSummary) -> dict[str, Any]:
    """Scores, measured overlap, times and stages of one cell, its splits by ``summarise``."""
    documents = cell["comparisons"]
    splits: dict[str, Any] = {}
    reasons = []
    for split in SPLITS:
        existing = {repeat: d["splits"][split] for repeat, d in documents.items() if split in d["splits"]}
        compared = {repeat: d for repeat, d in existing.items() if d["outcome"] == "compared"}
        if compared:
            splits[split] = summarise(compared[min(compared)], split_samples(documents, split), sorted(compared))
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
        "probe_overlap": dict(cell.get("probe_overlap", {})),
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
    contests = [contest["sentence"] for contest in document["contests"]]
    if len(repeats) > 1:
        part = str(document["primary"]).removesuffix(" rmse")
        compared = [name for name in document["arms"] if name not in REFERENCES]
        contests = list(repeated_contests({n: samples[n].get(f"{part} rmse", {}) for n in compared}, part))
    return {
        **split_scores(document, samples, repeats, DECIDING_SCORE, contests),
        "frc": {name: parts["complex"] for name, parts in document["frc"].items() if "complex" in parts},
    }


def split_scores(
    document: Mapping[str, Any],
    samples: Mapping[str, Mapping[str, Mapping[int, float]]],
    repeats: Sequence[int],
    deciding: str,
    contests: Sequence[str],
) -> dict[str, Any]:
    """One split: sentences and region of its first repeat; scores as means over all repeats that have them.

    ``samples`` is from :func:`~fly64_assets.evaluation.scores.verdicts.split_samples`; those of the ``deciding`` score
    are kept.
    """
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
            "samples": {str(repeat): value for repeat, value in samples[name].get(deciding, {}).items()},
        }
        if "outside_of_training" in result:
            methods[name]["outside_of_training"] = list(result["outside_of_training"])
    return {
        "arms": methods,
        "repeats": list(repeats),
        "contests": list(contests),
        "frames": document["photons"]["frames"],
        "photons_per_pixel": document["photons"]["photons_per_pixel"],
        "phase_floor_rad": document["photons"]["phase_floor_rad"],
        "limit": document["limit"],
        "covered_fraction": document["region"]["covered_fraction"],
        "probe_diameter_px": document["region"]["probe_diameter_px"],
    }


def _stages_with(cells: Sequence[Mapping[str, Any]], outcome: str) -> Iterable[dict[str, str]]:
    """Cells and reasons of an outcome; stages that repeat one reason come as one entry."""
    for cell in cells:
        by_reason: dict[str, list[str]] = {}
        for name, stage in cell["stages"].items():
            if stage["outcome"] == outcome:
                by_reason.setdefault(str(stage["reason"]), []).append(name)
        for reason, names in by_reason.items():
            yield {"cell": cell_name(cell), "stage": ", ".join(names), "reason": reason}


def overlap_columns(document: Mapping[str, Any] | None) -> dict[str, float]:
    """The columns :data:`OVERLAP_COLUMNS` of a document of ``ProbeOverlap``; none of a scan without neighbours."""
    if document is None:
        return {}
    half, energy_90, fwhm = (document["discs"][name] for name in DIAMETERS)
    values = (
        half["linear"]["nearest"],
        half["linear"]["nearest_low"],
        half["linear"]["six"],
        half["area"]["six"],
        energy_90["linear"]["nearest"],
        fwhm["linear"]["nearest"],
        document["windows"]["nearest"],
    )
    return dict(zip(OVERLAP_COLUMNS, values, strict=True))


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
                        **overlap_columns(cell.get("probe_overlap", {}).get(split)),
                    }
                    writer.writerow(place | row)
    return text.getvalue().encode()
