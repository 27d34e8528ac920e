"""Where the steps of a launched run work: in its process, each in a process of its own, or each as a job of a cluster.

Does not belong here: where runs begin, which the ``run_launcher`` of an instance's ``dagster.yaml`` says.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

import dagster as dg

from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import EXECUTOR_VARIABLE, PASSED_ON

IN_RUN: Final = "in_run"


def steps_in_run() -> dg.ExecutorDefinition:
    """Steps one after another in the process of their run; engines have processes of their own anyway.

    A process for each step costs seconds of loading, four of them for an asset with its checks. A run that is to have
    them says so in its configuration: ``execution: {config: {multiprocess: {}}}``.
    """
    choices = dg.multi_or_in_process_executor.config_schema.as_field().config_type
    schema = dg.Field(choices, default_value={"in_process": {}})
    return dg.multi_or_in_process_executor.configured(lambda config: config, "steps_in_run", config_schema=schema)


def steps_on_ray() -> dg.ExecutorDefinition:
    """Every step as a Ray job, with the processors, GPUs and memory of its tags.

    Nothing of that is set for the executor as a whole: its settings would replace those of the steps.
    """
    from dagster_ray import ray_executor

    executor: dg.ExecutorDefinition = ray_executor.configured({"ray": {"env_vars": passed_on()}}, "steps_on_ray")
    return executor


def steps_on_kubernetes() -> dg.ExecutorDefinition:
    """Every step as a Kubernetes job, with the resources of its tags; the rest as the run launcher has it."""
    from dagster_k8s import k8s_job_executor

    executor: dg.ExecutorDefinition = k8s_job_executor.configured({"env_vars": passed_on()}, "steps_on_kubernetes")
    return executor


EXECUTORS: Final[Mapping[str, Callable[[], dg.ExecutorDefinition]]] = {
    IN_RUN: steps_in_run,
    "ray": steps_on_ray,
    "kubernetes": steps_on_kubernetes,
}


def chosen_executor() -> dg.ExecutorDefinition:
    """The executor that the environment names.

    Raises :class:`Fly64Error` for an unknown name, and where its package is not installed.
    """
    name = os.environ.get(EXECUTOR_VARIABLE) or IN_RUN
    if name not in EXECUTORS:
        raise Fly64Error(f"{EXECUTOR_VARIABLE}={name!r}: expected one of {', '.join(EXECUTORS)}")
    try:
        return EXECUTORS[name]()
    except ImportError as error:
        extra = {"ray": "ray", "kubernetes": "k8s"}[name]
        raise Fly64Error(
            f"{EXECUTOR_VARIABLE}={name} needs a package that is not installed ({error}): "
            f"pip install 'fly64-assets[{extra}]'"
        ) from error


def passed_on() -> list[str]:
    """Variables that a step must have as its run has them, by their names."""
    return [variable for variable in PASSED_ON if variable in os.environ]
