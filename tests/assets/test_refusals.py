"""Runs that cannot be: one sentence through the gate, before anything is written; a good result stays as it was."""

import warnings

import dagster as dg
import pytest
from fixtures.graph import SMALL, make_graph

from fly64_assets.assets.flow import GATE
from fly64_assets.automation.runs import failure_reason
from fly64_assets.store.keys import Half, StageKey
from fly64_assets.study.states import active_layout


@pytest.fixture(scope="module")
def based(tmp_path_factory):
    """One graph for all: no test changes what is on disk."""
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "instance").mkdir()
    with warnings.catch_warnings(), dg.DagsterInstance.ephemeral(tempdir=str(folder / "instance")) as instance:
        warnings.simplefilter("ignore")
        graph = make_graph(folder, instance, SMALL)
        assert graph.run("base_dataset").success
        yield graph


def files(graph):
    return {path: path.stat().st_mtime_ns for path in graph.store.data_root.rglob("*") if ".lock" not in path.name}


def refused(graph, result, asset):
    """The sentence of a run that failed at its first step."""
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure and event.step_key == asset]
    (gate,) = [one for one in result.get_asset_check_evaluations() if one.check_name == GATE]
    assert not gate.passed
    assert gate.description == failure_reason(failure)
    assert "Error" not in gate.description.split(":")[0]
    return failure_reason(failure)


@pytest.mark.parametrize(
    ("asset", "key"),
    [
        ("simulated_dataset", None),
        ("simulated_dataset", "77"),
        ("simulated_dataset", "1000|dense"),
        ("simulated_dataset", "1e3"),
        ("simulated_dataset", "../../etc"),
        ("overlap_view", None),
        ("overlap_view", "1000"),
        ("overlap_view", "77|dense"),
        ("pinn_bundle", "1000|nothing"),
        ("lsqml_reconstruction_test", "dense|1000"),
        ("comparison", None),
    ],
)
def test_a_partition_of_nothing(based, asset, key):
    before = files(based)
    sentence = refused(based, based.run(asset, tags={"dagster/partition": key} if key else {}), asset)
    assert f"partition {key!r}" in sentence if key else "no partition" in sentence
    assert "1000, 10000" in sentence
    assert ("DOSE|VIEW" in sentence) == (asset != "simulated_dataset")
    assert files(based) == before


def test_a_range_of_partitions_is_not_taken_for_one(based):
    ends = {"dagster/asset_partition_range_start": "1000", "dagster/asset_partition_range_end": "10000"}
    assert "partition '1000...10000'" in refused(based, based.run("simulated_dataset", tags=ends), "simulated_dataset")


def launch(graph, asset, partition, **resources):
    config = {"resources": {name: {"config": value} for name, value in resources.items()}}
    return graph.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=graph.instance,
        asset_selection=[dg.AssetKey(asset)],
        partition_key=partition,
        run_config=config,
        raise_on_error=False,
    )


@pytest.mark.parametrize(("asset", "partition"), [("base_dataset", None), ("simulated_dataset", "1000")])
@pytest.mark.parametrize("study", ["nonsense", "a" * 300, "a\0b"])
def test_a_bad_study_in_the_launchpad(based, asset, partition, study):
    before = files(based)
    assert "study" in refused(based, launch(based, asset, partition, study={"study": study}), asset)
    assert files(based) == before


@pytest.mark.parametrize(("asset", "partition"), [("base_dataset", None), ("simulated_dataset", "1000")])
@pytest.mark.parametrize("root", ["", "a\0b", "/proc/x", "FILE/x"])
def test_a_bad_data_root_in_the_launchpad(based, asset, partition, root, tmp_path):
    (tmp_path / "file").write_text("x")
    before, root = files(based), root.replace("FILE", str(tmp_path / "file"))
    sentence = refused(based, launch(based, asset, partition, store={"data_root": root}), asset)
    assert "data_root" in sentence or "/proc/x" in sentence
    assert files(based) == before


@pytest.fixture
def good_result(based):
    """A result of older code, and the files of the study with it."""
    key = StageKey("reconstruction", Half(1000, "dense", "test"), "lsqml")
    layout = active_layout(based.store)
    with based.store.build(
        layout, key, inputs=(), parameters={}, design_sha256=based.design.sha256(), code_version="0", seeds={}
    ) as build:
        build.write_bytes(layout.result(key), b"a good result")
        build.succeed({})
    yield files(based)
    assert based.store.required(layout, key).outcome == "succeeded"


@pytest.mark.parametrize("gpu", [{"threads": 0}, {"threads": -3}, {"threads": 10**9}, {"devices": 0}], ids=str)
def test_execution_settings_out_of_range_leave_a_good_result(based, good_result, gpu):
    ((name, value),) = gpu.items()
    result = launch(based, "lsqml_reconstruction_test", "1000|dense", gpu=gpu)
    assert not result.success
    assert not any(event.is_step_start for event in result.all_events)
    errors = [event.engine_event_data.error for event in result.all_events if event.is_resource_init_failure]
    assert f"{name} = {value}: expected at " in str(errors)
    assert files(based) == good_result


@pytest.mark.parametrize("gpu", [{"accelerator": "tpu"}, {"precision": "64-true"}, {"threads": "x"}], ids=str)
def test_the_launchpad_refuses_execution_settings_that_are_none(based, good_result, gpu):
    with pytest.raises(dg.DagsterInvalidConfigError, match=next(iter(gpu))):
        launch(based, "lsqml_reconstruction_test", "1000|dense", gpu=gpu)
    assert files(based) == good_result


@pytest.mark.parametrize(
    ("execution", "good"),
    [
        ({"in_process": {}}, True),
        ({"multiprocess": {"max_concurrent": 2}}, True),
        ({"nonsense": {}}, False),
        ({"multiprocess": {"max_concurrent": "many"}}, False),
        ({"multiprocess": {}, "in_process": {}}, False),
        ("in_process", False),
    ],
)
def test_the_launchpad_knows_how_steps_can_run(based, execution, good):
    job = based.definitions.resolve_job_def("cell")
    document = {"execution": {"config": execution}}
    if good:
        assert dg.validate_run_config(job, document)
    else:
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, document)
    assert "in_process" in str(dg.validate_run_config(job, {})["execution"])
