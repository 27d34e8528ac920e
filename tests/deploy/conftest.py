"""A PostgreSQL server for all tests that need one, and a new database for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from deploy.postgres_server import MISSING, PASSWORD, Server
from fixtures.absent import absent
from fixtures.graph import dagster_previews  # noqa: F401

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A running server; nothing of it is left afterwards."""
    if MISSING:
        absent(MISSING)
    pytest.importorskip("dagster_postgres", reason="needs the extra postgres: make cluster")
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def new_database(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Makes an empty database and returns its URL, for a user whose password is in the environment."""
    monkeypatch.setenv("FLY64_POSTGRES_PASSWORD", PASSWORD)
    return lambda: server.database(f"dagster{next(NUMBERS)}")
