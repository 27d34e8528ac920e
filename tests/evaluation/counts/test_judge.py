"""The document of a cell of measured frames: the shape of one with a truth, by counts that no method has seen."""

from __future__ import annotations

import csv
import io
import json

import pytest
from fixtures.judged import judged_cell

from fly64_assets.evaluation.counts.judge import COUNT_METRICS, NO_TRUTH, PRIMARY
from fly64_assets.evaluation.scores.compare import COMPLEX_METRICS, CSV_COLUMNS, PICTURE_METRICS, REFERENCE, UNIFORM

SCORED = ("pinn", "lsqml", "flat", "reference")


@pytest.fixture(scope="module")
def document():
    return json.loads(json.dumps(judged_cell().to_dict(), allow_nan=False))


def scores(document, split="test"):
    return {(r["arm"], r["part"], r["metric"]): (r["value"], r["reason"]) for r in document["splits"][split]["rows"]}


def test_the_table_holds_every_score_of_the_document(document):
    rows = list(csv.reader(io.StringIO(judged_cell().to_csv().decode())))
    assert rows[0] == list(CSV_COLUMNS)
    listed = {tuple(row[:4]): row[4] for row in rows[1:]}
    expected = {
        (arm, split, part, metric): "" if value is None else str(value)
        for split in ("train", "test")
        for (arm, part, metric), (value, _) in scores(document, split).items()
    }
    assert listed == expected
    assert len(rows) == 1 + len(expected)


def test_every_object_has_every_row_and_each_missing_value_its_reason(document):
    found = scores(document)
    metrics = {("counts", m) for m in COUNT_METRICS} | {("complex", m) for m in COMPLEX_METRICS}
    metrics |= {("complex", f"frc_{pair}_{at}") for pair in ("photons", "frames") for at in ("half_bit", "05")}
    metrics |= {(part, m) for part in ("amplitude", "phase") for m in (*PICTURE_METRICS, "rmse_to_reference")}
    for arm in (*SCORED, "legacy_pinn"):
        assert {key[1:] for key in found if key[0] == arm} == metrics
    assert all(reason for value, reason in found.values() if value is None)
    assert {found[arm, "phase", "rmse"] for arm in SCORED} == {(None, NO_TRUTH)}
    assert {reason for (arm, part, _), (_, reason) in found.items() if (arm, part) == ("legacy_pinn", "counts")} == {
        "failed: the loss is not finite"
    }


def test_the_reference_is_nought_and_the_uniform_object_one(document):
    found = scores(document)
    assert found[REFERENCE, "counts", "complement"][0] == found[REFERENCE, "counts", "complement_relative"][0] == 0
    assert found[UNIFORM, "counts", "complement_relative"][0] == pytest.approx(1)
    assert (
        0 < found["pinn", "counts", "complement_relative"][0] < found["lsqml", "counts", "complement_relative"][0] < 1
    )
    split = document["splits"]["test"]
    assert split["primary"] == PRIMARY
    assert split["limit"]["evaluated_at"] == split["photons"]["evaluated_at"] == "reference object"
    assert set(split["frc"]["pinn"]) == {"photons", "frames", "reference"}


def test_the_better_object_wins_and_both_beat_the_uniform_one(document):
    for split in ("train", "test"):
        contest = document["splits"][split]["contests"][0]
        assert (contest["score"], contest["winner"], contest["loser"]) == ("complement", "pinn", "lsqml")
        assert contest["sentence"].startswith("pinn beats lsqml")
        arms = document["splits"][split]["arms"]
        assert [arms[name]["verdict"] for name in ("pinn", "lsqml")] == ["better than flat"] * 2
        assert (arms["legacy_pinn"]["outcome"], arms["legacy_pinn"]["verdict"]) == ("missing", None)


def test_a_view_that_keeps_every_frame_has_none_to_be_judged_by():
    found = scores(judged_cell("baseline").to_dict())
    assert found["pinn", "counts", "left_out"] == (None, "the view keeps every frame of this half: none was left out")
    assert found["pinn", "counts", "complement"][0] > 0
