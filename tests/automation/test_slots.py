"""A run killed with SIGKILL while its step holds the slot of the pool ``gpu``: real daemon, code server and runs.

``tests/endtoend/test_kill.py`` does the same to the engines of a study, in its full form.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import dagster as dg
import pytest
import yaml
from endtoend.services import START_SECONDS, until

import fly64_assets
from fly64_assets.automation.runs import _process
from fly64_assets.cli.driver.instance import FREE_SLOTS

SETTINGS = Path(fly64_assets.__file__).with_name("dagster.yaml")
HERE = Path(__file__).parent
POLL_SECONDS = 2


@contextmanager
def service(home: Path, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a deployment, with a session of its own, killed with its children at the end."""
    environment = os.environ | {"DAGSTER_HOME": str(home)}
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@contextmanager
def deployment(home: Path, settings: dict) -> Iterator[tuple[dg.DagsterInstance, tuple[object, ...]]]:
    """Instance and code server of :mod:`slot_location`; the command of its daemon."""
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    socket, workspace = home / "code.sock", home / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": {"socket": str(socket)}}]}))
    server = ("-m", "dagster", "api", "grpc", "-f", HERE / "slot_location.py", "-s", socket)
    daemon = (HERE.parent / "endtoend" / "quick_daemon.py", "run", "-w", workspace)
    # The instance first: two processes that create its databases at once leave them unusable.
    with dg.DagsterInstance.from_config(str(home)) as instance, service(home, *server):
        until(socket.exists, START_SECONDS, "code server")
        yield instance, daemon


def active(instance: dg.DagsterInstance) -> set[str]:
    """Runs that have a slot of the pool."""
    return set(instance.event_log_storage.get_concurrency_info("gpu").active_run_ids)


def holder(instance: dg.DagsterInstance) -> str:
    """The run that has the slot, as soon as another one is at work and waits for it."""
    storage = instance.event_log_storage

    def found() -> str | None:
        info = storage.get_concurrency_info("gpu")
        return next(iter(info.active_run_ids), None) if info.active_run_ids and info.pending_run_ids else None

    return str(until(found, START_SECONDS, "a run with the slot and one that waits for it"))


def kill(instance: dg.DagsterInstance, run: str) -> None:
    """SIGKILL to the process of a run."""
    process = _process(instance, run)
    assert process
    os.kill(process[0], signal.SIGKILL)
    until(lambda: instance.get_run_by_id(run).is_finished, 60, "the end of the killed run")


def settings(**changed: object) -> dict:
    """Those that we ship, with a monitoring that looks more often, and without runs that are begun again."""
    shipped = yaml.safe_load(SETTINGS.read_text())
    monitoring = shipped["run_monitoring"] | {"poll_interval_seconds": POLL_SECONDS} | changed
    known = {name: value for name, value in monitoring.items() if value is not None}
    return shipped | {"run_monitoring": known, "run_retries": {"enabled": False}}


@pytest.mark.slow
@pytest.mark.parametrize("daemon_killed", [False, True], ids=["the daemon works", "the daemon is killed first"])
def test_its_slot_is_given_to_the_run_that_waits(tmp_path: Path, daemon_killed: bool) -> None:
    with deployment(tmp_path, settings()) as (instance, daemon), service(tmp_path, *daemon) as first:
        victim = holder(instance)
        if daemon_killed:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait(30)
        kill(instance, victim)
        with service(tmp_path, *daemon) if daemon_killed else nullcontext():
            until(lambda: active(instance) - {victim}, START_SECONDS, "the slot of the killed run")
            (next_run,) = active(instance)
            (tmp_path / "end").touch()
            until(lambda: instance.get_run_by_id(next_run).is_finished, START_SECONDS, "the run that waited")
            assert instance.get_run_by_id(next_run).status == dg.DagsterRunStatus.SUCCESS
            assert instance.get_run_by_id(victim).status == dg.DagsterRunStatus.FAILURE
            until(lambda: not instance.event_log_storage.get_concurrency_run_ids(), 60, "all slots")


@pytest.mark.slow
def test_without_the_setting_nobody_frees_it(tmp_path: Path) -> None:
    """What the setting is for: without it the run that waits for the slot waits for ever."""
    with deployment(tmp_path, settings(**{FREE_SLOTS: None})) as (instance, daemon), service(tmp_path, *daemon):
        victim = holder(instance)
        kill(instance, victim)
        time.sleep(5 * POLL_SECONDS)
        assert active(instance) == {victim}
