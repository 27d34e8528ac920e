"""What is asked of Slurm for a run, and what its answers mean; no server is needed here (``tests/cluster`` has one)."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.errors import DagsterInvalidConfigError
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from fly64_assets.automation.demands import Demand
from fly64_assets.automation.launched import end_if_lost, lost_job_sensor
from fly64_assets.automation.run_tags import ENDED_TAG, RETRY_TAG
from fly64_assets.automation.runs import close_lost_runs
from fly64_assets.automation.slurm import JOB_TAG, SlurmRunLauncher, job_request, own_settings
from fly64_assets.automation.slurm_jobs import (
    ENDED,
    JobRequest,
    JobState,
    SlurmError,
    accounted_state,
    shown_state,
    state_of,
    submit,
)
from fly64_assets.automation.slurm_run import MODULE
from fly64_assets.errors import Fly64Error

SETTINGS = """
run_launcher:
  module: fly64_assets.automation.slurm
  class: SlurmRunLauncher
  config: {config}
"""
ENGINE = Demand(cpus=2, gpus=1, memory_gib=4)
# As Slurm 22.05 writes it, shortened.
SHOWN = (
    "JobId=1 JobName=job.sh UserId=root(0) Priority=4294901759 Account=(null) JobState=PENDING Reason=Resources "
    "Dependency=(null) Requeue=0 Restarts=0 BatchFlag=1 ExitCode=0:0 RunTime=00:00:00 TimeLimit=UNLIMITED\n"
)


def request(tmp_path, **more):
    return JobRequest(
        "fly64_test", tmp_path / "%j.log", ENGINE, [sys.executable, "-c", "print('it works')"], {}, **more
    )


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "dagster.yaml").write_text(
        SETTINGS.format(config=json.dumps({"partition": "gpu", "time_limit": "1:00:00"}))
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a program of some name and content in front of all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name, script):
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return put


def test_the_options_of_a_job_say_what_its_run_needs(tmp_path):
    asked = request(
        tmp_path,
        partition="gpu",
        account="p1",
        time_limit="4:00:00",
        gres="gpu:a100",
        options=["--qos=long", "--mem=9G"],
    ).arguments()
    for option in ("--partition=gpu", "--account=p1", "--time=4:00:00", "--cpus-per-task=2", "--gres=gpu:a100:1"):
        assert option in asked
    # A requeued job would begin a run that has begun already; Dagster begins lost runs again.
    assert "--no-requeue" in asked
    # sbatch takes the last of equal options: the user's.
    assert asked[-2:] == ["--qos=long", "--mem=9G"]
    assert asked.index("--mem=4G") < asked.index("--mem=9G")


def test_no_option_is_given_for_what_nobody_set(tmp_path):
    asked = JobRequest("name", tmp_path / "log", Demand(1, 0, 2), ["true"], {}).arguments()
    assert not [option for option in asked if option.startswith(("--gres", "--partition", "--account", "--time"))]


def test_the_script_runs_with_any_characters_in_its_values(tmp_path):
    text = 'it\'s $HOME "quoted"; `false` \\'
    command = [
        sys.executable,
        "-c",
        "import os, sys; print(os.environ['A'], os.environ['B'], sys.argv[1], sep='\\n')",
        text,
    ]
    script = JobRequest("name", tmp_path, ENGINE, command, {"A": text}, setup=["export B=setup"]).script()
    ended = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [text, "setup", text]


def test_signals_reach_the_run_and_not_a_shell_around_it(tmp_path):
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    script = JobRequest("name", tmp_path, ENGINE, command, {}).script()
    (tmp_path / "job").write_text(script)
    with subprocess.Popen(["bash", str(tmp_path / "job")], stdout=subprocess.PIPE, text=True) as process:
        assert int(process.communicate()[0]) == process.pid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHOWN, JobState("PENDING", "Resources", "0:0")),
        (
            SHOWN.replace("PENDING Reason=Resources", "TIMEOUT Reason=TimeLimit"),
            JobState("TIMEOUT", "TimeLimit", "0:0"),
        ),
    ],
)
def test_the_controller_s_answer_is_read(text, expected):
    assert shown_state(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COMPLETED|None|0:0\n", JobState("COMPLETED", "", "0:0")),
        ("CANCELLED by 1000|None|0:0\n", JobState("CANCELLED", "by 1000", "0:0")),
        ("NODE_FAIL|NodeDown|0:0\nNODE_FAIL||\n", JobState("NODE_FAIL", "NodeDown", "0:0")),
        ("", None),
    ],
)
def test_the_accounts_answer_is_read(text, expected):
    assert accounted_state(text) == expected


def test_ended_jobs_are_told_from_waiting_and_working_ones():
    for state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "SOMETHING_NEW"):
        assert not JobState(state).ended
    assert all(JobState(state).ended for state in ENDED)
    assert (
        JobState("NODE_FAIL", "NodeDown", "0:9").sentence
        == "its node failed (NODE_FAIL, reason NodeDown, exit code 0:9)"
    )
    assert JobState("PENDING", "Resources").sentence == "it waits in the queue (PENDING, reason Resources)"
    assert JobState("RUNNING", "None", "0:0").sentence == "it is at work (RUNNING)"


def test_a_job_out_of_time_or_memory_is_told_from_others_also_while_it_is_being_ended():
    ending = JobState("COMPLETING", "TimeLimit", "0:0")
    assert ending.exhausted
    assert not ending.ended
    for state in (ending, JobState("TIMEOUT", "TimeLimit")):
        assert state.sentence.startswith("it reached its time limit (")
        assert "not begun again automatically: raise time_limit and re-execute it" in state.sentence
    assert "raise memory_gib" in JobState("OUT_OF_MEMORY").sentence
    for state in ("NODE_FAIL", "PREEMPTED", "CANCELLED", "FAILED", "RUNNING", "COMPLETING"):
        assert not JobState(state).exhausted
        assert "begun again" not in JobState(state).sentence
    # A job that waits because its limit is above that of the partition has used up nothing.
    assert not JobState("PENDING", "TimeLimit").exhausted


def test_a_job_that_the_controller_has_forgotten_is_looked_up_in_the_accounts(program):
    program("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    program("sacct", "echo 'TIMEOUT|TimeLimit|0:0'")
    assert state_of("7") == JobState("TIMEOUT", "TimeLimit", "0:0")
    program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert state_of("7") is None


def test_a_controller_that_does_not_answer_is_no_end_of_a_job(program, instance):
    program("scontrol", "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(SlurmError, match="job 7 fares: Unable to contact slurm controller"):
        state_of("7")
    run = instance.create_run_for_job(dg.job(name="any")(lambda: None), tags={JOB_TAG: "7"})
    health = instance.run_launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.RUNNING
    assert "Unable to contact" in health.msg


def test_a_refusal_of_sbatch_is_told_with_the_options(program, tmp_path):
    program("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"invalid partition specified: gpu \(options: .*--partition=gpu"):
        submit(request(tmp_path, partition="gpu"))


def test_a_machine_without_slurm_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="sbatch is not installed here"):
        submit(request(tmp_path))


def test_the_launcher_comes_from_the_settings_of_the_instance(instance, tmp_path):
    assert isinstance(instance.run_launcher, SlurmRunLauncher)
    assert instance.run_launcher.supports_check_run_worker_health
    (tmp_path / "dagster.yaml").write_text(SETTINGS.format(config='{"partitions": "gpu"}'))
    with (
        pytest.raises(DagsterInvalidConfigError, match="partitions"),
        dg.DagsterInstance.from_config(str(tmp_path)) as other,
    ):
        _ = other.run_launcher


def test_a_run_may_have_settings_of_its_own(instance):
    job = dg.job(name="any")(lambda: None)
    run = instance.create_run_for_job(
        job, tags={"fly64/slurm": '{"time_limit": "2:00:00", "gpus": 2, "options": ["-x n1"]}'}
    )
    assert own_settings(run) == {"time_limit": "2:00:00", "gpus": 2, "options": ["-x n1"]}
    for text in ("no JSON", "[]", '{"partitions": "gpu"}', '{"gpus": "2"}'):
        run = instance.create_run_for_job(job, tags={"fly64/slurm": text})
        with pytest.raises(Fly64Error, match="expected a JSON object of partition, partition_without_gpu"):
            own_settings(run)


def test_a_run_without_gpus_goes_to_its_own_partition(instance, tmp_path, monkeypatch):
    monkeypatch.setenv("FLY64_STUDY", "demo")
    monkeypatch.setenv("FLY64_POSTGRES_PASSWORD", "secret")
    job = dg.job(name="any")(lambda: None)
    run = instance.create_run_for_job(job, tags={"dagster/partition": "1000|dense"})
    settings = {"partition": "gpu", "partition_without_gpu": "cpu"}
    on_gpu = job_request(run, ENGINE, ["true"], settings, tmp_path / "logs")
    assert (on_gpu.partition, on_gpu.demand, on_gpu.name) == ("gpu", ENGINE, f"fly64_1000_dense_{run.run_id[:8]}")
    assert on_gpu.environment["FLY64_STUDY"] == "demo"
    assert "FLY64_POSTGRES_PASSWORD" not in on_gpu.environment  # Slurm keeps the script
    assert (tmp_path / "logs").is_dir()
    without = job_request(run, ENGINE, ["true"], {**settings, "gpus": 0, "memory_gib": 64}, tmp_path / "logs")
    assert (without.partition, without.demand) == ("cpu", Demand(2, 0, 64))


@dg.op(tags=Demand(3, 0, 1).tags())
def wide():
    """Keeps three cores busy."""


@dg.op(tags=Demand(1, 2, 8).tags())
def on_gpus():
    """Takes two GPUs."""


@dg.job
def both():
    """What two steps need differs."""
    wide()
    on_gpus()


@dg.op
def lasting(context: dg.OpExecutionContext):
    """Works until it is ended."""
    context.log.info("endless")
    time.sleep(600)


@dg.job(executor_def=dg.in_process_executor)
def endless():
    """One step without an end."""
    lasting()


both_here = dg.Definitions(jobs=[both])
endless_here = dg.Definitions(jobs=[endless])


def test_a_job_gets_what_the_largest_of_its_steps_needs(instance, program, tmp_path):
    seen = tmp_path / "seen"
    program("sbatch", f'printf "%s\\n" "$@" > {seen}; cat >> {seen}; echo 42')
    repository = ReconstructableRepository.for_file(__file__, "both_here", str(Path(__file__).parent))
    origin = repository.get_reconstructable_job("both").get_python_origin()
    run = instance.create_run_for_job(both, job_code_origin=origin)
    instance.launch_run(run.run_id, None)
    words = seen.read_text().splitlines()
    assert {"--cpus-per-task=3", "--gres=gpu:2", "--mem=8G", "--partition=gpu", "--time=1:00:00"} <= set(words)
    assert words[-1].startswith(f"exec {sys.executable} -m fly64_assets.automation.slurm_run ")
    assert run.run_id in words[-1]
    assert instance.get_run_by_id(run.run_id).tags[JOB_TAG] == "42"
    assert (tmp_path / "slurm").is_dir()


def test_a_run_that_sbatch_refuses_has_failed_with_its_words(instance, program):
    program("sbatch", "echo 'sbatch: error: Invalid account' >&2; exit 1")
    repository = ReconstructableRepository.for_file(__file__, "both_here", str(Path(__file__).parent))
    origin = repository.get_reconstructable_job("both").get_python_origin()
    run = instance.create_run_for_job(both, job_code_origin=origin)
    with pytest.raises(SlurmError, match="Invalid account"):
        instance.launch_run(run.run_id, None)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE


def test_the_log_of_a_job_is_shown_with_its_last_lines(instance, tmp_path):
    run = instance.create_run_for_job(both, tags={JOB_TAG: "42"})
    log = tmp_path / "slurm" / f"{run.run_id}_42.log"
    assert "cannot be read" in instance.run_launcher.get_run_worker_debug_info(run)
    log.parent.mkdir()
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    shown = instance.run_launcher.get_run_worker_debug_info(run)
    assert "line 99" in shown
    assert "line 79\n" not in shown
    assert instance.run_launcher.get_run_worker_debug_info(run, include_container_logs=False) == f"Its log: {log}"


def test_the_settings_of_the_page_are_settings_of_an_instance(tmp_path):
    """They let a job wait for weeks, and limit nothing that Slurm shares out."""
    page = (Path(__file__).parents[2] / "docs/how-to/slurm.md").read_text()
    (tmp_path / "dagster.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL).group(1))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, SlurmRunLauncher)
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_start_timeout_seconds >= 7 * 86400
        assert instance.run_retries_enabled
        assert instance.global_op_concurrency_default_limit is None
    for name in SlurmRunLauncher.config_type():
        assert f"`{name}`" in page


def test_runs_that_a_launcher_takes_elsewhere_are_not_judged_by_processes_of_this_machine(instance):
    run = instance.create_run_for_job(both, status=dg.DagsterRunStatus.STARTED)
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    instance.report_engine_event("begun", run, EngineEventData({"pid": dg.MetadataValue.text(str(nobody))}))
    assert close_lost_runs(instance) == []
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED


def test_a_run_whose_job_has_vanished_is_failed_and_one_that_was_to_be_cancelled_is_cancelled(instance, program):
    program("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    program("sacct", "exit 1")
    for before, after in (("STARTING", "FAILURE"), ("CANCELING", "CANCELED")):
        run = instance.create_run_for_job(both, status=dg.DagsterRunStatus(before), tags={JOB_TAG: "7"})
        assert end_if_lost(instance, run)
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus(after)
        assert any("Slurm job 7 is unknown to Slurm" in entry.message for entry in instance.all_logs(run.run_id))
        assert not end_if_lost(instance, run)


def test_a_run_that_is_well_is_left_alone(instance, program):
    program("scontrol", f"echo '{SHOWN.strip()}'")
    run = instance.create_run_for_job(both, status=dg.DagsterRunStatus.STARTING, tags={JOB_TAG: "1"})
    assert not end_if_lost(instance, run)
    said = lost_job_sensor()(dg.build_sensor_context(instance=instance)).skip_message
    assert said == "1 runs wait for their cluster"
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTING


def test_the_sensor_does_nothing_where_runs_stay_on_this_machine():
    with dg.DagsterInstance.ephemeral() as here:
        said = lost_job_sensor()(dg.build_sensor_context(instance=here)).skip_message
    assert said == "runs stay on this machine"


@pytest.mark.parametrize(
    ("shown", "again"), [("JobState=TIMEOUT Reason=TimeLimit", False), ("JobState=NODE_FAIL Reason=NodeDown", True)]
)
def test_a_run_out_of_time_is_not_begun_again_and_one_that_lost_its_node_is(tmp_path, program, shown, again):
    """The run did not say itself that it was ended; Dagster's own word on it is the tag `dagster/will_retry`."""
    program("scontrol", f"echo 'JobId=7 {shown} ExitCode=0:0'")
    settings = SETTINGS.format(config="{}") + "run_retries: {enabled: true, max_retries: 2}\n"
    (tmp_path / "dagster.yaml").write_text(settings)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.create_run_for_job(both, status=dg.DagsterRunStatus.STARTED, tags={JOB_TAG: "7"})
        assert end_if_lost(instance, run)
        tags = instance.get_run_by_id(run.run_id).tags
        assert tags[RETRY_TAG] == str(again).lower()
        assert (ENDED_TAG in tags) is not again


@pytest.mark.parametrize(
    ("shown", "again"), [("JobState=COMPLETING Reason=TimeLimit", False), ("JobState=COMPLETING Reason=None", True)]
)
def test_a_run_that_is_told_to_end_says_why_and_is_begun_again_only_if_that_helps(
    tmp_path, program, monkeypatch, shown, again
):
    """Slurm sends the same signal at the time limit and for another job's sake."""
    program("scontrol", f"echo 'JobId=7 {shown} ExitCode=0:15'")
    settings = SETTINGS.format(config="{}") + "run_retries: {enabled: true, max_retries: 2}\n"
    (tmp_path / "dagster.yaml").write_text(settings)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    repository = ReconstructableRepository.for_file(__file__, "endless_here", str(Path(__file__).parent))
    origin = repository.get_reconstructable_job("endless").get_python_origin()
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.create_run_for_job(endless, job_code_origin=origin, tags={JOB_TAG: "7"})
        arguments = serialize_value(ExecuteRunArgs(origin, run.run_id, instance.get_ref()))
        with subprocess.Popen([sys.executable, "-m", MODULE, arguments], stderr=subprocess.DEVNULL) as process:
            limit = time.monotonic() + 120
            while not [entry for entry in instance.all_logs(run.run_id) if "endless" in entry.user_message]:
                assert time.monotonic() < limit, "the step never began"
                time.sleep(0.1)
            process.terminate()
            assert process.wait(60) == 1
        ended = instance.get_run_by_id(run.run_id)
        assert ended.status == dg.DagsterRunStatus.FAILURE
        assert ended.tags[RETRY_TAG] == str(again).lower()
        assert ("it reached its time limit" in ended.tags.get(ENDED_TAG, "")) is not again
        said = "\n".join(entry.message for entry in instance.all_logs(run.run_id))
        assert ("it reached its time limit" in said) is not again
