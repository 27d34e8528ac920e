"""``fly64 ui``: Dagster's webserver and daemon on the project's instance."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from fly64_assets.cli.console import Session, clean_errors, pass_session
from fly64_assets.cli.instance import dagster_home


@click.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The UI has no login: mind who can reach it.")
@pass_session
@clean_errors
def ui(session: Session, port: int, host: str) -> None:
    """Start the Dagster UI and daemon on this study's instance; Ctrl-C stops both.

    \b
    Example:
      fly64 ui --port 3001
    """
    session.design()
    home = dagster_home()
    click.echo(f"http://{host}:{port}  (instance in {home})")
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-m", "fly64_assets.definitions"]
    environment = os.environ | session.environment()
    os.execve(command[0], [*command, "-h", host, "-p", str(port)], environment)  # noqa: S606
