"""``fly64 audit`` on a real instance."""

import json


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
