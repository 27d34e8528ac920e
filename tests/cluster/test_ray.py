"""Runs and steps on a real Ray cluster of this machine: GPUs that come late, one step on each, a node that is lost."""

import os
import signal
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
import yaml
from cluster.conftest import launcher_of, settings_of
from cluster.ray_cluster import GPU, patiently, ray_cluster
from cluster.slurm_server import until

from fly64_assets.automation.launched import end_if_lost

pytest.importorskip("ray", reason="needs the extra ray: make cluster")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]
SECONDS = 400
"""For anything to happen on a busy machine."""
Status = dg.DagsterRunStatus


@pytest.fixture
def cluster():
    """A head without a GPU; further nodes join in the tests."""
    with ray_cluster() as nodes:
        yield nodes


@pytest.fixture
def instance(cluster, tmp_path, monkeypatch):
    """An instance with the settings of the page."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings_of("ray")))
    for name in ("FLY64_STUDY", "FLY64_DATA_ROOT"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def status(instance, run):
    return instance.get_run_by_id(run).status


def begun(folder, *runs):
    return [run for run in runs if (folder / f"began_{run}").exists()]


def messages(instance, run):
    return "\n".join(entry.message for entry in instance.all_logs(run))


def test_steps_wait_for_a_node_with_a_gpu_and_then_take_it_one_by_one(cluster, instance, tmp_path):
    launch = launcher_of(instance, tmp_path)
    runs = [launch() for _ in range(3)]
    # The processes that direct the runs leave room for steps, and all of them are at work; no step can be.
    until(lambda: all(status(instance, run) == Status.STARTED for run in runs), SECONDS, "the runs")
    until(lambda: all("in Ray job" in messages(instance, run) for run in runs), SECONDS, "their steps in Ray's queue")
    assert begun(tmp_path, *runs) == []
    patiently(lambda: cluster.add_node(**GPU))
    first = until(lambda: begun(tmp_path, *runs), SECONDS, "a step on the GPU")
    assert len(first) == 1
    assert (tmp_path / f"began_{first[0]}").read_text() == "0"
    (tmp_path / "go").touch()
    until(lambda: all(status(instance, run) == Status.SUCCESS for run in runs), SECONDS, "the end of all runs")
    # A step that begins after another has ended never had to share the GPU.
    times = sorted(
        ((tmp_path / f"began_{run}").stat().st_mtime, (tmp_path / f"ended_{run}").stat().st_mtime) for run in runs
    )
    assert all(ended <= begins for (_, ended), (begins, _) in pairwise(times))


def test_each_of_two_gpus_has_a_step_at_the_same_time(cluster, instance, tmp_path):
    for _ in range(2):
        patiently(lambda: cluster.add_node(**GPU))
    launch = launcher_of(instance, tmp_path)
    runs = [launch() for _ in range(3)]
    first = until(lambda: len(found := begun(tmp_path, *runs)) == 2 and found, SECONDS, "two steps at once")
    (third,) = set(runs) - set(first)
    until(lambda: status(instance, third) == Status.STARTED, SECONDS, "the third run")
    until(lambda: "in Ray job" in messages(instance, third), SECONDS, "its step in Ray's queue")
    assert begun(tmp_path, third) == []
    (tmp_path / "go").touch()
    until(lambda: all(status(instance, run) == Status.SUCCESS for run in runs), SECONDS, "the end of all runs")


def drivers(run):
    """Processes on this machine that direct a run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"execute_run" in command and run.encode() in command and b"execute_step" not in command:
            found.append(int(process.name))
    return found


def test_a_run_whose_driver_is_killed_has_failed_and_its_step_keeps_the_gpu_to_its_end(cluster, instance, tmp_path):
    patiently(lambda: cluster.add_node(**GPU))
    launch = launcher_of(instance, tmp_path)
    run = launch()
    until(lambda: begun(tmp_path, run), SECONDS, "the step")
    assert drivers(run)
    for process in drivers(run):
        os.kill(process, signal.SIGKILL)
    until(lambda: end_if_lost(instance, instance.get_run_by_id(run)), SECONDS, "what Ray says of the run")
    assert status(instance, run) == Status.FAILURE
    again = launch()
    until(lambda: "in Ray job" in messages(instance, again), SECONDS, "the step of the next run in Ray's queue")
    assert begun(tmp_path, again) == []
    (tmp_path / "go").touch()
    until(lambda: status(instance, again) == Status.SUCCESS, SECONDS, "a run that is begun again")
    assert (tmp_path / f"ended_{run}").exists()


def test_a_step_whose_node_is_lost_has_failed_and_says_so(cluster, instance, tmp_path):
    node = patiently(lambda: cluster.add_node(**GPU))
    run = launcher_of(instance, tmp_path)()
    until(lambda: begun(tmp_path, run), SECONDS, "the step")
    cluster.remove_node(node, allow_graceful=False)
    until(lambda: status(instance, run) == Status.FAILURE, SECONDS, "the run's end")
    assert "failed health check: Discovered failed Ray job" in str(
        [
            entry.dagster_event.step_failure_data
            for entry in instance.all_logs(run, of_type=dg.DagsterEventType.STEP_FAILURE)
        ]
    )
    assert not (tmp_path / f"ended_{run}").exists()
