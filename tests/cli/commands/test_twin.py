"""`fly64 twin` refuses what has no twin in one sentence, with exit status 1, and writes nothing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main


@pytest.mark.parametrize(
    ("study", "sentence"),
    [("demo", "study demo simulates its frames (scan: uniform)"), ("measured", "study measured has no base yet")],
)
def test_a_study_without_measured_frames_is_refused(tmp_path, study, sentence):
    answer = CliRunner().invoke(main, ["--study", study, "--data-root", str(tmp_path / "data"), "twin"])
    assert answer.exit_code == 1
    assert sentence in answer.output
    assert not list(tmp_path.iterdir())


def test_a_cell_that_the_study_does_not_have_is_a_usage_error(tmp_path):
    words = ["--study", "measured", "--data-root", str(tmp_path / "data"), "twin", "--view", "dens"]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 2
    assert "'dens' is not a view of study measured" in answer.output


def test_it_brings_its_own_base(tmp_path):
    answer = CliRunner().invoke(main, ["--study", "measured", "twin", "--base-npz", "my_base.npz"])
    assert answer.exit_code == 2
    assert "No such option" in answer.output
