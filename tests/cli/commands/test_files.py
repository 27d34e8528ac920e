"""Commands on single files, and on bases: real files, exit status, machine-readable forms."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main
from fly64_assets.contract.npz import open_npz
from fly64_assets.physics.scan import split_indices, split_point, uniform_positions


@pytest.fixture
def fly64(tmp_path):
    """Run the command on a data root of its own."""

    def run(*arguments, study="demo"):
        options = ["--study", str(study), "--data-root", str(tmp_path / "data")]
        return CliRunner().invoke(main, [*options, *map(str, arguments)])

    return run


@pytest.fixture
def base_file(fly64, tmp_path):
    path = tmp_path / "small.npz"
    options = ("--amplitude", "coins", "--phase", "grass", "--size", 140, "--positions", 60)
    assert fly64("base", "make", path, *options).exit_code == 0
    return path


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
    ("option", "value", "status"), [("--size", 60, 2), ("--phase", "nothing", 2), ("--probe-radius", 0.9, 2)]
)
def test_base_make_refuses_nonsense(fly64, tmp_path, option, value, status):
    answer = fly64("base", "make", tmp_path / "bad.npz", option, value)
    assert answer.exit_code == status
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


def test_overlap_prints_the_golden_document(fly64, tmp_path):
    x, y = uniform_positions(42, 10304, (464, 464), 128)
    train = split_indices(y, split_point(y))["train"]
    path = tmp_path / "positions.npz"
    np.savez(path, xcoords=x[train], ycoords=y[train])
    options = ("--gridsize", 2, "--s-img", 0.8, "--n-groups", 512, "--probe-diameter-px", 38.4)
    answer = fly64("overlap", path, *options, "--rng-seed-subsample", 456, "--json")
    document = json.loads(answer.output)
    assert document["metric_1_group_based_avg"] == pytest.approx(0.8908832219844647, rel=1e-12)
    assert document["metrics_version"] == "1.0"
    for wrong in (("--s-img", 2), ("--gridsize", 3), ("--n-groups", 0)):
        assert fly64("overlap", path, *options, *wrong).exit_code == 2
    for arrays, message in (
        ({"x": x}, "xcoords, ycoords missing"),
        ({"xcoords": x, "ycoords": y[:5]}, "10304 xcoords but 5 ycoords"),
        ({"xcoords": x.astype(str), "ycoords": y}, "expected numbers of shape (n,)"),
    ):
        np.savez(path, **arrays)
        answer = fly64("overlap", path, *options)
        assert answer.exit_code == 1
        assert message in answer.output


def test_overlap_takes_the_probe_of_the_file_or_a_share_of_its_frames(fly64, base_file, tmp_path):
    options = ("--gridsize", 1, "--s-img", 1, "--n-groups", 8)
    document = json.loads(fly64("overlap", base_file, *options, "--json").output)
    assert 15 < document["probe_diameter_px"] < 32
    assert "probeGuess" in document["probe_diameter_source"]
    path = tmp_path / "frames.npz"
    np.savez(path, xcoords=np.arange(5.0), ycoords=np.arange(5.0), diffraction=np.zeros((5, 64, 64), np.float32))
    document = json.loads(fly64("overlap", path, *options, "--json").output)
    assert document["probe_diameter_px"] == pytest.approx(38.4)
    np.savez(path, xcoords=np.arange(5.0), ycoords=np.arange(5.0))
    answer = fly64("overlap", path, *options)
    assert answer.exit_code == 1
    assert "--probe-diameter-px" in answer.output


def test_every_command_has_help_with_an_example():
    def walk(command, words):
        yield words, command
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(sub, [*words, name])

    for words, command in walk(main, []):
        answer = CliRunner().invoke(main, [*words, "--help"])
        assert answer.exit_code == 0
        if not hasattr(command, "commands"):
            assert "Example:" in answer.output, words


def test_an_unknown_study_is_one_sentence(fly64):
    answer = fly64("status", study="nothing")
    assert answer.exit_code == 2
    assert "neither a file nor a shipped design" in answer.output
    assert fly64("frobnicate").exit_code == 2


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


def test_doctor_finds_what_is_wrong(fly64, base_file, tmp_path, monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ("h5py",))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    answer = fly64("doctor", "--json")
    assert answer.exit_code == 0, answer.output
    found = {one["subject"]: one for one in json.loads(answer.output)["findings"]}
    assert set(found) == {"versions", "design", "disk", "files", "instance", "study", "garbage", "machine", "engine"}
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
