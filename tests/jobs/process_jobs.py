"""Jobs that the tests of engines.process send into a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fly64_assets.errors import ContractError


def echo(request, progress):
    return {"request": request, "pid": os.getpid()}


def environment(request, progress):
    return dict(os.environ)


def steps(request, progress):
    for done in range(1, request["total"] + 1):
        progress(done, request["total"], {"loss": 1 / done})
        print(f"step {done}", flush=True)
    return {}


def known_error(request, progress):
    raise ContractError("frame 3 holds NaN; expected finite amplitudes")


def other_error(request, progress):
    raise ValueError("first line\n  second line")


def no_json(request, progress):
    return {"value": object()}


def leave(request, progress):
    sys.exit(3)


def killed(request, progress):
    progress(1, 2, {})
    os.kill(os.getpid(), getattr(signal, request["signal"]))


def killed_while_answering(request, progress):
    """Die with the first half of an answer on the channel."""
    channel = int(sys.argv[2])
    os.write(channel, b'{"result": {"value": 1')
    os.kill(os.getpid(), signal.SIGKILL)


def infinite(request, progress):
    progress(1, 1, {"loss": float("inf")})
    return {}


def noise(request, progress):
    print('{"result": {"value": "from the output"}}', flush=True)
    print('{"error": "from the output"}', file=sys.stderr, flush=True)
    os.write(1, b"\xff\xfe not text\n{broken\n")
    progress(1, 1, {})
    os.system("echo from a grandchild")
    return {"value": "from the job"}


def wait(request, progress):
    Path(request["pid_file"]).write_text(str(os.getpid()))
    progress(1, 2, {})
    time.sleep(600)
    return {}


def member(request, progress):
    rank = int(os.environ["RANK"])
    progress(rank + 1, 9, {})
    if rank == request.get("fails"):
        raise ContractError(f"process {rank} had enough")
    if "fails" in request:
        time.sleep(600)
    return {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")}


def labelled(request, progress):
    progress(1, 2, {"loss": 0.5}, label="dose_1000/dense")
    return {}


def interruptible(request, progress):
    try:
        progress(1, 2, {})
        time.sleep(600)
    except KeyboardInterrupt:
        Path(request["file"]).write_text("interrupted")
        raise
    return {}


def deaf(request, progress):
    """Ignore SIGINT, with a process of its own beside it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(request["file"]).write_text(f"{os.getpid()} {other.pid}")
    progress(1, 2, {})
    time.sleep(600)
    return {}


def uses_torch(request, progress):
    import torch

    return {"sum": float(torch.ones(3).sum())}
