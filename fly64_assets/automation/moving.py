"""Moving a Dagster instance from SQLite to PostgreSQL: everything or nothing, and compared before it counts.

An asset's events keep their numbers, since sensors' cursors, automation and provenance refer to them. SQLite keeps
every other event of a run in a file of its own, with numbers that another run has, too: those get new numbers, above
all others and in their order. Does not belong here: settings of the instance (``cli.driver.instance``).
"""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.schema import RunsTable, RunStorageSqlMetadata, SecondaryIndexMigrationTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.schedules.sqlite import SqliteScheduleStorage

from fly64_assets.automation.runs import runs_at_work
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import POSTGRES_PASSWORD_VARIABLE

SCHEME: Final = "postgresql+psycopg2"
"""SQLAlchemy 2.1 means another driver by ``postgresql``, one that dagster-postgres does not work with."""
BATCH: Final = 1000
"""Rows that are held in memory at a time."""
OWN: Final = frozenset({"secondary_indexes", "daemon_heartbeats"})
"""Tables that say something about a database or a process, and nothing of the instance's history."""
_SECRETS: Final = frozenset({"password", "sslpassword"})
"""Options of a connection that must not stand in a URL, nor in the ``dagster.yaml`` that options are written to."""
MADE: Final = "instance_info"
"""A table with a row from the beginning: the identity of the instance, which moves."""

Row = dict[str, Any]
Connect = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True)
class Database:
    """Where a PostgreSQL database is. The password stays in the environment (``FLY64_POSTGRES_PASSWORD``)."""

    hostname: str
    port: int
    username: str
    name: str
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_url(cls, text: str) -> "Database":
        """Read ``postgresql://USER@HOST[:PORT]/NAME[?option=value…]``. Raises :class:`Fly64Error` for anything else."""
        try:
            url = sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError) as error:
            raise Fly64Error(_unreadable()) from error
        if url.password is not None or _SECRETS & set(url.query):
            raise Fly64Error(
                f"the URL holds a password, which others see in the list of processes: put it into the variable "
                f"{POSTGRES_PASSWORD_VARIABLE} instead"
            )
        if url.get_backend_name() != "postgresql" or not (url.host and url.username and url.database):
            raise Fly64Error(_unreadable())
        params = {key: str(value) for key, value in url.query.items()}
        return cls(url.host, url.port or 5432, url.username, url.database, params)

    def holds(self, instance: dg.DagsterInstance) -> bool:
        """Whether an instance keeps its runs here."""
        storage = instance.run_storage
        if not isinstance(storage, SqlRunStorage):
            return False
        with storage.connect() as connection:
            url = connection.engine.url
        here = (self.hostname, self.port, self.name)
        return url.get_backend_name() == "postgresql" and (url.host, url.port or 5432, url.database) == here

    def settings(self) -> dict[str, Any]:
        """The section ``storage`` of a ``dagster.yaml``."""
        place: dict[str, Any] = {"scheme": SCHEME, "hostname": self.hostname, "port": self.port}
        place |= {"username": self.username, "db_name": self.name}
        if os.environ.get(POSTGRES_PASSWORD_VARIABLE):
            place["password"] = {"env": POSTGRES_PASSWORD_VARIABLE}
        if self.params:
            place["params"] = dict(self.params)
        return {"postgres": {"postgres_db": place}}

    def url(self) -> sa.URL:
        """For SQLAlchemy, with the password."""
        password = os.environ.get(POSTGRES_PASSWORD_VARIABLE) or None
        return sa.URL.create(SCHEME, self.username, password, self.hostname, self.port, self.name, self.params)

    def __str__(self) -> str:
        return f"{self.name} on {self.hostname}:{self.port}"


def move(instance: dg.DagsterInstance, database: Database) -> dict[str, int]:
    """Copy runs, events, assets, checks, partitions, backfills, sensors, limits into an empty database; rows per table.

    One transaction, read back and compared row by row before it is committed. A database that holds the same already is
    left alone. Raises :class:`Fly64Error` where the instance is not in SQLite, is at work or of an older version, and
    where the database cannot be used, holds something else, or gives back other content.
    """
    sources = _sources(instance)
    if working := runs_at_work(instance):
        raise Fly64Error(
            f"{len(working)} runs are at work ({working[0][:8]}, …): let them end, or stop them, and move then"
        )
    engine = _prepared(database)
    try:
        _require_same_version(instance, engine)
        with engine.begin() as target:
            target.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
            names = ", ".join(table.name for table in sources)
            target.execute(sa.text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
            counts = {
                table.name: target.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in sources
            }
            filled = any(count for name, count in counts.items() if name != MADE)
            if not filled:
                counts = {table.name: _copied(target, table, rows()) for table, rows in sources.items()}
            different = [
                table.name for table, rows in sources.items() if _digest(rows()) != _digest(_stored(target, table))
            ]
            if different and filled:
                raise Fly64Error(
                    f"the database {database} holds another Dagster instance already ({counts['runs']} runs, "
                    f"{counts['event_logs']} events): create an empty one and move there"
                )
            if different:
                raise Fly64Error(
                    f"{database} gives back other rows than it got ({', '.join(different)}): nothing was moved"
                )
    except sa.exc.DBAPIError as error:
        raise Fly64Error(_refused(database, error)) from error
    finally:
        engine.dispose()
    return counts


def _sources(instance: dg.DagsterInstance) -> dict[sa.Table, Callable[[], Iterator[Row]]]:
    """Every table that moves, in the order of their references, with a function that reads its rows."""
    runs, events, schedules = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    if not (
        isinstance(runs, SqliteRunStorage)
        and isinstance(events, SqliteEventLogStorage)
        and isinstance(schedules, SqliteScheduleStorage)
    ):
        raise Fly64Error("only an instance that keeps everything in SQLite can be moved, and this one does not")
    places: list[tuple[sa.MetaData, Connect]] = [
        (RunStorageSqlMetadata, runs.connect),
        (SqlEventLogStorageMetadata, events.index_connection),
        (ScheduleStorageSqlMetadata, schedules.connect),
    ]
    found: dict[sa.Table, Callable[[], Iterator[Row]]] = {}
    for metadata, connect in places:
        for table in metadata.sorted_tables:
            if table.name not in OWN:
                found[table] = functools.partial(_rows, connect, table)
    found[SqlEventLogStorageTable] = functools.partial(_events, runs, events)
    return found


def _rows(connect: Connect, table: sa.Table) -> Iterator[Row]:
    """Rows of a table in the order of their numbers. The connection is closed between batches: SQLite lends one."""
    last = -(2**62)
    while True:
        query = sa.select(table).where(table.c.id > last).order_by(table.c.id).limit(BATCH)
        with connect() as connection:
            batch = [dict(row) for row in connection.execute(query).mappings()]
        yield from batch
        if len(batch) < BATCH:
            return
        last = batch[-1]["id"]


def _events(runs: SqliteRunStorage, events: SqliteEventLogStorage) -> Iterator[Row]:
    """All events: those of the index as they are, and what only the files of single runs hold, newly numbered.

    SQLite keeps events about assets and a run's state twice. Those that were deleted from the index, since their asset
    was wiped, stay in the run's log and belong to no asset.
    """
    table, number = SqlEventLogStorageTable, 0
    for row in _rows(events.index_connection, table):
        number = row["id"]
        yield row
    kept = set(events.get_all_run_ids())
    with runs.connect() as connection:
        order = [run for (run,) in connection.execute(sa.select(RunsTable.c.run_id).order_by(RunsTable.c.id))]
    known = set(order)
    for run in [*(run for run in order if run in kept), *sorted(kept - known)]:
        with events.index_connection() as connection:
            twice = Counter(connection.execute(sa.select(table.c.event).where(table.c.run_id == run)).scalars())
        for row in _rows(functools.partial(events.run_connection, run), table):
            if twice[row["event"]]:
                twice[row["event"]] -= 1
                continue
            number += 1
            yield {**row, "id": number, "asset_key": None}


def _copied(target: sa.Connection, table: sa.Table, rows: Iterator[Row]) -> int:
    """Write rows with their numbers, have later ones numbered from there on, and count them."""
    target.execute(sa.delete(table))
    count, batch = 0, []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            target.execute(sa.insert(table), batch)
            count, batch = count + len(batch), []
    if batch:
        target.execute(sa.insert(table), batch)
        count += len(batch)
    if count:
        newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
        target.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table.name, "id"), newest)))
    return count


def _stored(target: sa.Connection, table: sa.Table) -> Iterator[Row]:
    result = target.execution_options(yield_per=BATCH).execute(sa.select(table).order_by(table.c.id))
    yield from (dict(row) for row in result.mappings())


def _digest(rows: Iterator[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        plain = {key: bytes(value) if isinstance(value, memoryview) else value for key, value in row.items()}
        digest.update(repr(sorted(plain.items())).encode())
    return digest.hexdigest()


def _prepared(database: Database) -> sa.Engine:
    """The database with Dagster's tables, made by Dagster's own code, and with UTC as the time zone of this user.

    Dagster takes the database's clock for UTC: in a zone west of it a run that was just created would be hours old, and
    Dagster's monitoring would fail it because it took too long to start.
    """
    try:
        from dagster_postgres import DagsterPostgresStorage
        from dagster_postgres.utils import DagsterPostgresException
    except ImportError as error:
        raise Fly64Error(
            f"the package dagster-postgres is missing ({error}): pip install 'fly64-assets[postgres]'"
        ) from error
    url = database.url()
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:  # Dagster would try for half a minute
            name = engine.dialect.identifier_preparer.quote_identifier(database.name)
            connection.execute(sa.text(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET timezone TO 'UTC'"))
        engine.dispose()  # the zone is that of new connections
        DagsterPostgresStorage(url.render_as_string(hide_password=False))
    except (sa.exc.DBAPIError, DagsterPostgresException) as error:
        raise Fly64Error(_refused(database, error)) from error
    return engine


def _require_same_version(instance: dg.DagsterInstance, engine: sa.Engine) -> None:
    """Raise where the SQLite tables are of an older Dagster than those just made."""
    runs, events, schedules = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    assert isinstance(runs, SqliteRunStorage)
    assert isinstance(events, SqliteEventLogStorage)
    assert isinstance(schedules, SqliteScheduleStorage)
    versions = (runs.alembic_version(), events.alembic_version(), schedules.alembic_version())
    current = all(version == newest for version, newest in versions)
    migrated = sa.select(SecondaryIndexMigrationTable.c.name).where(
        SecondaryIndexMigrationTable.c.migration_completed.is_not(None)
    )
    done: set[str] = set()
    for connect in (runs.connect, events.index_connection, schedules.connect):
        with connect() as connection:
            done |= set(connection.execute(migrated).scalars())
    with engine.connect() as target:
        needed = set(target.execute(migrated).scalars())
    if not current or needed - done:
        raise Fly64Error(
            "the instance is of an older Dagster: first bring it up to date with `dagster instance migrate`"
        )


def _refused(database: Database, error: Exception) -> str:
    why = " ".join(str(getattr(error, "orig", None) or error.__cause__ or error).split())[:300]
    return f"the PostgreSQL database {database} cannot be used ({why}): nothing was moved"


def _unreadable() -> str:
    return "expected a URL such as postgresql://USER@HOST:5432/DATABASE, without a password"
