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
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from fly64_assets.errors import EngineError, Fly64Error
from fly64_assets.execution import Execution

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

    Returns
    -------
    dict
        What the job returned, after a round trip through JSON.

    Raises
    ------
    EngineError
        If the job raises, or its process dies.
    """
    read_end, write_end = os.pipe()
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "fly64_assets.isolation", target, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(os.environ, execution),
            pass_fds=(write_end,),
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        )
    os.close(write_end)
    answer: dict[str, Any] = {}
    try:
        assert child.stdin is not None
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(request).encode())
        with os.fdopen(read_end, encoding="utf-8") as messages:
            for line in messages:
                if not line.endswith("\n"):
                    break  # the child died while it wrote
                message = json.loads(line)
                if "total" not in message:
                    answer = message
                elif progress:
                    progress(message["done"], message["total"], message["values"])
        child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return _result(answer, child.returncode, target)


def child_environment(environment: Mapping[str, str], execution: Execution) -> dict[str, str]:
    """Environment of an engine process: threads fixed, process groups forgotten, no GPU unless it is meant."""
    clean = {name: value for name, value in environment.items() if name not in PROCESS_GROUP_VARIABLES}
    clean |= {name: str(execution.threads) for name in THREAD_VARIABLES}
    clean |= {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if execution.accelerator == "cpu":
        clean["CUDA_VISIBLE_DEVICES"] = ""
    return clean


def _die_with_parent() -> None:
    """Ask the kernel to end this process when its parent dies (Linux: PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


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
    _serve(sys.argv[1], int(sys.argv[2]))
