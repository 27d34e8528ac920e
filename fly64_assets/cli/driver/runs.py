"""One Dagster run in a process of its own: started by the command line, executed on the instance of the working folder.

Does not belong here: which runs to start (``schedule``), Dagster (``automation.runs``, which only the child imports).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fly64_assets.cli.driver.instance import dagster_home
from fly64_assets.engines.process import Message, run_job
from fly64_assets.errors import EngineError
from fly64_assets.resources.environment import default_data_root, default_study
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.storage import root_folder
from fly64_assets.study.design import load_design

if TYPE_CHECKING:
    from fly64_assets.cli.console import Session

STOP_SECONDS: Final = 20
"""For a run that is stopped to note that it was interrupted."""


@dataclass(frozen=True)
class RunResult:
    """The outcome of one Dagster run: whether it succeeded, why not, and the log of its process."""

    ok: bool
    reason: str
    log: Path


def run_assets(
    session: Session,
    assets: Sequence[str],
    partition: str | None = None,
    *,
    gpu: Mapping[str, Any] | None = None,
    base: str | None = None,
    slots: bool = True,
    listen: Callable[[Message], None] | None = None,
    stop: threading.Event | None = None,
) -> RunResult:
    """Materialise assets of one partition in a Dagster run, and wait for it.

    ``gpu`` overrides settings of the resource of that name; ``base`` names the base to work on, by default the active
    one. Without ``slots`` engines take none of the instance's pool. ``listen`` receives the engines' progress. When
    ``stop`` is set, or this process is interrupted, the run is stopped first.
    """
    log = _new_log(f"{(partition or 'study').replace('|', '_')}_{assets[0]}")
    run = {"assets": list(assets), "partition": partition, "gpu": dict(gpu or {}), "base": base}
    try:
        answer = _run(session, "materialize_job", {"slots": slots, "run": run}, log, listen, stop)
    except EngineError as error:
        return RunResult(False, str(error), log)
    return RunResult(answer["ok"], answer["reason"], log)


def run_audit(session: Session, partition: str) -> list[dict[str, Any]]:
    """Run every check over what is on disk; ``partition`` is a dose or cell, or empty for all.

    Returns ``asset``, ``check``, ``partition``, ``passed`` and ``finding`` of each.
    """
    checks: list[dict[str, Any]] = _run(session, "audit_job", {"partition": partition}, _new_log("audit"))["checks"]
    return checks


def run_report_on_disk(session: Session) -> int:
    """Tell Dagster what is on disk of a study that is opened beside others; how many results it did not know."""
    return int(_run(session, "report_job", {}, _new_log("on_disk"))["reported"])


def _new_log(name: str) -> Path:
    folder = dagster_home() / "fly64_logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}_{name}.log"


def _run(
    session: Session,
    job: str,
    request: Mapping[str, Any],
    log: Path,
    listen: Callable[[Message], None] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    environment = os.environ | session.environment()
    return run_job(
        f"{__name__}:{job}", request, [environment], log_path=log, listen=listen, stop=stop, grace_seconds=STOP_SECONDS
    )


def materialize_job(request: Mapping[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """In the child: one Dagster run over the code location that the environment names.

    In this process, or where the launcher of the instance takes it.
    """
    to_a_cluster = _follow_instance()
    from fly64_assets import definitions
    from fly64_assets.automation.runs import execute

    if to_a_cluster:
        from fly64_assets.automation.launched import execute_elsewhere

        ok, reason = execute_elsewhere(definitions.defs, definitions.__name__, **request["run"])
    else:
        here = definitions.defs if request["slots"] else definitions.build_definitions(slots=False)
        ok, reason = execute(here, **request["run"], progress=progress)
    return {"ok": ok, "reason": reason}


def audit_job(request: Mapping[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """In the child: the job ``audit`` over the code location that the environment names."""
    from fly64_assets.automation.runs import audit

    _follow_instance()
    from fly64_assets.definitions import defs

    return {"checks": audit(defs, **request)}


def report_job(_request: Mapping[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """In the child: what is on disk of the study that the environment names, as materialisations of its own keys."""
    from fly64_assets.automation.runs import load_instance
    from fly64_assets.automation.side_by_side import note_side_by_side

    design = load_design(default_study())
    with load_instance() as instance:
        note_side_by_side(instance, design.name)
        _follow_instance()
        from fly64_assets.assets.on_disk import report_on_disk

        store = ArtifactStore(root_folder(default_data_root()), design.name)
        return {"reported": report_on_disk(instance, design, store)}


def _follow_instance() -> bool:
    """In the child: the asset keys that the study has in this instance; whether that takes its runs to a cluster."""
    from fly64_assets.automation.runs import load_instance, to_a_cluster
    from fly64_assets.automation.side_by_side import follow_instance

    with load_instance() as instance:
        follow_instance(instance, load_design(default_study()).name)
        return to_a_cluster(instance)
