"""The report as a reader sees it: on a desk, on a phone, in the dark and by keyboard; nothing is asked of a network."""

import pytest
from endtoend.browser import MISSING, Browser
from selenium.webdriver.common.keys import Keys

from fly64_assets.evaluation.report.page import render_report
from fly64_assets.evaluation.report.plots import study_plots

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def address(summary, pictures, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(render_report(summary, pictures | study_plots(summary))["index.html"], encoding="utf-8")
    return file.as_uri()


@pytest.fixture(params=[(1400, False), (375, True)], ids=["desk", "phone, dark"])
def reader(request, address, tmp_path):
    width, dark = request.param
    window = Browser(tmp_path, width, 800, dark=dark)
    try:
        window.go(address, "Study demo")
        yield window
        assert window.complaints == []
        assert window.elsewhere("") == []
    finally:
        window.close()


def test_the_answer_and_its_drawing_are_on_the_first_screen_without_sideways_scrolling(reader, summary):
    assert summary["answer"]["sentence"] in reader.text()
    assert reader.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert reader.evaluate("document.querySelector('.answer-first').getBoundingClientRect().top < window.innerHeight")
    assert reader.evaluate("document.querySelector('svg.heat').getBoundingClientRect().width > 200")


def test_every_picture_can_be_decoded_and_every_link_on_the_page_leads_somewhere(reader):
    reader.evaluate("[...document.querySelectorAll('details')].forEach(d => d.open = true) || 1")
    pictures = "[...document.images]"
    reader.evaluate(f"{pictures}.forEach(i => i.loading = 'eager') || 1")
    reader.until(lambda: reader.evaluate(f"{pictures}.every(i => i.complete && i.naturalWidth > 20)"), "all pictures")
    links = "[...document.querySelectorAll('a[href^=\"#\"]')]"
    assert reader.evaluate(f"{links}.every(a => document.getElementById(a.hash.slice(1)))")


def test_the_page_can_be_read_by_keyboard(reader):
    """Tab: to the answer, along the contents; Enter on a folded cell opens it."""
    reader.press(Keys.TAB)
    assert reader.evaluate("document.activeElement.className") == "skip"
    folded = "document.querySelector('.cells > details:not([open])')"
    reader.evaluate(f"(window.folded = {folded}).querySelector('summary').focus() || 1")
    reader.press(Keys.ENTER)
    reader.until(lambda: reader.evaluate("window.folded.open"), "the cell to open")


def test_text_is_readable_on_its_background(reader):
    """Contrast of text and paper of at least 4.5 to 1 (WCAG 2.2, AA), in the light and in the dark."""
    numbers = "getComputedStyle(document.body)[{0!r}].match(/[\\d.]+/g).slice(0, 3).map(Number)"
    ink, paper = (reader.evaluate(numbers.format(name)) for name in ("color", "backgroundColor"))
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(colour):
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
