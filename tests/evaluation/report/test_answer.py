"""The answer: photons needed and saved, from errors whose curves are straight lines."""

import pytest

from fly64_assets.evaluation.report.answer import study_answer
from fly64_assets.evaluation.report.heat_map import CELL, MARGIN, colour, heat_map

DOSES = (100, 10_000)


def cell(dose, view, errors, samples=None):
    """A summary's cell: phase errors by method, and by method and repeat."""
    arms = {
        name: {
            "values": {"phase rmse": error},
            "samples": {str(k + 1): value for k, value in enumerate((samples or {}).get(name, []))},
        }
        for name, error in errors.items()
    }
    return {"dose": dose, "view": view, "splits": {"test": {"arms": arms}}}


def straight(view="dense"):
    """Errors that fall as the root of the dose: pinn at half of lsqml's, which is a quarter of the photons."""
    return [cell(dose, view, {"pinn": 2 / dose**0.5, "lsqml": 4 / dose**0.5}) for dose in DOSES]


def test_photons_needed_and_saved_are_those_of_the_curves():
    answer = study_answer(0.1, ["dense"], ["pinn", "lsqml"], straight())
    needed = answer["needed"]["dense"]
    assert needed["pinn"]["photons"] == pytest.approx(400)
    assert needed["lsqml"]["photons"] == pytest.approx(1600)
    assert answer["best"] == {"dense": "pinn"}
    ratio = answer["ratios"]["dense"]["lsqml"]
    assert (ratio["least"], ratio["most"], ratio["beyond"]) == (pytest.approx(4), pytest.approx(4), False)
    assert answer["sentence"] == (
        "For a phase error of 0.1 rad, in photons per frame: the view dense takes 400 with pinn (lsqml 1,600)."
    )
    assert answer["saved"] == (
        "At an equal error the other methods take: in the view dense lsqml 4 times the photons of pinn."
    )


def test_one_dose_says_nothing_of_photons_saved():
    answer = study_answer(0.1, ["dense"], ["pinn", "lsqml"], straight()[:1])
    assert (answer["best"], answer["ratios"], answer["saved"]) == ({"dense": "pinn"}, {"dense": {}}, "")


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (0.3, "the view dense takes at most 100 with pinn (lsqml 180)."),
        (0.03, "the view dense takes 4,400 with pinn (lsqml more than 10,000)."),
        (0.01, "in the view dense no method reaches it with up to 10,000."),
    ],
)
def test_words_where_the_doses_end(threshold, words):
    assert study_answer(threshold, ["dense"], ["pinn", "lsqml"], straight())["sentence"].endswith(words)


def test_the_full_scan_has_its_name_and_a_view_without_result_is_named():
    answer = study_answer(0.1, ["baseline", "sparse"], ["pinn"], straight("baseline"))
    assert "the full scan takes 400 with pinn; the view sparse has no result." in answer["sentence"]
    assert study_answer(0.1, [], [], [])["sentence"] == ""


def test_repeats_give_the_range_of_the_photons_needed():
    cells = [cell(dose, "dense", {"pinn": 2 / dose**0.5}, {"pinn": [1 / dose**0.5, 3 / dose**0.5]}) for dose in DOSES]
    found = study_answer(0.1, ["dense"], ["pinn"], cells)["needed"]["dense"]["pinn"]
    assert (found["least"], found["most"]) == (pytest.approx(100), pytest.approx(900))


def test_the_contour_goes_through_the_photons_needed():
    """The geometric mean of two doses lies on the border between their columns."""
    errors = {(100, "dense"): 0.2, (10_000, "dense"): 0.02}
    needed = {"dense": {"sign": "", "photons": 1000.0}}
    drawing = heat_map(
        "pinn", errors, doses=DOSES, views=["dense"], limits=(0.02, 0.2), needed=needed, threshold_rad=0.1
    )
    x, top = MARGIN[0] + CELL[0], MARGIN[1]
    assert f'd="M{x:.1f} {top} L{x:.1f} {top + CELL[1]}"' in drawing
    assert f'fill="{colour(0.0)}"' in drawing
    assert f'fill="{colour(1.0)}"' in drawing
    assert "dense: 0.200 at 100, 0.0200 at 10,000" in drawing


def test_a_cell_without_result_is_drawn_as_such():
    drawing = heat_map("<pinn>", {}, doses=DOSES, views=["a&b"], limits=(0.1, 0.1), needed={}, threshold_rad=0.1)
    assert drawing.count("no result</text>") == 2
    assert "&lt;pinn&gt;" in drawing
    assert "contour" not in drawing
