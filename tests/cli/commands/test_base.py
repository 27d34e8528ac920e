"""``fly64 base``: making, importing, choosing and repairing bases, on real files."""

import json

import numpy as np
import pytest

from fly64_assets.contract.npz import open_npz


def test_base_make_is_repeatable_and_checks_clean(fly64, base_file, tmp_path):
    again = tmp_path / "again" / "small.npz"
    again.parent.mkdir()
    fly64("base", "make", again, "--amplitude", "coins", "--phase", "grass", "--size", 140, "--positions", 60)
    assert again.read_bytes() == base_file.read_bytes()
    arrays = open_npz(base_file)
    assert arrays["objectGuess"].shape == (140, 140)
    assert arrays["xcoords"].shape == (60,)
    answer = fly64("base", "check", base_file, "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.output)["ok"] is True


@pytest.mark.parametrize(
    ("option", "value", "status", "said"),
    [
        ("--size", 60, 2, "--size = 60: must be at least N + 2 = 66"),
        ("--size", 100_000_000, 1, "--size = 100000000: must be at most 32768"),
        ("--positions", 10**18, 2, "--positions = 1000000000000000000: must be at most 10000000"),
        ("--patch-size", 96, 2, "--patch-size = 96: must be one of 64, 128, 256"),
        ("--phase", "nothing", 2, "'--phase': 'nothing' is not one of"),
        ("--probe-radius", 0.9, 2, "--probe-radius = 0.9: must be in (0, 0.5)"),
    ],
)
def test_base_make_refuses_nonsense(fly64, tmp_path, option, value, status, said):
    answer = fly64("base", "make", tmp_path / "bad.npz", option, value)
    assert answer.exit_code == status
    assert said in answer.output
    assert not (tmp_path / "bad.npz").exists()


def test_import_list_use(fly64, base_file, tmp_path):
    answer = fly64("base", "import", base_file)
    assert answer.exit_code == 0, answer.output
    other = tmp_path / "other.npz"
    fly64("base", "make", other, "--amplitude", "moon", "--phase", "clock_motion", "--size", 150, "--positions", 50)
    assert fly64("base", "import", other).exit_code == 0
    bases = json.loads(fly64("base", "list", "--json").output)["bases"]
    assert [(row["base"].rsplit("_", 1)[0], row["active"]) for row in bases] == [("other", True), ("small", False)]
    small = bases[1]["base"]
    assert fly64("base", "use", small).exit_code == 0
    assert [row["active"] for row in json.loads(fly64("base", "list", "--json").output)["bases"]] == [False, True]
    answer = fly64("base", "use", "nothing_12345678")
    assert answer.exit_code == 2
    assert small in answer.output


def test_foreign_keys_are_renamed_on_request(fly64, base_file, tmp_path):
    arrays = open_npz(base_file)
    path = tmp_path / "foreign.npz"
    names = {"objectGuess": "object", "probeGuess": "probe", "xcoords": "x", "ycoords": "y"}
    np.savez(path, **{names.get(key, key): arrays[key] for key in names})
    assert fly64("base", "check", path).exit_code == 1
    renames = [word for new, old in names.items() for word in ("--rename", f"{old}={new}")]
    assert fly64("base", "check", path, *renames).exit_code == 0
    assert fly64("base", "import", path, *renames).exit_code == 0
    assert fly64("base", "import", path, "--rename", "object").exit_code == 2


def test_a_damaged_imported_base_is_never_replaced_by_another(fly64, base_file, tmp_path):
    assert fly64("base", "import", base_file).exit_code == 0
    (record,) = (tmp_path / "data").rglob("base.json")
    record.unlink()
    answer = fly64("status")
    assert answer.exit_code == 1
    assert "import its file again" in answer.output
    assert fly64("base", "import", base_file).exit_code == 0
    assert fly64("status").exit_code == 0


def test_the_note_of_the_active_base_cannot_lock_a_study(fly64, base_file, tmp_path):
    fly64("base", "import", base_file)
    note = tmp_path / "data" / "demo" / "active_base.json"
    note.with_name("active_base.json.manifest.json").unlink()
    assert fly64("status").exit_code == 0
    note.write_text("nonsense")
    answer = fly64("status")
    assert answer.exit_code == 1
    assert "fly64 base use ID" in answer.output
    (base,) = [path.name for path in note.parent.iterdir() if path.is_dir()]
    assert fly64("base", "use", base).exit_code == 0
    assert fly64("status").exit_code == 0


def test_a_base_of_another_window_size_is_refused(fly64, base_file, tmp_path):
    answer = fly64("base", "import", base_file, study="fly001_128")
    assert answer.exit_code == 1
    assert "128" in answer.output
    assert not any((tmp_path / "data").rglob("base.npz"))
