"""The TensorFlow network through Dagster: only on request, with its checks, beside the other methods."""

from dataclasses import replace

import dagster as dg
import pytest

from fly64_assets.checks.factory import judge
from fly64_assets.checks.rules import RULES
from fly64_assets.cli.driver.schedule import Filters, to_build
from fly64_assets.pinn.bundle import read_bundle
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.study import stages
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import STAGES

CELL = "10000|dense"
BUNDLE = StageKey("training", Cell(10000, "dense"), "legacy_pinn", 2)
INFERENCE = StageKey("inference", Cell(10000, "dense"), "legacy_pinn")
COMPARISON = StageKey("comparison", Cell(10000, "dense"))


def legacy_keys(states):
    return {key for key in states if key.method == "legacy_pinn"}


def test_it_is_built_on_request_only(graph):
    states = study_states(graph.store, graph.design)
    assert legacy_keys(states) == set()
    assert {stages.stage_of(key).asset for key in to_build(graph.design, states, Filters())} & {
        "legacy_pinn_bundle",
        "legacy_pinn_reconstruction",
    } == set()
    asked = study_states(graph.store, graph.design, methods=("legacy_pinn",))
    assert len(legacy_keys(asked)) == 2 * 6
    keys = to_build(graph.design, asked, Filters(methods=("legacy_pinn",)))
    arms = {key.method for key in keys if key.stage in ("training", "inference")}
    assert arms == {"legacy_pinn"}
    assert stages.stage_of(BUNDLE).asset == "legacy_pinn_bundle"
    assert stages.stage_of(INFERENCE).asset == "legacy_pinn_reconstruction"


def test_it_waits_for_a_slot_and_the_comparison_is_downstream(graph):
    for name in ("legacy_pinn_bundle", "legacy_pinn_reconstruction"):
        assert graph.definitions.resolve_assets_def(dg.AssetKey(name)).op.pool == "gpu"
    comparison = graph.definitions.resolve_assets_def(dg.AssetKey("comparison"))
    assert dg.AssetKey("legacy_pinn_reconstruction") in comparison.dependency_keys


def test_it_depends_on_the_settings_of_cnn_only(graph):
    def parameters(settings):
        return stages.parameters(replace(graph.design, pinn=settings), BUNDLE)

    assert parameters(CnnSettings()) == parameters(UnrolledSettings(tile=64, levels=(1.0,), width=4))
    assert parameters(CnnSettings(epochs=7)) == parameters(UnrolledSettings(epochs=7)) != parameters(CnnSettings())
    assert parameters(CnnSettings()) != parameters(CnnSettings(n_filters_scale=1))


@pytest.mark.slow
def test_a_cell_in_tensorflow(graph):
    design = replace(graph.design, pinn=CnnSettings(epochs=1, n_filters_scale=1))
    path = graph.store.data_root.parent / "study.yaml"
    text = path.read_text().replace("pinn: {epochs: 2}", "pinn: {architecture: cnn, epochs: 1, n_filters_scale: 1}")
    path.write_text(text)
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="10000").success
    result = graph.run("overlap_view", "legacy_pinn_bundle", "legacy_pinn_reconstruction", partition=CELL)
    assert result.success
    outcome = {
        (e.asset_check_key.asset_key.to_user_string(), e.asset_check_key.name): e.passed
        for e in result.get_asset_check_evaluations()
    }
    assert outcome["legacy_pinn_bundle", "gate"]
    assert outcome["legacy_pinn_bundle", "config_001"]
    assert outcome["legacy_pinn_bundle", "sha256"]
    assert outcome["legacy_pinn_bundle", "data_001"]
    assert outcome["legacy_pinn_reconstruction", "gate"]

    states = study_states(graph.store, design)
    assert legacy_keys(states) == {BUNDLE, INFERENCE}, "what has run is part of the study, the rest is not"
    assert {states[BUNDLE].name, states[INFERENCE].name} == {"fresh"}
    layout = active_layout(graph.store)
    bundle = read_bundle(layout.result(StageKey("training", Cell(10000, "dense"), "legacy_pinn", 2)))
    assert bundle.manifest["legacy"]["neighbor_count"] == 7
    assert bundle.manifest["legacy"]["train_data_file_path"].startswith("tiny/")

    # The comparison has the method, without waiting for those that were not requested.
    assert graph.run("comparison", partition=CELL).success
    record = graph.store.required(layout, COMPARISON)
    assert record.values["arms"]["test"]["legacy_pinn"] == "compared"
    assert study_states(graph.store, design)[COMPARISON].name == "fresh"

    # A design that says something else than what was trained is found out.
    keys = stages.keys_of(design, STAGES["legacy_pinn_bundle"], BUNDLE.at)
    assert judge(graph.store, design, keys, RULES["config_001"])[0]
    for other in (replace(design, neighbor_count=9), replace(design, pinn=replace(design.pinn, epochs=3))):
        passed, text = judge(graph.store, other, keys, RULES["config_001"])
        assert not passed
        assert "CONFIG-001" in text
