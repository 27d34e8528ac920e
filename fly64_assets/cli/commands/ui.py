"""``fly64 ui``: Dagster's webserver and daemon on the project's instance, and a clean end of both."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import yaml

from fly64_assets.cli.console import Session, fail, pass_session, port_option, signals_to
from fly64_assets.cli.driver.instance import ready_instance
from fly64_assets.cli.driver.runs import run_report_on_disk
from fly64_assets.resources.environment import INBOX_VARIABLE, PREFIX_VARIABLE, default_inbox
from fly64_assets.store.storage import root_name

POLL_SECONDS: Final = 0.2
STOP_SECONDS: Final = 60
"""For webserver, daemon and code server to end after the signal."""
KILL_SECONDS: Final = 3
"""For what is left to be gone after SIGKILL."""
PATIENT: Final = {"DAGSTER_GRPC_TIMEOUT_SECONDS": "600"}
"""Engines keep all cores busy: a run or a sensor may take longer to begin than the minute that Dagster grants it."""
WORKSPACE: Final = "fly64_workspace"
"""Folder in that of the instance with the code locations of studies that are open side by side."""
LOCATION: Final = '''"""The code location of the study {name}, written by `fly64 ui`."""

import os

os.environ.update({variables})

from fly64_assets.definitions import defs
'''
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@port_option
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The UI has no login: mind who can reach it.",
)
@click.option("--study", "beside", multiple=True, metavar="NAME-or-FILE", help="Open this study; repeat for several.")
@pass_session
def ui(session: Session, port: int, host: str, beside: tuple[str, ...]) -> None:
    """Start the Dagster UI and daemon on this study, or on several side by side.

    Ctrl-C or SIGTERM stops both, with status 0 (before the UI is open: 130 or 143); runs that were at work go on at
    the next start.

    \b
    Example:
      fly64 ui --port 3001
      fly64 ui --study demo --study fly64
    """
    sessions = [Session(study, session.data_root) for study in beside] or [session]
    studies = _by_name(sessions)
    _require_free(host, port)
    home = ready_instance()
    workspace = _workspace(home, studies) if len(studies) > 1 or _has_prefix(*studies) else None
    inboxes = ", ".join(str(_inbox(study, name if workspace else "")) for name, study in studies.items())
    click.echo(f"starting the Dagster UI and daemon (instance in {home}; base files go into {inboxes})")
    asked: list[int] = []
    from fly64_assets.automation.daemons import only_daemon

    # Also where a shell started this process in the background with Ctrl-C ignored: Dagster would otherwise ignore
    # SIGTERM as well.
    with only_daemon(), signals_to(lambda number, _frame: asked.append(number), *SIGNALS):
        services = _start(sessions[0], workspace, host, port)
        is_open = False
        try:
            is_open = _watch(services, host, port, asked)
        finally:
            try:
                stopped = _runs_at_work()
            finally:
                _end(services, asked, at_once=not is_open)
            _note_stopped(stopped)
    if asked and not is_open:
        fail("stopped before the UI was open; nothing is left at work", 128 + asked[0])
    if not asked:
        fail(f"the Dagster UI ended unexpectedly (status {services.returncode}); see its output above")
    click.echo("stopped")


def _by_name(sessions: Sequence[Session]) -> dict[str, Session]:
    """Studies by their names; leaves with a sentence where two are the same, or one cannot be."""
    found: dict[str, Session] = {}
    for session in sessions:
        design = session.design()
        session.store(design)  # refuses what cannot be
        if design.name in found:
            fail(f"{session.study} and {found[design.name].study} are both the study {design.name}: name it once", 2)
        found[design.name] = session
    return found


def _has_prefix(study: str) -> bool:
    """Whether a study was opened beside others in this instance before."""
    from fly64_assets.automation.runs import load_instance
    from fly64_assets.automation.side_by_side import is_side_by_side

    with load_instance() as instance:
        return is_side_by_side(instance, study)


def _workspace(home: Path, studies: Mapping[str, Session]) -> Path:
    """A workspace with a code location for each study, whose asset keys begin with the study's name.

    A location is a file that sets the study's variables before it loads the definitions, so that the processes of its
    runs, which load it as well, act on the same study.
    """
    folder = home / WORKSPACE
    folder.mkdir(exist_ok=True)
    locations = []
    for name, session in studies.items():
        if reported := run_report_on_disk(session):
            click.echo(f"study {name}: {reported} results on disk are known to this instance now")
        own = {INBOX_VARIABLE: str(_inbox(session, name).resolve()), PREFIX_VARIABLE: name}
        variables = json.dumps(session.environment() | own, indent=4)
        file = folder / f"{name}.py"
        file.write_text(LOCATION.format(name=name, variables=variables), encoding="utf-8")
        locations.append({"python_file": {"relative_path": file.name, "location_name": name, "attribute": "defs"}})
    workspace = folder / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": locations}), encoding="utf-8")
    return workspace


def _inbox(session: Session, study: str) -> Path:
    """The folder that the sensor watches, of one study where several are open; one in the data root is created."""
    if given := os.environ.get(INBOX_VARIABLE):
        return Path(given, study)
    folder = Path(default_inbox(root_name(session.data_root)), study)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _require_free(host: str, port: int) -> None:
    """Leave with one sentence where the address cannot be listened on."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as listener:
            # A port that was in use a moment ago may be taken again, as the webserver does.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        fail(
            f"{host}:{port} cannot be used ({error.strerror}): is a UI running there already? Open it, stop it, or "
            "choose another with --port"
        )


def _start(session: Session, workspace: Path | None, host: str, port: int) -> subprocess.Popen[bytes]:
    """Webserver, daemon and the code servers of a workspace, or of one study, as one group of processes."""
    locations = ["-m", "fly64_assets.definitions"] if workspace is None else ["-w", str(workspace)]
    # As a module: no script `dagster` need be on the PATH or beside Python, and no file of the working folder is taken
    # for a module of Python's (-P).
    program = [sys.executable, "-P", "-m", "dagster", "dev", *locations]
    options = ["-h", host, "-p", str(port), "--log-level", "warning", "--code-server-log-level", "warning"]
    # Python does not say that `dagster dev` has a successor in a package that this project does not need.
    quiet = {"PYTHONWARNINGS": "ignore:Function `dev_command` is superseded", "DAGSTER_DISABLE_TELEMETRY": "yes"}
    return subprocess.Popen(
        [*program, *options],
        env={**PATIENT, **os.environ, **quiet, **session.environment()},
        stdin=subprocess.DEVNULL,
        # Ctrl-C in a terminal reaches them through us, once.
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 (this process has one thread)
    )


def _end_with_parent() -> None:
    """In the child: ask the kernel for SIGTERM when the parent is killed (Linux: PR_SET_PDEATHSIG = 1)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _watch(services: subprocess.Popen[bytes], host: str, port: int, asked: list[int]) -> bool:
    """Print the address as soon as the page can be opened; return when a signal comes or the services end.

    True if the page could be opened.
    """
    is_open = False
    while not asked and services.poll() is None:
        if not is_open:
            with suppress(OSError), socket.create_connection((host, port), timeout=1):
                is_open = True
                click.echo(f"http://{host}:{port}  (Ctrl-C stops it)")
        time.sleep(POLL_SECONDS)
    return is_open


def _end(services: subprocess.Popen[bytes], asked: list[int], *, at_once: bool) -> None:
    """End the services by a signal, then kill what is left in their process group; a second signal ends all at once.

    Services that have only begun to start are killed at once: each would print how it was interrupted. A run that is
    asked to end may report its engine's end as a failure of the step, which is not begun again; a killed one has
    nothing half-written.
    """
    signals = len(asked)

    def wait(ended: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not ended() and len(asked) == signals and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    if not at_once and services.poll() is None:
        with suppress(OSError):  # the terminal may be gone
            click.echo("stopping; once more: at once")
        services.send_signal(signal.SIGINT)
        wait(lambda: services.poll() is not None, STOP_SECONDS)
    _signal_group(services.pid, signal.SIGKILL)
    services.wait()
    wait(lambda: not _signal_group(services.pid, 0), KILL_SECONDS)


def _runs_at_work() -> list[str]:
    from fly64_assets.automation.runs import load_instance, runs_at_work

    with load_instance() as instance:
        return runs_at_work(instance)


def _note_stopped(runs: list[str]) -> None:
    """Have the runs that ended with the services begun again at the next start, and say so."""
    from fly64_assets.automation.runs import begin_again, load_instance

    with load_instance() as instance, suppress(OSError):
        for run in begin_again(instance, runs):
            how = "it goes on at the next start" if instance.run_retries_enabled else "re-execute it in the UI"
            click.echo(f"run {run[:8]} was at work: {how}")


def _signal_group(group: int, number: int) -> bool:
    """Signal every process of a group; False if there is none left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
