"""The slot of a pool that a step holds: whether it is the step's alone.

Dagster 1.13 reads a free slot and writes its new holder in two statements that another step may come between, in
SQLite and in PostgreSQL. Steps that ask in the same instant can therefore both be told that the slot is theirs, while
it keeps the name of the last one only.

Where a user has deleted the last pool with a limit while a step still stands in one of its slots, Dagster 1.13 can
neither read nor change limits until all its slots are given back: each call that does raises IntegrityError.
"""

import time
from collections.abc import Callable
from typing import Final

import dagster as dg
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy.exc import IntegrityError

SETTLED_SECONDS: Final = 3.0
"""By then a step that found a slot free has written its name there, unless the database was busy for longer."""
ASK_SECONDS: Final = 1.0


def keep_to_one_slot(instance: dg.DagsterInstance, pool: str, run: str, step: str, say: Callable[[str], None]) -> None:
    """Return when a step that Dagster has let begin really holds a slot of its pool.

    It does so at once where every step that was given a slot stands in one, and where the pool limits runs or nothing;
    else after :data:`SETTLED_SECONDS` where the step stands in one by then. Otherwise it tells ``say`` that it waits,
    and asks until it gets one. Raises ``dagster.Failure`` where its run has ended meanwhile.
    """
    storage, own, waits = instance.event_log_storage, (run, step), False
    if not storage.supports_global_concurrency_limits:
        return
    info = storage.get_concurrency_info(pool)
    given = {(each.run_id, each.step_key) for each in info.pending_steps if each.assigned_timestamp is not None}
    if own not in given or given <= _holders(instance, pool):
        return
    time.sleep(SETTLED_SECONDS)
    while own not in _holders(instance, pool):
        if not _is_limited(instance, pool):
            return
        if (known := instance.get_run_by_id(run)) is not None and known.is_finished:
            raise dg.Failure(f"the run ended while this step waited for the pool {pool}", allow_retries=False)
        if storage.claim_concurrency_slot(pool, run, step).is_claimed:
            time.sleep(SETTLED_SECONDS)
            continue
        if not waits:
            say(f"this step has no slot of the pool {pool} to itself: it waits for one")
            waits = True
        time.sleep(ASK_SECONDS)


def give_idle_slots(instance: dg.DagsterInstance) -> None:
    """Give slots that nobody holds to steps that wait for one.

    A step that begins to wait in the instant in which the last holder ends is overlooked by Dagster until another step
    ends.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage) or not storage.supports_global_concurrency_limits:
        return
    try:
        pools = storage.get_concurrency_keys()
    except IntegrityError:
        return
    for pool in pools:
        info = storage.get_concurrency_info(pool)
        for _ in range(min(info.pending_step_count, info.slot_count - info.assigned_step_count)):
            storage.assign_pending_steps([pool])


def _holders(instance: dg.DagsterInstance, pool: str) -> set[tuple[str, str]]:
    """Runs and steps that stand in the slots of a pool."""
    info = instance.event_log_storage.get_concurrency_info(pool)
    return {(each.run_id, each.step_key) for each in info.claimed_slots}


def _is_limited(instance: dg.DagsterInstance, pool: str) -> bool:
    """Whether a pool has slots; one that a user deleted has its default ones again, if there is a default.

    It counts as limited while the limits cannot be read.
    """
    storage = instance.event_log_storage

    def known() -> bool:
        return pool in {each.name for each in storage.get_pool_limits()}

    try:
        if not known():
            storage.initialize_concurrency_limit_to_default(pool)
        return known()
    except IntegrityError:
        return True
