"""``fly64 doctor``."""

import json


def test_doctor_finds_what_is_wrong(fly64, base_file, tmp_path, monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ("h5py",))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    answer = fly64("doctor", "--json")
    assert answer.exit_code == 0, answer.output
    found = {one["subject"]: one for one in json.loads(answer.output)["findings"]}
    assert set(found) == {
        "versions",
        "design",
        "disk",
        "files",
        "instance",
        "slots",
        "study",
        "garbage",
        "machine",
        "engine",
    }
    assert {one["level"] for one in found.values()} <= {"good", "warning"}
    assert not (tmp_path / "data").exists()

    fly64("base", "import", base_file)
    (folder,) = [path.parent for path in (tmp_path / "data").rglob("base.npz")]
    (folder / "stray.npz").write_bytes(b"12345")
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ("nothing_of_this_name",))
    answer = fly64("doctor")
    assert answer.exit_code == 1
    assert "✗ engine       nothing_of_this_name cannot be imported" in answer.output
    assert "! garbage      1 of no use, 5 bytes" in answer.output
    assert "1 fresh, " in answer.output
    # A damaged base is a finding, not the end of the examination.
    (folder / "base.json").unlink()
    answer = fly64("doctor")
    assert "✗ study" in answer.output
    assert "import its file again" in answer.output
    assert "machine" in answer.output
