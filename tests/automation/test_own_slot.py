"""Two steps that Dagster let begin with one slot of a pool: one of them goes on, the other waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.schema import ConcurrencySlotsTable

from fly64_assets.automation import slots
from fly64_assets.automation.slots import keep_to_one_slot

SETTINGS = "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: %d, granularity: op}}\n"
STEP = "engine"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """One slot of the pool ``gpu``."""
    monkeypatch.setattr(slots, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(slots, "ASK_SECONDS", 0.05)
    (tmp_path / "dagster.yaml").write_text(SETTINGS % 1)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
        yield instance


def both_begin(instance: dg.DagsterInstance, first: str, last: str) -> None:
    """What is left when both have read the slot as free before either wrote its name."""
    storage = instance.event_log_storage
    for run in (first, last):
        storage.add_pending_step("gpu", run, STEP, should_assign=True)
    assert storage.claim_concurrency_slot("gpu", first, STEP).is_claimed
    with storage.index_connection() as connection:
        connection.execute(ConcurrencySlotsTable.update().values(run_id=last, step_key=STEP))
    assert storage.claim_concurrency_slot("gpu", last, STEP).is_claimed


def test_the_last_holder_goes_on_and_the_other_waits_for_it(instance: dg.DagsterInstance) -> None:
    both_begin(instance, "first", "last")
    said: list[str] = []
    keep_to_one_slot(instance, "gpu", "last", STEP, said.append)
    assert said == []

    waiting = threading.Thread(target=keep_to_one_slot, args=(instance, "gpu", "first", STEP, said.append), daemon=True)
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    assert said == ["another step took the same slot of the pool gpu in the same instant: this one waits for it"]

    instance.event_log_storage.free_concurrency_slots_for_run("last")
    waiting.join(20)
    assert not waiting.is_alive()
    assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == {"first"}


def test_a_step_alone_and_one_with_a_slot_of_its_own_do_not_wait(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots.time, "sleep", lambda seconds: pytest.fail("it waited"))
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot("gpu", "first", STEP).is_claimed
    assert not storage.claim_concurrency_slot("gpu", "later", STEP).is_claimed  # it was not let begin
    keep_to_one_slot(instance, "gpu", "first", STEP, pytest.fail)
    storage.set_concurrency_slots("gpu", 2)
    assert storage.claim_concurrency_slot("gpu", "later", STEP).is_claimed
    for run in ("first", "later"):
        keep_to_one_slot(instance, "gpu", run, STEP, pytest.fail)


def test_without_a_slot_nobody_waits(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools that limit runs instead of steps, and instances that limit nothing."""
    monkeypatch.setattr(slots.time, "sleep", lambda seconds: pytest.fail("it waited"))
    both_begin(instance, "first", "last")
    keep_to_one_slot(instance, "gpu", "neither", STEP, pytest.fail)
    with dg.DagsterInstance.ephemeral() as other:
        keep_to_one_slot(other, "gpu", "first", STEP, pytest.fail)
