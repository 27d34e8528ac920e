"""Kubernetes without a cluster: the job specifications that dagster-k8s would send for runs and steps."""

import dagster as dg
import pytest

from fly64_assets.definitions import build_definitions
from fly64_assets.study.table import STAGES

pytestmark = pytest.mark.cluster
job = pytest.importorskip("dagster_k8s.job", reason="needs the extra k8s: make cluster")


def rendered(tags):
    """The container of the job that dagster-k8s makes for a step with these tags, as Kubernetes would get it."""
    specification = job.construct_dagster_k8s_job(
        job.DagsterK8sJobConfig(job_image="fly64", dagster_home="/opt/dagster/dagster_home"),
        args=["dagster", "api", "execute_step"],
        job_name="step",
        user_defined_k8s_config=job.get_user_defined_k8s_config(tags),
    )
    (container,) = specification.spec.template.spec.containers
    return container


@pytest.mark.parametrize("gpus", ["0", "1", "2"])
def test_steps_of_engines_ask_for_gpus_and_other_steps_for_none(monkeypatch, gpus):
    monkeypatch.setenv("FLY64_STEP_GPUS", gpus)
    definitions = build_definitions()
    for name, stage in STAGES.items():
        container = rendered(definitions.resolve_assets_def(dg.AssetKey(name)).op.tags)
        limits = (container.resources and container.resources.limits) or {}
        assert limits == ({"nvidia.com/gpu": gpus} if stage.engine and gpus != "0" else {}), name
