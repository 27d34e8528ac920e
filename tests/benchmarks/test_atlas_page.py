"""The page of the atlas from a table: its tables, its laws, its figures, and its campaign's file."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.atlas import made_up

from fly64_assets.simulation.objects.kinds import HELD_OUT, TUNABLE
from fly64_assets.study.campaign import load_campaign

ATLAS = Path(__file__).parents[2] / "benchmarks" / "atlas"
sys.path.insert(0, str(ATLAS))
page = importlib.import_module("page")
sys.path.pop(0)


def test_the_page_is_written_between_its_marks(tmp_path):
    table, written = tmp_path / "atlas.csv", tmp_path / "atlas.md"
    table.write_text(made_up(noise=0.1, floor=-3.0).replace(",two,", ",pinn,"))
    written.write_text("# Atlas\n<!-- atlas: first line -->\nold\n<!-- atlas: last line -->\nthe end\n")
    command = [sys.executable, ATLAS / "page.py", table, "--page", written, "--figures", tmp_path]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    text = written.read_text()
    assert text.startswith("# Atlas\n<!-- atlas: first line -->")
    assert text.endswith("<!-- atlas: last line -->\nthe end\n")
    assert "old" not in text
    assert "kinds that only results are for" in text
    assert text.count("| `one` |") >= 20  # as winner of every cell
    assert re.search(r"- 49\.9 photons per pixel: `pinn` has 1\.2", text)
    for name in ("atlas_errors.png", "atlas_winners.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [(), ("--install",)])
def test_a_table_that_is_cut_ends_with_a_sentence_and_is_not_installed(tmp_path, monkeypatch, capsys, options):
    installed, table = [], tmp_path / "cut.csv"
    monkeypatch.setattr(page, "install", installed.append)
    text = made_up(noise=0.1, floor=-3.0)
    for content in (text[:-60], text.splitlines()[0] + "\n", "", None):
        table.unlink(missing_ok=True)
        if content is not None:
            table.write_text(content)
        monkeypatch.setattr(sys, "argv", ["page.py", str(table), *options])
        with pytest.raises(SystemExit, match="2"):
            page.main()
        assert "error: " in capsys.readouterr().err
    assert not installed


def test_the_pages_say_what_follows_from_the_packaged_table():
    """`python benchmarks/atlas/page.py TABLE.csv --install` writes all of it."""
    with page.PACKAGED.open(newline="") as file:
        rows = page.read_rows(file)
    for written, expected in (
        (page.PAGE, page.filled(page.PAGE.read_text(), rows)),
        (page.HOW_TO, page.answered(page.HOW_TO.read_text())),
    ):
        assert written.read_text() == expected, f"{written.name}: run python benchmarks/atlas/page.py --install"
    assert len(page.EXAMPLE.findall(page.HOW_TO.read_text())) == 3


def test_a_method_without_rows_in_a_view_is_left_out_of_its_panel_alone():
    rows = page.read_rows(made_up(noise=0.1, floor=-3.0).splitlines())
    first = rows[0].view
    figure = page.error_figure([row for row in rows if (row.view, row.method) != (first, "one")])
    drawn, others = ([line.get_label() for line in axis.lines] for axis in figure.axes[:2])
    assert set(others) == {"one", "two", "uniform object"}
    assert drawn == [name for name in others if name != "one"]
    # Each method has one colour in all panels, and the legend names all of them.
    colours = [{line.get_label(): line.get_color() for line in axis.lines} for axis in figure.axes[:2]]
    assert colours[0].items() <= colours[1].items()
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == set(others)


def test_the_atlas_has_what_its_claims_need():
    campaign = load_campaign(ATLAS / "campaign.yaml")
    design = campaign.design()
    assert len(set(campaign.objects) & set(HELD_OUT)) >= 4
    assert set(campaign.objects) & set(TUNABLE)
    assert len(campaign.probes) >= 2
    assert len(design.doses) >= 5
    assert len(design.views) >= 4
    assert (design.overlap_of, design.dose_per) == ("probe", "pixel")
