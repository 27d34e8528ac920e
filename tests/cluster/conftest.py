"""Servers that the tests of this folder start; each is skipped with a sentence where it is not installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from cluster.slurm_server import Slurm, environment, until, why_not
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.origin import get_python_environment_entry_point
from fixtures.absent import absent

LOCATION = Path(__file__).with_name("location.py")
PAGES = Path(__file__).parents[2] / "docs/how-to"


def settings_of(page):
    """The settings of an instance that a page of the documentation tells to use."""
    text = (PAGES / f"{page}.md").read_text()
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1))


@pytest.fixture(scope="session")
def slurm():
    """A Slurm with one node and two pretended GPUs, whose commands this process finds."""
    if why := why_not():
        absent(why)
    # Paths of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="fly64_slurm_"))
    server = Slurm(folder)
    try:
        server.start()
        with environment(server.environment):
            yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def instance(slurm, tmp_path):
    """An instance whose runs are jobs of that Slurm."""
    home = tmp_path / "home"
    home.mkdir()
    settings = settings_of("slurm")
    settings["run_launcher"]["config"].pop("time_limit")
    settings["run_monitoring"]["poll_interval_seconds"] = 3
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
        for run in instance.get_runs():
            if not run.is_finished:
                instance.run_launcher.terminate(run.run_id)


@pytest.fixture
def launch(instance, tmp_path):
    """Launches the job of the code location, with tags; the id of its run."""
    return launcher_of(instance, tmp_path)


def launcher_of(instance, folder):
    """A function that launches the job of the code location through an instance."""
    from cluster.location import on_one_gpu

    repository = ReconstructableRepository.for_file(str(LOCATION), "defs", str(LOCATION.parent))
    repository = repository._replace(entry_point=get_python_environment_entry_point(sys.executable))
    origin = repository.get_reconstructable_job("on_one_gpu").get_python_origin()

    def launched(**tags):
        config = {"ops": {"work": {"config": {"folder": str(folder)}}}}
        run = instance.create_run_for_job(on_one_gpu, run_config=config, tags=tags, job_code_origin=origin)
        instance.launch_run(run.run_id, None)
        return run.run_id

    return launched


@contextmanager
def daemon(home, folder):
    """Dagster's daemon on an instance, with the code location."""
    program = [sys.executable, "-m", "dagster._daemon", "run", "-f", str(LOCATION)]
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            program, env=os.environ | {"DAGSTER_HOME": str(home)}, cwd=folder, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def job_launch(home, folder):
    """The command with which a user launches the job; the run's id."""
    config = {"ops": {"work": {"config": {"folder": str(folder)}}}}
    command = [sys.executable, "-m", "dagster", "job", "launch", "-f", str(LOCATION), "-j", "on_one_gpu"]
    subprocess.run(
        [*command, "--config-json", json.dumps(config)], env=os.environ | {"DAGSTER_HOME": str(home)}, check=True
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return until(lambda: [run.run_id for run in instance.get_runs()], 60, "the run")[0]
