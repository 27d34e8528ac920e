"""Running an engine job in a clean process of its own.

Belongs here: the child's environment, its messages, its death. Does not belong here: what a job computes.

An engine library may set global devices and types, leave threads behind or be killed for memory; none of it can
reach the process that asked, and a job gives the same bytes whatever ran before it.
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
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError, Fly64Error

Progress = Callable[[int, int, Mapping[str, float]], None]
Job = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
PROCESS_GROUP_VARIABLES: Final = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "NODE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
"""Variables that would switch an engine into a multi-process mode."""


def run_isolated(
    target: str,
    request: Mapping[str, Any],
    *,
    execution: Execution,
    log_path: Path,
    progress: Progress | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Call ``module:function`` as ``function(request, progress)`` in a fresh process.

    Parameters
    ----------
    target : str
        ``package.module:function``.
    request : mapping
        JSON-able arguments of the job.
    execution : Execution
        Fixes the child's threads and whether it sees a GPU.
    log_path : Path
        Receives everything the child prints.
    progress : callable, optional
        Receives ``(done, total, values)`` from the child, in order.
    processes : int
        More than one start as a group: each finds its rank and their number in ``RANK``, ``LOCAL_RANK`` and
        ``WORLD_SIZE``. The first reports and answers; where one fails, the others are ended.

    Returns
    -------
    dict
        What the job returned, after a round trip through JSON.

    Raises
    ------
    EngineError
        If the job raises, or its process dies.
    """
    children: list[_Child] = []
    try:
        with log_path.open("ab") as log:
            for rank in range(processes):
                environment = child_environment(os.environ, execution) | _group(rank, processes)
                children.append(_Child.start(target, log, environment))
        for child in children:
            child.send(request)
        ended = _listen(children, progress or _unheard)
    finally:
        for child in children:
            child.end()
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
    """Variables of one process of a group on this machine; none for a process alone."""
    if processes == 1:
        return {}
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    inside = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return {name: str(value) for name, value in ranks.items()} | inside


@dataclass
class _Child:
    """One process and what it has said so far."""

    process: subprocess.Popen[bytes]
    messages: int
    answer: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""

    @classmethod
    def start(cls, target: str, log: IO[bytes], environment: Mapping[str, str]) -> _Child:
        read_end, write_end = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "fly64_assets.engines.process", target, str(write_end), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(write_end,),
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return cls(process, read_end)

    @property
    def failed(self) -> bool:
        return "result" not in self.answer

    def send(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin:
            self.process.stdin.write(json.dumps(request).encode())

    def hear(self, progress: Progress) -> bool:
        """Read what is there; False at the end of the process's messages."""
        data = os.read(self.messages, 65536)
        # What stays behind the last line end was cut off by the process's death.
        *lines, self.rest = (self.rest + data).split(b"\n")
        for message in map(json.loads, lines):
            if "total" not in message:
                self.answer = message
            else:
                progress(message["done"], message["total"], message["values"])
        return bool(data)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.messages)


def _unheard(_done: int, _total: int, _values: Mapping[str, float]) -> None:
    """Nobody asked."""


def _listen(children: list[_Child], progress: Progress) -> list[_Child]:
    """Hear all children until they have ended, in the order of their ends; the first failure ends the others."""
    ended: list[_Child] = []
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child.messages, selectors.EVENT_READ, child)
        while len(ended) < len(children):
            for key, _ in selector.select():
                child = key.data
                if child.hear(progress if child is children[0] else _unheard):
                    continue
                selector.unregister(child.messages)
                child.process.wait()
                ended.append(child)
                if child.failed:
                    for other in children:
                        other.process.kill()
    return ended


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent does (Linux: PR_SET_PDEATHSIG = 1), or leave if it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that asked for this job has ended")


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
    with os.fdopen(channel, "w", encoding="utf-8", buffering=1) as messages:

        def progress(done: int, total: int, values: Mapping[str, float]) -> None:
            messages.write(json.dumps({"done": done, "total": total, "values": dict(values)}) + "\n")

        try:
            request = json.loads(sys.stdin.buffer.read())
            module, function = target.split(":")
            job: Job = getattr(importlib.import_module(module), function)
            answer = json.dumps({"result": dict(job(request, progress))})
        except Fly64Error as error:
            answer = json.dumps({"error": str(error)})
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            answer = json.dumps({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})
        messages.write(answer + "\n")


if __name__ == "__main__":
    _die_with(int(sys.argv[3]))
    _serve(sys.argv[1], int(sys.argv[2]))
