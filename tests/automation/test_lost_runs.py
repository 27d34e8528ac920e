"""Runs whose process was killed count as failed, and give back the slot that they held; living ones are left alone."""

import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, EngineEventData

from fly64_assets.automation import machines, runs
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


NOBODY = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
MACHINES = {
    "this machine": ("{host} {boot} {processes}", True),
    "not noted yet": (None, True),  # killed before
    "before a restart": ("{host} before {processes}", True),
    "a container that works": ("{host} {boot} pid:[1]", False),
    "another machine": ("elsewhere {boot} {processes}", False),
    "another machine of the same name": ("{host} other {processes}", False),
}
"""Where a run is, and whether it is lost; its process cannot be seen from here."""


@contextmanager
def noted(folder, instance, name):
    """A run that has noted this machine; its lock is held where it works, and left where it was."""
    machine, ended = MACHINES[name]
    run = instance.create_run_for_job(dg.job(name="any")(lambda: None), status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("begun", run, EngineEventData({"pid": dg.MetadataValue.text(str(NOBODY))}))
    if machine is None:
        yield run.run_id, ended
        return
    host, boot, processes = this_machine().split()
    machine = machine.format(host=host, boot=boot, processes=processes)
    (folder / "machines").mkdir(exist_ok=True)
    with machines._path(machine).open("w") as file:
        instance.add_run_tags(run.run_id, {MACHINE_TAG: f"{machine} {run.run_id} {os.fstat(file.fileno()).st_ino}"})
        if not ended:
            fcntl.flock(file, fcntl.LOCK_SH)
        yield run.run_id, ended


@pytest.mark.parametrize("name", MACHINES)
def test_the_sensor_closes_lost_runs_of_this_machine_and_leaves_those_of_others(tmp_path, monkeypatch, name):
    """Also in an instance in SQLite: another machine or container may be at work on its runs while the sensor looks."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, noted(tmp_path, instance, name) as (run, ended):
        said = lost_job_sensor()(dg.build_sensor_context(instance=instance)).skip_message
        assert said == (f"ended: {run[:8]}" if ended else "runs stay on this machine")
        status = dg.DagsterRunStatus.FAILURE if ended else dg.DagsterRunStatus.STARTED
        assert instance.get_run_by_id(run).status == status


@pytest.mark.parametrize("name", MACHINES)
def test_in_an_instance_that_is_shared_the_runs_of_this_machine_are_closed(tmp_path, monkeypatch, name):
    """Those of other machines, of other containers, and those that have not said where they are, are left alone."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance, noted(tmp_path, instance, name) as (run, ended):
        assert close_lost_runs(instance) == ([run] if ended and name != "not noted yet" else [])
