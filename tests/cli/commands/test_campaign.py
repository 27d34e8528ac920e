"""``fly64 campaign``: several bases, one study; resumed, counted, and written as a table."""

import csv
import io

import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main

STUDY = """
name: several
dose_list: [1e3]
scan: raster
overlap_of: probe
overlap_views: {half: 0.4}
lsqml: {epochs: 3}
"""


@pytest.fixture
def fly64(tmp_path, monkeypatch):
    """Run the command on a data root and an instance of its own, without naming a study."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return lambda *arguments: CliRunner().invoke(main, ["--data-root", str(tmp_path / "data"), *map(str, arguments)])


@pytest.fixture
def campaign(tmp_path):
    (tmp_path / "several.yaml").write_text(STUDY)
    path = tmp_path / "campaign.yaml"
    path.write_text("study: several.yaml\nobjects: [grains, cells]\nprobes: [flat]\nobject_size: 120\npositions: 120\n")
    return path


def test_nothing_is_written_by_a_dry_run_and_questions(fly64, campaign, tmp_path):
    answer = fly64("campaign", campaign, "--dry-run")
    assert answer.exit_code == 0, answer.output
    assert "base 1 of 2: grains_flat_s1: would be made" in answer.output
    answer = fly64("campaign", campaign, "status")
    assert "2 bases, 2 of them not made yet" in answer.output
    answer = fly64("campaign", campaign, "table")
    assert answer.exit_code == 1
    assert "no cell of the campaign was compared yet" in answer.output
    assert not (tmp_path / "data").exists()


def test_options_that_have_no_meaning_are_refused(fly64, campaign):
    for options, sentence in (
        (("--study", "demo", "campaign", campaign), "--study and a campaign exclude each other"),
        (("campaign", campaign, "status", "--out", "x.csv"), "--out is for `table`"),
        (("campaign", campaign, "run", "--object", "cat"), "cat"),
    ):
        answer = fly64(*options)
        assert answer.exit_code == 2, answer.output
        assert sentence in answer.output


@pytest.mark.slow
def test_a_campaign_is_resumed_and_tabulated(fly64, campaign, tmp_path):
    answer = fly64("campaign", campaign, "--method", "lsqml", "--object", "cells", "--accelerator", "cpu")
    assert answer.exit_code == 0, answer.output
    status = fly64("campaign", campaign, "status", "--method", "lsqml").output
    assert "✓ cells_flat_s1" in status
    assert "2 bases, 1 of them not made yet" in status
    again = fly64("campaign", campaign, "--method", "lsqml", "--object", "cells", "--accelerator", "cpu")
    assert ": 0 of " in again.output, again.output
    text = fly64("campaign", campaign, "table").output
    rows = list(csv.DictReader(io.StringIO(text)))
    solved = {row["view"]: row for row in rows if row["method"] == "lsqml"}
    assert set(solved) == {"baseline", "half"}
    assert {row["base"] for row in rows} == {"cells_flat_s1"}
    assert float(solved["half"]["linear_overlap"]) == pytest.approx(0.4, abs=0.06)
    assert 0 < float(solved["baseline"]["phase_rmse"]) < 1
    assert float(solved["baseline"]["seconds"]) > 0
    assert solved["half"]["tunable"] == "False"
    unsolved = next(row for row in rows if row["method"] == "tv_ml")
    assert (unsolved["phase_rmse"], unsolved["outcome"]) == ("", "missing")
    out = tmp_path / "table.csv"
    assert fly64("campaign", campaign, "table", "--out", out).exit_code == 0
    assert out.read_text() == text
    restricted = csv.DictReader(io.StringIO(fly64("campaign", campaign, "table", "--method", "lsqml").output))
    assert {row["method"] for row in restricted} == {"lsqml", "flat"}, "the baseline is part of every table"
