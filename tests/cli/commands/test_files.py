"""``fly64 contract check`` and ``bundle`` on real files: exit status, machine-readable forms."""

import json

import pytest


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"just text"])
def test_files_that_are_no_archives(fly64, tmp_path, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    for command in (("contract", "check"), ("base", "check"), ("base", "import")):
        answer = fly64(*command, path)
        assert answer.exit_code == 1
        assert answer.output.startswith("fly64: ")
        assert "bad.npz" in answer.output
        assert isinstance(answer.exception, SystemExit)
    for command in (("contract", "check"), ("base", "check")):
        answer = fly64(*command, path, "--json")
        assert json.loads(answer.output)["ok"] is False
        assert answer.exit_code == 1


def test_contract_check_names_what_is_missing(fly64, base_file):
    answer = fly64("contract", "check", base_file, "--json")
    assert answer.exit_code == 1
    errors = [finding for finding in json.loads(answer.output)["findings"] if finding["severity"] == "error"]
    assert [finding["code"] for finding in errors] == ["DATA-001.keys"]
    assert "diffraction" in errors[0]["message"]


def test_bundle_show_knows_the_network_of_the_package_by_its_name(fly64, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = json.loads(fly64("bundle", "show", "general", "--json").output)
    trainings = shown["params"]["trainings"]
    assert shown["params"]["network"]["architecture"] == "pretrained"
    # The history has a row for every hundred steps of each training.
    assert shown["history"]["epochs"] == sum(training["optimisation_steps"] // 100 for training in trainings)
    assert fly64("bundle", "verify", "general").output == "general: every member is intact\n"
    for command in ("show", "verify"):
        missing = fly64("bundle", command, "nothing.zip")
        assert missing.exit_code == 1
        assert missing.output == "fly64: nothing.zip: no such file; `general` names the network in the package\n"
    (tmp_path / "other").write_bytes(b"no bundle")
    assert "other: not a readable bundle" in fly64("bundle", "show", "other").output
