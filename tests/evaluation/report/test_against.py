"""Two studies against each other: every kind of change, from small summaries."""

from __future__ import annotations

import copy
import json

import pytest

from fly64_assets.evaluation.report.against import compare_studies, render_against
from fly64_assets.study.design import load_design


def study(errors, name="demo", spreads=None):
    """A summary with one test split per cell: (dose, view) -> method -> phase error."""
    cells = []
    for (dose, view), methods in errors.items():
        scored = {
            method: {
                "values": {"phase rmse": value},
                "standard_errors": {"phase rmse": (spreads or {}).get((dose, view, method))},
            }
            for method, value in methods.items()
        }
        cells.append({"dose": dose, "view": view, "splits": {"test": {"arms": scored}}})
    design = load_design("demo").to_dict()
    return {"study": name, "cells": cells, "design": design, "provenance": {"base_sha256": "a" * 64}}


def verdicts(found):
    return {(s["dose"], s["view"], s["arm"]): s["verdict"] for s in found["scores"]}


def test_a_study_against_itself_has_no_change():
    one = study({(1000, "dense"): {"pinn": 0.1, "truth": 0.0}, (1000, "sparse"): {"pinn": 0.2}})
    found = compare_studies(one, copy.deepcopy(one))
    assert found["design"] == []
    assert found["base"] is True
    assert set(verdicts(found).values()) == {"level"}
    assert all(entry["percent"] == 0 for entry in found["scores"])
    assert "truth" not in {entry["arm"] for entry in found["scores"]}


def test_every_kind_of_change_has_its_verdict():
    ours = study(
        {(1000, "dense"): {"pinn": 0.10, "lsqml": 0.30, "flat": 0.25, "new": 0.5}, (10000, "dense"): {"pinn": 0.1}}
    )
    theirs = study(
        {(1000, "dense"): {"pinn": 0.20, "lsqml": 0.20, "flat": 0.25, "old": None}, (1000, "sparse"): {"pinn": 0.4}}
    )
    found = verdicts(compare_studies(ours, theirs))
    assert found == {
        (1000, "dense", "pinn"): "better",
        (1000, "dense", "lsqml"): "worse",
        (1000, "dense", "flat"): "level",
        (1000, "dense", "new"): "only here",
        (10000, "dense", "pinn"): "only here",
        (1000, "sparse", "pinn"): "only there",
    }


@pytest.mark.parametrize(("spread", "verdict"), [(0.001, "worse"), (0.02, "level"), (None, "worse")])
def test_spread_over_repeats_decides_where_there_are_repeats(spread, verdict):
    cell = (1000, "dense")
    spreads = {(*cell, "pinn"): spread}
    ours, theirs = study({cell: {"pinn": 0.11}}, spreads=spreads), study({cell: {"pinn": 0.10}}, spreads=spreads)
    (entry,) = compare_studies(ours, theirs)["scores"]
    assert entry["verdict"] == verdict
    assert entry["percent"] == pytest.approx(10)


def test_changed_design_fields_are_named_with_both_values():
    ours, theirs = study({}), study({}, name="other")
    ours["design"]["pinn"]["epochs"] = 7
    ours["design"]["neighbor_count"] = 5
    theirs["provenance"]["base_sha256"] = "b" * 64
    found = compare_studies(ours, theirs)
    assert {change["field"] for change in found["design"]} == {"pinn.epochs", "neighbor_count"}
    assert found["base"] is False
    text = render_against(found)
    assert text.startswith("# demo against other")
    assert "| pinn.epochs | 7 | 40 |" in text
    assert "bases are different" in text
    assert "nothing to compare" in text


def test_the_text_holds_every_score_and_the_document_is_json():
    cell = (1000, "dense")
    found = compare_studies(
        study({cell: {"pinn": 0.10, "lsqml": 0.2}}, spreads={(*cell, "pinn"): 0.01}),
        study({cell: {"pinn": 0.20}}, name="before", spreads={(*cell, "pinn"): 0.01}),
    )
    json.dumps(found, allow_nan=False)
    text = render_against(found)
    assert "| 1,000 / dense | test | pinn | 0.100 ± 0.01 | 0.200 ± 0.01 | -50.0 % | better |" in text
    assert "| 1,000 / dense | test | lsqml | 0.200 | – | – | only here |" in text
    assert "1 better, 1 only here" in text


def measured(errors, name="star"):
    """A study of measured frames: (dose, view) -> method -> (nats per frame above the reference, error over frames)."""
    found = study({}, name=name)
    found["deciding"] = "counts complement"
    for (dose, view), methods in errors.items():
        arms = {
            method: {"values": {"counts complement": value, "counts complement_error": error}, "standard_errors": {}}
            for method, (value, error) in methods.items()
        }
        found["cells"].append({"dose": dose, "view": view, "splits": {"test": {"arms": arms}}})
    return found


def test_studies_of_measured_frames_are_compared_by_counts_kept_aside():
    cell = (1000, "dense")
    ours = measured({cell: {"pinn": (40.0, 2.0), "lsqml": (50.0, 2.0), "tv_ml": (-1.0, 0.1), "reference": (0.0, 0.0)}})
    theirs = measured(
        {cell: {"pinn": (60.0, 2.0), "lsqml": (48.0, 2.0), "tv_ml": (-2.0, 0.1), "reference": (0.0, 0.0)}}
    )
    found = compare_studies(ours, theirs)
    assert verdicts(found) == {(*cell, "pinn"): "better", (*cell, "lsqml"): "level", (*cell, "tv_ml"): "worse"}
    text = render_against(found)
    assert "## Counts kept aside [nats per frame above the reference]" in text
    assert "| 1,000 / dense | test | pinn | 40.0 ± 2.0 | 60.0 ± 2.0 | -33.3 % | better |" in text
    assert "| tv_ml | -1.00 ± 0.10 | -2.00 ± 0.10 | – | worse |" in text


def test_measured_and_simulated_studies_share_no_score():
    found = compare_studies(measured({(1000, "dense"): {"pinn": (1.0, 0.1)}}), study({(1000, "dense"): {"pinn": 0.1}}))
    assert found["scores"] == []
    assert "they have no deciding score in common" in render_against(found)
