"""The executor is a matter of configuration: one variable, and the package where it needs one."""

import importlib.util
import re
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from fly64_assets.automation.executors import chosen_executor, passed_on
from fly64_assets.definitions import build_definitions
from fly64_assets.errors import Fly64Error
from fly64_assets.study.design import StudyDesign


def test_steps_work_in_their_run_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("FLY64_EXECUTOR", raising=False)
    assert chosen_executor().name == "steps_in_run"
    monkeypatch.setenv("FLY64_EXECUTOR", "")
    assert chosen_executor().name == "steps_in_run"


def test_an_unknown_executor_is_refused_with_those_there_are(monkeypatch):
    monkeypatch.setenv("FLY64_EXECUTOR", "celery")
    with pytest.raises(Fly64Error, match="'celery': expected one of in_run, ray, kubernetes"):
        build_definitions(design=StudyDesign())


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("ray", "dagster_ray", "ray"), ("kubernetes", "dagster_k8s", "k8s")]
)
def test_a_package_that_is_not_installed_is_named_with_what_installs_it(monkeypatch, name, package, extra):
    monkeypatch.setenv("FLY64_EXECUTOR", name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Fly64Error, match=rf"not installed .*fly64-assets\[{extra}\]"):
        chosen_executor()


@pytest.mark.parametrize(
    ("name", "package", "executor"),
    [("ray", "dagster_ray", "steps_on_ray"), ("kubernetes", "dagster_k8s", "steps_on_kubernetes")],
)
def test_the_executors_of_clusters_take_our_settings(monkeypatch, name, package, executor):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make cluster")
    monkeypatch.setenv("FLY64_EXECUTOR", name)
    assert chosen_executor().name == executor


def test_steps_elsewhere_get_the_variables_that_are_set_here(monkeypatch):
    monkeypatch.setenv("FLY64_STUDY", "demo")
    monkeypatch.delenv("FLY64_INBOX", raising=False)
    assert "FLY64_STUDY" in passed_on()
    assert "FLY64_INBOX" not in passed_on()


def test_the_page_about_ray_leaves_room_for_steps(tmp_path):
    """Runs hold little of a processor, and no GPU; the executor's own numbers would replace those of the steps."""
    pytest.importorskip("dagster_ray", reason="needs the extra ray: make cluster")
    page = (Path(__file__).parents[2] / "docs/how-to/ray.md").read_text()
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL).group(1))
    ray = settings["run_launcher"]["config"]["ray"]
    assert 0 < ray["num_cpus"] <= 0.5
    assert not {"num_gpus", "memory"} & ray.keys()
    assert "pools" not in settings["concurrency"]
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings).replace("env: RAY_ADDRESS", "env: HOME"))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_launcher).__name__ == "RayRunLauncher"
        assert instance.run_monitoring_start_timeout_seconds >= 7 * 86400
