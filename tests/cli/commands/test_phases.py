"""The phases by name: usage errors, dry runs, missing inputs, and the same bytes as ``fly64 run``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fly64_assets.cli.main import main
from fly64_assets.resources import gpu

TINY = """
name: tiny
dose_list: [1e4]
base: {amplitude: coins, phase: grass, object_size: 140, positions: 120}
pinn: {epochs: 1}
lsqml: {epochs: 2}
"""
PHASES = ("generate", "overlap", "train", "reconstruct", "compare")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def fly64(folder, monkeypatch):
    """Run a command that starts no process, on a machine without a GPU."""
    monkeypatch.setattr(gpu, "cuda_devices", lambda: 0)
    monkeypatch.chdir(folder)

    def run(*arguments):
        return CliRunner().invoke(main, ["--study", "study.yaml", *map(str, arguments)])

    return run


@pytest.fixture
def base_file(fly64, folder):
    path = folder / "mine.npz"
    options = ("--amplitude", "coins", "--phase", "grass", "--size", 140, "--positions", 60)
    assert fly64("base", "make", path, *options).exit_code == 0
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--dose", 77), "77 is not a dose of study tiny"),
        (("compare", "--view", "nothing"), "'nothing' is not a view"),
        (("train", "--gridsize", 3), "no view of study tiny has the gridsize 3 (baseline 1, dense 2, sparse 2)"),
        (("run", "--gridsize", 3), "no view of study tiny has the gridsize 3"),
        (("train", "--gridsize", 2, "--view", "baseline"), "none of these views has it"),
        (("train", "--backend", "jax"), "'pytorch', 'tensorflow'"),
        (("train", "--split", "test"), "train has no --split: a network learns on the train half"),
        (("overlap", "--split", "test"), "overlap has no --split"),
        (("generate", "--view", "dense"), "generate has no --view"),
        (("compare", "--backend", "pytorch"), "every method that has run is compared"),
        (("train", "--logger", "none"), "none is not available, only csv"),
        (("train", "--num-workers", 2), "2 is not available, only 0: all frames of a cell are in memory"),
        (("train", "--accelerator", "tpu"), "'tpu' is not one of"),
        (("train", "--devices", 0), "0 is not in the range"),
        (("overlap", "--gridsize", 2, "--s-img", 0.5), "--s-img needs a FILE"),
        (("overlap", "mine.npz", "--gridsize", 3), "3: expected 1 or 2, once"),
        (("overlap", "mine.npz", "--allow-missing"), "--allow-missing and a FILE exclude each other"),
        (("--data-root", "one", "generate", "--output-root", "other"), "are the same option"),
    ],
)
def test_usage_errors(fly64, arguments, message):
    answer = fly64(*arguments)
    assert answer.exit_code == 2
    # click breaks lines as it likes.
    assert message.replace(" ", "") in "".join(answer.output.split())


def test_a_device_that_is_not_there_is_refused_before_anything_starts(fly64, folder):
    for extra in ((), ("--dry-run",)):
        answer = fly64("generate", "--accelerator", "cuda", *extra)
        assert answer.exit_code == 1
        assert "1 GPU(s) were requested and torch can use 0" in answer.output
    assert not (folder / "data").exists()
    assert fly64("generate", "--dry-run", "--accelerator", "auto", "--devices", 2).exit_code == 0


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_phase_without_its_inputs_names_the_phases_to_run_first(fly64, folder, phase):
    answer = fly64(phase, "--view", "dense")
    assert answer.exit_code == 1
    before = PHASES[: PHASES.index(phase)]
    # The comparison needs reconstructions, and these need a network.
    assert f"run {', then '.join(f'`fly64 {name}`' for name in before)} first" in answer.output
    assert "dose_10000/dense" in answer.output
    assert fly64(phase, "--view", "dense", "--dry-run").exit_code == 1
    answer = fly64(phase, "--view", "dense", "--allow-missing")
    assert answer.exit_code == 0
    assert "0 of 0 stages are done" in answer.output
    assert "dose_10000/dense" in answer.output
    assert not (folder / "data").exists()


def test_a_dry_run_writes_nothing_and_knows_the_base_that_it_would_import(fly64, folder, base_file):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    answer = fly64("generate", "--dry-run", "--base-npz", base_file)
    assert answer.exit_code == 0
    assert "would be the active base mine_" in answer.output
    assert "2 of 33 stages would run" in answer.output
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    (folder / "bad.npz").write_bytes(b"no archive")
    for name in ("bad.npz", "nothing.npz"):
        answer = fly64("generate", "--dry-run", "--base-npz", folder / name)
        assert answer.exit_code == 1
        assert name in answer.output


def test_base_and_root_are_those_of_the_command_line(fly64, folder, base_file):
    answer = fly64("overlap", "--allow-missing", "--base-npz", base_file, "--output-root", "elsewhere")
    assert answer.exit_code == 0, answer.output
    assert "is the active base of study tiny" in answer.output
    assert not (folder / "data").exists()
    bases = json.loads(fly64("--data-root", "elsewhere", "base", "list", "--json").output)["bases"]
    assert [row["base"].rsplit("_", 1)[0] for row in bases] == ["mine"]
    # A base that is there already is found, and in a dry run nothing of it would be done again.
    answer = fly64("generate", "--dry-run", "--base-npz", base_file, "--output-root", "elsewhere")
    assert "leave  fresh    base" in answer.output
    assert "1 of 33 stages would run" in answer.output


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("FLY64_ENDTOEND") != "full", reason="only in full form: make endtoend")
def test_the_phases_in_order_make_what_run_makes(folder):
    def real(*arguments):
        hidden = ("DAGSTER_HOME", "FLY64_STUDY", "FLY64_DATA_ROOT")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        command = [str(Path(sys.executable).with_name("fly64")), "--study", "study.yaml", *arguments]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def files(root):
        (base,) = (path for path in (folder / root / "tiny").iterdir() if path.is_dir())
        found = (path for path in base.rglob("*") if path.suffix in (".npz", ".zip", ".csv", ".json", ".png"))
        named = (path for path in found if not path.name.endswith(("manifest.json", "result.json", "base.json")))
        return {path.relative_to(base).as_posix(): path.read_bytes() for path in named}

    how = ("--accelerator", "cpu", "--no-deterministic", "--num-workers", "0", "--logger", "csv", "--jobs", "1")
    real("generate", *how)
    for phase in PHASES[1:]:
        real(phase, "--view", "dense", *how)
    real("run", "--view", "dense", "--output-root", "whole", *how)
    by_phases, by_run = files("data"), files("whole")
    data = [name for name in by_run if name.endswith((".npz", ".zip", ".csv")) or "comparison" in name]
    assert {name.rsplit(".", 1)[1] for name in data} == {"npz", "zip", "csv", "json", "png"}
    assert by_phases.keys() == by_run.keys()
    assert [name for name in data if by_phases[name] != by_run[name]] == []

    (record,) = (folder / "data").rglob("training/**/result.json")
    execution = json.loads(record.read_text())["values"]["execution"]
    assert execution["deterministic"] is False
    # How it was executed is no parameter of the study (CONFIG-002): nothing is out of date.
    before = record.stat().st_mtime_ns
    assert "1 of 1 stages are done" in real("train", "--view", "dense", "--deterministic")
    assert record.stat().st_mtime_ns == before
