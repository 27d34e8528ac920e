"""The page and its Markdown twin for measured frames: the answer first, no truth, everything escaped."""

import copy
import csv
import io
import re
from html.parser import HTMLParser

import pytest
from fixtures.judged import judged_cell, judged_input

from fly64_assets.evaluation.report.figures import QUANTITIES, cell_pictures, picture_name
from fly64_assets.evaluation.report.measured.page import render_measured_markdown, render_measured_report
from fly64_assets.evaluation.report.measured.pictures import residual_pictures
from fly64_assets.evaluation.report.measured.plots import measured_plots
from fly64_assets.evaluation.report.measured.probe import probe_figure
from fly64_assets.evaluation.report.measured.summary import SHOWN_METRICS
from fly64_assets.evaluation.report.summary import study_table
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS


class Page(HTMLParser):
    """Collects tags and links, and checks that tags close."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pictures(summary, probes):
    """What the assets hand to the page: all plots, and the pictures of one cell."""
    cell = judged_cell("dense")
    inputs = {split: judged_input(split, "dense") for split in SPLITS}
    files = cell_pictures(cell, coverage_threshold=0.1, histories={}) | residual_pictures(cell, inputs)
    of_cell = {f"1000/dense/{picture_name(name)}": png for name, png in files.items()}
    return of_cell | measured_plots(summary) | {"study/probe": probe_figure(*probes)}


@pytest.fixture(scope="module")
def page(summary, pictures):
    return render_measured_report(summary, pictures)["index.html"]


def test_cells_of_a_large_study_have_pages_with_their_residual_frames(summary, pictures):
    pages = render_measured_report(summary | {"cells": summary["cells"] * 20}, pictures)
    index, cell = pages["index.html"], pages["cell_1000_dense.html"]
    picture = 'alt="Counts kept aside, prediction and difference of the worst frames'
    assert picture not in index
    assert cell.count(picture) == 1
    assert 'href="cell_1000_dense.html"' in index
    assert "left-out frames that the view covers" in cell
    assert "left-out frames that the view covers" not in index


def test_the_page_of_a_cell_leads_to_the_cells_before_and_after_it(summary, monkeypatch):
    monkeypatch.setattr("fly64_assets.evaluation.report.page.FEW_CELLS", 0)
    pages = render_measured_report(summary, {})
    judged = [cell for cell in summary["cells"] if JUDGED_SPLIT in cell["splits"]]
    places = [f"{cell['dose']}_{cell['view']}" for cell in judged]
    assert len(places) > 2
    assert set(pages) == {"index.html", *(f"cell_{place}.html" for place in places)}
    for number, place in enumerate(places):
        head = pages[f"cell_{place}.html"].split("<h1>")[0]
        expected = [(other, "before") for other in places[:number][-1:]]
        expected += [(other, "next") for other in places[number + 1 :][:1]]
        assert re.findall(r'<a href="cell_(\w+)\.html">(\w+)', head) == expected


def words(page):
    """The page without pictures, style and design."""
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).split("</style>")[1]
    return text.split("<summary>The design")[0]


def test_the_page_is_whole_self_contained_and_escaped(page):
    found = Page()
    found.feed(page)
    assert found.open == []
    assert "script" not in found.tags
    beside = {link for link in found.links if not link.startswith(("data:image/webp;base64,", "#"))}
    assert beside == {"study_metrics.csv"}
    assert len([link for link in found.links if link.startswith("data:")]) > 10
    assert "&lt;script&gt;" in page
    assert "explains &lt;little&gt;" in page
    assert not re.search(r"\bnan\b|None", words(page))


def test_the_answer_comes_before_pictures_and_says_what_a_nat_is(summary, page):
    text = words(page)
    answer = text.index("Who predicts the counts kept aside best")
    assert answer < text.index(summary["meaning"].split("'")[0]) < text.index("<img")
    for headline in ("pinn is best", "pinn and lsqml are not distinguishable", "lsqml is best"):
        assert answer < text.index(headline) < text.index("<img")
    assert "One nat per frame above the reference means" in text


def test_nothing_speaks_of_a_truth_or_of_simulated_noise(summary, page):
    """The two that do say that there is none."""
    for text in (words(page), render_measured_markdown(summary)):
        left = text.replace("it is no truth", "").replace("Nothing is simulated, and no true object is known", "")
        assert not re.search(r"truth|simulat|noise of seed", left, re.IGNORECASE)
        assert "not available: measured data" in text
        assert "seed 42" in text
    assert "thinning 42" in words(page)
    for method in ("reference", *summary["arms"]):
        for quantity in QUANTITIES:
            assert page.count(f"of-{method} is-{quantity}") == 6


def test_the_reference_is_called_biased_wherever_it_is_a_measure(summary, page):
    assert summary["reference_bias"] in render_measured_markdown(summary)
    assert "by the solver of the calibration (LSQML): it is no truth" in words(page)
    assert "biased towards the solver that made the\nreference" in words(page)


def test_a_skipped_dose_is_said_once_among_the_cells(page):
    text = words(page).split("The 12 cells")[1].split("<h2")[0]
    assert text.count("no result in any view.") == 1
    assert text.count("456,789 that were measured") == 1
    assert text.count("3 of 91 positions") == 3


def test_health_and_cost_of_the_calibration_are_on_the_page_and_in_the_text(summary, page):
    for text in (words(page), render_measured_markdown(summary)):
        assert "71 epochs, epoch 61 kept; stopped: the counts kept aside became less probable; 512 s" in text
        assert "deviance per measured pixel 1.31, where Poisson counts of a perfect model have 1.02" in text
        assert "half-bit at 3.10 px full period" in text
        assert "as stored has the deviance 1.4 per pixel" in text
        assert "a smooth background of 812 counts explains 65 %" in text
        assert "power in the border of the far field" in text


def test_a_border_without_power_is_no_negative_number(summary):
    other = copy.deepcopy(summary)
    other["probes"]["first"]["power_in_window_border"] = -2.2e-16
    text = render_measured_markdown(other)
    assert "| power in the border of the window | < 0.01 % |" in text


def test_a_calibration_that_was_taken_from_the_file_says_so(summary):
    taken = copy.deepcopy(summary)
    taken["calibration"] |= {"calibrated": False, "kept_epoch": None, "orientations": None, "halves": None}
    text = render_measured_markdown(taken)
    assert "object and probe are those of the file" in text
    assert "- halves" not in text
    assert "- orientation" not in text


def test_markdown_has_whole_tables_with_the_same_numbers(summary, page):
    text = render_measured_markdown(summary)
    assert "| 410.0 ± 6.0 | 900.0 ± 9.0 |" in text
    assert "410.0 ± 6.0" in page
    for table in (block for block in text.split("\n\n") if block.startswith("|")):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_table_for_a_notebook_holds_every_score(document):
    made = document(1000, "baseline", {"pinn": (1.0, 0.1, 0.2, 3.0, 0.3, 5.0)})
    rows = list(
        csv.DictReader(
            io.StringIO(study_table([{"dose": 1000, "view": "baseline", "comparisons": {1: made}}]).decode())
        )
    )
    found = {f"{row['part']} {row['metric']}" for row in rows}
    assert set(SHOWN_METRICS) < found
    assert all(row["value"] or row["reason"] for row in rows)


def test_a_page_of_a_study_in_which_nothing_has_run(summary_of, cell):
    empty = summary_of([cell(1000, view) for view in ("baseline", "dense", "sparse")], doses=(1000,))
    page = render_measured_report(empty, measured_plots(empty))["index.html"]
    assert 'no result in any view</strong><br><span class="soft">not compared yet' in page
    assert "no result" in render_measured_markdown(empty)
