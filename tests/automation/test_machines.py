"""Runs of a container that has ended are lost, those of one that still works are not: real process namespaces."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from fly64_assets.automation import machines
from fly64_assets.automation.machines import has_ended, machine_note, note_this_machine, noted_machine, this_machine
from fly64_assets.automation.run_tags import MACHINE_TAG
from fly64_assets.automation.runs import close_lost_runs

CONTAINER = """
import sys
import fly64_assets.definitions
from fly64_assets.automation.machines import machine_note
print(machine_note(sys.argv[1]), flush=True)
sys.stdin.read()
"""
RUN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def namespaces() -> list[str]:
    """The command that gives a program process ids of its own, as a container does."""
    for rights in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *rights, "--pid", "--fork", "--kill-child"]
        if not subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
            return command
    pytest.skip("no process namespaces can be made here: that needs a machine where `unshare --pid` is allowed")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the instance; what this process has locked is forgotten."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(machines, "_held", {})
    return tmp_path


@contextmanager
def container(command: list[str], run: str = RUN) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that has loaded the code location, with ids of its own, and what a run there notes."""
    program = [*command, sys.executable, "-c", CONTAINER, run]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip(), process
        process.communicate()


def at_work(instance: dg.DagsterInstance) -> str:
    """A run that counts as running."""
    return instance.create_run_for_job(dg.job(name="any")(lambda: None), status=dg.DagsterRunStatus.STARTED).run_id


@pytest.mark.slow
def test_a_container_that_was_restarted(namespaces: list[str]) -> None:
    """As in ``compose.yaml``: the run counts as running, and nobody but the next container can say that it is lost."""
    with dg.DagsterInstance.ephemeral() as instance:
        run = at_work(instance)
        with container(namespaces, run) as (note, process):
            assert noted_machine(note, run) != this_machine()
            instance.add_run_tags(run, {MACHINE_TAG: note})
            assert close_lost_runs(instance) == []
            process.communicate()
            assert close_lost_runs(instance) == [run]
            assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE


@pytest.mark.slow
def test_one_process_that_is_left_is_enough(namespaces: list[str]) -> None:
    with container(namespaces) as (note, process):
        first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        with container(["nsenter", "--target", first, "--pid", "--"]) as (same, _):
            assert same == note
        assert not has_ended(note, RUN)
    assert has_ended(note, RUN)


def test_a_run_that_is_begun_again_does_not_inherit_where_its_predecessor_was(home: Path) -> None:
    """Dagster copies the tags of the run that failed."""
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        first = instance.create_run_for_job(dg.job(name="any")(lambda: None), status=dg.DagsterRunStatus.FAILURE)
        note = f"gone before pid:[1] {first.run_id} 7"
        assert noted_machine(note, first.run_id) == "gone before pid:[1]"
        assert noted_machine(note, RUN) == ""
        assert not has_ended(note, RUN)


@pytest.mark.parametrize("changed", ["unlocked", "another file", "another folder", "locked"])
def test_what_cannot_be_known_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    (home / "machines").mkdir()
    machine = "host before pid:[1]"
    file = machines._path(machine)
    file.touch()
    note = f"{machine} {RUN} {file.stat().st_ino}"
    assert has_ended(note, RUN)
    if changed == "unlocked":
        note = f"{machine} {RUN} unlocked"
    if changed == "another file":
        note = f"{machine} {RUN} {file.stat().st_ino + 1}"
    if changed == "another folder":
        monkeypatch.setenv("DAGSTER_HOME", str(home / "machines"))
    with file.open() as held:
        if changed == "locked":
            fcntl.flock(held, fcntl.LOCK_SH)
        assert not has_ended(note, RUN)


def test_a_lock_that_cannot_be_had_is_not_noted_and_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError("no locks")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refused)
        assert note_this_machine() is None
        assert machine_note(RUN) == f"{this_machine()} {RUN} unlocked"
    assert note_this_machine() == machines._path(this_machine()).stat().st_ino
    assert machine_note(RUN).split()[-1] == str(note_this_machine())
    os.close(machines._held.popitem()[1])


def test_no_folder_is_made_and_this_machine_has_not_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(home / "nothing"))
    assert note_this_machine() is None
    assert not (home / "nothing").exists()
    assert not has_ended(f"{this_machine()} {RUN} 1", RUN)
    assert not has_ended("", RUN)
    assert not has_ended("elsewhere", RUN)
