"""Steps that Dagster let begin with the same slot of a pool: one goes on, the others wait for a slot of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.schema import ConcurrencySlotsTable
from sqlalchemy.exc import IntegrityError

from fly64_assets.automation import slots
from fly64_assets.automation.runs import free_slots
from fly64_assets.automation.slots import give_idle_slots, keep_to_one_slot

SETTINGS = "telemetry: {enabled: false}\nconcurrency: {pools: {default_limit: %d, granularity: op}}\n"
STEP = "engine"
WAITS = "this step has no slot of the pool gpu to itself: it waits for one"


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
    takes_the_place_of(instance, last, first)
    assert storage.claim_concurrency_slot("gpu", last, STEP).is_claimed


def takes_the_place_of(instance: dg.DagsterInstance, last: str, first: str) -> None:
    with instance.event_log_storage.index_connection() as connection:
        table = ConcurrencySlotsTable
        connection.execute(table.update().where(table.c.run_id == first).values(run_id=last, step_key=STEP))


def holders(instance: dg.DagsterInstance) -> set[str]:
    return instance.event_log_storage.get_concurrency_info("gpu").active_run_ids


@contextmanager
def waiting(instance: dg.DagsterInstance, run: str, said: list[str]) -> Iterator[Future[None]]:
    """A step that has said that it waits; it has ended at the end."""
    asks = partial(keep_to_one_slot, instance, "gpu", run, STEP, said.append)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(asks)
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.05)
        assert said == [WAITS]
        assert not ended.done()
        yield ended
        ended.result(20)


def test_the_last_holder_goes_on_and_the_other_waits_for_it(instance: dg.DagsterInstance) -> None:
    both_begin(instance, "first", "last")
    keep_to_one_slot(instance, "gpu", "last", STEP, pytest.fail)
    with waiting(instance, "first", []):
        assert holders(instance) == {"last"}
        instance.event_log_storage.free_concurrency_slots_for_run("last")
    assert holders(instance) == {"first"}


def test_a_name_written_a_moment_later_is_seen(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other step has read the slot as free, and writes its name while this one looks."""
    storage, said = instance.event_log_storage, []
    for run in ("first", "last"):
        storage.add_pending_step("gpu", run, STEP, should_assign=True)
    assert storage.claim_concurrency_slot("gpu", "first", STEP).is_claimed

    def later(seconds: float) -> None:
        if "first" in holders(instance) and not said:
            takes_the_place_of(instance, "last", "first")
        elif said:
            storage.free_concurrency_slots_for_run("last")

    monkeypatch.setattr(slots.time, "sleep", later)
    keep_to_one_slot(instance, "gpu", "first", STEP, said.append)
    assert said == [WAITS]
    assert holders(instance) == {"first"}


def test_of_two_slots_each_gets_one(instance: dg.DagsterInstance) -> None:
    """Both were told the same one: the other one is free, and nobody needs to wait."""
    both_begin(instance, "first", "last")
    instance.event_log_storage.set_concurrency_slots("gpu", 2)
    for run in ("last", "first"):
        keep_to_one_slot(instance, "gpu", run, STEP, pytest.fail)
    assert holders(instance) == {"first", "last"}


def test_a_pool_that_was_deleted_meanwhile_has_its_slots_again(instance: dg.DagsterInstance) -> None:
    both_begin(instance, "first", "last")
    with waiting(instance, "first", []):
        instance.event_log_storage.delete_concurrency_limit("gpu")
        with pytest.raises(IntegrityError):  # Dagster's, while somebody stands in a slot of its last pool
            instance.event_log_storage.get_pool_limits()
        give_idle_slots(instance)
        time.sleep(0.5)  # The step that waits asks meanwhile.
        instance.event_log_storage.free_concurrency_slots_for_run("last")
    assert holders(instance) == {"first"}


def test_a_step_whose_run_has_ended_takes_no_slot(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(dg.job(name="ended")(lambda: None), status=dg.DagsterRunStatus.FAILURE)
    both_begin(instance, run.run_id, "last")
    with pytest.raises(dg.Failure, match="the run ended while this step waited for the pool gpu"):
        keep_to_one_slot(instance, "gpu", run.run_id, STEP, pytest.fail)


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


def test_a_free_slot_is_given_to_a_step_that_dagster_overlooked(instance: dg.DagsterInstance) -> None:
    """They began to wait in the instant in which the holder ended."""
    storage, runs = instance.event_log_storage, ("one", "other")
    for run in runs:
        storage.add_pending_step("gpu", run, STEP, should_assign=False)
        assert not storage.claim_concurrency_slot("gpu", run, STEP).is_claimed
    free_slots(instance)
    assert sum(storage.claim_concurrency_slot("gpu", run, STEP).is_claimed for run in runs) == 1
