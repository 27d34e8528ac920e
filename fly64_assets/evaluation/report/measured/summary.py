"""The summary of a study of measured frames: scores of every cell, sentences, and the calibration they rest on.

Does not belong here: sentences (``sentences``), how it looks (``page``, ``plots``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.measured.sentences import (
    CALIBRATED_REFERENCE,
    COMPLEMENT,
    GIVEN_REFERENCE,
    LEFT_OUT,
    MEANING,
    repeated_contests,
    seeds,
    verdict,
)
from fly64_assets.evaluation.report.summary import cell_summary, split_scores, study_heading, study_records

SHOWN_METRICS: Final = {
    COMPLEMENT: "kept aside [nats / frame]",
    "counts complement_relative": "relative",
    LEFT_OUT: "left-out frames [nats / frame]",
    "complex frc_photons_half_bit": "photon halves, half-bit [px]",
    "complex frc_photons_05": "photon halves, 0.5 [px]",
    "complex frc_frames_half_bit": "frame halves, half-bit [px]",
    "complex frc_frames_05": "frame halves, 0.5 [px]",
    "phase rmse_to_reference": "phase to reference [rad]",
    "amplitude rmse_to_reference": "amplitude to reference",
}
"""Scores of the tables with their headings, in their order; the CSV files hold all scores."""


def measured_summary(
    name: str,
    doses: Sequence[int],
    views: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    *,
    design: Mapping[str, Any],
    provenance: Mapping[str, Any],
    calibration: Mapping[str, Any],
    probes: Mapping[str, Any],
) -> dict[str, Any]:
    """Collect the cells of a study of measured frames into the document that its report shows, plain JSON types.

    Doses, views, cells and seeds are as for :func:`~fly64_assets.evaluation.report.summary.study_summary`, the
    comparisons those of measured frames. ``calibration`` is the document ``calibration.json`` of the base,
    ``probes`` that of :func:`~fly64_assets.evaluation.report.measured.probe.probe_health`.
    """
    rows = [cell_summary(cell, _split) for cell in cells]
    return {
        **study_heading(name, doses, views, rows),
        "deciding": COMPLEMENT,
        "verdicts": [verdict(dose, rows) for dose in doses],
        "meaning": MEANING,
        "reference_bias": CALIBRATED_REFERENCE if calibration["calibrated"] else GIVEN_REFERENCE,
        "seeds": seeds(provenance["seeds"], design["measured"]["thinning"]),
        **study_records(cells, rows),
        "calibration": dict(calibration),
        "probes": dict(probes),
        "design": dict(design),
        "provenance": dict(provenance),
    }


def _split(
    document: Mapping[str, Any], samples: Mapping[str, Mapping[str, Mapping[int, float]]], repeats: Sequence[int]
) -> dict[str, Any]:
    """One split: its first repeat's sentences, tests and curves, and means of all scores over the repeats."""
    found = split_scores(document, samples, repeats, COMPLEMENT, [test["sentence"] for test in document["contests"]])
    for name, entry in found["arms"].items():
        entry["samples"] = {
            score: {str(repeat): value for repeat, value in samples[name].get(score, {}).items()}
            for score in (COMPLEMENT, LEFT_OUT)
        }
    found |= {"tests": list(document["contests"]), "frc": dict(document["frc"]), "measured": dict(document["measured"])}
    if len(repeats) > 1:
        found["contests"] = repeated_contests(found)
    return found
