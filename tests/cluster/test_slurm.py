"""Runs as jobs of a real Slurm: in the queue, on one GPU each, cancelled, without their node, beyond their time."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
from cluster.conftest import daemon, job_launch
from cluster.slurm_server import GPUS, until
from dagster._core.launcher import WorkerStatus

from fly64_assets.automation.launched import end_if_lost, lost_job_sensor
from fly64_assets.automation.run_tags import ENDED_TAG, RETRY_TAG
from fly64_assets.automation.slurm import JOB_TAG

pytestmark = pytest.mark.cluster
Status = dg.DagsterRunStatus
BEGIN_SECONDS, END_SECONDS = 240, 240
"""For a run to begin and to end on a busy machine."""
FAILED = dg.DagsterEventType.RUN_FAILURE
CURSOR = f"EVENT_LOG_CONSUMER_CURSOR-{FAILED.value}"


def status(instance, run):
    return instance.get_run_by_id(run).status


def job_of(instance, run):
    return instance.get_run_by_id(run).tags[JOB_TAG]


def health(instance, run):
    return instance.run_launcher.check_run_worker_health(instance.get_run_by_id(run))


def begun(folder, run):
    return (folder / f"began_{run}").exists()


def messages(instance, run):
    return "\n".join(entry.message for entry in instance.all_logs(run))


def seen_failures(instance):
    """Number of the last failure of a run at which Dagster's daemon has looked; -1 before it looks at any."""
    return int(instance.run_storage.get_cursor_values({CURSOR}).get(CURSOR, -1))


def kill(slurm, word):
    """Kill processes of this Slurm's jobs whose environment has a word, with no time to say anything."""
    ours = f"SLURM_CONF={slurm.folder}/slurm.conf"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
            if ours in environment and any(one.startswith(word) for one in environment):
                os.kill(int(process.name), signal.SIGKILL)


def power_cut(slurm):
    """Kill the node's daemon and everything that it has started."""
    slurm.kill("slurmd")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            step = (process / "comm").read_text().strip() == "slurmstepd"
            if step and str(slurm.folder).encode() in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    kill(slurm, "SLURM_JOB_ID=")


def test_more_runs_than_gpus_wait_in_the_queue_and_then_run_on_one_each(slurm, instance, launch, tmp_path):
    runs = [launch() for _ in range(GPUS + 1)]
    until(lambda: sum(begun(tmp_path, run) for run in runs) == GPUS, BEGIN_SECONDS, "as many runs as there are GPUs")
    (waiting,) = slurm.jobs("PENDING")
    last = next(run for run in runs if job_of(instance, run) == waiting)
    assert status(instance, last) == Status.STARTING
    # Dagster asks how it fares, and leaves it alone.
    assert health(instance, last).status == WorkerStatus.RUNNING
    assert "it waits in the queue (PENDING, reason Resources)" in health(instance, last).msg
    assert not end_if_lost(instance, instance.get_run_by_id(last))
    (tmp_path / "go").touch()
    until(lambda: all(status(instance, run) == Status.SUCCESS for run in runs), END_SECONDS, "the end of all runs")
    gpus = [(tmp_path / f"began_{run}").read_text() for run in runs if run != last]
    assert sorted(gpus) == ["0", "1"]
    assert (tmp_path / f"began_{last}").read_text() in gpus


def test_a_run_that_is_terminated_takes_its_job_along(slurm, instance, launch, tmp_path):
    first, second = launch(), launch()
    until(lambda: begun(tmp_path, first) and begun(tmp_path, second), BEGIN_SECONDS, "two runs")
    third = launch()
    # In the queue: at once, since nothing of it will ever say so.
    assert instance.run_launcher.terminate(third)
    assert status(instance, third) == Status.CANCELED
    assert instance.run_launcher.terminate(first)
    until(lambda: status(instance, first) == Status.CANCELED, END_SECONDS, "the end of the cancelled run")
    until(lambda: slurm.jobs("RUNNING") == [job_of(instance, second)], 60, "the end of its job")
    assert not instance.run_launcher.terminate(first)
    (tmp_path / "go").touch()
    until(lambda: status(instance, second) == Status.SUCCESS, END_SECONDS, "the end of the other run")


def test_a_cancelled_run_that_was_killed_before_it_could_say_so_is_closed(slurm, instance, launch, tmp_path):
    run = launch()
    until(lambda: begun(tmp_path, run), BEGIN_SECONDS, "the run")
    instance.report_run_canceling(instance.get_run_by_id(run))
    kill(slurm, f"SLURM_JOB_ID={job_of(instance, run)}")
    until(lambda: not slurm.jobs("RUNNING"), 60, "the end of the job")
    evaluate = lost_job_sensor()
    until(lambda: "ended" in str(evaluate(dg.build_sensor_context(instance=instance)).skip_message), 60, "the sensor")
    assert status(instance, run) == Status.CANCELED


def test_a_job_that_is_cancelled_in_the_queue_fails_its_run(slurm, instance, launch):
    run = launch(**{"fly64/slurm": '{"options": ["--hold"]}'})
    evaluate = lost_job_sensor()
    assert "1 runs wait for their cluster" in str(evaluate(dg.build_sensor_context(instance=instance)).skip_message)
    slurm.ask("scancel", job_of(instance, run))
    assert f"ended: {run[:8]}" in str(evaluate(dg.build_sensor_context(instance=instance)).skip_message)
    assert status(instance, run) == Status.FAILURE
    assert "it was cancelled outside Dagster (CANCELLED" in messages(instance, run)


def test_a_controller_that_is_down_ends_no_run(slurm, instance, launch, tmp_path):
    run = launch()
    until(lambda: begun(tmp_path, run), BEGIN_SECONDS, "the run")
    slurm.stop_controller()
    try:
        assert health(instance, run).status == WorkerStatus.RUNNING
        assert "Slurm does not say how job" in health(instance, run).msg
        assert not end_if_lost(instance, instance.get_run_by_id(run))
    finally:
        slurm.start_controller()
    until(lambda: "it is at work (RUNNING)" in health(instance, run).msg, 60, "the controller's answer")
    (tmp_path / "go").touch()
    until(lambda: status(instance, run) == Status.SUCCESS, END_SECONDS, "the end of the run")


def test_a_run_whose_node_fails_is_begun_again_on_another(slurm, instance, tmp_path):
    home = Path(instance.root_directory)
    with daemon(home, tmp_path):
        run = job_launch(home, tmp_path)
        until(lambda: begun(tmp_path, run), BEGIN_SECONDS, "the run")
        power_cut(slurm)
        until(lambda: status(instance, run) == Status.FAILURE, 180, "the monitoring's verdict")
        assert "its node failed (NODE_FAIL" in messages(instance, run)
        slurm.start_node()
        (tmp_path / "go").touch()
        again = until(lambda: [one for one in instance.get_runs() if one.run_id != run], 180, "the next attempt")[0]
        assert again.parent_run_id == run
        until(lambda: status(instance, again.run_id) == Status.SUCCESS, END_SECONDS, "its end")
        assert job_of(instance, again.run_id) != job_of(instance, run)


def test_a_run_that_reaches_its_time_limit_says_so_and_is_not_begun_again(slurm, instance, launch, tmp_path):
    """Under Dagster's daemon. Meanwhile a job with the same limit waits in the queue for longer than it may work."""
    waiting = launch(**{"fly64/slurm": '{"time_limit": "1", "options": ["--hold"]}'})
    run = launch(**{"fly64/slurm": '{"time_limit": "1"}'})
    until(lambda: begun(tmp_path, run), BEGIN_SECONDS, "the run")
    with daemon(Path(instance.root_directory), tmp_path):
        until(lambda: seen_failures(instance) >= 0, 120, "the daemon that begins failed runs again")
        assert status(instance, run) == Status.STARTED
        until(lambda: status(instance, run) == Status.FAILURE, 300, "the end of its time")
        tags = instance.get_run_by_id(run).tags
        assert "it reached its time limit (" in tags[ENDED_TAG]
        assert "raise time_limit and re-execute it" in tags[ENDED_TAG]
        assert tags[ENDED_TAG] in messages(instance, run)
        assert tags[RETRY_TAG] == "false"
        until(lambda: "TIMEOUT" in health(instance, run).msg, 60, "Slurm's word")
        (log,) = (Path(instance.root_directory) / "slurm").glob(f"{run}_*.log")
        until(lambda: "DUE TO TIME LIMIT" in log.read_text(), 60, "the job's own log")
        failure = max(instance.event_log_storage.get_logs_for_all_runs_by_log_id(dagster_event_type=FAILED))
        until(lambda: seen_failures(instance) >= failure, 120, "the daemon's look at the failure")
        time.sleep(3 * instance.run_monitoring_poll_interval_seconds)
        assert {one.run_id for one in instance.get_runs()} == {run, waiting}
        assert status(instance, waiting) == Status.STARTING
        (tmp_path / "go").touch()
        slurm.ask("scontrol", "release", job_of(instance, waiting))
        until(lambda: status(instance, waiting) == Status.SUCCESS, END_SECONDS, "the end of the run that waited")
    assert not (tmp_path / f"ended_{run}").exists()
