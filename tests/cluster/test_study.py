"""One small study in one process, as jobs of Slurm and of Ray, and on an object store: the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster.conftest import settings_of
from fixtures.object_store import s3_address, s3_url  # noqa: F401

from fly64_assets.automation.slurm import JOB_TAG

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]
DESIGN = {
    "name": "on_a_cluster",
    "dose_list": [1e4],
    "overlap_views": {"dense": 0.7},
    "base": {"amplitude": "coins", "phase": "grass", "object_size": 160, "positions": 160},
    "pinn": {"epochs": 1},
    "lsqml": {"epochs": 5},
}
SECONDS = 3000


def fly64(folder, *words, root=None):
    """The command on the study in a folder, with its data there or under another root; what it printed."""
    program = [str(Path(sys.executable).with_name("fly64")), "--study", str(folder / "study.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DAGSTER_HOME": str(folder / "home")}
    ended = subprocess.run(
        [*program, "--data-root", root or str(folder / "data"), *words],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def results(folder, settings=None, root=None):
    """SHA256 of every stage of one cell of the study, built in a folder or under another root."""
    (folder / "home").mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(DESIGN))
    if settings is not None:
        (folder / "home/dagster.yaml").write_text(yaml.safe_dump(settings))
    fly64(folder, "run", "--view", "dense", root=root)
    cells = json.loads(fly64(folder, "status", "--json", root=root))["cells"]
    # The report lists what is missing, and its page holds the time.
    made = {
        (one["stage"], one["dose"], one["view"], one["split"]): one["sha256"]
        for one in cells
        if one["sha256"] and one["stage"] != "report"
    }
    fly64(folder, "verify", root=root)
    return made


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory):
    return results(tmp_path_factory.mktemp("one") / "study")


def runs_of(folder):
    import dagster as dg

    with dg.DagsterInstance.from_config(str(folder / "home")) as instance:
        return instance.get_runs()


def test_a_study_on_slurm_has_the_bytes_of_one_process(slurm, in_one_process, tmp_path, monkeypatch):
    monkeypatch.delenv("FLY64_EXECUTOR", raising=False)
    assert results(tmp_path, settings_of("slurm")) == in_one_process
    runs = runs_of(tmp_path)
    assert len(runs) >= 4  # base, dose, cell, comparison
    assert all(run.is_success and run.tags[JOB_TAG] for run in runs)


def test_a_study_on_ray_has_the_bytes_of_one_process(in_one_process, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="needs the extra ray: make cluster")
    from cluster.ray_cluster import GPU, patiently, ray_cluster

    with ray_cluster() as nodes:
        patiently(lambda: nodes.add_node(**GPU))
        monkeypatch.setenv("FLY64_STEP_MEMORY_GIB", "2")
        monkeypatch.setenv("FLY64_STUDY", str(tmp_path / "study.yaml"))
        monkeypatch.setenv("FLY64_DATA_ROOT", str(tmp_path / "data"))
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
        assert results(tmp_path, settings_of("ray")) == in_one_process
        assert all(run.is_success for run in runs_of(tmp_path))


def test_a_study_on_an_object_store_has_the_bytes_of_one_process(in_one_process, s3_url, tmp_path):  # noqa: F811
    assert results(tmp_path / "study", root=s3_url) == in_one_process
    assert not (tmp_path / "study/data").exists()
    assert len(in_one_process) > 10
