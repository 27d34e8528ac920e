"""What a person finds in the catalogue: owners, tags, descriptions, pools, jobs, schedules and sensors."""

import json

import dagster as dg
import pytest

from fly64_assets.assets.engines import step_tags
from fly64_assets.automation.run_tags import COMMAND_TAG, FOLLOWS_TAG, RESUME
from fly64_assets.definitions import build_assets, build_definitions
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import STEP_GPUS_VARIABLE
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import JOBS, STAGES

ENGINES = {asset for asset, stage in STAGES.items() if stage.kind in ("training", "inference", "reconstruction")}


@pytest.fixture(scope="module")
def definitions():
    return build_definitions(design=StudyDesign())


@pytest.mark.parametrize("asset", STAGES)
def test_every_asset_can_be_understood(definitions, asset):
    node = definitions.resolve_asset_graph().get(dg.AssetKey(asset))
    assert node.owners == ["team:fly64_assets"]
    assert node.tags["fly64/stage"] == STAGES[asset].kind
    assert node.tags["fly64/study"] == StudyDesign().name
    assert node.kinds
    assert node.group_name == STAGES[asset].group
    assert len(node.description) > 80
    assert node.code_version


@pytest.mark.parametrize("asset", STAGES)
def test_engines_and_only_they_take_a_slot(asset):
    op = build_assets(StudyDesign())[asset].op
    assert (op.pool == "gpu") == (asset in ENGINES)
    tags = {
        name: json.loads(value) for name, value in op.tags.items() if name.startswith(("dagster-k8s", "dagster-ray"))
    }
    assert tags == (step_tags() if asset in ENGINES else {})


def test_a_cluster_is_asked_for_as_many_gpus_as_the_environment_says(monkeypatch):
    assert step_tags()["dagster-ray/config"] == {"num_gpus": 1}
    monkeypatch.setenv(STEP_GPUS_VARIABLE, "2")
    limits = step_tags()["dagster-k8s/config"]["container_config"]["resources"]["limits"]
    assert limits == {"nvidia.com/gpu": "2"}
    monkeypatch.setenv(STEP_GPUS_VARIABLE, "0")
    assert step_tags() == {}
    for nonsense in ("-1", "many", "1.5", "²"):
        monkeypatch.setenv(STEP_GPUS_VARIABLE, nonsense)
        with pytest.raises(Fly64Error, match="expected a whole number of GPUs"):
            step_tags()


def test_jobs_schedules_and_sensors(definitions, monkeypatch):
    repository = definitions.get_repository_def()
    assert {*JOBS, "audit"} <= set(repository.job_names)
    schedule = repository.get_schedule_def("nightly_audit")
    assert (schedule.job_name, schedule.cron_schedule) == ("audit", "0 3 * * *")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    running = dg.DefaultSensorStatus.RUNNING
    statuses = {sensor.name: sensor.default_status is running for sensor in repository.sensor_defs}
    assert statuses == {"new_base_npz": True, "data_automation": True, "arms_automation": False, "run_failure": False}
    for name in ("data_automation", "arms_automation"):
        # What is fresh is left alone, and the runs follow the base of their inputs.
        assert repository.get_sensor_def(name).run_tags == {COMMAND_TAG: RESUME, FOLLOWS_TAG: "inputs"}
    monkeypatch.setenv("FLY64_ON_FAILURE", "mail operator")
    sensors = {sensor.name: sensor for sensor in build_definitions(design=StudyDesign()).sensors}
    assert sensors["run_failure"].default_status is dg.DefaultSensorStatus.RUNNING


def test_every_asset_of_the_automation_has_its_condition_and_no_other(definitions):
    graph = definitions.resolve_asset_graph()
    alone = {asset for asset in STAGES if graph.get(dg.AssetKey(asset)).automation_condition is None}
    assert alone == {asset for asset in STAGES if asset.startswith(("base", "legacy", "lsqml_from_pinn"))}


def test_gates_block_and_know_their_partition(definitions):
    graph = definitions.resolve_asset_graph()
    for asset in STAGES:
        node = graph.get(dg.AssetCheckKey(dg.AssetKey(asset), "gate"))
        assert node.blocking
        assert node.partitions_def == graph.get(dg.AssetKey(asset)).partitions_def
