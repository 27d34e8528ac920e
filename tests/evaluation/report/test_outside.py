"""Results outside of what a network was trained for are marked wherever a report shows them, with their reason."""

import copy
import re
from dataclasses import replace

import pytest

from fly64_assets.evaluation.report.heat_map import heat_map
from fly64_assets.evaluation.report.outside import is_outside, outside_sentences
from fly64_assets.evaluation.report.page import render_markdown, render_report
from fly64_assets.evaluation.scores.compare import MethodResult

WHY = "mean photons per frame is 1000, the network was trained for 2000 to 1e+06"


@pytest.fixture(scope="module")
def marked(comparison, summary_of, stage):
    document = comparison.to_dict()
    document["splits"]["test"]["arms"]["pinn"]["outside_of_training"] = [WHY]
    cell = {"dose": 1000, "view": "baseline", "stages": {"view": stage()}, "comparisons": {1: document}, "overlap": {}}
    other = cell | {"dose": 10_000, "comparisons": {1: comparison.to_dict()}}
    provenance = {
        "base_id": "demo_1", "base_sha256": "a" * 64, "design_sha256": "b" * 64, "artifacts": [],
        "versions": {"fly64-assets": "0"},
    }  # fmt: skip
    return summary_of([cell, other], provenance)


def test_a_report_marks_such_a_result_and_says_why(marked):
    page = render_report(marked, {})["index.html"]
    footnote = f"† pinn is outside of its training: {WHY}."
    assert page.count(footnote) == 1
    note = "† pinn is outside of its training in 1 of 2 cells, where its error may be larger than on scans like those"
    assert note in page
    # In the cell's own table and in that of all numbers, of the half that is outside.
    assert page.count(f'pinn <abbr title="Outside of its training: {WHY}">†</abbr>') == 2
    assert "lsqml <abbr" not in page
    assert len(re.findall(r"<text class=\"number\"[^>]*>[0-9.]+ †</text>", page)) == 1
    text = render_markdown(marked)
    assert note in text
    assert len(re.findall(r"\| 0\.\d{4} † \|", text)) == 1


def test_the_answer_and_the_verdict_name_it(marked):
    assert re.search(r"with pinn †|pinn † ", marked["answer"]["sentence"])
    assert marked["answer"]["needed"]["baseline"]["pinn"]["outside_of_training"] is True
    first, second, *_ = (verdict["sentence"] for verdict in marked["verdicts"])
    assert "; pinn outside of its training" in first
    assert "outside of its training" not in second


def test_without_such_a_result_nothing_is_marked(summary):
    assert summary["outside_of_training"] == []
    assert "†" not in render_report(summary, {})["index.html"] + render_markdown(summary)
    assert not is_outside(None, "pinn")


def test_cells_of_a_method_come_in_one_sentence(marked):
    both = copy.deepcopy(marked["cells"])
    both[1]["splits"]["test"]["arms"]["pinn"]["outside_of_training"] = ["of another probe"]
    (sentence,) = outside_sentences(both)
    assert "in 2 of 2 cells" in sentence
    assert sentence.endswith(f": 1,000/baseline ({WHY}); 10,000/baseline (of another probe).")


def test_a_drawing_marks_the_numbers_of_its_cells():
    grid = {(100, "dense"): 0.2, (1000, "dense"): 0.1}
    drawing = heat_map(
        "pretrained", grid, doses=(100, 1000), views=["dense"], limits=(0.1, 0.2), needed={}, threshold_rad=0.1,
        marked={(100, "dense")},
    )  # fmt: skip
    assert ">0.200 †</text>" in drawing
    assert ">0.100</text>" in drawing


def test_the_verdict_of_a_comparison_says_it():
    result = MethodResult("compared", None, "better than flat", None, (WHY,))
    assert result.verdict_text == f"better than the uniform object; outside of its training: {WHY}"
    assert result.to_dict()["outside_of_training"] == [WHY]
    inside = replace(result, outside=())
    assert inside.verdict_text == "better than the uniform object"
    assert "outside_of_training" not in inside.to_dict()
