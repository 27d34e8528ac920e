"""The study's summary: verdicts as sentences, means over repeats, skips and failures, and the table of all scores."""

import copy
import csv
import io
import json
import re

import numpy as np
import pytest

from fly64_assets.evaluation.report.sentences import dose_sentence, seeds_sentence
from fly64_assets.evaluation.report.summary import SHOWN_METRICS, TABLE_COLUMNS, study_table
from fly64_assets.physics.probe_overlap import overlap_of_discs


def test_verdicts_come_first_and_say_who_wins(summary):
    sentence = summary["verdicts"][0]["sentence"]
    assert sentence.startswith(
        "At 1,000 photons per frame, on the test half, which no method was trained on: baseline: pinn is best (pinn 0.0"
    )
    assert "lsqml worse than the uniform object" in sentence
    assert (
        "sparse: no result (train: 3 of 91 positions are 51.2 px apart; 4 are needed for min_view_frames)" in sentence
    )
    assert "the disk is full" in summary["verdicts"][1]["sentence"]


@pytest.mark.parametrize(
    ("pinn", "lsqml", "words"),
    [
        (0.30, 0.40, "no method is better than a uniform object (pinn 0.300, lsqml 0.400, uniform object 0.250 rad)"),
        (0.25, 0.40, "no method is better than a uniform object"),
        (
            0.20,
            0.30,
            "pinn is best (pinn 0.200, lsqml 0.300, uniform object 0.250 rad; lsqml worse than the uniform object)",
        ),
        (
            0.200,
            0.202,
            "pinn and lsqml are not distinguishable (pinn 0.200, lsqml 0.202, uniform object 0.250 rad; "
            "less than 5 % apart)",
        ),
        (0.20, 0.10, "lsqml is best (lsqml 0.100, pinn 0.200, uniform object 0.250 rad)"),
    ],
)
def test_a_verdict_in_every_case(pinn, lsqml, words):
    errors = {"pinn": pinn, "lsqml": lsqml, "flat": 0.25, "truth": 0.0}
    methods = {method: {"values": {"phase rmse": error}} for method, error in errors.items()}
    cell = {"dose": 1000, "view": "dense", "splits": {"test": {"arms": methods}}, "reason": ""}
    assert f"dense: {words}" in dose_sentence(1000, [cell])


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({"third": 0.25}, "pinn and lsqml are not distinguishable, ahead of third (pinn 0.200"),
        # The third is not distinguishable from the second, but from the best.
        ({"lsqml": 0.207, "third": 0.2115}, "pinn and lsqml are not distinguishable (pinn 0.200"),
        ({"third": 0.202}, "pinn, lsqml and third are not distinguishable (pinn 0.200"),
        ({"third": 0.202, "tv_ml": 0.23}, "pinn, lsqml and third are not distinguishable, ahead of tv_ml (pinn 0.200"),
        ({"third": 0.15, "tv_ml": 0.1}, "tv_ml is best (tv_ml 0.100, third 0.150, pinn 0.200, lsqml 0.201"),
        ({"third": 0.35, "tv_ml": 0.4}, "rad; third and tv_ml worse than the uniform object; less than 5 % apart)"),
        ({"third": None, "tv_ml": None}, "pinn and lsqml are not distinguishable (pinn 0.200, lsqml 0.201, uniform"),
    ],
)
def test_a_verdict_on_more_than_two_methods(errors, words):
    errors = {"pinn": 0.200, "lsqml": 0.201, "flat": 0.3, "truth": 0.0} | errors
    methods = {method: {"values": {"phase rmse": error}} for method, error in errors.items()}
    cell = {"dose": 1000, "view": "dense", "splits": {"test": {"arms": methods}}, "reason": ""}
    assert words in dose_sentence(1000, [cell])


def repeated(errors):
    """The sentence on methods with an error in each of some repeats."""
    methods = {
        method: {
            "values": {"phase rmse": float(np.mean(v))},
            "standard_errors": {"phase rmse": float(np.std(v, ddof=1) / np.sqrt(len(v)))},
            "samples": {str(k + 1): x for k, x in enumerate(v)},
        }
        for method, v in errors.items()
    }
    return dose_sentence(1000, [{"dose": 1000, "view": "dense", "splits": {"test": {"arms": methods}}, "reason": ""}])


@pytest.mark.parametrize(
    ("pinn", "lsqml", "words"),
    [
        ((0.10, 0.11, 0.12), (0.20, 0.21, 0.22), "pinn is best (pinn 0.110 ± 0.006, lsqml 0.210 ± 0.006"),
        ((0.10, 0.11, 0.12), (0.20, 0.21, 0.22), "; significant, p = 0 over 3 repeats"),
        ((0.10, 0.20, 0.15), (0.16, 0.13, 0.19), "pinn and lsqml are not distinguishable"),
        ((0.10, 0.20, 0.15), (0.16, 0.13, 0.19), "the difference is not significant, p = 0.8"),
        ((0.100, 0.150, 0.120), (0.101, 0.1512, 0.1209), "pinn is best"),
    ],
)
def test_a_verdict_over_repeats_says_whether_it_is_significant(pinn, lsqml, words):
    """Far apart is not enough where the repeats scatter, and close together is enough where they do not."""
    assert words in repeated({"pinn": pinn, "lsqml": lsqml, "flat": (0.25, 0.25, 0.25)})


def test_repeats_decide_between_many_methods_against_the_best_one():
    best, noise = np.array([0.10, 0.11, 0.12, 0.13]), np.array([0.03, -0.025, 0.02, -0.02])
    errors = {
        "pinn": best,
        "close": best + 0.001 + noise,
        "lsqml": best + 0.05,
        "tv_ml": best + np.array([0.02, 0.021, 0.02, 0.019]),
    }
    sentence = repeated(errors)
    assert "pinn and close are not distinguishable (pinn 0.115" in sentence
    assert "; the difference is not significant, p = " in sentence
    # Not ahead of tv_ml: the scatter of one of the two leaders does not allow to say so.
    assert "ahead" not in sentence
    del errors["close"]
    assert "dense: pinn is best" in repeated(errors)
    assert re.search(r"; significant, p ≤ \S+ over 4 repeats\)", repeated(errors))


def test_scores_of_repeats_come_as_mean_and_standard_error(comparison, summary_of, stage):
    """Three documents of one cell, the scores of the second and third moved by known amounts."""
    documents = {}
    for repeat, factor in ((1, 1.0), (2, 1.1), (3, 1.3)):
        document = copy.deepcopy(comparison.to_dict())
        for row in document["splits"]["test"]["rows"]:
            if row["arm"] == "pinn" and row["value"] is not None:
                row["value"] *= factor
        documents[repeat] = document
    cell = {
        "dose": 1000, "view": "baseline", "stages": {"view": stage()}, "comparisons": documents, "overlap": {}
    }  # fmt: skip
    one = summary_of([cell])["cells"][0]["splits"]["test"]
    first = comparison.splits["test"].value("pinn", "phase", "rmse")
    method = one["arms"]["pinn"]
    assert one["repeats"] == [1, 2, 3]
    # Pairs are judged over all repeats, not in the first.
    assert one["contests"][0].startswith("pinn beats lsqml by ")
    assert one["contests"][0].endswith(" over 3 repeats)")
    assert method["values"]["phase rmse"] == pytest.approx(first * 3.4 / 3)
    assert method["standard_errors"]["phase rmse"] == pytest.approx(first * np.std([1, 1.1, 1.3], ddof=1) / np.sqrt(3))
    assert one["arms"]["flat"]["standard_errors"]["phase rmse"] == 0
    assert method["values"]["phase psnr"] is not None
    json.dumps(one, allow_nan=False)


def test_seeds_are_named_for_one_run_and_for_repeats():
    one = seeds_sentence({"simulation": 42, "repeats": [1], "training": [123]})
    assert "noise of seed 42, training and count splits of seed 123." in one
    assert "less than 5 % apart" in one
    assert "seed 42, repeat 7, training" in seeds_sentence({"simulation": 42, "repeats": [7], "training": [99]})
    several = seeds_sentence({"simulation": 42, "repeats": [1, 2, 7], "training": [123, 5, 6]})
    assert "over 3 repeats (1, 2 and 7) of the noise of seed 42" in several
    assert "seeds 123, 5 and 6" in several


def test_a_similarity_never_stands_before_its_error():
    shown = list(SHOWN_METRICS)
    for part in ("phase", "amplitude"):
        assert shown.index((part, "rmse")) < shown.index((part, "ssim"))


def test_outcome_and_verdict_are_separate(summary):
    methods = summary["cells"][0]["splits"]["test"]["arms"]
    assert (methods["lsqml"]["outcome"], methods["lsqml"]["verdict"]) == ("compared", "worse than flat")
    assert (methods["pinn"]["outcome"], methods["pinn"]["verdict"]) == ("compared", "better than flat")
    assert methods["other"]["outcome"] == "missing"
    assert methods["truth"]["values"]["phase rmse"] == pytest.approx(0, abs=1e-7)


def test_skips_failures_and_stale_cells_are_listed_once(summary):
    assert [(entry["cell"], entry["stage"]) for entry in summary["skips"]] == [
        ("dose_1000/sparse", "view, pinn training")
    ]
    assert len(summary["failures"]) == 4
    assert {entry["reason"] for entry in summary["stale"]} == {"parameter neighbor_count changed (7 then, 5 now)"}


def test_the_table_for_a_notebook_holds_every_score_with_its_reason(comparison):
    documents = {1: comparison.to_dict(), 2: comparison.to_dict()}
    text = study_table([{"dose": 1000, "view": "baseline", "comparisons": documents}]).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == TABLE_COLUMNS
    assert len(rows) == 2 * sum(len(split.rows) for split in comparison.splits.values())
    assert {row["repeat"] for row in rows} == {"1", "2"}
    assert all(row["value"] or row["reason"] for row in rows)
    one = next(r for r in rows if (r["split"], r["arm"], r["part"], r["metric"]) == ("test", "pinn", "phase", "rmse"))
    assert float(one["value"]) == comparison.splits["test"].value("pinn", "phase", "rmse")
    assert one["limit"] == "regular"


def test_frames_per_second_belong_to_the_stages_own_split(comparison, summary_of, stage):
    stages = {name: stage() for name in ("view", "pinn inference", "lsqml reconstruction test")}
    cell = {
        "dose": 1000, "view": "baseline", "stages": stages, "comparisons": {1: comparison.to_dict()}, "overlap": {}
    }  # fmt: skip
    rates = summary_of([cell])["cells"][0]["frames_per_second"]
    assert rates == {"pinn inference": pytest.approx(120 / 1.5), "lsqml reconstruction test": pytest.approx(60 / 1.5)}


def test_a_cell_without_a_valid_comparison_says_that_it_is_out_of_date(summary):
    dense = next(cell for cell in summary["cells"] if cell["view"] == "dense")
    assert dense["splits"] == {}
    assert dense["reason"] == "parameter neighbor_count changed (7 then, 5 now)"


def test_the_table_says_how_much_neighbouring_probes_overlap(comparison):
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), axis=-1).reshape(-1, 2)
    widths = {"half_energy": 4.0, "energy_90": 8.0, "fwhm": 5.0}
    overlap = {"test": overlap_of_discs(grid, widths, window_px=32).to_dict()}
    cell = {"dose": 1000, "view": "baseline", "comparisons": {1: comparison.to_dict()}, "probe_overlap": overlap}
    rows = list(csv.DictReader(io.StringIO(study_table([cell]).decode())))
    test = next(row for row in rows if row["split"] == "test")
    train = next(row for row in rows if row["split"] == "train")
    for column, value in (
        ("linear_overlap", 0.75),
        ("linear_overlap_low", 0.75),
        ("linear_overlap_energy_90", 0.875),
        ("linear_overlap_fwhm", 0.8),
        ("window_overlap", 31 / 32),
    ):
        assert float(test[column]) == pytest.approx(value)
        assert train[column] == ""
    assert 0 < float(test["area_overlap_six"]) < float(test["linear_overlap_six"]) < 0.75
