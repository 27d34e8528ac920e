"""kill -9 to the daemon, to a run's process and to everything in the middle of a backfill; then start again."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

import dagster as dg
import pytest

from endtoend.client import Client, tag
from endtoend.conftest import Grown
from endtoend.services import FULL, START_SECONDS, Services, until
from fly64_assets.automation.runs import close_lost_runs
from fly64_assets.cli.driver.instance import FREE_SLOTS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FULL, reason="only in full form: make endtoend")]
VIEW = ["overlap_view"]


def succeeded(client: Client, backfill: str) -> list[dict[str, Any]]:
    """Runs of a backfill that have succeeded."""
    return [run for run in client.backfill_state(backfill)["runs"] if run["status"] == "SUCCESS"]


def middle(client: Client, backfill: str) -> list[dict[str, Any]]:
    """The first successful runs of a backfill, as soon as there are some, others running and others waiting."""
    return until(lambda: (done := succeeded(client, backfill)) and len(done) >= 2 and done, 900, "two finished cells")


def started(client: Client, backfill: str) -> dict[str, Any]:
    """A run of a backfill that is running now."""

    def first() -> dict[str, Any] | None:
        runs = client.backfill_state(backfill)["runs"]
        return next((run for run in runs if run["status"] == "STARTED"), None)

    return until(first, 900, "a running cell")


def cells(services: Services, runs: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Files of the views that these runs have built."""
    folders = [f"dose_{key.replace('|', '/')}/" for key in (tag(run, "dagster/partition") for run in runs)]
    return {name: one for name, one in services.files().items() if name.startswith(tuple(folders))}


def all_cells(services: Services) -> list[str]:
    """Partition keys of all cells."""
    return [f"{dose}|{view}" for dose in services.design.doses for view in services.design.views]


def process_of(client: Client, run: str) -> int:
    """Number of the process that a run says to have."""
    messages = (event.get("message") or "" for event in client.events(run))
    return int(next(text for text in messages if text.startswith("Started process for run (pid: "))[30:].rstrip(")."))


def test_the_daemon(services: Services, client: Client, grown: Grown) -> None:
    backfill = client.backfill(VIEW, None)
    finished = middle(client, backfill)
    kept = cells(services, finished)
    services.kill("daemon")
    services.start_daemon()
    end = client.ended(backfill, 1800)
    assert end["status"] == "COMPLETED_SUCCESS"
    # One run for each cell: nothing lost, nothing twice.
    assert Counter(tag(run, "dagster/partition") for run in end["runs"]) == Counter(all_cells(services))
    assert cells(services, finished) == kept


def test_a_run(services: Services, client: Client, grown: Grown) -> None:
    """It says what became of it and is begun again; its backfill waits for that, and repeats nothing else."""
    backfill = client.backfill(VIEW, None)
    victim = started(client, backfill)
    os.kill(process_of(client, victim["id"]), signal.SIGKILL)
    end = client.ended(backfill, 1800)
    assert end["status"] == "COMPLETED_SUCCESS"
    assert [run["id"] for run in end["runs"] if run["status"] != "SUCCESS"] == [victim["id"]]
    told = [one.get("message") or "" for one in client.events(victim["id"])]
    assert any("signal 9 (SIGKILL)" in message for message in told)
    again = Counter(tag(run, "dagster/partition") for run in end["runs"])
    assert again == Counter([*all_cells(services), tag(victim, "dagster/partition")])


def test_an_engine(services: Services, client: Client, grown: Grown) -> None:
    """Its slot is free soon after its end, and what waits for the slot goes on: its own retry, and another run."""
    cells = ["10000|dense", "100000|dense"]
    backfill = client.backfill(["lsqml_reconstruction_train"], cells)
    with dg.DagsterInstance.from_config(str(services.home)) as instance:
        storage = instance.event_log_storage
        holders = until(lambda: storage.get_concurrency_info("gpu").active_run_ids, 900, "an engine with a slot")
        (victim,) = holders
        os.kill(process_of(client, victim), signal.SIGKILL)
        ended = lambda: instance.get_run_by_id(victim).is_finished  # noqa: E731
        until(ended, 300, "the end of the killed run")
        until(lambda: victim not in storage.get_concurrency_run_ids(), 180, "the slot of the killed run")
        end = client.ended(backfill, 1800)
        assert storage.get_concurrency_run_ids() == set()
    assert end["status"] == "COMPLETED_SUCCESS"
    assert [run["id"] for run in end["runs"] if run["status"] != "SUCCESS"] == [victim]
    assert len(end["runs"]) == 3


def holder_of_the_slot(client: Client, storage: Any) -> str:
    """The run whose engine has the slot; its process is stopped, so that the engine's end finds nobody."""
    (run,) = until(lambda: storage.get_concurrency_info("gpu").active_run_ids, 900, "an engine with a slot")
    os.kill(process_of(client, run), signal.SIGSTOP)
    return str(run)


def longest_hold(instance: dg.DagsterInstance) -> float:
    """Seconds in which the settings promise a slot back, and as long as a busy machine takes to load the programs."""
    promised = instance.run_monitoring_settings[FREE_SLOTS] + instance.run_monitoring_poll_interval_seconds
    return float(promised + START_SECONDS)


def test_a_run_that_is_killed_while_no_daemon_works(services: Services, client: Client, grown: Grown) -> None:
    """The daemon is killed first. Its successor frees the slot, and the run that waited for it begins."""
    waiting = ["10000|dense", "100000|dense"]
    backfill = client.backfill(["lsqml_reconstruction_train"], waiting)
    with dg.DagsterInstance.from_config(str(services.home)) as instance:
        storage = instance.event_log_storage
        victim = holder_of_the_slot(client, storage)
        services.kill("daemon")
        os.kill(process_of(client, victim), signal.SIGKILL)
        until(lambda: instance.get_run_by_id(victim).is_finished, 300, "the end of the killed run")
        # Nobody else does it.
        time.sleep(2 * instance.run_monitoring_poll_interval_seconds)
        assert victim in storage.get_concurrency_info("gpu").active_run_ids
        services.start_daemon()
        until(lambda: victim not in storage.get_concurrency_run_ids(), longest_hold(instance), "the slot")
        end = client.ended(backfill, 1800)
        assert storage.get_concurrency_run_ids() == set()
    assert end["status"] == "COMPLETED_SUCCESS"
    assert [run["id"] for run in end["runs"] if run["status"] != "SUCCESS"] == [victim]
    assert len(end["runs"]) == 3


def test_a_restart_of_the_machine_while_a_slot_is_held(services: Services, client: Client, grown: Grown) -> None:
    """Every process is killed; the services are started again, and nothing else. A run was in the queue."""
    backfill = client.backfill(["lsqml_reconstruction_train"], ["10000|dense"])
    with dg.DagsterInstance.from_config(str(services.home)) as instance:
        storage = instance.event_log_storage
        victim = holder_of_the_slot(client, storage)
        services.kill("daemon")
        queued = client.launch_cell("lsqml_reconstruction_train", "100000", "dense")
        services.kill_all()
        assert instance.get_run_by_id(victim).status == dg.DagsterRunStatus.STARTED
        assert instance.get_run_by_id(queued).status == dg.DagsterRunStatus.QUEUED
        assert storage.get_concurrency_info("gpu").active_run_ids == {victim}
        services.start()
        until(lambda: victim not in storage.get_concurrency_run_ids(), longest_hold(instance), "the slot")
        assert instance.get_run_by_id(victim).status == dg.DagsterRunStatus.FAILURE
        until(lambda: client.status(queued) == "SUCCESS", 900, "the run that was in the queue")
        end = client.ended(backfill, 1800)
        assert storage.get_concurrency_run_ids() == set()
    assert end["status"] == "COMPLETED_SUCCESS"
    assert sorted(run["status"] for run in end["runs"]) == ["FAILURE", "SUCCESS"]


def test_everything_at_once(services: Services, client: Client, grown: Grown) -> None:
    """As in a power cut: no process is left to say that it ended. The backfill goes on when the services are back."""
    backfill = client.backfill(VIEW, None)
    finished = middle(client, backfill)
    started(client, backfill)
    kept = cells(services, finished)
    for name in ("code", "daemon", "webserver"):
        services.kill(name)
    assert services.alive() == []
    with dg.DagsterInstance.from_config(str(services.home)) as instance:
        lost = close_lost_runs(instance)
        assert lost
        assert close_lost_runs(instance) == []
    services.start()
    end = client.ended(backfill, 1800)
    assert end["status"] == "COMPLETED_SUCCESS"
    # Runs that had not told their process yet are ended by Dagster, after the time that they may take to start.
    ended = {run["id"] for run in end["runs"] if run["status"] != "SUCCESS"}
    assert ended >= set(lost)
    # A run may be killed after its view was there, with checks to come: such a cell is not made again.
    assert 9 <= len(end["runs"]) <= 9 + len(ended)
    assert set(services.view_states().values()) == {"fresh", "skipped"}
    assert cells(services, finished) == kept


def test_cancel_and_resume(services: Services, client: Client, grown: Grown) -> None:
    backfill = client.backfill(VIEW, None)
    finished = middle(client, backfill)
    client.cancel(backfill)
    end = client.ended(backfill, 900)
    assert end["status"] == "CANCELED"
    done = [run for run in end["runs"] if run["status"] == "SUCCESS"]
    assert {run["id"] for run in finished} <= {run["id"] for run in done}
    assert len(done) < 9
    kept = cells(services, done)
    again = client.ended(client.failed_and_missing(backfill), 1800)
    assert again["status"] == "COMPLETED_SUCCESS"
    # A run may be cancelled after its view was there, with checks to come: such a cell is not made again.
    there = end["assetBackfillData"]["assetBackfillStatuses"][0]["numPartitionsMaterialized"]
    assert len(done) <= there < 9
    assert there + len(again["runs"]) == 9
    assert set(services.view_states().values()) == {"fresh", "skipped"}
    assert cells(services, done) == kept
