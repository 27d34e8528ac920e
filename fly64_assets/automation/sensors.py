"""Sensors: new base files are imported, data and (if switched on) methods follow, a command is run for failed runs.

Does not belong here: the state of the watched folder (``study.inbox``), when an asset follows its inputs (``graph``).
"""

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from fly64_assets.automation.catalogue import WATCHED
from fly64_assets.automation.graph import condition_of
from fly64_assets.automation.run_tags import (
    BASE_TAG,
    COMMAND_TAG,
    DOSE_TAG,
    FOLLOWS_TAG,
    RESUME,
    RETRY_TAG,
    STUDY_TAG,
    UNFINISHED,
    VIEW_TAG,
    asset_key,
)
from fly64_assets.automation.runs import failure_reason
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import FAILURE_VARIABLE, failure_command
from fly64_assets.resources.study import ArtifactStoreResource, InboxResource, StudyResource
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.inbox import Cursor, imported, poll, queued_sha256, unfinished_simulations
from fly64_assets.study.intake import base_problem
from fly64_assets.study.table import STAGES

ON, OFF = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
NEW_BASE = "new_base_npz"
INTERVAL_SECONDS = 15
MOST_SHOWN = 5
MOST_RUNS = 100
"""Newest runs among which one of the study is looked for, where several studies share the instance."""
RUN_KEY_TAG = "dagster/run_key"
SENSOR_TAG = "dagster/sensor_name"
FILE_TAG = "fly64/file"
COMMAND_SECONDS = 60
"""A command that takes longer is ended."""


def new_base_sensor(ingest: str) -> dg.SensorDefinition:
    """The sensor ``new_base_npz``, which launches the job ``ingest``."""

    @dg.sensor(
        name=NEW_BASE,
        job_name=ingest,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=ON,
        description=(
            "Watches a folder (FLY64_INBOX) and imports every new base file in it, one at a time: a file is taken when "
            "it has stopped changing, and the next one when the active base's simulated data exist or have failed. A "
            "file that cannot become a base is reported once, with its findings."
        ),
    )
    def new_base_npz(
        context: dg.SensorEvaluationContext, study: StudyResource, store: ArtifactStoreResource, inbox: InboxResource
    ) -> dg.SensorResult:
        folder = inbox.folder()
        try:
            design = study.design()
            cursor = Cursor.loads(context.cursor, f"{design.name} {design.patch_size_pixels}")
            cursor = poll(cursor, folder, lambda path: base_problem(design, path))
            cursor, request, reason = next_in_line(context.instance, store.store(design.name), design, folder, cursor)
        except Fly64Error as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        if request is not None:
            begun = dg.AssetObservation(
                asset_key(WATCHED), metadata={"file": request.tags[FILE_TAG], "sha256": request.run_key or ""}
            )
            return dg.SensorResult(run_requests=[request], cursor=cursor.dumps(), asset_events=[begun])
        for message in cursor.messages():
            context.log.warning(message)
        return dg.SensorResult(skip_reason=shown(cursor.messages(), reason), cursor=cursor.acknowledged().dumps())

    return new_base_npz


def next_in_line(
    instance: dg.DagsterInstance, store: ArtifactStore, design: StudyDesign, folder: Path, cursor: Cursor
) -> tuple[Cursor, dg.RunRequest | None, str]:
    """The run for the next file, or the reason why there is none; and the cursor after that."""
    for name in cursor.queue():
        path = folder / name
        try:
            sha256 = queued_sha256(path, cursor.files[name].size, cursor.files[name].mtime_ns)
        except OSError:
            continue  # removed or locked since it was listed; the next poll reports it
        earlier = newest_run(instance, design.name, {RUN_KEY_TAG: sha256, SENSOR_TAG: NEW_BASE})
        if imported(store, sha256):
            cursor = cursor.done(name)
            continue
        if earlier is not None and earlier.is_finished and not begun_again(earlier):
            cursor = cursor.done(name, ended(name, earlier))
            continue
        busy = earlier or newest_run(instance, design.name, {SENSOR_TAG: NEW_BASE}, UNFINISHED)
        last = newest_run(instance, design.name, {SENSOR_TAG: NEW_BASE})
        if busy is None and last is not None and begun_again(last):
            busy = last
        if busy:
            why = f"run {busy.run_id[:8]} imports {busy.tags.get(FILE_TAG, 'a base')!r}"
        else:
            why = unfinished_data(instance, store, design)
        if why:
            return cursor, None, f"waiting: {', '.join(cursor.queue())} ({why})"
        config = {
            "ops": {asset_key("base_dataset").to_python_identifier(): {"config": {"file": str(path), "sha256": sha256}}}
        }
        return (
            cursor,
            dg.RunRequest(run_key=sha256, run_config=config, tags={STUDY_TAG: design.name, FILE_TAG: path.name[:200]}),
            "",
        )
    return cursor, None, f"no new base file in {folder}"


def unfinished_data(instance: dg.DagsterInstance, store: ArtifactStore, design: StudyDesign) -> str:
    """Which simulated data of the active base are still to come; empty if none are.

    A simulation that has failed, or whose run has ended without a result, is not waited for.
    """
    active = store.active_base()
    expected = []
    for dose in unfinished_simulations(store, design):
        tags = {BASE_TAG: active.base_id, DOSE_TAG: str(dose)} if active else {}
        last = newest_run(instance, design.name, tags) if active else None
        if last is None or not last.is_finished or last.is_success or begun_again(last):
            expected.append(f"dose_{dose}")
    if not active or not expected:
        return ""
    return f"the simulated data of the active base {active.base_id} do not exist yet: {', '.join(expected)}"


def begun_again(run: dg.DagsterRun) -> bool:
    """Whether Dagster begins a crashed run again."""
    return run.tags.get(RETRY_TAG) == "true"


def newest_run(
    instance: dg.DagsterInstance, study: str, tags: dict[str, str], statuses: list[dg.DagsterRunStatus] | None = None
) -> dg.DagsterRun | None:
    """The newest run of a study with these tags; None if there is none. Runs of older versions do not name a study."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags=tags, statuses=statuses), limit=MOST_RUNS)
    return next((run for run in runs if run.tags.get(STUDY_TAG, study) == study), None)


def ended(name: str, run: dg.DagsterRun) -> str:
    """The outcome of a file whose run has ended without a base in this study."""
    if run.is_success:
        return f"{name!r} was imported by run {run.run_id[:8]} already; `fly64 base import` brings it back"
    return (
        f"{name!r} was not imported: run {run.run_id[:8]} ended as {run.status.value.lower()}; see why in the run, and "
        "re-execute it there, or use `fly64 base import`"
    )


def shown(messages: tuple[str, ...], reason: str) -> str:
    """One text of the first messages and the reason for waiting."""
    more = [f"... and {len(messages) - MOST_SHOWN} more; all are in the log"] if len(messages) > MOST_SHOWN else []
    return "\n".join([*messages[:MOST_SHOWN], *more, reason])


def automated_assets() -> tuple[list[str], list[str]]:
    """Assets that follow their inputs: those of the data, and those of the methods with what shows them."""
    automated = [stage for stage in STAGES.values() if condition_of(stage) is not None]
    data = [stage.asset for stage in automated if stage.kind in ("simulated", "view")]
    return data, [stage.asset for stage in automated if stage.asset not in data]


def automation_sensors() -> list[dg.SensorDefinition]:
    """Data follow their base automatically; trainings and reconstructions only where the sensor is switched on."""
    data, methods = automated_assets()
    once = "Simulates every dose of a new base and cuts its overlap views."
    hours = "Trains, reconstructs, compares and reports whenever views are new. Off by default: it takes hours."
    sensors = (("data_automation", data, ON, once), ("arms_automation", methods, OFF, hours))
    return [
        dg.AutomationConditionSensorDefinition(
            name=name,
            target=dg.AssetSelection.assets(*map(asset_key, assets)),
            default_status=status,
            minimum_interval_seconds=INTERVAL_SECONDS,
            run_tags={COMMAND_TAG: RESUME, FOLLOWS_TAG: "inputs"},
            emit_backfills=False,
            description=description,
        )
        for name, assets, status, description in sensors
    ]


def failure_sensor() -> dg.SensorDefinition:
    """The sensor ``run_failure``: on where a command is configured."""

    @dg.run_failure_sensor(
        name="run_failure",
        default_status=ON if failure_command() else OFF,
        minimum_interval_seconds=INTERVAL_SECONDS,
        description=(
            f"Starts the command in {FAILURE_VARIABLE} for every failed run, with a JSON document about it on standard "
            "input, for example to send mail or a chat message."
        ),
    )
    def run_failure(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        command = failure_command()
        if not command:
            return dg.SkipReason(f"{FAILURE_VARIABLE} names no command")
        run = context.dagster_run
        failures = context.get_step_failure_events()
        document = {
            "run": run.run_id,
            "job": run.job_name,
            "assets": sorted(key.to_user_string() for key in run.asset_selection or ()),
            "base": run.tags.get(BASE_TAG),
            "dose": run.tags.get(DOSE_TAG),
            "view": run.tags.get(VIEW_TAG),
            "message": context.failure_event.message,
            "begun_again": begun_again(run),
            "steps": [{"step": event.step_key, "reason": failure_reason(event)} for event in failures],
        }
        notify(command, document)
        return None

    return run_failure


def notify(command: str, document: Mapping[str, Any]) -> None:
    """Run a command line, without a shell, with the document as JSON on its standard input.

    Raises :class:`Fly64Error` if it cannot be started, takes too long, or ends with another status than 0.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise Fly64Error(f"{command!r} is no command line: {error}") from error
    content = json.dumps(document, indent=2).encode()
    try:
        ended = subprocess.run(arguments, input=content, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except OSError as error:
        raise Fly64Error(f"{arguments[0]!r} cannot be started ({error.strerror or error})") from error
    except subprocess.TimeoutExpired as error:
        raise Fly64Error(f"{arguments[0]!r} was ended after {COMMAND_SECONDS} s") from error
    if ended.returncode:
        output = (ended.stderr or ended.stdout).decode(errors="replace").strip()[-500:]
        raise Fly64Error(f"{arguments[0]!r} ended with status {ended.returncode}: {output or 'it printed nothing'}")
