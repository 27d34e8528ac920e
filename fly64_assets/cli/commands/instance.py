"""``fly64 instance``: where Dagster keeps runs, events and backfills."""

from __future__ import annotations

import click

from fly64_assets.cli.driver.instance import keep_in, ready_instance
from fly64_assets.resources.environment import POSTGRES_PASSWORD_VARIABLE


@click.group()
def instance() -> None:
    """Where Dagster keeps its runs and events.

    \b
    Example:
      fly64 instance move postgresql://fly64@db.example.org:5432/dagster
    """


@instance.command()
@click.argument("url")
def move(url: str) -> None:
    """Move the instance from SQLite to PostgreSQL.

    The database must be empty.

    URL is postgresql://USER@HOST:PORT/DATABASE; the password is in the variable FLY64_POSTGRES_PASSWORD. Runs, events,
    materialisations, checks, partitions, backfills, sensors and limits are copied in one transaction and compared row
    by row; then the instance's dagster.yaml gets a section `storage`, and they are used there. The SQLite files stay as
    they were. After an interruption give the command again.

    \b
    Example:
      fly64 instance move postgresql://fly64@db.example.org:5432/dagster
    """
    from fly64_assets.automation.daemons import only_daemon
    from fly64_assets.automation.moving import Database
    from fly64_assets.automation.moving import move as move_instance
    from fly64_assets.automation.runs import load_instance

    database = Database.from_url(url)
    home = ready_instance()
    with load_instance() as source:
        there = database.holds(source)
    if there:
        click.echo(f"the instance is in {database} already")
        return
    with only_daemon():
        with load_instance() as source:
            counts = move_instance(source, database)
        storage = database.settings()
        click.echo(
            f"{database} holds {counts['runs']} runs, {counts['event_logs']} events, {counts['asset_keys']} assets and "
            f"{counts['bulk_actions']} backfills, the same as the SQLite files row by row; those are as they were"
        )
        click.echo(keep_in(home / "dagster.yaml", storage))
    if "password" in storage["postgres"]["postgres_db"]:
        click.echo(f"every process that uses this instance needs the variable {POSTGRES_PASSWORD_VARIABLE}")
