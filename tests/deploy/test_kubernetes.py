"""Kubernetes without a cluster: the jobs that dagster-k8s makes of the Helm values, for runs and for every step."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml

from fly64_assets.definitions import build_definitions
from fly64_assets.study.table import STAGES

pytestmark = pytest.mark.cluster
job = pytest.importorskip("dagster_k8s.job", reason="needs the extra k8s: make cluster")
context = pytest.importorskip("dagster_k8s.container_context")

ROOT = Path(__file__).parents[2]
VALUES = yaml.safe_load((ROOT / "containers/helm-values.yaml").read_text())
(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
ENGINES = sorted(name for name, stage in STAGES.items() if stage.engine)


def from_values():
    """What the chart makes of the values: the code location's part, and above it the launcher's."""
    location = {
        "env_vars": [f"{name}={value}" for name, value in DEPLOYMENT["env"].items()],
        "volumes": DEPLOYMENT["volumes"],
        "volume_mounts": DEPLOYMENT["volumeMounts"],
        "security_context": {},
        "namespace": "default",
    }
    raw = LAUNCHER["runK8sConfig"]
    names = {"podSpecConfig": "pod_spec_config", "jobSpecConfig": "job_spec_config"}
    assert set(raw) == set(names)
    launcher = {
        "resources": LAUNCHER["resources"],
        "volumes": LAUNCHER["volumes"],
        "volume_mounts": LAUNCHER["volumeMounts"],
        "image_pull_policy": LAUNCHER["imagePullPolicy"],
        "run_k8s_config": {snake: raw[camel] for camel, snake in names.items()},
    }
    parse = context.K8sContainerContext.create_from_config
    return parse({"k8s": launcher}).merge(parse({"k8s": location}))


def rendered(tags):
    """The pod of a step with these tags, as Kubernetes would get it."""
    merged = from_values()
    if tags:
        merged = merged.merge(context.K8sContainerContext(run_k8s_config=job.get_user_defined_k8s_config(tags)))
    config = job.DagsterK8sJobConfig(
        job_image="registry.example.org/fly64:1",
        dagster_home="/opt/dagster/dagster_home",
        postgres_password_secret=VALUES["global"]["postgresqlSecretName"],
        instance_config_map="fly64-instance",
    )
    made = job.construct_dagster_k8s_job(
        config, ["dagster", "api", "execute_step"], "step", user_defined_k8s_config=merged.run_k8s_config
    )
    assert made.spec.ttl_seconds_after_finished == 86400
    return SimpleNamespace(pod=made.spec.template.spec, container=made.spec.template.spec.containers[0])


def test_every_pod_has_the_storage_the_secret_and_an_ordinary_user():
    step = rendered({})
    assert step.container.image == "registry.example.org/fly64:1"
    (claim,) = [one.persistent_volume_claim for one in step.pod.volumes if one.persistent_volume_claim]
    assert claim.claim_name == yaml.safe_load((ROOT / "containers/storage.yaml").read_text())["metadata"]["name"]
    assert "/data" in [one.mount_path for one in step.container.volume_mounts]
    variables = {one.name: one for one in step.container.env}
    assert variables["FLY64_DATA_ROOT"].value == "/data"
    assert variables["FLY64_EXECUTOR"].value == "kubernetes"
    secret = variables["DAGSTER_PG_PASSWORD"].value_from.secret_key_ref
    assert (secret.name, secret.key) == ("fly64-postgres", "postgresql-password")
    user = step.pod.security_context
    assert (user.run_as_non_root, user.run_as_user, user.fs_group) == (True, 10001, 10001)
    assert f"USER {user.run_as_user}:{user.run_as_group}" in (ROOT / "Dockerfile").read_text()
    assert step.container.resources.requests == {"cpu": "250m", "memory": "1Gi"}
    assert not step.container.resources.limits


@pytest.mark.parametrize("gpus", ["0", "2"])
def test_steps_ask_for_what_they_need(monkeypatch, gpus):
    monkeypatch.setenv("FLY64_STEP_GPUS", gpus)
    monkeypatch.setenv("FLY64_STEP_MEMORY_GIB", "24")
    definitions = build_definitions()
    for name, stage in STAGES.items():
        step = rendered(definitions.resolve_assets_def(dg.AssetKey(name)).op.tags)
        engine = name in ENGINES
        limits = step.container.resources.limits or {}
        assert limits == ({"nvidia.com/gpu": gpus} if engine and gpus != "0" else {}), name
        memory = "24Gi" if engine else f"{stage.memory_gib}Gi"
        assert step.container.resources.requests["memory"] == memory, name
        assert "/data" in [one.mount_path for one in step.container.volume_mounts]
        assert [one.key for one in step.pod.tolerations] == ["nvidia.com/gpu"]


def test_steps_are_jobs_of_their_own_where_the_values_say_so(monkeypatch):
    monkeypatch.setenv("FLY64_EXECUTOR", DEPLOYMENT["env"]["FLY64_EXECUTOR"])
    executor = build_definitions().resolve_implicit_global_asset_job_def().executor_def
    assert executor.name == "steps_on_kubernetes"


def settings_of_the_instance():
    """What the chart writes into ``dagster.yaml`` of the values for daemon and pools (version 1.13)."""
    daemon, pools = VALUES["dagsterDaemon"], VALUES["concurrency"]
    coordinator = daemon["runCoordinator"].get("config", {}).get("queuedRunCoordinator", {})
    monitoring, retries = daemon["runMonitoring"], daemon["runRetries"]
    return {
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": {"dequeue_use_threads": True, "dequeue_num_workers": 4}
            | ({"max_concurrent_runs": coordinator["maxConcurrentRuns"]} if coordinator else {}),
        },
        "concurrency": {
            "pools": {"default_limit": pools["pools"]["defaultLimit"], "granularity": pools["pools"]["granularity"]},
            **({"runs": {"max_concurrent_runs": pools["runs"]["maxConcurrentRuns"]}} if "runs" in pools else {}),
        },
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
            "free_slots_after_run_end_seconds": monitoring["freeSlotsAfterRunEndSeconds"],
        },
        "run_retries": {
            "enabled": retries["enabled"],
            "max_retries": retries["maxRetries"],
            "retry_on_asset_or_op_failure": retries["retryOnAssetOrOpFailure"],
        },
    }


def test_a_slot_comes_back_and_a_pod_may_wait_for_its_gpu(tmp_path):
    """Dagster takes the settings; it refuses some that the chart's schema allows."""
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings_of_the_instance()))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 1
        # Not 0: the monitoring then reports an error about every run that waits.
        assert instance.run_monitoring_start_timeout_seconds >= 7 * 86400
        assert instance.get_concurrency_config().pool_config.default_pool_limit >= 1
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 20
        assert not instance.run_retries_retry_on_asset_or_op_failure
    assert VALUES["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
