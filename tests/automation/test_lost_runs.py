"""Runs whose process was killed count as failed, and give back the slot that they held; living ones are left alone."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, EngineEventData

from fly64_assets.automation import runs
from fly64_assets.automation.launched import lost_job_sensor
from fly64_assets.automation.machines import this_machine
from fly64_assets.automation.run_tags import MACHINE_TAG
from fly64_assets.automation.runs import LOST, close_lost_runs

SLEEPER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import dagster as dg

@dg.asset(pool="gpu")
def sleeper():
    print("asleep", flush=True)
    time.sleep(600)

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    dg.materialize([sleeper], instance=instance)
"""
SETTINGS = "concurrency: {pools: {default_limit: 1, granularity: op}}"


@pytest.mark.slow
def test_a_killed_run_is_closed_and_a_living_one_is_not(tmp_path):
    (tmp_path / "dagster.yaml").write_text(SETTINGS)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        command = [sys.executable, "-c", SLEEPER, str(tmp_path)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert child.stdout.readline() == "asleep\n"
            assert close_lost_runs(instance) == []
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED
        slots = instance.event_log_storage.get_concurrency_info("gpu")
        assert slots.active_run_ids == {run.run_id}

        assert close_lost_runs(instance) == [run.run_id]
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
        assert LOST in [entry.dagster_event.message for entry in instance.all_logs(run.run_id)]
        assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()
        assert close_lost_runs(instance) == []


def test_a_run_that_ends_while_one_looks_keeps_its_own_end(tmp_path, monkeypatch):
    """Its process was there when the runs were listed, wrote that the run succeeded, and has ended since."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(dg.job(name="short")(lambda: None), status=dg.DagsterRunStatus.STARTED)

        def ends_meanwhile(instance, run):
            instance.report_dagster_event(
                DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run_id=run.run_id
            )
            return True

        monkeypatch.setattr(runs, "_has_ended", ends_meanwhile)
        assert close_lost_runs(instance) == []
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.SUCCESS


@pytest.mark.parametrize("shared", [False, True])
def test_an_instance_that_may_be_shared_is_left_alone(tmp_path, shared):
    """The process of a run on another machine cannot be seen from here."""
    with dg.DagsterInstance.ephemeral() if shared else dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(dg.job(name="elsewhere")(lambda: None), status=dg.DagsterRunStatus.STARTED)
        nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
        instance.report_engine_event("begun", run, EngineEventData({"pid": dg.MetadataValue.text(str(nobody))}))
        assert close_lost_runs(instance) == ([] if shared else [run.run_id])
        ended = dg.DagsterRunStatus.STARTED if shared else dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(run.run_id).status == ended


@pytest.mark.parametrize(
    ("machine", "ended"),
    [
        (this_machine(), True),
        (None, True),  # killed before it could note it
        ("{host} before {processes}", True),  # before a restart
        ("{host} {boot} pid:[1]", False),  # in a container
        ("elsewhere {boot} {processes}", False),
    ],
)
def test_the_sensor_closes_lost_runs_of_this_machine_and_leaves_those_of_others(tmp_path, machine, ended):
    """Also in an instance in SQLite: another machine or container may be at work on its runs while the sensor looks."""
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    host, boot, processes = this_machine().split()
    tags = {MACHINE_TAG: machine.format(host=host, boot=boot, processes=processes)} if machine else {}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(
            dg.job(name="any")(lambda: None), status=dg.DagsterRunStatus.STARTED, tags=tags
        )
        instance.report_engine_event("begun", run, EngineEventData({"pid": dg.MetadataValue.text(str(nobody))}))
        said = lost_job_sensor()(dg.build_sensor_context(instance=instance)).skip_message
        assert said == (f"ended: {run.run_id[:8]}" if ended else "runs stay on this machine")
        status = dg.DagsterRunStatus.FAILURE if ended else dg.DagsterRunStatus.STARTED
        assert instance.get_run_by_id(run.run_id).status == status


def test_in_an_instance_that_is_shared_the_runs_of_this_machine_are_closed():
    """Those of other machines, and of other containers on this one, are left alone."""
    host, boot, processes = this_machine().split()
    machines = {
        "this": (this_machine(), True),
        "restarted": (f"{host} before {processes}", True),
        "container": (f"{host} {boot} pid:[1]", False),
        "colleague": (f"elsewhere {boot} {processes}", False),
    }
    nobody = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    with dg.DagsterInstance.ephemeral() as instance:
        runs = {}
        for name, (machine, _) in machines.items():
            run = instance.create_run_for_job(
                dg.job(name=name)(lambda: None), status=dg.DagsterRunStatus.STARTED, tags={MACHINE_TAG: machine}
            )
            instance.report_engine_event("begun", run, EngineEventData({"pid": dg.MetadataValue.text(str(nobody))}))
            runs[name] = run.run_id
        assert set(close_lost_runs(instance)) == {runs[name] for name, (_, lost) in machines.items() if lost}
