"""The document of a cell of measured frames: the shape of one with a truth, by counts that no method has seen."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from fixtures.judged import judged_cell, judged_input, judged_truth, no_limit, noisy

from fly64_assets.evaluation.counts.judge import COUNT_METRICS, NO_TRUTH, PRIMARY, judge_split, uniform_object
from fly64_assets.evaluation.scores.compare import COMPLEX_METRICS, CSV_COLUMNS, PICTURE_METRICS, REFERENCE, UNIFORM
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.forward import exit_wave_energies, patch_counts

SCORED = ("pinn", "lsqml", "flat", "reference")


def judged(data, reference=None):
    known = judged_truth().object if reference is None else reference
    settings = {"evaluation": EvaluationSettings(), "metrics": MetricsConfig(), "limit": no_limit}
    return judge_split("train", known, data, **settings)


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


def test_the_document_says_which_counts_judged(document):
    split, data = document["splits"]["train"], judged_input("train")
    rows = np.isin(data.measured.scan_index, data.measurement.scan_index)
    measured, seen = data.measured.counts()[rows].sum(axis=(1, 2)), data.measurement.counts().sum(axis=(1, 2))
    found = split["measured"]
    assert found["measured_photons"] == pytest.approx(seen.mean() / 0.1) == pytest.approx(measured.mean(), rel=0.03)
    assert found["fraction"] == pytest.approx(0.1)
    assert 0 < found["left_out_frames"] <= len(data.half) - data.measurement.frames
    worst = [frame["complement"] for frame in found["worst_frames"]["lsqml"]]
    assert worst == sorted(worst, reverse=True)
    mean = next(r["value"] for r in split["rows"] if (r["arm"], r["metric"]) == ("lsqml", "complement"))
    assert worst[0] > mean
    # What noise lacks of the counts the background has.
    assert found["unexplained"]["flat"] > found["unexplained"]["lsqml"] > found["unexplained"]["reference"]


def test_the_uniform_object_gives_as_many_photons_as_were_seen():
    m = judged_input("train").measurement
    flat = uniform_object(m)
    energies = exit_wave_energies(flat, m.probe, m.scan) * m.intensity_scale**2
    assert energies.sum() == pytest.approx(m.counts().sum(), rel=1e-5)
    masked = judged_input("train", masked=True).measurement
    rates = patch_counts(uniform_object(masked), masked.probe, masked.scan, masked.intensity_scale)
    assert rates[:, ~masked.bad_pixels].sum() == pytest.approx(masked.counts().sum(), rel=1e-5)
    assert rates.sum() > 1.005 * masked.counts().sum()


def test_an_object_that_is_the_uniform_one_is_level_with_it():
    data = judged_input("train")
    flat = uniform_object(data.measurement)
    found = judged(judged_input("train", pinn=flat, lsqml=flat * np.exp(2j))).methods
    assert [found[name].verdict for name in ("pinn", "lsqml")] == ["level with flat"] * 2


def test_chance_decides_no_contest():
    """Two objects with the same amount of noise: a winner has to be better by more than the frames vary."""
    truth = judged_truth().object
    winners = []
    for seed in range(20, 26):
        found = judged(judged_input("train", pinn=noisy(truth, 0.1, seed), lsqml=noisy(truth, 0.1, seed + 50)))
        winners.append(found.contests[0]["winner"])
    assert winners.count(None) >= 5


def test_only_a_refined_probe_makes_the_place_of_an_object_an_ambiguity():
    truth = judged_truth().object
    data = judged_input("train", pinn=truth, lsqml=np.roll(truth, 1, axis=0))
    known, refined = judged(data), judged(replace(data, refined_probe=frozenset({"lsqml"})))
    values = [found.value("lsqml", "counts", "complement_relative") for found in (known, refined)]
    assert values[0] > 0.1
    assert values[1] == pytest.approx(0, abs=0.01)


def test_an_object_that_is_not_finite_somewhere_has_no_likelihood():
    truth = judged_truth().object.copy()
    truth[0, 0] = np.nan
    found = judged(judged_input("train", pinn=truth, lsqml=noisy(judged_truth().object, 0.1, 4)))
    rows = {(r.method, r.metric): r for r in found.rows}
    assert rows["pinn", "complement"].value is None
    assert rows["pinn", "complement"].reason == "the reconstruction is not finite outside the region"
    assert found.methods["pinn"].verdict is None
    assert found.contests == ()
    assert rows["lsqml", "complement"].value > 0
