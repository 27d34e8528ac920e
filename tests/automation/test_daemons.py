"""One daemon for an instance: who comes second is refused, whoever is first and wherever the runs are kept."""

import subprocess
import sys
import threading
import time
import uuid

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._daemon.types import DaemonHeartbeat

from fly64_assets.automation import daemons
from fly64_assets.automation.daemons import only_daemon
from fly64_assets.errors import Fly64Error

HOLDER = """
import sys
from fly64_assets.automation.daemons import only_daemon
with only_daemon():
    print("alone", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


def report(instance):
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "somewhere", None))


def require_one_at_a_time():
    """While another process is the one, this one is refused; after its end or a kill it is not."""
    for kill in (False, True):
        command = [sys.executable, "-c", HOLDER]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout.readline() == "alone\n"
            with pytest.raises(Fly64Error, match="another daemon works on this Dagster instance"), only_daemon():
                pytest.fail("two at a time")
            if kill:
                child.kill()
        finally:
            child.communicate("\n", timeout=60)
        with only_daemon():
            pass
    with pytest.raises(sa.exc.OperationalError, match="gone"), only_daemon():
        raise sa.exc.OperationalError("select 1", {}, Exception("gone"))


@pytest.mark.slow
def test_one_at_a_time_where_runs_are_in_files(home):
    require_one_at_a_time()


def test_a_daemon_that_reports_is_found_and_one_that_was_killed_is_not(home, monkeypatch):
    monkeypatch.setattr(daemons, "PATIENCE_SECONDS", 2.5)
    with dg.DagsterInstance.get() as instance:
        # Its last report is all that a killed one has left; a new daemon reports under its own name.
        report(instance)
        with only_daemon():
            report(instance)
        assert instance.get_daemon_heartbeats() == {}

        ended = threading.Event()

        def work():
            while not ended.wait(0.5):
                report(instance)

        report(instance)
        worker = threading.Thread(target=work, name=str(uuid.uuid4()))
        worker.start()
        try:
            with pytest.raises(Fly64Error, match=r"another daemon works .* \(it reported at \d\d:"), only_daemon():
                pytest.fail("two at a time")
            assert instance.get_daemon_heartbeats()
        finally:
            ended.set()
            worker.join()
