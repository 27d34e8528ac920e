"""The slot of a pool that a step holds: whether it is the step's alone.

Dagster 1.13 reads a free slot and writes its new holder in two statements that another step may come between, in
SQLite and in PostgreSQL. Steps that ask in the same instant can therefore both be told that the slot is theirs, while
it keeps the name of the last one only.
"""

import time
from collections.abc import Callable
from typing import Final

import dagster as dg

SETTLED_SECONDS: Final = 2.0
"""By then whoever read a slot as free has written its name there."""

ASK_SECONDS: Final = 1.0


def keep_to_one_slot(instance: dg.DagsterInstance, pool: str, run: str, step: str, say: Callable[[str], None]) -> None:
    """Return when a step that Dagster has let begin really holds a slot of its pool.

    It does so at once where no more steps were let begin than there are slots, and where the pool limits runs or
    nothing. Otherwise the step whose name the slot kept goes on; another one tells ``say`` that it waits, and asks for
    a slot again until it gets one.
    """
    storage, own = instance.event_log_storage, (run, step)
    waits = False
    while True:
        info = storage.get_concurrency_info(pool)
        begun = {(each.run_id, each.step_key) for each in info.pending_steps if each.assigned_timestamp is not None}
        if own not in begun or (not waits and len(begun) <= info.slot_count):
            return
        time.sleep(SETTLED_SECONDS)
        if own in {(each.run_id, each.step_key) for each in storage.get_concurrency_info(pool).claimed_slots}:
            return
        if not waits:
            say(f"another step took the same slot of the pool {pool} in the same instant: this one waits for it")
            waits = True
        while not storage.claim_concurrency_slot(pool, run, step).is_claimed:
            time.sleep(ASK_SECONDS)
