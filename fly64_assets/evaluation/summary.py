"""The study in one document: every cell's numbers, verdicts, skips, failures and provenance.

Belongs here: the summary that the report pages, the plots and a notebook read. Does not belong here: how it looks
(``report``), where its parts come from (the asset).

A cell, as handed to :func:`study_summary`::

    {"dose": int, "view": str,
     "stages": {name: {"outcome", "reason", "seconds", "stale", "stale_reason"}},
     "comparison": document of CellComparison.to_dict() or None,
     "overlap": {split: metrics document}}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fly64_assets.design import SPLITS, StudyDesign
from fly64_assets.evaluation.compare import FLAT, TRUTH
from fly64_assets.evaluation.verdicts import LEVEL

SHOWN_METRICS: Final = (
    ("phase", "rmse"),
    ("phase", "psnr"),
    ("phase", "ssim"),
    ("phase", "frc_05"),
    ("amplitude", "rmse"),
    ("amplitude", "ssim"),
    ("complex", "nll_excess"),
)
"""Metrics of the tables, in their order; the CSV files hold all of them."""

JUDGED_SPLIT: Final = "test"


def study_summary(
    design: StudyDesign, cells: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect the cells of a study into the document that the report shows.

    Returns
    -------
    dict
        ``study``, ``doses``, ``views`` (with gridsize and spacing), ``arms``, ``verdicts`` (one sentence per dose),
        ``cells``, ``skips``, ``failures``, ``stale``, ``design`` and ``provenance``; plain JSON types.
    """
    rows = [_cell(cell) for cell in cells]
    arms = list(dict.fromkeys(arm for row in rows for one in row["splits"].values() for arm in one["arms"]))
    return {
        "study": design.name,
        "doses": list(design.doses),
        "views": [
            {
                "name": view,
                "gridsize": design.gridsize(view),
                "overlap": design.overlap_views.get(view),
                "spacing_px": design.spacing_thresholds.get(view),
            }
            for view in design.views
        ],
        "arms": [arm for arm in arms if arm not in (FLAT, TRUTH)],
        "verdicts": [{"dose": dose, "sentence": dose_sentence(dose, rows)} for dose in design.doses],
        "cells": rows,
        "skips": list(_stages_with(cells, "skipped")),
        "failures": list(_stages_with(cells, "failed")),
        "stale": [
            {"cell": _place(cell), "stage": name, "reason": stage["stale_reason"]}
            for cell in cells
            for name, stage in cell["stages"].items()
            if stage["stale"]
        ],
        "design": design.to_dict(),
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
        arm: one["values"]["phase rmse"]
        for arm, one in split["arms"].items()
        if arm != TRUTH and one["values"].get("phase rmse") is not None
    }
    flat = errors.pop(FLAT, None)
    if not errors:
        return "no arm has a result"
    ranking = sorted(errors.items(), key=lambda entry: entry[1])
    numbers = ", ".join(f"{arm} {error:.3f}" for arm, error in ranking)
    if flat is not None and ranking[0][1] >= flat:
        return f"no arm beats a flat object ({numbers}, flat {flat:.3f} rad)"
    if len(ranking) > 1 and ranking[1][1] - ranking[0][1] < LEVEL * ranking[1][1]:
        return f"{ranking[0][0]} and {ranking[1][0]} are level ({numbers}, flat {flat:.3f} rad)"
    worse = [arm for arm, error in ranking if flat is not None and error >= flat]
    note = f"; {', '.join(worse)} worse than flat" if worse else ""
    return f"{ranking[0][0]} is best ({numbers}, flat {flat:.3f} rad{note})"


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    document = cell["comparison"]
    splits: dict[str, Any] = {}
    reasons = []
    for split in SPLITS:
        one = document["splits"].get(split) if document else None
        if one is not None and one["outcome"] == "compared":
            splits[split] = _split(one)
        elif one is not None:
            reasons.append(str(one["reason"]))
    if document is None:
        reasons = [str(stage["reason"]) for stage in cell["stages"].values() if stage["reason"]][:1]
    seconds = {name: stage["seconds"] for name, stage in cell["stages"].items() if stage["seconds"] is not None}
    overlap = {split: metrics["metric_2_image_based_avg"] for split, metrics in cell["overlap"].items()}
    return {
        "dose": cell["dose"],
        "view": cell["view"],
        "splits": splits,
        "reason": "; ".join(dict.fromkeys(reasons)),
        "measured_overlap": overlap,
        "seconds": seconds,
        "stages": {name: dict(stage) for name, stage in cell["stages"].items()},
    }


def _split(one: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, dict[str, float | None]] = {}
    for row in one["rows"]:
        values.setdefault(row["arm"], {})[f"{row['part']} {row['metric']}"] = row["value"]
    arms = {
        arm: {
            "outcome": result["outcome"],
            "reason": result["reason"],
            "verdict": result["verdict"],
            "values": values.get(arm, {}),
        }
        for arm, result in one["arms"].items()
    }
    return {
        "arms": arms,
        "contests": [contest["sentence"] for contest in one["contests"]],
        "frames": one["photons"]["frames"],
        "photons_per_pixel": one["photons"]["photons_per_pixel"],
        "phase_floor_rad": one["photons"]["phase_floor_rad"],
        "covered_fraction": one["region"]["covered_fraction"],
        "probe_diameter_px": one["region"]["probe_diameter_px"],
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
