"""The run launcher for Slurm: every run is one job, which gets what the largest of the run's steps needs.

An instance takes it by its ``dagster.yaml``; docs/how-to/slurm.md shows how. Does not belong here: Slurm's commands
(``slurm_jobs``), runs that the command line waits for (``launched``).
"""

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.events import EngineEventData
from dagster._core.instance import DagsterInstance
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

from fly64_assets.automation.demands import Demand, largest
from fly64_assets.automation.run_tags import not_again
from fly64_assets.automation.slurm_jobs import JobRequest, SlurmError, cancel, state_of, submit
from fly64_assets.automation.slurm_run import MODULE
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import PASSED_ON, POSTGRES_PASSWORD_VARIABLE

JOB_TAG: Final = "fly64/slurm_job"
"""On a run: the number of its job."""
SETTINGS_TAG: Final = "fly64/slurm"
"""On a run: a JSON document with settings of its own."""
SHOWN_LINES: Final = 20
"""Last lines of a job's log that a failed run shows."""
_SECRET: Final = frozenset({POSTGRES_PASSWORD_VARIABLE})
"""Not written into a job's script, which Slurm keeps; sbatch hands the environment on to the job."""
_TEXTS: Final = ("partition", "partition_without_gpu", "account", "time_limit", "gres")
_LISTS: Final = ("options", "setup")
_NUMBERS: Final = ("cpus", "gpus", "memory_gib")


class SlurmRunLauncher(RunLauncher[DagsterInstance], ConfigurableClass):
    """Launches runs as Slurm jobs.

    Parameters
    ----------
    inst_data : ConfigurableClassData, optional
        Dagster's record of this configuration.
    log_folder : str
        Receives a log for each job; by default ``slurm`` in the instance's folder. On storage that all nodes share.
    settings
        ``partition``, ``partition_without_gpu`` (for runs that need none), ``account``, ``time_limit``, ``gres`` (name
        or name:type of GPUs), ``options`` (of sbatch) and ``setup`` (lines of the script before the run); ``cpus``,
        ``gpus`` and ``memory_gib`` in place of what the steps say. A run's tag ``fly64/slurm`` overrides them.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, log_folder: str = "", **settings: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._log_folder = log_folder
        self._settings = settings

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Dagster's record of this configuration."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """Settings in ``dagster.yaml``."""
        texts = {name: dg.Field(dg.StringSource, is_required=False) for name in (*_TEXTS, "log_folder")}
        lists = {name: dg.Field([dg.StringSource], is_required=False) for name in _LISTS}
        return texts | lists | {name: dg.Field(dg.IntSource, is_required=False) for name in _NUMBERS}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "SlurmRunLauncher":
        """The launcher of an instance."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit the job of a run, and note its number on the run.

        Raises :class:`Fly64Error` where the run's own settings are wrong, :class:`SlurmError` where sbatch refuses.
        """
        run = context.dagster_run
        origin = run.job_code_origin
        if origin is None:
            raise Fly64Error(f"run {run.run_id} does not say from which code location it is: launch it from one")
        arguments = ExecuteRunArgs(origin, run.run_id, self._instance.get_ref(), set_exit_code_on_failure=True)
        request = job_request(
            run,
            largest(Demand.of_tags(tags) for tags in self._tags_of_steps(run)),
            [origin.executable_path, "-m", MODULE, serialize_value(arguments)],
            {**self._settings, **own_settings(run)},
            self._logs(),
        )
        job = submit(request)
        self._instance.add_run_tags(run.run_id, {JOB_TAG: job})
        self._instance.report_engine_event(
            f"Slurm job {job} was submitted: it may wait in the queue. Its log: {self._log(run.run_id, job)}",
            run,
            EngineEventData({name: str(value) for name, value in asdict(request.demand).items()}),
            cls=self.__class__,
        )

    def terminate(self, run_id: str) -> bool:
        """Cancel a run and its job. A job that never began cannot say so: its run counts as cancelled at once."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        job = run.tags.get(JOB_TAG)
        if job is None:
            return False
        self._instance.report_run_canceling(run)
        cancel(job, only_pending=True)
        state = state_of(job)
        if state is None or state.ended:
            self._instance.report_run_canceled(run, f"Slurm job {job} was cancelled before it began.")
        else:
            cancel(job)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's monitoring asks how jobs fare."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """How the job of a run fares. One in the queue is healthy, and one of which a silent Slurm says nothing.

        Dagster would fail the run for every other answer, and a controller that is down for an hour ends no job. A run
        whose job has used up its time or memory gets the tags with which Dagster does not begin it again.
        """
        job = run.tags.get(JOB_TAG)
        if job is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its job has not been submitted yet")
        try:
            state = state_of(job)
        except SlurmError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, str(error), transient=True)
        if state is None:
            lost = f"Slurm job {job} is unknown to Slurm: it has ended, and nothing is left that says how"
            return CheckRunHealthResult(WorkerStatus.FAILED, lost, run_worker_id=job)
        status = WorkerStatus.FAILED if state.ended else WorkerStatus.RUNNING
        text = f"Slurm job {job}: {state.sentence}"
        if state.ended and state.exhausted and not run.is_finished:
            self._instance.add_run_tags(run.run_id, not_again(text))
        return CheckRunHealthResult(status, text, run_worker_id=job)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """The last lines of a job's log, and where it is."""
        job = run.tags.get(JOB_TAG)
        if job is None:
            return None
        log = self._log(run.run_id, job)
        if not include_container_logs:
            return f"Its log: {log}"
        try:
            with log.open(errors="replace") as lines:
                return f"{log} ends with:\n{''.join(deque(lines, SHOWN_LINES))}"
        except OSError as error:
            return f"{log} cannot be read: {error.strerror}"

    def _tags_of_steps(self, run: dg.DagsterRun) -> list[Mapping[str, str]]:
        plan = self._instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id or "")
        wanted = run.step_keys_to_execute or plan.step_keys_to_execute
        return [step.tags or {} for step in plan.steps if step.key in wanted]

    def _logs(self) -> Path:
        return Path(self._log_folder or Path(self._instance.root_directory) / "slurm").absolute()

    def _log(self, run_id: str, job: str) -> Path:
        return self._logs() / f"{run_id}_{job}.log"


def own_settings(run: dg.DagsterRun) -> dict[str, Any]:
    """Settings in a run's tag. Raises :class:`Fly64Error` for those that are none."""
    text = run.tags.get(SETTINGS_TAG, "{}")
    kinds = dict.fromkeys(_TEXTS, str) | dict.fromkeys(_LISTS, list) | dict.fromkeys(_NUMBERS, int)
    expected = f"the tag {SETTINGS_TAG}={text!r} of run {run.run_id[:8]}: expected a JSON object of {', '.join(kinds)}"
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise Fly64Error(f"{expected} ({error})") from None
    if not isinstance(settings, dict):
        raise Fly64Error(expected)
    for name, value in settings.items():
        if name not in kinds or not isinstance(value, kinds[name]):
            raise Fly64Error(f"{expected}; found {name}: {value!r}")
    return settings


def job_request(
    run: dg.DagsterRun, demand: Demand, command: Sequence[str], settings: Mapping[str, Any], logs: Path
) -> JobRequest:
    """What is asked of Slurm for a run; the folder of logs is made, without which a job fails and says nothing."""
    logs.mkdir(parents=True, exist_ok=True)
    demand = Demand(**(asdict(demand) | {name: settings[name] for name in _NUMBERS if name in settings}))
    rest = {name: value for name, value in settings.items() if name not in (*_NUMBERS, "partition_without_gpu")}
    if not demand.gpus and "partition_without_gpu" in settings:
        rest["partition"] = settings["partition_without_gpu"]
    place = run.tags.get("dagster/partition", "")
    return JobRequest(
        name=f"fly64_{place.replace('|', '_') or run.job_name.strip('_')}_{run.run_id[:8]}",
        log=logs / f"{run.run_id}_%j.log",
        demand=demand,
        command=command,
        environment={name: os.environ[name] for name in PASSED_ON if name in os.environ and name not in _SECRET},
        **rest,
    )
