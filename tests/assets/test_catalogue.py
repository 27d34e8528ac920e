"""What a person finds in the catalogue: owners, tags, descriptions, pools, jobs, schedules and sensors."""

import json
from pathlib import Path

import dagster as dg
import pytest

from fly64_assets.automation.demands import Demand, demand_of, largest
from fly64_assets.automation.run_tags import COMMAND_TAG, FOLLOWS_TAG, RESUME
from fly64_assets.contract.schema import AXES, DTYPES, LEGACY_FRAMES, XCOORDS_START, YCOORDS_START
from fly64_assets.definitions import build_assets, build_definitions
from fly64_assets.errors import Fly64Error
from fly64_assets.evaluation.report.summary import OVERLAP_COLUMNS, study_table
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
def test_links_lead_to_the_functions_that_do_the_work(definitions, asset):
    links = definitions.resolve_asset_graph().get(dg.AssetKey(asset)).metadata["dagster/code_references"]
    names = [link.label.rpartition(" ")[2] for link in links.code_references]
    for link, name in zip(links.code_references, names, strict=True):
        assert Path(link.file_path).read_text().splitlines()[link.line_number - 1].startswith(f"def {name}(")
    assert len(names) == 1 + (asset in ENGINES)
    if asset in ENGINES:
        assert names[1].endswith("_job")
        assert links.code_references[1].file_path.endswith(STAGES[asset].engine.replace(".", "/") + ".py")


def test_tables_of_scores_show_their_columns(definitions):
    graph = definitions.resolve_asset_graph()
    tables = {}
    for asset in STAGES:
        schema = graph.get(dg.AssetKey(asset)).metadata.get("dagster/column_schema")
        if schema:
            tables[asset] = schema.schema if hasattr(schema, "schema") else schema
    report, comparison = tables["study_report"], tables["comparison"]
    assert set(tables) == {"study_report", *(name for name in STAGES if STAGES[name].kind == "comparison")}
    written = study_table([]).decode().strip().split(",")
    assert [column.name for column in report.columns] == written
    assert {column.name: column.type for column in report.columns if column.type != "string"} == {
        "dose": "int",
        "repeat": "int",
        "frames": "int",
        "photons_per_pixel": "float",
        "covered_fraction": "float",
        **dict.fromkeys(OVERLAP_COLUMNS, "float"),
        "value": "float",
    }
    assert [column.name for column in comparison.columns] == ["arm", "split", "part", "metric", "value"]
    assert all(column.description for column in (*report.columns, *comparison.columns))


def test_conditions_of_automation_have_names(definitions):
    graph = definitions.resolve_asset_graph()
    conditions = {asset: graph.get(dg.AssetKey(asset)).automation_condition for asset in STAGES}
    labels = {asset: condition.get_label() for asset, condition in conditions.items() if condition is not None}
    assert labels["simulated_dataset"] == "all inputs are there with their gates passed, and one is new"
    assert labels["study_report"] == "a comparison is new, and none is at work"
    assert "but those on request" in labels["comparison"]
    assert all(labels.values())


@pytest.mark.parametrize("asset", STAGES)
def test_engines_and_only_they_take_a_slot(asset):
    op = build_assets(StudyDesign())[asset].op
    assert (op.pool == "gpu") == (asset in ENGINES)
    assert Demand.of_tags(op.tags) == demand_of(STAGES[asset], engine=asset in ENGINES)


def test_every_engine_of_a_cluster_reads_the_same_demand():
    op = build_assets(StudyDesign())["pinn_bundle"].op
    assert Demand.of_tags(op.tags) == Demand(cpus=1, gpus=1, memory_gib=4)
    resources = json.loads(op.tags["dagster-k8s/config"])["container_config"]["resources"]
    assert resources == {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    assert json.loads(op.tags["dagster-ray/config"]) == {"num_cpus": 1, "num_gpus": 1, "memory": 4 * 2**30}
    data = build_assets(StudyDesign())["overlap_view"].op
    assert "num_gpus" not in json.loads(data.tags["dagster-ray/config"])
    assert Demand.of_tags({}) == Demand(cpus=1, gpus=0, memory_gib=2)


def test_a_cluster_is_asked_for_what_the_environment_says(monkeypatch):
    stage = STAGES["lsqml_reconstruction_test"]
    monkeypatch.setenv("FLY64_STEP_GPUS", "2")
    monkeypatch.setenv("FLY64_STEP_CPUS", "8")
    monkeypatch.setenv("FLY64_STEP_MEMORY_GIB", "64")
    assert demand_of(stage, engine=True) == Demand(8, 2, 64)
    # What only reads and writes files needs no more than before.
    assert demand_of(STAGES["overlap_view"], engine=False) == Demand(1, 0, 2)
    monkeypatch.setenv("FLY64_STEP_GPUS", "0")
    assert demand_of(stage, engine=True) == Demand(8, 0, 64)
    assert "limits" not in demand_of(stage, engine=True).tags()["dagster-k8s/config"]["container_config"]["resources"]
    for nonsense in ("-1", "many", "1.5", "²"):
        monkeypatch.setenv("FLY64_STEP_GPUS", nonsense)
        with pytest.raises(Fly64Error, match="expected a whole number of GPUs"):
            demand_of(stage, engine=True)
    monkeypatch.setenv("FLY64_STEP_GPUS", "1")
    monkeypatch.setenv("FLY64_STEP_MEMORY_GIB", "0")
    with pytest.raises(Fly64Error, match="expected a whole number of GiB of memory, 1 or more"):
        demand_of(stage, engine=True)


def test_a_run_needs_the_most_that_one_of_its_steps_needs():
    assert largest([Demand(1, 0, 8), Demand(2, 1, 4)]) == Demand(2, 1, 8)
    assert largest([]) == Demand.of_tags({})


def test_jobs_schedules_and_sensors(definitions, monkeypatch):
    repository = definitions.get_repository_def()
    assert {*JOBS, "audit"} <= set(repository.job_names)
    schedule = repository.get_schedule_def("nightly_audit")
    assert (schedule.job_name, schedule.cron_schedule) == ("audit", "0 3 * * *")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    running = dg.DefaultSensorStatus.RUNNING
    statuses = {sensor.name: sensor.default_status is running for sensor in repository.sensor_defs}
    always = {"new_base_npz": True, "data_automation": True, "lost_jobs": True}
    assert statuses == always | {"arms_automation": False, "run_failure": False}
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


def test_the_watched_folder_begins_the_lineage(definitions):
    graph = definitions.resolve_asset_graph()
    folder = graph.get(dg.AssetKey("watched_folder"))
    assert folder.is_external
    assert folder.child_keys == {dg.AssetKey("base_dataset")}
    assert graph.get(dg.AssetKey("base_dataset")).parent_keys == {dg.AssetKey("watched_folder")}


def test_files_of_frames_show_their_arrays(definitions):
    """Every array of the contract but the old name of frames and the copies of positions, with dtype and shape."""
    graph = definitions.resolve_asset_graph()
    shown = {a: graph.get(dg.AssetKey(a)).metadata.get("data_001_arrays") for a in STAGES}
    assert {asset for asset, schema in shown.items() if schema} == {"simulated_dataset", "overlap_view"}
    columns = shown["overlap_view"].value.columns
    copies = {LEGACY_FRAMES, XCOORDS_START, YCOORDS_START}
    assert {column.name for column in columns} == set(DTYPES) - copies
    assert {column.name: column.type for column in columns}["diffraction"] == "float32 (n, N, N)"
    assert all(column.type.count(",") + 1 >= AXES[column.name] for column in columns)
