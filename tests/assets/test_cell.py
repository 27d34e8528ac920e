"""One whole cell through Dagster, with the real engines; and what happens when a method cannot run."""

import csv
import json
import subprocess

import dagster as dg
import numpy as np
import pytest

import fly64_assets as fly64
from fly64_assets.contract.npz import open_npz
from fly64_assets.definitions import build_definitions
from fly64_assets.errors import ArtifactError
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.resources.gpu import GpuResource, cuda_devices
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import REPORT, Cell, Half, StageKey
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import STAGES

METHODS = [stage.method for stage in STAGES.values() if stage.split == "test" and not stage.on_request]
"""The iterative methods of every study."""
ITERATIVE = {f"{method}_reconstruction_{split}" for method in METHODS for split in ("train", "test")}
ENGINES = ("pinn_bundle", "pinn_reconstruction", *sorted(ITERATIVE))


def document_of(graph, dose, view):
    layout = active_layout(graph.store)
    return json.loads(layout.output(StageKey("comparison", Cell(dose, view)), "comparison.json").read_text())


def prepared(graph):
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="10000").success
    return graph


def shown_well(result, asset):
    """A picture, numbers that Dagster can plot, and the base for everything that is materialised."""
    (materialization,) = result.asset_materializations_for_node(asset)
    metadata = {name: value.value for name, value in materialization.metadata.items()}
    assert any(str(value).startswith("![](data:image/png;base64,") for value in metadata.values())
    assert all(isinstance(metadata[name], (int, float)) for name in ("seconds", "size_bytes"))
    assert metadata["base_id"]
    assert metadata["outcome"] == "succeeded"


@pytest.mark.slow
def test_a_cell_from_frames_to_report(graph):
    prepared(graph)
    result = graph.run("overlap_view", *ENGINES, "comparison", partition="10000|dense")
    assert result.success
    failed = {e.asset_check_key for e in result.get_asset_check_evaluations() if not e.passed}
    assert {(key.asset_key.to_user_string(), key.name) for key in failed} <= {("pinn_bundle", "learned")}

    for asset in ("overlap_view", *ENGINES, "comparison"):
        shown_well(result, asset)

    document = document_of(graph, 10000, "dense")
    for split in ("train", "test"):
        one = document["splits"][split]
        outcomes = {arm: result["outcome"] for arm, result in one["arms"].items()}
        assert outcomes == dict.fromkeys(("pinn", *METHODS, "flat", "truth"), "compared")
        values = {(row["arm"], row["part"], row["metric"]): row["value"] for row in one["rows"]}
        assert values["truth", "phase", "rmse"] == pytest.approx(0, abs=1e-6)
        assert values["truth", "phase", "ssim"] == pytest.approx(1)
        assert values["truth", "complex", "nll_excess"] == pytest.approx(0, abs=1e-6)
        for method in METHODS:
            assert 0 < values[method, "phase", "rmse"] < values["flat", "phase", "rmse"]
        assert one["arms"]["lsqml"]["verdict"] == "better than flat"

    layout = active_layout(graph.store)
    lsqml = open_npz(layout.result(StageKey("reconstruction", Half(10000, "dense", "test"), "lsqml")))
    assert lsqml["reconstructed_object"].shape == (160, 160)
    with layout.output(StageKey("comparison", Cell(10000, "dense")), "comparison_metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"arm", "split", "part", "metric", "value"}
    assert {row["arm"] for row in rows} == {"pinn", *METHODS, "flat", "truth"}

    # The Python interface gives the same.
    study = fly64.open_study(graph.store.data_root.parent / "study.yaml", graph.store.data_root)
    scores = study.scores().set_index(["split", "method", "part", "metric"])["value"]
    assert scores["test", "lsqml", "phase", "rmse"] == values["lsqml", "phase", "rmse"]
    assert study.cells().set_index(["dose", "view"])["state"].to_dict()[10000, "dense"] == "fresh"
    found = study.reconstruction("lsqml", 10000, "dense")
    assert (found.object == lsqml["reconstructed_object"]).all()
    assert found.measurement.frames == document["splits"]["test"]["photons"]["frames"]
    assert study.truth().shape == (160, 160)
    assert len(fly64.show(found.object, found.coverage).axes) == 4  # two pictures, each with its colour bar
    with pytest.raises(ArtifactError, match="has no result"):
        study.reconstruction("lsqml", 1000, "dense")

    # The report holds this cell's numbers and says of the others that they are missing.
    result = graph.run("study_report")
    assert result.success
    shown_well(result, "study_report")
    page = (layout.report_folder / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert f"{values['lsqml', 'phase', 'rmse']:.3f}" in page
    summary = json.loads((layout.report_folder / "metrics_summary.json").read_text())
    assert len(summary["cells"]) == 6
    assert sum(bool(cell["splits"]) for cell in summary["cells"]) == 1
    compared = next(cell for cell in summary["cells"] if cell["splits"])
    overlap = compared["probe_overlap"]["test"]
    assert overlap == probe_overlap(np.c_[found.measurement.x, found.measurement.y], found.measurement.probe).to_dict()
    assert overlap["windows"]["nearest_low"] < 0.7
    table = (layout.report_folder / "study_metrics.csv").read_text().splitlines()
    assert str(overlap["discs"]["half_energy"]["linear"]["nearest"]) in table[-1]

    before = (layout.report_folder / "index.html").stat().st_mtime_ns
    assert graph.run("study_report", resume=True).success
    assert (layout.report_folder / "index.html").stat().st_mtime_ns > before

    # A report over some cells is up to date while the others are missing.
    states = study_states(graph.store, graph.design)
    assert states[REPORT].name == "fresh"
    assert states[StageKey("comparison", Cell(10000, "dense"))].name == "fresh"

    # Manifests and checksums agree with the disk.
    assert verify_folder(layout.folder).bad == ()
    training = json.loads(layout.manifest("training").read_text())
    (job,) = training["jobs"]
    bundle = layout.folder / job["result"]["bundle_path"]
    assert bundle.stat().st_size == job["result"]["bundle_size_bytes"]
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=layout.report_folder, check=True)


@pytest.mark.skipif(cuda_devices() > 0, reason="requests a GPU where there is none; this machine has one")
def test_an_arm_that_cannot_run_is_a_failure_with_its_reason_and_not_the_end_of_the_cell(graph):
    prepared(graph)
    assert graph.run("overlap_view", partition="10000|dense").success
    graph.definitions = build_definitions(
        design=graph.design, resources=graph.definitions.resources | {"gpu": GpuResource(accelerator="gpu")}
    )
    result = graph.run(*ENGINES, partition="10000|dense")
    assert not result.success
    failures = {e.step_key: e.step_failure_data.user_failure_data for e in result.all_events if e.is_step_failure}
    assert set(failures) == {"pinn_bundle"} | ITERATIVE
    assert all("1 GPU(s) were requested" in data.description for data in failures.values())

    states = study_states(graph.store, graph.design)
    training = StageKey("training", Cell(10000, "dense"), "pinn", 2)
    assert (states[training].name, "GPU" in states[training].reason) == ("failed", True)

    assert graph.run("comparison", partition="10000|dense").success
    arms = document_of(graph, 10000, "dense")["splits"]["test"]["arms"]
    assert arms["lsqml"]["outcome"] == "missing"
    assert "1 GPU(s) were requested" in arms["lsqml"]["reason"]
    assert arms["pinn"]["outcome"] == "missing"
    assert arms["flat"]["outcome"] == "compared"


def test_heavy_assets_wait_for_a_slot(graph):
    for asset in ENGINES:
        assert graph.definitions.resolve_assets_def(dg.AssetKey(asset)).op.pool == "gpu"
