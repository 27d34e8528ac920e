"""Webserver, daemon and code server of a tiny study, as processes that a test can start, kill and stop.

Belongs here: processes and their folder. Does not belong here: what is asked of them (``client``).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

import yaml

import fly64_assets
from fly64_assets.cli.commands.ui import PATIENT
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import find_records
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.states import active_layout, study_states

T = TypeVar("T")
FULL = os.environ.get("FLY64_ENDTOEND") == "full"
"""Whether the long tests run too (``make endtoend``)."""

BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
START_SECONDS = 120
STOP_SECONDS = 30
STUDY = """
name: endtoend
dose_list: [1e3, 1e4, 1e5]
base: {amplitude: coins, phase: grass, object_size: 132, positions: 60}
pinn: {epochs: 1, levels: [1.2], level_iterations: 1, steps_per_epoch: 1}
lsqml: {epochs: 2}
"""


def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Wait for something true and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: nothing after {seconds} s"
        time.sleep(0.2)
    return value


def free_port() -> int:
    """A port of this machine without a listener."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Services:
    """The three services of a Dagster deployment on a folder of their own, under our shipped settings.

    ``folder`` holds the design, the instance (``dagster``), the data root (``data``) and a log for each service.
    """

    def __init__(self, folder: Path, study: str = STUDY) -> None:
        self.folder = folder
        self.home, self.data = folder / "dagster", folder / "data"
        self.home.mkdir(parents=True)
        self.inbox = self.data / "inbox"
        self.inbox.mkdir(parents=True)
        shutil.copy(Path(fly64_assets.__file__).with_name("dagster.yaml"), self.home)
        self.study = folder / "study.yaml"
        self.study.write_text(study)
        self.design: StudyDesign = load_design(self.study)
        self.store = ArtifactStore(self.data, self.design.name)
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._code_socket = folder / "code.sock"
        self._workspace = folder / "workspace.yaml"
        server = {"grpc_server": {"socket": str(self._code_socket), "location_name": "fly64_assets.definitions"}}
        self._workspace.write_text(yaml.safe_dump({"load_from": [server]}))

    @property
    def layout(self) -> Layout:
        """Where things of the active base are."""
        return active_layout(self.store)

    @property
    def environment(self) -> dict[str, str]:
        """Environment of every process of this study."""
        return os.environ | {
            "DAGSTER_HOME": str(self.home),
            "FLY64_STUDY": str(self.study),
            "FLY64_DATA_ROOT": str(self.data),
            "OMP_NUM_THREADS": "1",
            **PATIENT,
        }

    def files(self) -> dict[str, tuple[int, int]]:
        """Inode and modification time of the data files of all records, by their place under the active base."""
        records = find_records(self.layout)
        paths = {
            self.layout.folder / name for record in records if record.key.stage != "report" for name in record.outputs
        }
        return {
            path.relative_to(self.layout.folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in sorted(paths)
            if path.exists()
        }

    def view_states(self) -> dict[tuple[int, str], str]:
        """What is called fresh, stale, skipped or missing among the views, by dose and view."""
        states = study_states(self.store, self.design)
        return {(key.dose, key.view): state.name for key, state in states.items() if key.stage == "view"}

    # -- services ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """All three; returns when the code location is loaded."""
        self.start_code_server()
        self.start_webserver()
        self.start_daemon()

    def start_code_server(self) -> None:
        """The process that loads the definitions; run workers are its children."""
        self._code_socket.unlink(missing_ok=True)
        quick = Path(__file__).with_name("quick_code.py")
        self._start(
            "code", sys.executable, quick, "api", "grpc", "-m", "fly64_assets.definitions", "-s", self._code_socket
        )
        until(self._code_socket.exists, START_SECONDS, "code server")

    def start_webserver(self) -> None:
        """The UI with its GraphQL."""
        self._start("webserver", BIN / "dagster-webserver", "-h", HOST, "-p", self.port, "-w", self._workspace)
        until(self.answers, START_SECONDS, "webserver")

    def start_daemon(self) -> None:
        """The daemon that works on backfills, sensors and the run queue."""
        quick = Path(__file__).with_name("quick_daemon.py")
        self._start("daemon", sys.executable, quick, "run", "-w", self._workspace)

    def answers(self) -> bool:
        """Whether the webserver does."""
        with suppress(OSError), urlopen(f"http://{HOST}:{self.port}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def kill(self, name: str) -> None:
        """SIGKILL to one service and to all processes that it started."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)

    def kill_all(self) -> None:
        """SIGKILL to whatever is left of this folder's processes."""
        for name in list(self.processes):
            self.kill(name)

        def killed() -> bool:
            for process in (left := self._ids()):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return not left

        until(killed, STOP_SECONDS, "end of all processes of the study")

    def stop(self) -> None:
        """End all services, the daemon first, and whatever is left of their children."""
        for name in ("daemon", "webserver", "code"):
            process = self.processes.pop(name, None)
            if process is None:
                continue
            if name != "code":  # which would wait half a minute, and has nothing to lose
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_SECONDS)
        until(lambda: not self.alive(), STOP_SECONDS, "end of all processes of the study")

    def alive(self) -> list[str]:
        """Command lines of all processes that belong to this folder."""
        found = []
        for process in self._ids():
            with suppress(OSError):
                found.append(Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def _ids(self) -> list[int]:
        mark = f"DAGSTER_HOME={self.home}\0".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes():
                    found.append(int(process.name))
        return found

    def log(self, name: str) -> str:
        """What a service has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, *command: object) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )
