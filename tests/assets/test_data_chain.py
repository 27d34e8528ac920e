"""The chain base → simulation → views as Dagster runs it: gates, skips, versions, checks."""

import json

import dagster as dg

from fly64_assets.contract.npz import load_dataset
from fly64_assets.store.keys import Cell, Dose, Half, StageKey
from fly64_assets.study.states import active_layout


def sentence(result):
    """The sentence with which a run failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data.description


def data_version(result, asset):
    (event,) = result.asset_materializations_for_node(asset)
    return event.tags["dagster/data_version"]


def rows(result, asset):
    """Rows of the partition as the catalogue shows them."""
    (event,) = result.asset_materializations_for_node(asset)
    return event.metadata["dagster/partition_row_count"].value


def checks_of(result):
    return {
        (evaluation.asset_check_key.name, evaluation.partition): evaluation
        for evaluation in result.get_asset_check_evaluations()
    }


def checks_only(graph, asset, *names, partition=None):
    """Run stand-alone checks without materialising anything."""
    keys = {dg.AssetCheckKey(dg.AssetKey(asset), name) for name in names}
    job = graph.definitions.resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection=set(), asset_check_selection=keys)
    # As the UI does: the partition comes as a tag.
    tags = {"dagster/partition": partition} if partition else {}
    return subset.execute_in_process(instance=graph.instance, tags=tags, raise_on_error=False)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def test_chain_gates_skips_and_checks(graph):
    """One graph, told as a story: the steps share the simulated data."""
    # Nothing there yet: the asset says what to do.
    result = graph.run("simulated_dataset", partition="1000")
    assert not result.success
    assert "study tiny has no base yet" in sentence(result)

    assert graph.run("base_dataset").success
    for dose in ("1000", "10000"):
        result = graph.run("simulated_dataset", partition=dose)
        assert result.success
        assert rows(result, "simulated_dataset") == 200
        assert all(evaluation.passed for evaluation in checks_of(result).values())
        assert {name for name, _ in checks_of(result)} == {"gate", "sha256", "data_001", "physics"}

    # An identical rebuild has the same data version, so that everything downstream stays fresh.
    assert data_version(graph.run("simulated_dataset", partition="10000"), "simulated_dataset") == data_version(
        result, "simulated_dataset"
    )

    result = graph.run("overlap_view", partition="1000|dense")
    assert result.success
    layout = active_layout(graph.store)
    train = load_dataset(layout.view_frames(Half(1000, "dense", "train")))
    assert train.metadata["view"] == "dense"
    assert train.metadata["data_transformations"][-1]["operation"] == "view"
    assert train.patches is not None
    test = load_dataset(layout.view_frames(Half(1000, "dense", "test")))
    assert rows(result, "overlap_view") == train.frames + test.frames
    record = graph.store.required(layout, StageKey("view", Cell(1000, "dense")))
    assert record.values["splits"]["train"]["n_accepted"] == train.frames
    assert record.inputs.keys() == {"dose_1000/patched_train.npz", "dose_1000/patched_test.npz"}

    # A view that cannot exist is a skipped record with the measured number, and so is everything after it.
    result = graph.run("overlap_view", "pinn_bundle", "pinn_reconstruction", partition="1000|sparse")
    assert result.success
    (event,) = result.asset_materializations_for_node("overlap_view")
    assert "dagster/partition_row_count" not in event.metadata
    for key in (
        StageKey("view", Cell(1000, "sparse")),
        StageKey("training", Cell(1000, "sparse"), "pinn", 2),
        StageKey("inference", Cell(1000, "sparse"), "pinn"),
    ):
        record = graph.store.required(layout, key)
        assert record.outcome == "skipped"
        assert "positions are at least 51.2 px apart; 4 are needed for min_view_frames (view skipped)" in record.reason

    # One flipped byte stops this dose with a sentence that names the file; the other dose goes on.
    flip_a_byte(layout.patched(Dose(1000), "train"))
    result = graph.run("overlap_view", partition="1000|dense")
    assert not result.success
    assert "dose_1000/patched_train.npz" in sentence(result)
    assert "SHA256" in sentence(result)
    assert not result.asset_materializations_for_node("overlap_view")
    (gate,) = checks_of(result).values()
    assert (gate.asset_check_key.name, gate.passed) == ("gate", False)
    assert graph.run("overlap_view", partition="10000|dense").success

    # The stand-alone checks see it: with a partition key, and without one over all that is on disk.
    result = checks_only(graph, "simulated_dataset", "sha256", partition="1000")
    assert not checks_of(result)["sha256", "1000"].passed
    result = checks_only(graph, "simulated_dataset", "sha256", "data_001", "physics")
    assert result.success
    found = {key: evaluation.passed for key, evaluation in checks_of(result).items()}
    assert found.keys() == {(n, d) for n in ("sha256", "data_001", "physics") for d in ("1000", "10000")}
    assert not found["sha256", "1000"]
    assert all(found[name, "10000"] for name in ("sha256", "data_001", "physics"))


def test_cells_depend_on_their_own_dose_only(graph):
    """Explicit mappings: with equal key sets inference would silently give an empty upstream."""
    asset_graph = graph.definitions.resolve_asset_graph()
    view = dg.AssetKey("overlap_view")
    cells = asset_graph.get(view).partitions_def
    mapping = asset_graph.get_partition_mapping(view, dg.AssetKey("simulated_dataset"))
    doses = asset_graph.get(dg.AssetKey("simulated_dataset")).partitions_def
    upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(
        cells.subset_with_partition_keys(["1000|dense"]), cells, doses
    )
    assert list(upstream.partitions_subset.get_partition_keys()) == ["1000"]


def test_a_recipe_that_breaks_the_contract_never_materialises(graph, tmp_path):
    design = json.loads(json.dumps(graph.design.to_dict()))
    design["base"] = str(tmp_path / "nowhere.npz")
    (tmp_path / "study.yaml").write_text(json.dumps(design))
    result = graph.run("base_dataset")
    assert not result.success
    assert "nowhere.npz" in sentence(result)
