"""One daemon for an instance: two would launch every run twice, and Dagster itself only logs that there are two."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from fly64_assets.automation.runs import load_instance
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import instance_folder
from fly64_assets.store.locks import HeldError, file_lock

LOCK_NAME: Final = ".daemon.lock"
LOCK_NUMBER: Final = 0xF1640001
"""PostgreSQL's advisory lock, one of the database: everybody who shares the instance sees it."""
REPORT_SECONDS: Final = 30
"""A daemon writes into the instance that often that it is alive."""
PATIENCE_SECONDS: Final = 1.5 * REPORT_SECONDS
RECENT_SECONDS: Final = 4 * REPORT_SECONDS
"""An older report is of a daemon that has ended, also where the clocks of two machines differ by a minute."""


@contextmanager
def only_daemon() -> Iterator[None]:
    """Be the only one who may run a daemon on this process's instance, or change what a daemon reads.

    Raises :class:`Fly64Error` where a daemon works already, of ``fly64 ui`` or any other; to know that takes up to 45 s
    if one has reported in the last two minutes. At the end the reports of this one are removed.
    """
    with load_instance() as instance, _lock(instance):
        _require_silence(instance)
        try:
            yield
        finally:
            # The instance may be out of reach by now; its old reports then cost the next start the wait.
            with suppress(sa.exc.SQLAlchemyError, OSError, Fly64Error), load_instance() as again:
                again.wipe_daemon_heartbeats()


@contextmanager
def _lock(instance: dg.DagsterInstance) -> Iterator[None]:
    storage = instance.run_storage
    if isinstance(storage, SqliteRunStorage):
        path = instance_folder() / LOCK_NAME
        try:
            with file_lock(path, "daemon", wait=False):
                yield
        except HeldError as error:
            raise Fly64Error(_refusal(str(error))) from error
        return
    assert isinstance(storage, SqlRunStorage)
    ended = False
    try:
        with storage.connect() as connection:
            if connection.dialect.name == "postgresql":
                taken = connection.execute(sa.select(sa.func.pg_try_advisory_lock(LOCK_NUMBER))).scalar()
                if not taken:
                    raise Fly64Error(_refusal(f"it holds the lock of the database {connection.engine.url.database}"))
            yield
            ended = True
    except (sa.exc.OperationalError, sa.exc.InterfaceError):
        if not ended:
            raise
        # The server has closed the connection meanwhile, and with it the lock.


def _require_silence(instance: dg.DagsterInstance) -> None:
    """Raise where a daemon reports while one watches; one that was killed has left its last report only."""
    known = _last_report(instance)
    if time.time() - known > RECENT_SECONDS:
        return
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(1)
        if (last := _last_report(instance)) > known:
            clock = time.strftime("%H:%M:%S", time.localtime(last))
            raise Fly64Error(_refusal(f"it reported at {clock}"))


def _last_report(instance: dg.DagsterInstance) -> float:
    """When a daemon last wrote that it is alive [seconds since 1970]; 0 if none ever did."""
    return max((one.timestamp for one in instance.get_daemon_heartbeats().values()), default=0.0)


def _refusal(why: str) -> str:
    return (
        f"another daemon works on this Dagster instance ({why}): two would launch every run twice. Open the page of "
        "the `fly64 ui` that runs already, on whichever machine, or stop it first"
    )
