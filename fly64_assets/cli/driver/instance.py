"""The Dagster instance of a working folder, and runs on it in processes of their own.

Belongs here: DAGSTER_HOME, worker processes, their logs. Does not belong here: which runs to launch (``schedule``).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import fly64_assets
from fly64_assets.cli.console import Session

HOME_VARIABLE: Final = "DAGSTER_HOME"
POLL_SECONDS: Final = 0.25
STOP_SECONDS: Final = 20


@dataclass(frozen=True)
class RunResult:
    """What came of one Dagster run: whether it succeeded, why not, and the log of its process."""

    ok: bool
    reason: str
    log: Path


def dagster_home() -> Path:
    """The instance's folder: ``DAGSTER_HOME``, else ``.dagster`` in the working folder; created with our settings."""
    home = Path(os.environ.get(HOME_VARIABLE) or Path.cwd() / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(Path(fly64_assets.__file__).parent / "dagster.yaml", home / "dagster.yaml")
    os.environ[HOME_VARIABLE] = str(home)
    return home


def run_worker(
    session: Session,
    assets: Sequence[str],
    partition: str | None,
    progress: Callable[[Mapping[str, Any]], None] | None,
    stop: threading.Event | None = None,
    gpu: Mapping[str, Any] | None = None,
    base: str | None = None,
) -> RunResult:
    """Materialise assets of one partition in a Dagster run in a process of its own, and wait for it.

    ``progress`` receives the engines' progress lines; ``gpu`` overrides settings of the resource of that name; ``base``
    names the base to work on, by default the active one. When ``stop`` is set, or this process is interrupted, the
    worker is stopped first.
    """
    home = dagster_home()
    logs = home / "fly64_logs"
    logs.mkdir(exist_ok=True)
    place = (partition or "study").replace("|", "_")
    log = logs / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}_{place}_{assets[0]}.log"
    with tempfile.TemporaryDirectory(prefix="fly64_run_") as folder:
        lines, answer = Path(folder) / "progress.jsonl", Path(folder) / "answer.json"
        lines.touch()
        request = json.dumps({"assets": list(assets), "partition": partition, "gpu": dict(gpu or {}), "base": base})
        command = [sys.executable, "-m", "fly64_assets.cli.driver.worker", str(answer), request]
        environment = os.environ | session.environment() | {"FLY64_PROGRESS": str(lines)}
        with log.open("wb") as output:
            # Its own session: Ctrl-C reaches the worker through us, once.
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            try:
                _follow(process, lines, progress, stop or threading.Event())
            except BaseException:
                _stop(process)
                raise
        return _result(process.returncode, answer, log)


def _follow(
    process: subprocess.Popen[bytes],
    lines: Path,
    progress: Callable[[Mapping[str, Any]], None] | None,
    stop: threading.Event,
) -> None:
    with lines.open(encoding="utf-8") as file:
        rest = ""
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            rest += file.read()
            *whole, rest = rest.split("\n")
            for line in whole:
                if progress:
                    progress(json.loads(line))
            if process.returncode is not None:
                return
            if stop.is_set():
                _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the worker to stop, and make sure that it does."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _result(returncode: int, answer: Path, log: Path) -> RunResult:
    if returncode < 0:
        return RunResult(False, f"its process was ended by {signal.Signals(-returncode).name}", log)
    try:
        document = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return RunResult(False, f"its process ended with status {returncode} and no answer", log)
    return RunResult(document["ok"], document["reason"], log)
