"""What the report of measured frames says first: who predicts the counts kept aside best, and what was tested."""

import json
import re

import numpy as np
import pytest

from fly64_assets.evaluation.report.measured.sentences import nats, pair_test, seeds


def views(summary, dose):
    return next(verdict["views"] for verdict in summary["verdicts"] if verdict["dose"] == dose)


def judged(summary_of, cell, document, contest, scores, contests=(), verdicts=None, view="dense"):
    """What is said about one cell of 1000 photons per frame."""
    made = document(1000, view, scores, [contest(*one) for one in contests], verdicts)
    return views(summary_of([cell(1000, view, made)], doses=(1000,)), 1000)[view]


@pytest.fixture
def said(summary_of, cell, document, contest):
    def say(scores, *contests, **options):
        return judged(summary_of, cell, document, contest, scores, contests, **options)

    return say


def score(excess, error=1.0, left_out=None):
    return (excess, error, excess / 5000, excess if left_out is None else left_out, error, 8.0)


def test_the_best_method_has_the_test_that_says_so(said):
    found = said({"pinn": score(9.0, 0.5), "lsqml": score(3.0, 0.41)}, ("complement", "lsqml", "pinn", 0.002))
    assert found["headline"] == "lsqml is best"
    assert found["details"].startswith(
        "lsqml 3.00 ± 0.41, pinn 9.00 ± 0.50, uniform object 5,000 ± 20; significant, p = 0.002 over 129 frames"
    )


def test_methods_that_the_test_does_not_tell_apart_share_the_lead(said):
    scores = {"pinn": score(9.0), "lsqml": score(8.5), "tv_ml": score(60.0)}
    pairs = [("complement", "lsqml", "pinn", 0.4), ("complement", "lsqml", "tv_ml", 1e-9)]
    found = said(scores, *pairs, ("complement", "pinn", "tv_ml", 1e-8))
    assert found["leaders"] == ["lsqml", "pinn"]
    assert found["headline"] == "lsqml and pinn are not distinguishable, ahead of tv_ml"
    assert "no significant difference over 129 frames" in found["details"]
    # One of the leaders is not distinguishable from the third: nobody is ahead of it.
    found = said(scores, *pairs, ("complement", "pinn", "tv_ml", 0.2))
    assert found["headline"] == "lsqml and pinn are not distinguishable"


def test_nobody_wins_who_is_not_better_than_a_uniform_object(said):
    scores = {"pinn": score(5100.0), "lsqml": score(4990.0)}
    verdicts = {"pinn": "worse than flat", "lsqml": "unclear from flat"}
    found = said(scores, ("complement", "lsqml", "pinn", 0.001), verdicts=verdicts)
    assert found["headline"] == "no method is shown to be better than a uniform object"
    assert found["leaders"] == []
    found = said(
        {"pinn": score(5100.0), "lsqml": score(300.0)},
        ("complement", "lsqml", "pinn", 1e-9),
        verdicts={"pinn": "worse than flat"},
    )
    assert "; pinn not better than the uniform object; significant, p < 1e-6 over" in found["details"]


@pytest.mark.parametrize(
    ("left_out", "p", "words"),
    [
        ((20.0, 4.0), 1e-5, "; frames that the view left out say the same"),
        ((4.0, 20.0), 1e-5, "; by frames that the view left out pinn is best"),
        ((4.0, 5.0), 0.6, "; by frames that the view left out pinn and lsqml are best and not distinguishable"),
    ],
)
def test_left_out_frames_agree_or_are_heard(said, left_out, p, words):
    scores = {
        name: score(value, left_out=other)
        for (name, value), other in zip((("pinn", 9.0), ("lsqml", 3.0)), left_out, strict=True)
    }
    order = ("lsqml", "pinn") if left_out[1] < left_out[0] else ("pinn", "lsqml")
    pairs = [("complement", "lsqml", "pinn", 1e-4), ("left_out", *order, p)]
    assert said(scores, *pairs)["details"].endswith(words)
    assert "left out" not in said(scores, *pairs, view="baseline")["details"]


def test_cells_without_a_result_say_why(said, summary):
    found = said({"pinn": "failed: out of memory", "lsqml": "missing: it has not run, or its result is damaged"})
    assert found["headline"] == "no method has a result"
    assert found["details"] == "pinn: failed: out of memory; lsqml: missing: it has not run, or its result is damaged"
    assert views(summary, 1000)["sparse"]["details"] == "test: 3 of 91 positions are 102.4 px apart"


def test_a_skipped_dose_is_one_sentence_with_the_measured_dose(summary):
    skipped = summary["verdicts"][-1]
    assert skipped["views"] == {}
    assert skipped["sentence"] == (
        "At 1,000,000 photons per frame there is no result in any view: 1,000,000 photons per frame are not below the "
        "456,789 that were measured: a lower dose is needed."
    )


def test_repeats_decide_by_their_own_scatter(summary_of, cell, document, contest):
    """Three thinnings: means, standard errors over them, and a paired test over them instead of over frames."""
    documents = {}
    for repeat, offset in enumerate((0.0, 4.0, 2.0), 1):
        scores = {
            "pinn": score(50 + offset),
            "lsqml": score(40 + offset + 0.1 * repeat),
            "tv_ml": score(45 + 10 * (-1) ** repeat),
        }
        documents[repeat] = document(1000, "dense", scores, [contest("complement", "pinn", "lsqml", 1e-9)])
    one = cell(1000, "dense") | {"comparisons": documents}
    seeds = {"simulation": 42, "repeats": [1, 2, 3], "training": [123, 7, 8]}
    summary = summary_of([one], doses=(1000,), seeds=seeds)
    scores = summary["cells"][0]["splits"]["test"]
    assert scores["arms"]["pinn"]["values"]["counts complement"] == pytest.approx(52)
    assert scores["arms"]["pinn"]["standard_errors"]["counts complement"] == pytest.approx(2 / np.sqrt(3))
    found = views(summary, 1000)["dense"]
    assert found["headline"] == "tv_ml, lsqml and pinn are not distinguishable"
    assert "lsqml 42.2 ± 1.2" in found["details"]
    assert "no significant difference over 3 repeats" in found["details"]
    assert any(
        sentence.startswith("lsqml predicts the counts kept aside better than pinn (42.2 ± 1.2 against 52.0 ± 1.2 nats")
        for sentence in scores["contests"]
    )
    assert "3 repeats (1, 2 and 3)" in summary["seeds"]
    json.dumps(summary, allow_nan=False)


def test_repeats_that_share_photons_and_several_pairs_are_no_better_evidence(summary_of, cell, document):
    """The same scatter at another dose: what the thinnings share is not in it. And of three pairs each counts less."""

    def tests_at(dose, *others):
        documents = {}
        for repeat, offset in enumerate((0.0, 1.0, 0.4), 1):
            scores = {"lsqml": score(40.0), "pinn": score(43 + offset)} | {name: score(43 - offset) for name in others}
            documents[repeat] = document(dose, "dense", scores, [])
        one = cell(dose, "dense") | {"comparisons": documents}
        seeds = {"simulation": 42, "repeats": [1, 2, 3], "training": [123, 7, 8]}
        split = summary_of([one], doses=(dose,), seeds=seeds)["cells"][0]["splits"]["test"]
        return pair_test(split, "counts complement", "lsqml", "pinn")

    # t = 3.4667 / (0.5033 / sqrt(3)) with two degrees of freedom; at 0.8757 of the photons the error is 4.7 times that.
    low, near, three = tests_at(1000), tests_at(400_000), tests_at(1000, "tv_ml")
    assert low.p == pytest.approx(0.0070, abs=0.0002)
    assert low.significant
    assert near.p == pytest.approx(0.128, abs=0.003)
    assert not near.significant
    assert low.p < three.p <= 3 * low.p


def test_seeds_are_of_the_thinning_and_say_how_doses_share_photons():
    one = {"simulation": 42, "repeats": [7], "training": [123]}
    nested, independent = seeds(one, "nested"), seeds(one, "independent")
    assert (
        "thinned from the measured counts with seed 42 (a lower dose is a part of the next higher one), repeat 7"
        in nested
    )
    assert "(no photon belongs to two doses)" in independent
    assert not re.search("noise|truth|simulat", nested)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1234.567, 8.91, "1,234.6 ± 8.9"), (52.0, 20.0, "52 ± 20"), (-0.25, 0.031, "-0.250 ± 0.031"), (3.0, 0.0, "3")],
)
def test_a_likelihood_has_as_many_digits_as_its_error(value, error, text):
    assert nats(value, error) == text
