"""The report's page: whole, self-contained, escaped, with every method in every quantity."""

import base64
import copy
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fly64_assets.evaluation.report.figures import QUANTITIES
from fly64_assets.evaluation.report.page import data_uri, overlap, render_markdown, render_report, score_cell
from fly64_assets.evaluation.report.plots import study_plots
from fly64_assets.evaluation.report.sentences import three_digits


class Page(HTMLParser):
    """Collects tags and links, and checks that tags close."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(summary, pictures):
    return render_report(summary, pictures | study_plots(summary))["index.html"]


def test_the_page_is_whole_self_contained_and_escaped(summary, page):
    found = Page()
    found.feed(page)
    assert found.open == []
    assert "script" not in found.tags
    assert len([link for link in found.links if link.startswith("data:image/webp;base64,")]) > 10
    # Nothing but inline pictures, places on the page itself, and files beside it.
    beside = {"study_metrics.csv", "report.md", "metrics_summary.json"}
    assert {link for link in found.links if not link.startswith(("data:image/webp;base64,", "#"))} == beside
    places = set(re.findall(r' id="([^"]+)"', page))
    assert {link[1:] for link in found.links if link.startswith("#")} <= places
    assert "url(" not in page
    assert "@import" not in page
    assert "&lt;script&gt;" in page
    assert page.count("worse than the uniform object") >= 1
    assert "flat" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).split("<h2>Provenance")[0].replace("-flat", "")
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"<td>{three_digits(value)}</td>" in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).lower())


def test_verdicts_come_before_any_picture_and_table(page):
    assert page.index('<p class="verdict') < min(page.index("<img"), page.index("<table"))


def test_truth_and_methods_stand_side_by_side_in_every_quantity(summary, page):
    """A picture or a sentence for each, and no switch."""
    for method in ("truth", *summary["arms"]):
        for quantity in QUANTITIES:
            compared = page.count(f'<figure class="of-{method} is-{quantity}">')
            absent = page.count(f'<p class="none of-{method} is-{quantity}">')
            assert compared + absent == 1
    assert "The truth has no error." in page
    assert "<input" not in page
    assert all('decoding="async"' in tag for tag in re.findall(r"<img [^>]*>", page))


def test_the_answer_names_the_threshold_before_pictures_and_the_contour_is_drawn(summary, page):
    answer = summary["answer"]
    assert answer["threshold_rad"] == 0.1
    text = page.split("</style>")[1]
    assert text.index(answer["sentence"]) < text.index("<svg") < text.index("<img")
    assert page.count('class="contour"') == page.count('<svg class="heat"') == len(summary["arms"]) - 1  # one failed
    assert answer["sentence"] in render_markdown(summary)


def test_cells_of_a_large_study_have_pages_of_their_own(summary, pictures):
    """Summary first: of hundreds of cells the pictures are loaded one cell at a time."""
    drawn = pictures | study_plots(summary)
    assert list(render_report(summary, drawn)) == ["index.html"]
    pages = render_report(summary | {"cells": summary["cells"] * 20}, drawn)
    compared = {f"cell_{cell['dose']}_{cell['view']}.html" for cell in summary["cells"] if "test" in cell["splits"]}
    assert pages.keys() == {"index.html"} | compared
    for name, text in pages.items():
        found = Page()
        found.feed(text)
        assert found.open == []
        places = {part for link in found.links if not link.startswith("data:") for part in [link.partition("#")[0]]}
        assert places <= {*pages, "", "study_metrics.csv", "report.md", "metrics_summary.json"}
        anchors = {link for link in found.links if link.startswith("#")}
        assert {anchor[1:] for anchor in anchors} <= set(re.findall(r' id="([^"]+)"', text)), name
    index = pages.pop("index.html")
    assert compared <= set(re.findall(r'href="([^"]+)"', index))
    assert index.count("<details open>") == 0
    assert '<figure class="of-truth' not in index
    for name, text in pages.items():
        _, dose, view = name.removesuffix(".html").split("_")
        (cell,) = (one for one in summary["cells"] if (str(one["dose"]), one["view"]) == (dose, view))
        error = cell["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
        assert f"<td>{three_digits(error)}</td>" in text
        assert 'href="index.html#term-resolution"' in text
    assert sum(text.count('<figure class="of-truth') for text in pages.values()) > 0


def test_the_page_says_how_it_was_made_and_can_be_made_again(page):
    assert "Written 2026-01-02 03:04 UTC on here (2 cores, load 0.1 0.2 0.3)" in page
    assert "<code>fly64 run</code>" in page


def test_bounds_are_folded_away_and_an_efficiency_above_one_is_called_prior(summary):
    above = copy.deepcopy(summary)
    one = above["cells"][0]["splits"]["test"]
    assert one["limit"]["state"] == "regular"
    one["arms"]["pinn"]["values"]["phase efficiency"] = 324.0
    one["arms"]["lsqml"]["values"]["phase efficiency"] = 0.25
    text = render_report(above, {})["index.html"]
    assert "324" not in text
    assert re.search(r'<td title="[^"]*">prior</td><td title="[^"]*">0.250</td>', text)
    assert text.index("<details><summary>Bound of unbiased") < text.index(">prior</td>")
    table = render_markdown(above).split("## Efficiency")[2].split("##")[0]
    assert "324" not in table
    assert "| prior | 0.250 |" in table
    assert "one above 1 that a prior or regularisation dominates" in text
    one["limit"] |= {"state": "singular", "reason": "singular: 28 groups without common light", "phase_rad": None}
    text = render_report(above, {})["index.html"]
    assert "No bound: singular: 28 groups without common light" in text
    assert ">singular</td>" in text
    assert "| singular |" in render_markdown(above)


def test_probes_that_do_not_touch_have_a_gap_and_no_negative_overlap(summary):
    """1 - d/D of -1.48: the next disc is 2.48 diameters away, so that 1.48 diameters between them are dark."""
    apart = copy.deepcopy(summary)
    means = {"nearest": -1.48, "nearest_low": -1.5, "six": -2.0, "six_low": -2.1}
    discs = {
        name: {"linear": means, "area": dict.fromkeys(means, 0.0)} for name in ("half_energy", "energy_90", "fwhm")
    }
    apart["cells"][0]["probe_overlap"] = {"test": {"discs": discs, "windows": means}}
    page = render_report(apart, {})["index.html"]
    assert ">none: a gap of 1.5 diameters</td><td>0 %</td>" in page
    assert "-148" not in page
    assert overlap(0.42) == "42 %"


def test_scores_of_neighbouring_pixels_are_not_shown_where_most_were_not_measured(summary):
    sparse = copy.deepcopy(summary)
    one = sparse["cells"][0]["splits"]["test"]
    assert one["arms"]["pinn"]["values"]["phase ssim"] is not None
    one["limit"] |= {"state": "singular", "reason": "singular: no common light", "phase_rad": None}
    for metric in ("phase ssim", "complex frc_half_bit"):
        assert re.fullmatch(r'<td title="[^"]*(?:means little|resolved)[^"]*">–</td>', score_cell(one, "pinn", metric))
    assert score_cell(one, "pinn", "phase rmse").endswith(f">{one['arms']['pinn']['values']['phase rmse']:#.3g}</td>")


def test_a_similarity_has_that_of_the_uniform_object_beside_it(summary, page):
    scores = summary["cells"][0]["splits"]["test"]["arms"]
    for part in ("phase", "amplitude"):
        uniform = scores["flat"]["values"][f"{part} ssim"]
        for method in ("pinn", "lsqml"):
            assert f">{scores[method]['values'][f'{part} ssim']:#.3g} ({uniform:#.3g})</td>" in page
    cells = page.split('<h2 id="numbers">')[0]
    assert "SSIM" not in cells
    assert f"<td>{scores['pinn']['values']['amplitude rmse']:#.3g}</td>" in cells


def test_page_and_text_name_seeds_and_say_what_an_overlap_counts(summary, page):
    for text in (page, render_markdown(summary)):
        assert "noise of seed 42, training and count splits of seed 123" in text
        assert "mean area shared by probe discs 11.2 px wide: each frame with its 7 nearest frames" in text
    assert "overlap of discs |" in render_markdown(summary)


def test_pictures_of_the_page_are_much_smaller_than_the_files_and_look_the_same():
    """Lossy where noise is shown, exact where lines are."""
    noise = np.random.default_rng(7).normal(size=(120, 240))
    for draw, lossless in (
        (lambda axis: axis.imshow(noise, cmap="coolwarm"), False),
        (lambda axis: axis.plot(noise[0]), True),
    ):
        png = drawn(draw)
        found = base64.b64decode(data_uri(png, lossless=lossless).removeprefix("data:image/webp;base64,"))
        assert len(found) < (1.0 if lossless else 0.5) * len(png)
        one, other = (
            np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float) for picture in (png, found)
        )
        assert one.shape == other.shape
        error = np.sqrt(np.mean((one - other) ** 2))
        assert error == 0 if lossless else error < 12


def drawn(draw):
    figure = Figure(figsize=(4, 3))
    draw(figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
