"""Runs stages of a study in forked children that meet a fault: ``python zygote.py``, JSON lines in and out.

Dagster is imported once and every child is forked from there. A *write point* is any moment at which the child opens a
file of the data root for writing, renames, removes or makes something in it, as reported by Python's audit events; they
are counted from 1.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ACTIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
NOBODY = 65534


def write_points(root: Path, act: Callable[[int], None]) -> Callable[[], int]:
    """Call ``act`` with its number just before every write point under ``root``; returns their count so far."""
    count, inside = 0, False
    prefix = f"{root}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, inside
        if inside or (event not in ACTIONS and event != "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if not any(str(one).startswith(prefix) for one in arguments[:2]):
            return
        count += 1
        inside = True
        try:
            act(count)
        finally:
            inside = False

    sys.addaudithook(hook)
    return lambda: count


def snapshot(root: Path, stage: Path, target: Path) -> None:
    """What a kill -9 would leave: the stage's folder as copy, everything else, which nobody writes now, as links."""

    def copy(source: str, destination: str) -> None:
        if Path(source).is_relative_to(stage):
            shutil.copy2(source, destination)
        else:
            os.link(source, destination)

    shutil.copytree(root, target, copy_function=copy, symlinks=True)


def action(request: dict[str, Any], root: Path) -> Callable[[int], None]:
    """What happens at the write points of a request."""

    def act(point: int) -> None:
        if request.get("snapshots"):
            snapshot(root, Path(request["stage_folder"]), Path(request["snapshots"]) / str(point))
        if point == request.get("kill_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if point == request.get("lose_permission_at"):
            if os.geteuid() == 0:
                os.seteuid(NOBODY)
            else:
                Path(request["stage_folder"]).chmod(0o555)

    return act


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Materialise assets of one partition as ``fly64 run`` does; what came of it, and the number of write points."""
    import dagster as dg

    from fly64_assets.automation.run_tags import COMMAND_TAG, RESUME
    from fly64_assets.definitions import build_definitions
    from fly64_assets.resources.gpu import GpuResource
    from fly64_assets.resources.study import ArtifactStoreResource, StudyResource
    from fly64_assets.study.design import load_design

    root = Path(request["root"])
    resources = {
        "study": StudyResource(study=request["study"]),
        "store": ArtifactStoreResource(data_root=str(root)),
        "gpu": GpuResource(accelerator="cpu", threads=request.get("threads", 1)),
    }
    definitions = build_definitions(design=load_design(request["study"]), resources=resources)
    with dg.DagsterInstance.ephemeral() as instance:
        seen = write_points(root, action(request, root))
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(asset) for asset in request["assets"]],
            partition_key=request.get("partition"),
            tags={COMMAND_TAG: RESUME},
            raise_on_error=False,
        )
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    reasons = [one.user_failure_data.description if one.user_failure_data else one.error.message for one in failures]
    return {"ok": result.success, "reason": "\n".join(map(str, reasons)), "points": seen()}


def child(request: dict[str, Any], answers: int) -> None:
    """The forked side: its own process group, its own log, one answer."""
    os.setpgid(0, 0)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        answer = json.dumps(run(request)).encode()
        os.write(answers, answer)
        code = 0
    finally:
        os._exit(code)


def serve() -> None:
    """Fork a child for every request line; answer with its process number, and with its end when asked to wait."""
    for module in (
        "fly64_assets.definitions",
        "fly64_assets.evaluation.report.figures",
        "matplotlib.pyplot",
        "skimage.data",
    ):
        import_module(module)

    pipes: dict[int, int] = {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" not in request:
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                child(request, writer)
            os.close(writer)
            pipes[pid] = reader
            print(json.dumps({"pid": pid}), flush=True)
            continue
        pid = request["wait"]
        with os.fdopen(pipes.pop(pid), "rb") as pipe:
            text = pipe.read()
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)} | json.loads(text or b"{}")), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve()
