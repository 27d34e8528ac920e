"""Every command ends with a sentence and a status: unusable places, too little memory, what nobody has foreseen."""

import os
import re
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from fly64_assets.cli.commands.study import status
from fly64_assets.cli.main import main

LONG = "d" * 300


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A working folder with a file, a link to nowhere and links in a circle; the study's data root is not set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLY64_DATA_ROOT", raising=False)
    Path("afile").write_text("x")
    Path("nowhere").symlink_to("not/there")
    Path("circle").symlink_to("circle")
    return tmp_path


@pytest.mark.parametrize("command", [["status"], ["plan"], ["base", "list"], ["overlap"], ["run"], ["verify"], ["ui"]])
@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("afile/x", "afile is no folder"),
        ("afile/x/y/z", "afile is no folder"),
        ("/dev/null/x", "/dev/null is no folder"),
        ("nowhere", "nowhere is no folder"),
        ("nowhere/x", "nowhere is no folder"),
        ("circle/x", "lead in a circle"),
        (LONG, "has 300 bytes, and file systems take 255"),
        ("ä" * 130, "has 260 bytes, and file systems take 255"),
        ("d/" * 2100, "bytes, and the system takes 4095"),
    ],
)
def test_a_data_root_that_cannot_be_is_one_sentence_of_every_command(places, root, said, command):
    answer = CliRunner().invoke(main, ["--data-root", root, *command])
    assert answer.exit_code == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("fly64: --data-root: ")
    assert said in line
    assert sorted(path.name for path in places.iterdir()) == ["afile", "circle", "nowhere"]


@pytest.mark.parametrize("command", [["--data-root", "", "status"], ["verify", ""], ["run", "--output-root", ""]])
def test_an_empty_text_is_no_folder(places, command):
    answer = CliRunner().invoke(main, command)
    assert answer.exit_code == 2
    assert "expected a folder, found an empty text" in answer.stderr
    assert sorted(path.name for path in places.iterdir()) == ["afile", "circle", "nowhere"]


@pytest.mark.parametrize(
    "file",
    # The third is too long with the ending of the temporary file.
    ["afile/x.npz", f"{LONG}.npz", f"{'d' * 250}.npz", "/proc/x.npz", "nowhere/x.npz", "circle/x.npz"],
)
def test_an_output_that_cannot_be_is_one_sentence(places, file):
    answer = CliRunner().invoke(main, ["base", "make", file, "--size", "66", "--positions", "4"])
    assert answer.exit_code == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("fly64: ")
    assert "unexpected" not in line
    assert len(list(places.iterdir())) == 3


def test_too_little_memory_is_one_sentence_that_names_the_details(places, monkeypatch):
    def large(**_options):
        np.empty(10**17)

    monkeypatch.setattr(status, "callback", large)
    answer = CliRunner().invoke(main, ["status"])
    assert answer.exit_code == 1
    said = r"fly64: the memory does not suffice: Unable to allocate .* \(the details are in (\S+)\)\n"
    log = Path(re.fullmatch(said, answer.stderr)[1])
    assert "in large" in log.read_text()
    log.unlink()


@pytest.mark.parametrize("size", [10**8, 10**30])
def test_a_size_beyond_any_machine_is_one_sentence(places, size):
    answer = CliRunner().invoke(main, ["base", "make", "big.npz", "--size", str(size)])
    assert answer.exit_code == 1
    (line,) = answer.stderr.splitlines()
    assert "--size" in line
    assert not Path("big.npz").exists()


def test_what_nobody_has_foreseen_is_a_sentence_that_names_its_traceback(places, monkeypatch):
    def broken(**_options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(status, "callback", broken)
    answer = CliRunner().invoke(main, ["status"])
    assert answer.exit_code == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith(
        "fly64: an unexpected error, probably a fault of this program: ZeroDivisionError: division by"
    )
    log = Path(re.search(r"details are in (\S+)\)", line)[1])
    text = log.read_text()
    log.unlink()
    assert text.startswith("Traceback")
    assert "in broken" in text
    # Where nothing can be written, the traceback itself is shown.
    monkeypatch.setattr("tempfile.tempdir", "/proc/no/folder")
    answer = CliRunner().invoke(main, ["status"])
    assert answer.exit_code == 1
    assert "in broken" in answer.stderr


def test_the_last_resort_leaves_usage_errors_and_status_alone(places, monkeypatch):
    for error, code in ((click.UsageError("no"), 2), (click.exceptions.Exit(3), 3), (SystemExit(4), 4)):
        monkeypatch.setattr(status, "callback", lambda error=error, **_options: (_ for _ in ()).throw(error))
        assert CliRunner().invoke(main, ["status"]).exit_code == code


def test_what_the_system_refuses_without_a_path_keeps_its_details(places, monkeypatch):
    def full(**_options):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(status, "callback", full)
    answer = CliRunner().invoke(main, ["status"])
    assert answer.exit_code == 1
    log = Path(re.search(r"the system refused: No space left on device \(the details are in (\S+)\)", answer.stderr)[1])
    assert "in full" in log.read_text()
    log.unlink()
