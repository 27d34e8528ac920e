"""Views designed by the probe, with photons per object pixel: from frames to a comparison, through Dagster."""

import json

import dagster as dg
import pytest
from fixtures.graph import make_graph

from fly64_assets.contract.npz import load_dataset
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.study.states import active_layout

DESIGN = """
name: by_probe
dose_list: [1e3]
base: {amplitude: coins, phase: grass, object_size: 150, positions: 300}
scan: fermat
overlap_of: probe
probe_diameter: energy_90
dose_per: pixel
overlap_views: {wide: 0.3, impossible: 0.99}
lsqml: {epochs: 3}
"""


@pytest.fixture
def probe_graph(tmp_path):
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "instance")) as instance:
        yield make_graph(tmp_path, instance, DESIGN)


@pytest.mark.slow
def test_a_view_by_the_probe_is_compared_at_its_own_dose(probe_graph):
    graph = probe_graph
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="1000").success
    for view in (BASELINE, "wide", "impossible"):
        assert graph.run("overlap_view", partition=f"1000|{view}").success
    layout = active_layout(graph.store)
    full = load_dataset(layout.view_frames(Cell(1000, BASELINE).half("test")))
    wide = load_dataset(layout.view_frames(Cell(1000, "wide").half("test")))
    assert wide.frames < full.frames
    assert wide.metadata["physics_parameters"]["nphotons"] == pytest.approx(1000 * full.frames / wide.frames)
    record = graph.store.record(layout, StageKey("view", Cell(1000, "wide")))
    facts = record.values["splits"]["test"]
    assert facts["reached_linear_overlap"] == pytest.approx(0.3, abs=0.03)
    assert facts["probe_diameter"] == "energy_90"
    skipped = graph.store.record(layout, StageKey("view", Cell(1000, "impossible")))
    assert skipped.outcome == "skipped"
    assert "the view asks for 99%" in skipped.reason

    photons = {}
    for view in (BASELINE, "wide"):
        partition = f"1000|{view}"
        assert graph.run("lsqml_reconstruction_test", "comparison", partition=partition).success
        document = json.loads(layout.output(StageKey("comparison", Cell(1000, view)), "comparison.json").read_text())
        photons[view] = document["splits"]["test"]["photons"]["photons_per_pixel"]
        assert document["splits"]["test"]["arms"]["lsqml"]["outcome"] == "compared"
    assert photons["wide"] == pytest.approx(photons[BASELINE], rel=0.15)
    assert graph.run("study_report").success
    summary = json.loads((layout.report_folder / "metrics_summary.json").read_text())
    cell = next(cell for cell in summary["cells"] if cell["view"] == "wide")
    assert cell["probe_overlap"]["test"]["discs"]["energy_90"]["linear"]["nearest"] == pytest.approx(
        facts["reached_linear_overlap"]
    )
