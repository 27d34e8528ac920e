"""A measured study beside its twin: who wins in each, whether the sizes agree, and what the page says of it."""

from __future__ import annotations

from itertools import combinations

import pytest

from fly64_assets.evaluation.report.twin import NOT_TESTED, REFERENCE_CAUSE, Side, calibration_causes, twin_summary
from fly64_assets.evaluation.report.twin_page import render_twin, render_twin_markdown, twin_figure

CALIBRATION = {
    "deviance": 1.5,
    "expected_deviance": 0.9,
    "positions": {"refined": False, "rms_shift_px": 0.0, "largest_shift_px": 0.0},
    "deviations": {"constant": {"sentence": "a constant background explains next to nothing of the excess"}},
}


def document(scores, *, undecided=(), whole=100.0, verdicts=None, fraction=0.002):
    """A comparison document of measured frames: complement in nats per frame, and the tests of every pair."""
    arms = {name: {"outcome": "compared", "reason": None, "verdict": "better than flat"} for name in scores}
    for name, verdict in (verdicts or {}).items():
        arms[name]["verdict"] = verdict
    arms |= {"flat": {"outcome": "compared", "reason": None, "verdict": None}}
    arms |= {"reference": {"outcome": "compared", "reason": None, "verdict": None}}
    rows = []
    for name, value in (scores | {"flat": whole, "reference": 0.0}).items():
        found = {"complement": value, "complement_error": 1.0, "complement_relative": value / whole}
        rows += [{"arm": name, "part": "counts", "metric": m, "value": v, "reason": None} for m, v in found.items()]
        rows.append({"arm": name, "part": "phase", "metric": "rmse_to_reference", "value": value / 50, "reason": None})
    contests = []
    for pair in combinations(scores, 2):
        winner, loser = sorted(pair, key=scores.get)
        if set(pair) in undecided:
            winner = loser = None
        entry = {"winner": winner, "loser": loser, "sentence": ""}
        contests += [{"score": score, **entry} for score in ("complement", "left_out")]
    split = {"split": "test", "outcome": "compared", "reason": None, "arms": arms, "rows": rows, "contests": contests}
    return {"version": 2, "splits": {"test": split | {"measured": {"fraction": fraction}}}}


def summary(measured, twin, reasons=None, calibration=CALIBRATION):
    here = Side("star", "star_1", {(1000, view): {1: one} for view, one in measured.items()}, {})
    there = Side("star_twin", "star_2", {(1000, view): {1: one} for view, one in twin.items()}, reasons or {})
    return twin_summary(here, there, calibration=calibration)


def test_winners_and_sizes_agree():
    scores = {"pinn": 10.0, "lsqml": 30.0, "tv_ml": 20.0}
    found = summary({"dense": document(scores)}, {"dense": document({k: 1.5 * v for k, v in scores.items()})})
    (cell,) = found["cells"]
    assert [pair["agreement"] for pair in cell["pairs"]] == ["same"] * 3
    assert [pair["ratio"] for pair in cell["pairs"]] == pytest.approx([1.5] * 3)
    assert cell["best"] == {"measured": ["pinn"], "twin": ["pinn"]}
    assert cell["rank_correlation"] == pytest.approx(1.0)
    assert found["deviations"] == []
    assert found["sentences"][0].startswith("In 1 of 1 cells")
    assert "3 of 3 agree within a factor of 2" in found["sentences"][2]
    assert cell["methods"]["pinn"]["twin"]["values"]["phase rmse_to_reference"] == pytest.approx(0.3)
    assert "phase rmse_to_reference" not in cell["methods"]["pinn"]["measured"]["values"]


def test_the_other_winner_and_another_size_are_named():
    measured, twin = {"pinn": 10.0, "lsqml": 30.0, "tv_ml": 20.0}, {"pinn": 40.0, "lsqml": 30.0, "tv_ml": 29.0}
    found = summary({"dense": document(measured)}, {"dense": document(twin)})
    (cell,) = found["cells"]
    agreement = {(pair["first"], pair["second"]): pair["agreement"] for pair in cell["pairs"]}
    assert agreement == {("pinn", "lsqml"): "opposite", ("pinn", "tv_ml"): "opposite", ("lsqml", "tv_ml"): "same"}
    assert any("pinn wins on measured frames and lsqml in the twin" in line for line in found["deviations"])
    assert any(
        "tv_ml wins in both, but the difference in the twin is 0.1 times" in line for line in found["deviations"]
    )
    assert found["sentences"][0].startswith("In 0 of 1 cells")


def test_pairs_that_a_test_leaves_open():
    scores = {"pinn": 10.0, "lsqml": 11.0}
    open_pair = [{"pinn", "lsqml"}]
    for undecided, expected in (((), "only measured"), (open_pair, "neither")):
        measured = document(scores, undecided=undecided)
        found = summary({"dense": measured}, {"dense": document(scores, undecided=open_pair)})
        assert found["cells"][0]["pairs"][0]["agreement"] == expected
        assert found["cells"][0]["best"]["twin"] == ["pinn", "lsqml"]
    assert found["cells"][0]["best"]["measured"] == ["pinn", "lsqml"]


def test_over_repeats_the_paired_test_decides():
    one, other = {"pinn": 10.0, "lsqml": 12.0}, {"pinn": 11.0, "lsqml": 13.1}
    cells = {(1000, "dense"): {1: document(one), 2: document(other), 3: document({"pinn": 9.0, "lsqml": 11.05})}}
    mixed = {(1000, "dense"): {1: document(one), 2: document({"pinn": 13.0, "lsqml": 11.0})}}
    found = twin_summary(Side("a", "a_1", cells, {}), Side("a_twin", "a_2", mixed, {}), calibration={})
    (pair,) = found["cells"][0]["pairs"]
    assert (pair["measured"]["winner"], pair["twin"]["winner"]) == ("pinn", None)
    # What repeats have in common is not in their scatter: near the measured dose the same differences say less.
    scores = ({"pinn": 10.0, "lsqml": value} for value in (12.0, 12.5, 13.5))
    near = {(1000, "dense"): {n: document(one, fraction=0.8) for n, one in enumerate(scores, 1)}}
    found = twin_summary(Side("a", "a_1", near, {}), Side("a_twin", "a_2", mixed, {}), calibration={})
    assert found["cells"][0]["pairs"][0]["measured"]["winner"] is None


def test_a_verdict_against_the_uniform_object_that_differs_is_a_deviation():
    scores = {"pinn": 10.0, "lsqml": 30.0}
    worse = document(scores, verdicts={"lsqml": "worse than flat"})
    found = summary({"dense": document(scores)}, {"dense": worse})
    assert found["deviations"] == [
        "1,000/dense: lsqml is better than the uniform object on measured frames and worse than the uniform object in "
        "the twin"
    ]


def test_a_cell_without_a_result_says_why():
    scores = {"pinn": 10.0, "lsqml": 30.0}
    measured = {"dense": document(scores), "sparse": document(scores)}
    found = summary(measured, {"dense": document(scores)}, {(1000, "sparse"): "3 positions are too few"})
    assert [cell["reason"] for cell in found["cells"]] == [None, "twin: 3 positions are too few"]
    assert "twin: 3 positions are too few" in render_twin(found, twin_figure(found))
    assert "no result: twin: 3 positions are too few" in render_twin_markdown(found)


def test_causes_are_those_that_were_measured():
    causes = list(calibration_causes(CALIBRATION))
    assert causes[0].endswith("The twin has no such excess.")
    assert "1.5000 per pixel, and 0.9000" in causes[0]
    assert causes[1] == "A constant background explains next to nothing of the excess."
    assert causes[2].startswith("Errors of the positions were not measured")
    assert causes[-1] == NOT_TESTED
    moved = {"positions": {"refined": True, "rms_shift_px": 0.4, "largest_shift_px": 2.0}}
    (cause,) = calibration_causes(moved)
    assert "moved them by 0.40 px" in cause
    (cause, _) = calibration_causes({"deviance": 0.34, "expected_deviance": 0.343})
    assert cause.endswith("That is no excess: the model holds.")
    assert next(iter(calibration_causes(CALIBRATION | {"calibrated": True}))) == REFERENCE_CAUSE


def test_the_page_refers_to_nothing_outside():
    scores = {"pinn": 10.0, "lsqml": 30.0, "tv_ml": 20.0}
    found = summary({"dense": document(scores)}, {"dense": document(scores)})
    figure = twin_figure(found)
    assert figure.startswith(b"\x89PNG")
    page = render_twin(found, figure)
    assert "data:image/webp;base64," in page
    assert "http" not in page
    assert "<script" not in page
    assert "the same winner" in page
    assert "Nowhere: every pair" in page
    assert "| 1,000 / dense | pinn | 10.0 | 10.0 |" in render_twin_markdown(found)
