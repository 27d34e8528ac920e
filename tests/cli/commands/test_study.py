"""Finding the other study for `fly64 report --against`: by name, folder or file, and in words where there is none."""

import json

import pytest

from fly64_assets.cli.commands.study import SUMMARY, other_summary, read_summary
from fly64_assets.store.artifacts import ArtifactStore

DOCUMENT = {"study": "before", "cells": [], "design": {}, "provenance": {}}


@pytest.fixture
def folder(tmp_path):
    report = tmp_path / "copy" / "report"
    report.mkdir(parents=True)
    (report / SUMMARY).write_text(json.dumps(DOCUMENT))
    return tmp_path / "copy"


def test_a_study_is_found_by_its_folder_its_report_or_its_file(tmp_path, folder):
    store = ArtifactStore(tmp_path / "data", "demo")
    for place in (folder, folder / "report", folder / "report" / SUMMARY):
        assert other_summary(store, str(place)) == DOCUMENT


@pytest.mark.parametrize("other", ["nowhere", "no/such/folder"])
def test_what_is_not_there_is_said_with_the_places_that_were_looked_at(tmp_path, capsys, other):
    with pytest.raises(SystemExit) as left:
        other_summary(ArtifactStore(tmp_path / "data", "demo"), other)
    assert left.value.code == 1
    error = capsys.readouterr().err
    assert "no report to compare with at" in error
    assert f"{other}/report/{SUMMARY}" in error
    assert "run `fly64 report` there first" in error


@pytest.mark.parametrize(
    ("content", "words"), [("{", "cannot be read"), ("[]", "no summary"), ('{"study": 1}', "no summary")]
)
def test_a_file_that_is_no_summary_is_refused(tmp_path, capsys, content, words):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(SystemExit):
        read_summary(path)
    assert words in capsys.readouterr().err
