"""Runs of a container that has ended are lost, those of one that still works are not: real process namespaces."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from fly64_assets.automation.machines import has_ended, note_this_machine, this_machine
from fly64_assets.automation.run_tags import MACHINE_TAG
from fly64_assets.automation.runs import close_lost_runs

CONTAINER = """
import sys
from fly64_assets.automation.machines import note_this_machine, this_machine
note_this_machine()
print(this_machine(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def namespaces() -> list[str]:
    """The command that gives a program process ids of its own, as a container does."""
    command = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespaces can be made here: that needs a machine where `unshare --pid` is allowed")
    return command


@contextmanager
def container(command: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Processes with ids of their own, and what they call their machine."""
    program = [*command, sys.executable, "-c", CONTAINER]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip(), process
        process.communicate()


def test_a_container_that_was_restarted(tmp_path: Path, monkeypatch, namespaces) -> None:
    """As in ``compose.yaml``: the run counts as running, and nobody but the next container can say that it is lost."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance, container(namespaces) as (machine, process):
        assert machine.split()[:2] == this_machine().split()[:2]
        assert machine != this_machine()
        run = instance.create_run_for_job(
            dg.job(name="any")(lambda: None), status=dg.DagsterRunStatus.STARTED, tags={MACHINE_TAG: machine}
        )
        assert close_lost_runs(instance) == []
        process.communicate()
        assert close_lost_runs(instance) == [run.run_id]
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE


def test_one_process_that_is_left_is_enough(tmp_path: Path, monkeypatch, namespaces) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with container(namespaces) as (machine, process):
        with container(["nsenter", "--target", _child(process), "--pid", "--"]) as (same, _):
            assert same == machine
        assert not has_ended(machine)
    assert has_ended(machine)


def _child(process: subprocess.Popen[str]) -> str:
    """The first process of the container that ``unshare`` began."""
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]


def test_a_container_of_another_instance_folder_is_not_judged(tmp_path: Path, monkeypatch, namespaces) -> None:
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "theirs"))
    with container(namespaces) as (machine, _):
        pass
    assert has_ended(machine)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "ours"))
    assert not has_ended(machine)


def test_this_machine_has_not_ended_and_no_folder_is_made(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "nothing"))
    note_this_machine()
    assert not (tmp_path / "nothing").exists()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    note_this_machine()
    assert len(list((tmp_path / "machines").iterdir())) == 1
    assert not has_ended(this_machine())
    assert not has_ended("elsewhere")
    assert not has_ended("")
