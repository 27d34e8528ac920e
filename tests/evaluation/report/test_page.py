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
from fly64_assets.evaluation.report.page import data_uri, render_markdown, render_report
from fly64_assets.evaluation.report.plots import study_plots


class Page(HTMLParser):
    """Collects tags and links, and checks that tags close."""

    VOID = ("meta", "img", "br", "link", "input")

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
    return render_report(summary, pictures | study_plots(summary))


def test_the_page_is_whole_self_contained_and_escaped(summary, page):
    found = Page()
    found.feed(page)
    assert found.open == []
    assert "script" not in found.tags
    assert len([link for link in found.links if link.startswith("data:image/webp;base64,")]) > 10
    # Nothing but inline pictures and places on the page itself.
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in found.links)
    assert "url(" not in page
    assert "@import" not in page
    assert "&lt;script&gt;" in page
    assert page.count("worse than the uniform object") >= 2
    assert "flat" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).split("<h2>Provenance")[0].replace("-flat", "")
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"{value:.4g}" in page
    assert not re.search(r"\bnan\b", re.sub(r"base64,[A-Za-z0-9+/=]+", "", page).lower())


def test_verdicts_come_before_any_picture_and_table(page):
    assert page.index('class="verdict"') < min(page.index("<img"), page.index("<table"))


def test_a_switch_shows_every_method_in_every_quantity(summary, page):
    """One pair of buttons and one rule per method and quantity; every tile hangs on exactly one rule."""
    for method in ("truth", *summary["arms"]):
        assert page.count(f'id="method-{method}"') == page.count(f'for="method-{method}">') == 1
        for quantity in QUANTITIES:
            assert f"#method-{method}:checked ~ #show-{quantity}:checked ~ main .of-{method}.is-{quantity}" in page
            compared = page.count(f'class="tile of-{method} is-{quantity}"')
            absent = page.count(f'class="none of-{method} is-{quantity}"')
            assert compared + absent == 1
    assert "The truth has no error." in page
    assert page.count(" checked>") == 2


def test_the_page_says_bound_efficiency_and_what_they_are_good_for(summary, page):
    limit = summary["cells"][0]["splits"]["test"]["limit"]
    assert limit["state"] == "regular"
    assert f"Bound of unbiased estimates {limit['phase_rad']:.3g} rad" in page
    assert "one above 1 that a prior or regularisation dominates" in page
    value = summary["cells"][0]["splits"]["test"]["arms"]["lsqml"]["values"]["phase efficiency"]
    assert value > 0
    singular = copy.deepcopy(summary)
    one = singular["cells"][0]["splits"]["test"]
    one["limit"] |= {"state": "singular", "reason": "singular: 28 groups without common light", "phase_rad": None}
    for method in one["arms"].values():
        method["values"]["phase efficiency"] = None
    text = render_report(singular, {})
    assert "No bound: singular: 28 groups without common light" in text
    assert ">singular</td>" in text
    assert "| singular |" in render_markdown(singular)


def test_a_similarity_has_that_of_the_uniform_object_beside_it(summary, page):
    scores = summary["cells"][0]["splits"]["test"]["arms"]
    for part in ("phase", "amplitude"):
        uniform = scores["flat"]["values"][f"{part} ssim"]
        for method in ("pinn", "lsqml"):
            assert f">{scores[method]['values'][f'{part} ssim']:.4g} ({uniform:.4g})</td>" in page
    cells = page.split("<h2>All numbers")[0]
    assert "SSIM" not in cells
    assert f"<td>{scores['pinn']['values']['amplitude rmse']:.4g}</td>" in cells


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
