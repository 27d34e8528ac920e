"""The network that was trained once as a method of a study, through Dagster."""

import dataclasses
import json
import shutil

import fly64_assets as fly64
from fly64_assets.assets import iterative
from fly64_assets.contract.npz import open_npz
from fly64_assets.pinn.bundle import read_bundle, write_bundle
from fly64_assets.pinn.pretrained.settings import PretrainedSettings
from fly64_assets.store.keys import Half, StageKey
from fly64_assets.study import stages
from fly64_assets.study.states import active_layout, study_states

KEY = StageKey("reconstruction", Half(1000, "dense", "test"), "pretrained")


def test_a_study_applies_the_network_and_another_file_makes_it_stale(small_graph):
    graph = small_graph
    for asset, partition in (("base_dataset", None), ("simulated_dataset", "1000"), ("overlap_view", "1000|dense")):
        assert graph.run(asset, partition=partition).success
    assert graph.run("pretrained_reconstruction_test", partition="1000|dense").success
    layout = active_layout(graph.store)
    frames = fly64.read(layout.view_frames(KEY.at)).measurement()
    expected = fly64.reconstruct(frames, "pretrained", threads=1)
    assert open_npz(layout.result(KEY))["reconstructed_object"].tobytes() == expected.object.tobytes()
    record = graph.store.required(layout, KEY)
    assert record.values["outside_of_training"] == expected.facts["outside_of_training"]

    # The same content under another name, relative to the design, is the same network; another content is not.
    bundle = read_bundle(graph.design.pretrained.file(graph.design.folder))
    shutil.copy(graph.design.pretrained.file(graph.design.folder), graph.design.folder / "mine.zip")
    own = dataclasses.replace(graph.design, pretrained=PretrainedSettings("mine.zip"))
    assert own.problems() == []
    assert study_states(graph.store, own)[KEY].name == "fresh"
    further = dataclasses.replace(bundle, params={**bundle.params, "note": "another"})
    write_bundle(graph.design.folder / "mine.zip", further)
    state = study_states(graph.store, own)[KEY]
    assert (state.name, state.reason.split(" changed")[0]) == ("stale", "parameter pretrained.network")
    assert stages.parameters(own, KEY) != stages.parameters(graph.design, KEY)


def test_a_comparison_says_what_lies_outside_of_the_training(small_graph, monkeypatch):
    why, run_engine = "the photons per frame are few", iterative.run_engine
    monkeypatch.setattr(iterative, "run_engine", lambda *given: run_engine(*given) | {"outside_of_training": [why]})
    graph = small_graph
    for asset, partition in (("base_dataset", None), ("simulated_dataset", "1000"), ("overlap_view", "1000|dense")):
        assert graph.run(asset, partition=partition).success
    for asset in ("pretrained_reconstruction_test", "comparison"):
        result = graph.run(asset, partition="1000|dense")
        assert result.success
    written = active_layout(graph.store).output(StageKey("comparison", KEY.at.cell), "comparison.json")
    document = json.loads(written.read_text())
    judged = document["splits"]["test"]["arms"]
    assert judged["pretrained"]["outside_of_training"] == [why]
    assert "outside_of_training" not in judged["flat"]
    (event,) = result.asset_materializations_for_node("comparison")
    verdicts = event.metadata["verdicts_test"].value
    assert verdicts["pretrained"].endswith(f"the uniform object; outside of its training: {why}")
