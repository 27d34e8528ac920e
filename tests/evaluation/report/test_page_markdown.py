"""The report as Markdown."""

from fly64_assets.evaluation.report.page import number, render_markdown, render_report
from fly64_assets.evaluation.report.sentences import detector_sentence
from fly64_assets.evaluation.report.summary import study_summary
from fly64_assets.simulation.recipe import DetectorSettings
from fly64_assets.study.documents import plain


def test_markdown_holds_the_same_numbers(summary):
    text = render_markdown(summary)
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"| {value:.4f} |" in text
    bound = summary["cells"][0]["splits"]["test"]["limit"]["phase_rad"]
    assert f"| {number(bound)} |" in text
    assert "(worse than the uniform object)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_page_and_text_say_what_the_detector_misses(summary):
    assert "detector" not in summary
    assert "simulated detector" not in render_markdown(summary)
    section = plain(
        DetectorSettings("<gaps>.npy", gap_rows=((38, 4),), beamstop_radius=2.5, saturation=1000, read_noise=0.5)
    )
    sentence = detector_sentence(section)
    assert sentence.startswith(
        "The simulated detector has the bad pixels of <gaps>.npy, a gap of 4 rows from 38 on, a beamstop of 2.5 px "
        "radius, counts cut at 1,000, read-out noise of 0.5 counts. The dose counts photons before these losses"
    )
    known = study_summary(
        "demo", [1000], [], [], threshold_rad=0.1, design={"detector": section}, provenance=summary["provenance"]
    )
    assert known["detector"] == sentence
    masked = summary | {"detector": sentence}
    assert sentence in render_markdown(masked)
    assert sentence.replace("<gaps>", "&lt;gaps&gt;") in render_report(masked, {})["index.html"]


def test_page_and_text_say_how_views_were_made_by_the_probe(summary):
    assert "view_rule" not in summary
    design = {"overlap_of": "probe", "probe_diameter": "fwhm", "dose_per": "pixel"}
    known = study_summary("demo", [1000], [], [], threshold_rad=0.1, design=design, provenance=summary["provenance"])
    sentence = known["view_rule"]
    assert "D is the full width at half maximum of the probe" in sentence
    assert "The dose is that of the full scan" in sentence
    assert sentence in render_markdown(summary | {"view_rule": sentence})
    assert "The dose is that of the full scan" in render_report(summary | {"view_rule": sentence}, {})["index.html"]
