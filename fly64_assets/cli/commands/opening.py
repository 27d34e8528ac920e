"""``fly64 open``: the report, or the Dagster UI that runs already, in the browser."""

from __future__ import annotations

import socket
from typing import Final

import click

from fly64_assets.cli.console import Session, fail, pass_session, port_option
from fly64_assets.store.storage import fetched, storage_in
from fly64_assets.study.states import active_layout

CONNECT_SECONDS: Final = 2


@click.command("open")
@click.argument("what", type=click.Choice(("report", "ui")), default="report")
@port_option
@pass_session
def open_page(session: Session, what: str, port: int) -> None:
    """Open the report of the study, or the Dagster UI, in the browser.

    \b
    Example:
      fly64 open
      fly64 open ui
    """
    address = _report(session) if what == "report" else _ui(port)
    click.echo(address)
    if click.launch(address):
        fail("no browser could be started here: open this address yourself")


def _report(session: Session) -> str:
    folder = active_layout(session.store(session.design())).report_folder
    path = folder / "index.html"
    for file in storage_in(folder).files(folder):
        fetched(file)
    if not path.is_file():
        fail(
            f"there is no report at {path}: `fly64 report` writes one from what is there, `fly64 run` builds all of it"
        )
    return path.as_uri()


def _ui(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS):
            return f"http://127.0.0.1:{port}"
    except OSError:
        fail(f"no UI listens on port {port} of this machine: start it with `fly64 ui --port {port}`")
