"""Finding the other study for `fly64 report --against`: by name, folder or file, and a message where there is none."""

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


def test_audit_judges_what_is_on_disk(fly64, base_file, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    fly64("base", "import", base_file)
    answer = fly64("audit", "--json")
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.output)
    assert document["ok"] is True
    assert [(one["asset"], one["check"], one["partition"]) for one in document["checks"]] == [
        ("base_dataset", "data_001", ""),
        ("base_dataset", "sha256", ""),
    ]
    (path,) = (tmp_path / "data").rglob("base.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    answer = fly64("audit")
    assert answer.exit_code == 1
    assert "base.npz: has SHA256" in answer.output
    assert "2 checks, 2 failed" in answer.output  # its archive is damaged as well
    assert fly64("audit", "--view", "dense").exit_code == 2
    assert fly64("audit", "--dose", "77").exit_code == 2
    assert fly64("audit", "--dose", "nan").exit_code == 2


def test_clean_lists_and_removes_on_request(fly64, base_file, tmp_path):
    assert fly64("base", "import", base_file).exit_code == 0
    answer = fly64("clean")
    assert answer.exit_code == 0
    assert "0 of no use, 0 bytes" in answer.output
    (folder,) = [path.parent for path in (tmp_path / "data").rglob("base.npz")]
    stray = folder / "stray.npz"
    stray.write_bytes(b"12345")
    answer = fly64("clean")
    assert "orphan" in answer.output
    assert "1 of no use, 5 bytes" in answer.output
    assert stray.exists()
    row = {"path": f"{folder.name}/stray.npz", "kind": "orphan", "bytes": 5, "why": "no sidecar and in no record"}
    assert json.loads(fly64("clean", "--json").output) == {"garbage": [row | {"removed": False}]}
    assert fly64("clean", "--remove", "temporary").exit_code == 0
    assert stray.exists()
    assert json.loads(fly64("clean", "--remove", "orphan", "--json").output) == {"garbage": [row | {"removed": True}]}
    assert not stray.exists()
    assert (folder / "base.npz").exists()
    assert fly64("clean", "--remove", "everything").exit_code == 2
