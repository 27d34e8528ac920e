"""The executor is a matter of configuration: one variable, and the package where it needs one."""

import importlib.util
import sys

import pytest

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
