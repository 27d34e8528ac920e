"""LSQML from the network's object through Dagster: only on request, after the network, beside the other methods."""

import dagster as dg
import numpy as np
import pytest

from fly64_assets.cli.driver.schedule import Filters, to_build
from fly64_assets.contract.npz import open_npz
from fly64_assets.store.artifacts import State
from fly64_assets.store.keys import Cell, Half, StageKey
from fly64_assets.study import stages
from fly64_assets.study.states import active_layout, study_states

CELL = "10000|dense"
ARM = "lsqml_from_pinn"
TEST = StageKey("reconstruction", Half(10000, "dense", "test"), ARM)
COLD = StageKey("reconstruction", Half(10000, "dense", "test"), "lsqml")
NETWORK = StageKey("inference", Cell(10000, "dense"), "pinn")


def test_it_is_built_on_request_only(graph):
    states = study_states(graph.store, graph.design)
    assert not {key for key in states if key.method == ARM}
    filters = Filters(methods=("lsqml_from_pinn",))
    asked = study_states(graph.store, graph.design, methods=filters.methods)
    keys = to_build(graph.design, asked, filters)
    warm = [key for key in keys if key.method == ARM]
    assert len(warm) == 2 * 6
    assert stages.stage_of(TEST).asset == "lsqml_from_pinn_reconstruction_test"
    assert keys.index(NETWORK) < keys.index(TEST), "the network's object comes first"
    assert COLD in keys


def test_a_new_arm_is_compared_in_the_same_run(graph):
    filters = Filters(doses=(10000,), views=("dense",), methods=("lsqml_from_pinn",))
    asked = study_states(graph.store, graph.design, methods=filters.methods)
    built = {key: state if key.method == ARM else State("fresh", "", None) for key, state in asked.items()}
    keys = to_build(graph.design, built, filters)
    assert [key.stage for key in keys] == ["reconstruction", "reconstruction", "comparison", "report"]
    assert {(key.dose, key.view) for key in keys[:-1]} == {(10000, "dense")}
    only = to_build(graph.design, built, Filters(stages=("reconstruction",), methods=("lsqml_from_pinn",)))
    assert {key.stage for key in only} == {"reconstruction"}
    assert to_build(graph.design, {key: State("fresh", "", None) for key in asked}, filters) == []


def test_the_cold_solver_waits_for_no_network(graph):
    assert NETWORK not in stages.upstream(graph.design, COLD)
    assert NETWORK in stages.upstream(graph.design, TEST)
    assert stages.parameters(graph.design, TEST) == stages.parameters(graph.design, COLD) | {"start": "pinn"}
    comparison = graph.definitions.resolve_assets_def(dg.AssetKey("comparison"))
    assert dg.AssetKey("lsqml_from_pinn_reconstruction_test") in comparison.dependency_keys


@pytest.mark.slow
def test_a_cell_of_it(graph):
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="10000").success
    assert graph.run("overlap_view", "pinn_bundle", "pinn_reconstruction", partition=CELL).success
    name = stages.stage_of(TEST).asset
    result = graph.run(name, partition=CELL)
    assert result.success
    passed = {e.asset_check_key.name: e.passed for e in result.get_asset_check_evaluations()}
    assert passed == {"gate": True, "sha256": True, "data_001": True}
    states = study_states(graph.store, graph.design)
    assert {key for key in states if key.method == ARM} == {TEST}
    assert states[TEST].name == "fresh"

    layout = active_layout(graph.store)
    start = layout.result(StageKey("inference", Cell(10000, "dense"), "pinn"), "test")
    record = graph.store.required(layout, TEST)
    assert start.relative_to(layout.folder).as_posix() in record.inputs
    warm = open_npz(layout.result(StageKey("reconstruction", Half(10000, "dense", "test"), ARM)))
    assert warm["reconstructed_object"].shape == open_npz(start)["reconstructed_object"].shape
    assert np.isfinite(warm["reconstructed_object"]).all()

    assert graph.run("comparison", partition=CELL).success
    arms = graph.store.required(layout, StageKey("comparison", Cell(10000, "dense"))).values["arms"]
    assert arms["test"][ARM] == "compared"
    assert ARM not in arms["train"]

    # Another network makes it out of date.
    assert graph.run("pinn_bundle", partition=CELL).success
    start.write_bytes(start.read_bytes()[:-1] + b"x")
    assert study_states(graph.store, graph.design)[TEST].name != "fresh"
