"""The report as Markdown."""

from fly64_assets.evaluation.report.page import render_markdown


def test_markdown_holds_the_same_numbers(summary):
    text = render_markdown(summary)
    value = summary["cells"][0]["splits"]["test"]["arms"]["pinn"]["values"]["phase rmse"]
    assert f"| {value:.4f} |" in text
    bound = summary["cells"][0]["splits"]["test"]["limit"]["phase_rad"]
    assert f"| {bound:.3g} |" in text
    assert "(worse than the uniform object)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
