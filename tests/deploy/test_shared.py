"""One instance in PostgreSQL for several people: one daemon, fifty clients, two backfills, a server that restarts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from deploy.postgres_server import PASSWORD, Server
from endtoend.client import Client, tag
from endtoend.services import BIN, HOST, Services, free_port, until
from endtoend.storm import PAGES, storm

from fly64_assets.automation.moving import Database, _prepared
from fly64_assets.contract.schema import base_arrays
from fly64_assets.store.keys import Dose
from fly64_assets.study.intake import npz_bytes, recipe_base

pytestmark = pytest.mark.cluster
CLIENTS = 50
ANOTHER = "another daemon works on this Dagster instance"


class Shared(Services):
    """The services of a study on an instance in PostgreSQL, with a second webserver for a second person."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        settings = self.home / "dagster.yaml"
        os.environ["FLY64_POSTGRES_PASSWORD"] = PASSWORD
        _prepared(Database.from_url(url)).dispose()
        storage = yaml.safe_dump({"storage": Database.from_url(url).settings()})
        settings.write_text(f"{settings.read_text()}\n{storage}")
        self.second_port = free_port()

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"FLY64_POSTGRES_PASSWORD": PASSWORD}

    def start_second_webserver(self) -> None:
        """The UI of another person, on the same instance."""
        command = [BIN / "dagster-webserver", "-h", HOST, "-p", self.second_port, "-w", self._workspace]
        self._start("second", *command)
        until(lambda: Client(self.second_port).ask("{ version }") if self._open() else None, 120, "second webserver")

    def _open(self) -> bool:
        import socket

        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.second_port)) == 0


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[Shared]:
    """Services on an instance in PostgreSQL, with a base and its frames; nothing is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fly64_shared_"))
    services = Shared(folder / "study", server.database("shared"))
    try:
        services.start()
        services.start_second_webserver()
        yield services
    finally:
        second = services.processes.pop("second", None)
        if second is not None:
            second.kill()
            second.wait()
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def client(shared: Shared) -> Client:
    return Client(shared.port)


@pytest.fixture(scope="module")
def grown(shared: Shared, client: Client) -> None:
    """The sensor finds a base; its frames and views are made automatically."""
    design = shared.design
    assert not isinstance(design.base, str)
    (shared.inbox / "dropped.npz").write_bytes(
        npz_bytes(base_arrays(recipe_base(design.base, design.patch_size_pixels, "dropped")))
    )
    cells = {f"{dose}|{view}" for dose in design.doses for view in design.views}
    until(lambda: set(client.materialized("overlap_view")) == cells, 1200, "the views of all cells")
    client.stop_sensor("data_automation")
    client.stop_sensor("new_base_npz")
    until(lambda: not client.runs("STARTED", "STARTING", "QUEUED"), 300, "end of the runs that the sensors launched")


def fly64(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DAGSTER_HOME": str(home), "FLY64_POSTGRES_PASSWORD": PASSWORD} | more
    command = [str(BIN / "fly64"), *arguments]
    return subprocess.run(command, env=environment, cwd=home.parent, capture_output=True, text=True, check=False)


def told(client: Client, run: Mapping[str, Any]) -> str:
    """Status of a run and its last messages, for a failure that says why."""
    events = [one.get("message") or "" for one in client.events(run["id"])]
    return f"{tag(run, 'dagster/partition')} {run['status']}: {' / '.join(events[-8:])}"


def test_nobody_starts_a_second_daemon(shared: Shared, tmp_path: Path) -> None:
    """A colleague has the same database in the settings of an own instance folder, and starts the UI."""
    with dg.DagsterInstance.from_config(str(shared.home)) as instance:
        until(instance.get_daemon_heartbeats, 120, "the first report of the daemon")
    home = tmp_path / "colleague"
    home.mkdir()
    shutil.copy(shared.home / "dagster.yaml", home)
    ended = fly64(home, "ui", "--port", str(free_port()))
    assert ended.returncode == 1, ended.stderr
    assert ANOTHER in ended.stderr
    assert "it reported at" in ended.stderr
    assert Client(shared.port).ask("{ version }")


def test_two_backfills_of_two_people_and_fifty_clients(shared: Shared, client: Client, grown: None) -> None:
    """Every backfill makes what it was asked for, exactly once, also where both asked for the same cells."""
    colleague = Client(shared.second_port)
    doses = shared.design.doses
    asked = (
        [f"{dose}|{view}" for dose in doses[:2] for view in shared.design.views],
        [f"{dose}|{view}" for dose in doses[1:] for view in shared.design.views],
    )
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.backfill, ["overlap_view"], asked[0])
        second = pool.submit(colleague.backfill, ["overlap_view"], asked[1])
        names = first.result(), second.result()
    answers = storm(shared.port, CLIENTS)
    assert answers.errors == []
    assert {page: len(answers.seconds[page]) for page in PAGES} == dict.fromkeys(PAGES, CLIENTS)
    for name, cells in zip(names, asked, strict=True):
        end = colleague.ended(name, 1800)
        assert end["status"] == "COMPLETED_SUCCESS"
        unfit = [told(colleague, run) for run in end["runs"] if run["status"] != "SUCCESS"]
        assert unfit == []
        assert Counter(tag(run, "dagster/partition") for run in end["runs"]) == Counter(cells)
    assert set(shared.view_states().values()) <= {"fresh", "skipped"}


def test_the_server_restarts_in_the_middle(shared: Shared, client: Client, grown: None, server: Server) -> None:
    """What was at work goes on or is begun again; the backfill ends, every cell is there, no slot stays taken."""
    cells = [f"{dose}|{view}" for dose in shared.design.doses for view in shared.design.views]
    backfill = client.backfill(["overlap_view"], cells)

    def runs(*states: str) -> list[str]:
        return [one["id"] for one in client.backfill_state(backfill)["runs"] if one["status"] in states]

    until(lambda: runs("SUCCESS") and runs("STARTED", "STARTING"), 600, "runs that ended and runs at work")
    server.stop("immediate")
    time.sleep(3)
    server.start()

    def answers() -> bool:
        with suppress(AssertionError, OSError):
            return bool(client.backfill_state(backfill))
        return False

    # Connections that were open before give an error once each; then there are new ones.
    until(lambda: all(answers() for _ in range(5)), 120, "the webserver's answers")
    end = client.ended(backfill, 1800)
    assert end["status"] == "COMPLETED_SUCCESS", end
    states = {
        tag(run, "dagster/partition"): run["status"] for run in reversed(end["runs"]) if run["status"] == "SUCCESS"
    }
    assert set(states) == set(cells)
    assert set(shared.view_states().values()) <= {"fresh", "skipped"}
    assert shared.layout.patched(Dose(shared.design.doses[0]), "train").exists()
    with dg.DagsterInstance.from_config(str(shared.home)) as instance:
        assert instance.event_log_storage.get_concurrency_run_ids() == set()
