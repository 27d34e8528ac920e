"""Running a job in a clean process of its own: an engine, or a Dagster run of the command line.

A job is ``module:function``, called as ``function(request, progress)`` in a fresh interpreter. The request arrives as
JSON on the child's standard input; progress and the answer leave it as lines of JSON on a pipe of their own, so that
nothing that a library prints can be taken for them. An engine library may set global devices and types, leave threads
behind or be killed for memory; none of it can reach the process that started the job, and a job
gives the same bytes after any other on one kind of machine.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.libraries import engine_libraries
from fly64_assets.errors import EngineError, Fly64Error

Progress = Callable[[int, int, Mapping[str, float]], None]
Libraries = Callable[[Mapping[str, str]], object]
Message = Mapping[str, Any]
"""One progress message: ``done``, ``total``, ``values`` (name to number) and ``label`` (of what; may be empty)."""

POLL_SECONDS: Final = 0.25
"""How often a request to stop is looked for."""

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PROCESS_GROUP_VARIABLES: Final = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT",
    "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID",
)  # fmt: skip
"""Variables that would switch an engine into a multi-process mode."""


def run_isolated(
    target: str,
    request: Mapping[str, Any],
    *,
    execution: Execution,
    log_path: Path,
    progress: Progress | None = None,
    processes: int = 1,
    libraries: Libraries | None = None,
) -> dict[str, Any]:
    """Run an engine job in a process, or a group of processes, with fixed threads, and a GPU only where it is meant.

    In a group each process finds its rank and their number in ``RANK``, ``LOCAL_RANK`` and ``WORLD_SIZE``. The first
    reports its ``progress`` and answers; where one fails, the others are ended. ``libraries`` receives what the engine
    computed with, when it has ended. See :func:`run_job`.
    """
    environment = child_environment(os.environ, execution)
    environments = [environment | (_group(rank, processes) if processes > 1 else {}) for rank in range(processes)]

    def listen(message: Message) -> None:
        if progress:
            progress(message["done"], message["total"], message["values"])

    return run_job(target, request, environments, log_path=log_path, listen=listen, libraries=libraries)


def run_job(
    target: str,
    request: Mapping[str, Any],
    environments: Sequence[Mapping[str, str]],
    *,
    log_path: Path,
    listen: Callable[[Message], None] | None = None,
    stop: threading.Event | None = None,
    grace_seconds: float = 0.0,
    libraries: Libraries | None = None,
) -> dict[str, Any]:
    """Run a job in one process for each environment, and return the first one's answer after a round trip through JSON.

    Parameters
    ----------
    target : str
        The job, ``package.module:function``.
    request : mapping
        JSON-able arguments of the job.
    environments : sequence of mapping
        The whole environment of each process.
    log_path : Path
        Receives everything that the processes print.
    listen : callable, optional
        Receives the progress messages of the first process, in order.
    stop : threading.Event, optional
        Ends the processes when it is set.
    grace_seconds : float
        How long a process that has to end may take after SIGINT, so that it can note that it was interrupted; it is
        killed then, with what it has started. With 0 it is killed at once. With more, it also gets a session of its
        own: Ctrl-C in a terminal reaches it through this process, once.
    libraries : callable, optional
        Receives what the first process computed with (``engines.libraries``), if it lives to say it.

    Raises
    ------
    EngineError
        If the job raises, or its process dies.
    """
    children: list[_Child] = []
    try:
        with log_path.open("ab") as log:
            for environment in environments:  # one by one: those that have started are ended where the next cannot
                children.append(_Child.start(target, log, environment, grace_seconds))  # noqa: PERF401
        for child in children:
            child.send(request)
        ended = _listen(children, listen, stop)
    finally:
        for child in children:
            child.close()
    if libraries:
        libraries(children[0].answer.get("libraries", {}))
    failed = next((child for child in ended if child.failed), children[0])
    return _result(failed.answer, failed.process.returncode, target)


def child_environment(environment: Mapping[str, str], execution: Execution) -> dict[str, str]:
    """Environment of an engine process: threads fixed, process groups forgotten, no GPU unless it is meant."""
    clean = {name: value for name, value in environment.items() if name not in PROCESS_GROUP_VARIABLES}
    clean |= {name: str(execution.threads) for name in THREAD_VARIABLES}
    clean |= {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if execution.accelerator == "cpu":
        clean["CUDA_VISIBLE_DEVICES"] = ""
    return clean


def _group(rank: int, processes: int) -> dict[str, str]:
    """Variables of one process of a group on this machine."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    inside = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return {name: str(value) for name, value in ranks.items()} | inside


@dataclass
class _Child:
    """One process and its messages so far."""

    process: subprocess.Popen[bytes]
    messages: int
    grace_seconds: float
    answer: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""

    @classmethod
    def start(cls, target: str, log: IO[bytes], environment: Mapping[str, str], grace_seconds: float) -> _Child:
        read_end, write_end = os.pipe()
        death = signal.SIGINT if grace_seconds else signal.SIGKILL
        arguments = [target, str(write_end), str(os.getpid()), str(int(death))]
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "fly64_assets.engines.process", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(write_end,),
                start_new_session=bool(grace_seconds),
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return cls(process, read_end, grace_seconds)

    @property
    def failed(self) -> bool:
        return "result" not in self.answer

    def send(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin:
            self.process.stdin.write(json.dumps(request).encode())

    def hear(self, listen: Callable[[Message], None] | None) -> bool:
        """Read what is there; False at the end of the process's messages."""
        data = os.read(self.messages, 65536)
        # What stays behind the last line end was cut off by the process's death.
        *lines, self.rest = (self.rest + data).split(b"\n")
        for message in map(json.loads, lines):
            if "total" not in message:
                self.answer = message
            elif listen:
                listen(message)
        return bool(data)

    def end(self) -> None:
        """End the process: by SIGINT where it has time, then by SIGKILL, even if this process is interrupted."""
        if self.process.poll() is not None:
            return
        try:
            if self.grace_seconds:
                self.process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(self.grace_seconds)
        finally:
            if self.process.poll() is None:
                with suppress(ProcessLookupError):
                    (os.killpg if self.grace_seconds else os.kill)(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def close(self) -> None:
        try:
            self.end()
        finally:
            os.close(self.messages)


def _listen(
    children: Sequence[_Child], listen: Callable[[Message], None] | None, stop: threading.Event | None
) -> list[_Child]:
    """Hear all children until they have ended, in the order of their ends; the first failure ends the others."""
    ended: list[_Child] = []
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.messages, selectors.EVENT_READ, child)
        while len(ended) < len(children):
            for key, _ in selector.select(None if stop is None else POLL_SECONDS):
                child = key.data
                if child.hear(listen if child is children[0] else None):
                    continue
                selector.unregister(child.messages)
                child.process.wait()
                ended.append(child)
                if child.failed:
                    for other in children:
                        other.end()
            if stop is not None and stop.is_set():
                for child in children:
                    child.end()
    return ended


def _die_with(parent: int, number: int) -> None:
    """Ask the kernel to signal this process when its parent ends (Linux: PR_SET_PDEATHSIG = 1), or leave if it has.

    The kernel means the thread that started this process; it waits for the answer, so it lives as long as it is needed.
    """
    if number == signal.SIGINT:
        # A shell starts what runs in the background with SIGINT ignored, and every child inherits that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)
    if os.getppid() != parent:
        sys.exit("the process that started this job has ended")


def _result(answer: dict[str, Any], returncode: int, target: str) -> dict[str, Any]:
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if "error" in answer:
        raise EngineError(answer["error"])
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (probably out of memory)" if name == "SIGKILL" else ""
        raise EngineError(f"the process of {target} was ended by {name}{hint}; its log holds what it printed")
    raise EngineError(f"the process of {target} ended with status {returncode} and no answer; see its log")


def _serve(target: str, channel: int) -> None:
    """Child side: run the job and answer on the channel."""
    os.set_inheritable(channel, False)
    with os.fdopen(channel, "w", encoding="utf-8", buffering=1) as messages:

        def progress(done: int, total: int, values: Mapping[str, float], label: str = "") -> None:
            message = {"label": label, "done": done, "total": total, "values": dict(values)}
            messages.write(json.dumps(message) + "\n")

        try:
            request = json.loads(sys.stdin.buffer.read())
            module, function = target.split(":")
            job = getattr(importlib.import_module(module), function)
            answer = {"result": json.loads(json.dumps(dict(job(request, progress))))}
        except Fly64Error as error:
            answer = {"error": str(error)}
        except Exception as error:  # noqa: BLE001
            with suppress(OSError):  # the log may lie on the full disk that ended the job
                traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        messages.write(json.dumps({**answer, "libraries": engine_libraries()}) + "\n")


if __name__ == "__main__":
    _die_with(int(sys.argv[3]), int(sys.argv[4]))
    _serve(sys.argv[1], int(sys.argv[2]))
