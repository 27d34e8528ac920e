"""``fly64 base``: making, importing, choosing and repairing bases, on real files."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main
from fly64_assets.contract.metadata import decode_metadata
from fly64_assets.contract.npz import load_base, open_npz
from fly64_assets.contract.schema import BASE_KEYS
from fly64_assets.simulation.frames import simulate
from fly64_assets.simulation.objects.making import make_object


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


def test_what_is_said_of_a_file_is_a_part_of_what_its_base_depends_on(fly64, base_file, tmp_path):
    pixels = []
    for size in ("1e-8", "2e-8", "2e-8"):
        assert fly64("base", "import", base_file, "--pixel-size", size).exit_code == 0
        (base,) = (tmp_path / "data").rglob("base.npz")
        metadata = decode_metadata(open_npz(base)["_metadata"])
        pixels.append((metadata["physics_parameters"]["pixel_size_m"], base.stat().st_mtime_ns))
    assert [size for size, _ in pixels] == [1e-8, 2e-8, 2e-8]
    assert pixels[1] == pixels[2]  # the same words again build nothing


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


def changed(path, base_file, **arrays):
    np.savez(path, **{**{key: open_npz(base_file)[key] for key in BASE_KEYS}, **arrays})
    return path


DESIGN = "name: mine\nscan: {scan}\ntrain_test_split_axis: {axis}\noverlap_views: {{dense: 0.7, apart: 0.05}}\n"


@pytest.fixture
def study(tmp_path):
    def write(scan="uniform", axis="y"):
        path = tmp_path / f"{scan}_{axis}.yaml"
        path.write_text(DESIGN.format(scan=scan, axis=axis))
        return path

    return write


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_scan_needs_two_distinct_positions(fly64, base_file, tmp_path, study, number):
    path = changed(tmp_path / "few.npz", base_file, xcoords=np.full(number, 70.0), ycoords=np.full(number, 60.0))
    for command in (("base", "check"), ("base", "import")):
        for scan in ("uniform", "base"):
            answer = fly64(*command, path, study=study(scan))
            assert answer.exit_code == 1
            assert "a scan needs at least two" in answer.output
    assert fly64("base", "list").output.startswith("study demo has no base yet")


def test_a_line_is_no_study_and_a_narrow_scan_is_split_along_itself(fly64, base_file, study, tmp_path):
    """What import accepts, the study can use; the remedy is the one that helps."""
    line = changed(tmp_path / "flat.npz", base_file, ycoords=np.full(60, 64.0))
    for command in ("check", "import"):
        answer = fly64("base", command, line, study=study("base", "y"))
        assert answer.exit_code == 1
        assert "one half of the scan is empty" in answer.output
        assert "train_test_split_axis: x" in answer.output
        answer = fly64("base", command, line, study=study("base", "x"))
        assert answer.exit_code == 1
        assert "SCAN-001.line" in answer.output
    assert fly64("base", "import", line, study=study("uniform", "x")).exit_code == 0
    narrow = changed(tmp_path / "narrow.npz", base_file, ycoords=64.0 + 6 * (np.arange(60) % 2))
    assert fly64("base", "import", narrow, study=study("base", "x")).exit_code == 0
    (kept,) = (tmp_path / "data" / "mine").glob("narrow_*/base.npz")
    halves = simulate(load_base(kept), dose=1000, scan="base", axis="x", seed=1).halves
    assert all(len(half) for half in halves.values())


def test_a_probe_of_a_width_that_no_study_has(base_file, tmp_path, fly64):
    probe = np.pad(open_npz(base_file)["probeGuess"], 16)
    path = changed(tmp_path / "wide.npz", base_file, probeGuess=probe, xcoords=[50, 60.0], ycoords=[50, 60.0])
    answer = CliRunner().invoke(main, ["base", "check", str(path)])
    assert answer.exit_code == 1
    assert "the N of a study is one of 64, 128, 256" in answer.output


def test_positions_that_uniform_discards_are_named_with_what_they_could_carry(fly64, base_file, study):
    answer = fly64("base", "import", base_file, study=study())
    assert answer.exit_code == 0
    assert "60 positions are not used" in answer.output
    assert "`scan: base` in the design keeps them; they carry baseline (" in answer.output
    assert "they are too few for apart (" in answer.output
    assert "not used" not in fly64("base", "import", base_file, study=study("base")).output


@pytest.mark.slow
def test_run_says_what_was_found_in_the_base_of_the_design(fly64, base_file, tmp_path, study):
    x, y = (open_npz(base_file)[key].copy() for key in ("xcoords", "ycoords"))
    x[1], y[1] = x[0], y[0]
    changed(tmp_path / "twice.npz", base_file, xcoords=x, ycoords=y)
    path = study()
    path.write_text(f"{path.read_text()}base: twice.npz\n")
    answer = fly64("run", "--stage", "base", study=path)
    assert answer.exit_code == 0, answer.output
    assert "! base: DATA-001.coordinates: 1 of 60 positions repeat another one exactly" in answer.output
    assert "60 positions are not used" in answer.output


def test_every_warning_reaches_the_terminal_and_strict_refuses(fly64, base_file, tmp_path):
    x = open_npz(base_file)["xcoords"].copy()
    y = open_npz(base_file)["ycoords"].copy()
    x[1], y[1] = x[0], y[0]
    path = changed(tmp_path / "twice.npz", base_file, xcoords=x, ycoords=y)
    for command in (("base", "check"), ("base", "import")):
        answer = fly64(*command, path)
        assert answer.exit_code == 0
        assert "! DATA-001.coordinates: 1 of 60 positions repeat another one exactly" in answer.output
        answer = fly64(*command, path, "--strict")
        assert answer.exit_code == 1
        assert "1 of 60 positions repeat" in answer.output


def test_base_make_replaces_nothing_unless_forced(fly64, base_file):
    before = base_file.read_bytes()
    answer = fly64("base", "make", base_file, "--size", 150)
    assert answer.exit_code == 1
    assert "exists already" in answer.output
    assert base_file.read_bytes() == before
    assert fly64("base", "make", base_file, "--size", 150, "--force").exit_code == 0
    assert base_file.read_bytes() != before
    assert fly64("base", "make", "/dev/null", "--force").exit_code == 1


def test_guesses_are_confirmed_by_options(fly64, base_file, tmp_path):
    arrays = open_npz(base_file)
    path = changed(
        tmp_path / "other.npz",
        base_file,
        probeGuess=np.fft.fftshift(arrays["probeGuess"]),
        xcoords=arrays["xcoords"] - 70,
        ycoords=arrays["ycoords"] - 70,
    )
    said = []
    for option in (("--probe-corner",), ("--positions", "from-centre"), ()):
        answer = fly64("base", "import", path, *said)
        assert answer.exit_code == bool(option), answer.output
        assert " ".join(option) in answer.output
        assert json.loads(fly64("base", "check", path, *said, "--json").output)["ok"] is not bool(option)
        said += option
    answer = fly64("generate", "--base-npz", path)
    assert answer.exit_code == 1
    assert "--probe-corner" in answer.output
    assert f"`fly64 base import {path}`" in answer.output
    assert fly64("base", "check", path, "--rename", "a=xcoords", "--rename", "b=xcoords").exit_code == 2


def test_an_object_that_no_window_of_the_scan_shows(fly64, base_file, tmp_path, study):
    obj = np.zeros_like(open_npz(base_file)["objectGuess"])
    obj[-3:, -3:] = 1
    path = changed(tmp_path / "dark.npz", base_file, objectGuess=obj, xcoords=[40, 50.0], ycoords=[40, 50.0])
    answer = fly64("base", "import", path, study=study("base"))
    assert answer.exit_code == 1
    assert "no light reaches the detector" in answer.output


@pytest.mark.parametrize("peak", [1e-43, 3e38])
def test_a_probe_whose_frames_single_precision_cannot_hold(fly64, base_file, tmp_path, study, peak):
    probe = open_npz(base_file)["probeGuess"].astype(np.complex128)
    probe = (probe * (peak / np.abs(probe).max())).astype(np.complex64)
    path = changed(tmp_path / "unit.npz", base_file, probeGuess=probe)
    for answer in (fly64("base", "check", path), fly64("base", "import", path, study=study("base"))):
        assert answer.exit_code == 1, answer.output
        assert "multiply the probe by a constant" in answer.output


def test_a_base_that_declares_more_than_allowed(fly64, base_file):
    assert fly64("base", "check", base_file, "--max-bytes", 1000).exit_code == 1
    assert "raise it with --max-bytes" in fly64("base", "import", base_file, "--max-bytes", 1000).output


def test_base_make_generates_objects_and_probes(fly64, tmp_path):
    path = tmp_path / "cells.npz"
    options = ("--object", "cells", "--size", 120, "--positions", 40, "--seed", 3)
    answer = fly64("base", "make", path, *options, "--probe", "structured")
    assert answer.exit_code == 0, answer.output
    assert fly64("base", "check", path).exit_code == 0
    made = load_base(path)
    np.testing.assert_array_equal(made.object, make_object("cells", 120, 3))
    other = tmp_path / "other.npz"
    assert fly64("base", "make", other, *options, "--probe-file", path).exit_code == 0
    np.testing.assert_array_equal(load_base(other).probe, made.probe)
    for wrong, sentence in (
        (("--probe", "flat"), "need --object"),
        ((*options, "--probe", "flat", "--probe-file", path), "exclude each other"),
        ((*options, "--phase-range", 0, 2), "--phase-range and --object exclude each other"),
        (("--object", "cat"), "cat"),
    ):
        answer = fly64("base", "make", tmp_path / "no.npz", *wrong)
        assert answer.exit_code == 2
        assert sentence in answer.output
    assert not (tmp_path / "no.npz").exists()
