"""``fly64 clean``."""

import json


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
