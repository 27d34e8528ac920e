"""Doses of measured frames through the asset graph: what is thinned, what is skipped, and what no method can see."""

from __future__ import annotations

import warnings

import dagster as dg
import numpy as np
import pytest
from fixtures.graph import make_graph
from fixtures.measured import fill_with_frames, measured_truth

from fly64_assets.checks.factory import judge
from fly64_assets.checks.rules import RULES
from fly64_assets.contract.metadata import has_stand_in_object
from fly64_assets.contract.npz import load_dataset, load_measurement, open_npz
from fly64_assets.measured.thinning import THINNED, complement
from fly64_assets.store.keys import Cell, Dose, StageKey
from fly64_assets.study.manifests import write_manifests
from fly64_assets.study.stages import stage_of
from fly64_assets.study.states import study_states
from fly64_assets.study.table import STAGES

DOSE, TOO_MANY = Dose(10_000), Dose(100_000)
STUDY = """
name: tiny
patch_size_pixels: 64
scan: measured
dose_list: [1e3, 1e4, 1e5]
overlap_views: {dense: 0.7}
patches: false
pinn: {epochs: 1, levels: [0.3, 0.1], level_iterations: 4, steps_per_epoch: 2}
lsqml: {epochs: 2, stopping: epochs}
tv_ml: {levels: [0.3, 0.1], steps: 3}
"""
METHODS = ("pinn_bundle", "pinn_reconstruction", *(f"{m}_reconstruction_test" for m in ("lsqml", "tv_ml")))


def make_thinned(folder, instance, **objects):
    """A graph of the study on a base with frames, its dose of 1e4 and the view of it made."""
    folder.mkdir()
    graph = make_graph(folder, instance, STUDY)
    fill_with_frames(graph.store, **objects)
    result = graph.run("simulated_dataset", partition="10000")
    assert result.success
    assert graph.run("overlap_view", partition="10000|dense").success
    return graph, result


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with dg.DagsterInstance.ephemeral() as instance, warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield make_thinned(tmp_path_factory.mktemp("thinned") / "study", instance)


@pytest.fixture
def graph(made):
    return made[0]


def layout_of(graph):
    return graph.store.layout(graph.store.active_base().base_id)


def test_a_dose_is_a_seeded_part_of_the_measured_frames(graph):
    layout = layout_of(graph)
    measured = load_measurement(layout.measured_frames)
    scale, photons, frames = measured.intensity_scale, 0.0, []
    for split in ("train", "test"):
        thinned = load_dataset(layout.patched(DOSE, split))
        counts = thinned.measurement().counts()
        rest = complement(measured, thinned.metadata, thinned.scan_index)
        full = measured.counts(thinned.scan_index - 7)
        assert (counts + rest == full).all()
        assert thinned.metadata["physics_parameters"]["expected_mean_counts"] == pytest.approx(
            full.sum() / len(full) * (thinned.intensity_scale / scale) ** 2
        )
        assert (thinned.object == 1).all()
        assert has_stand_in_object(thinned.metadata)
        assert thinned.patches is None
        assert (thinned.bad_pixels == measured.bad_pixels).all()
        assert (thinned.probe == measured.probe).all()
        assert THINNED in [step["operation"] for step in thinned.metadata["data_transformations"]]
        photons, frames = photons + counts.sum(), [*frames, *thinned.scan_index]
    assert sorted(frames) == measured.scan_index.tolist()
    # A binomial number of all measured photons.
    total, part = measured.counts().sum(), 10_000 * len(frames) / measured.counts().sum()
    assert abs(photons - part * total) < 5 * np.sqrt(total * part * (1 - part))


def test_dagster_says_where_the_counts_come_from(made):
    graph, result = made
    assets = graph.definitions.resolve_asset_graph()
    assert THINNED in assets.get(dg.AssetKey("simulated_dataset")).description
    (event,) = result.asset_materializations_for_node("simulated_dataset")
    assert event.metadata["source"].value == THINNED
    assert event.metadata["fraction_of_measured_photons"].value == pytest.approx(0.5, abs=0.01)


def test_checks_find_a_photon_too_many(graph):
    layout, view = layout_of(graph), StageKey("view", Cell(10_000, "dense"))
    for name in ("sha256", "data_001", "physics"):
        assert judge(graph.store, graph.design, [StageKey("simulated", DOSE)], RULES[name]) == (True, "all is well")
    assert judge(graph.store, graph.design, [view], RULES["data_001"])[0]
    path = layout.patched(DOSE, "test")
    arrays = {name: np.array(array) for name, array in open_npz(path).items()}
    scale = load_dataset(path).intensity_scale
    arrays["diffraction"][3, 0, 0] = np.float32(np.sqrt(9e6) / scale)
    whole = path.read_bytes()
    np.savez(path, **arrays)
    passed, text = judge(graph.store, graph.design, [StageKey("simulated", DOSE)], RULES["physics"])
    path.write_bytes(whole)
    assert not passed
    assert "test: 1 pixels of frames 0 ... " in text
    assert "of the measured 1200714 are 600000, give or take 548" in text


def test_a_view_counts_its_own_frames_and_never_asks_the_object(graph):
    view = load_dataset(layout_of(graph).view_frames(Cell(10_000, "dense").half("test")))
    expected = view.measurement().counts().sum(axis=(1, 2)).mean()
    assert view.metadata["physics_parameters"]["expected_mean_counts"] == pytest.approx(expected)


def test_a_dose_that_was_not_measured_is_skipped_all_the_way_down(graph):
    layout, store, design = layout_of(graph), graph.store, graph.design
    assert graph.run("simulated_dataset", partition="100000").success
    record = store.record(layout, StageKey("simulated", TOO_MANY))
    assert record.outcome == "skipped"
    assert record.reason.startswith("dose_100000: the frames hold 2")
    assert record.values["measured_photons"] == pytest.approx(20_000, rel=0.02)
    below = [n for n, s in STAGES.items() if s.kind not in ("base", "simulated", "report") and not s.on_request]
    assert graph.run(*below, partition="100000|dense").success
    states = study_states(store, design)
    of_dose = {key: state for key, state in states.items() if key.dose == 100_000 and key.view != "baseline"}
    assert {state.name for state in of_dose.values()} == {"skipped"}
    assert {state.reason for state in of_dose.values()} == {record.reason}
    for key in of_dose:
        for name in ("sha256", "data_001", *stage_of(key).checks):
            assert judge(store, design, [key], RULES[name]) == (True, f"skipped: {record.reason}")
    write_manifests(layout, design)
    assert graph.run("study_report").success
    page = (layout.report_folder / "report.md").read_text()
    assert "thinning can only take some away" in page


def test_a_base_without_frames_is_refused_with_the_command(tmp_path):
    (tmp_path / "study").mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        graph = make_graph(tmp_path / "study", instance, STUDY)
        fill_with_frames(graph.store, frames=False)
        result = graph.run("simulated_dataset", partition="1000")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "has no measured frames" in str(failure.step_failure_data.error)
    assert "fly64 --study tiny base import FILE" in str(failure.step_failure_data.error)


def arrays_of(graph):
    """Every array of every result of a dose, but the histories of frames, which name the file of the measured ones."""
    layout, found = layout_of(graph), {}
    for path in sorted(layout.folder.rglob("*.npz")):
        if path.parent == layout.folder:
            continue  # the base
        arrays = open_npz(path)
        for key in arrays.keys() - ({"_metadata"} if "diffraction" in arrays else set()):
            found[f"{path.relative_to(layout.folder)}: {key}"] = np.asarray(arrays[key]).tobytes()
    return found


def swapped(folder):
    """The study on a base with another reference, whose measured frames hold yet another object in place of ones."""
    other = np.full(measured_truth().object.shape, 0.3j)
    with dg.DagsterInstance.ephemeral() as instance:
        yield make_thinned(folder, instance, reference=other, kept=2 * other)[0]


def test_frames_and_views_are_the_same_whatever_the_reference_and_the_object_of_the_file(graph, tmp_path):
    for other in swapped(tmp_path / "other"):
        own, found = arrays_of(graph), arrays_of(other)
        assert {"dose_10000/patched_test.npz: diffraction", "dose_10000/dense/dense_train.npz: objectGuess"} < set(
            found
        )
        assert {name: own[name] for name in found} == found


@pytest.mark.slow
def test_no_method_can_see_the_reference_or_the_object_of_the_file(graph, tmp_path):
    for other in swapped(tmp_path / "other"):
        for one in (graph, other):
            assert one.run(*METHODS, partition="10000|dense").success
        own, found = arrays_of(graph), arrays_of(other)
        for name in (
            "pinn/test.npz: reconstructed_object",
            "pinn/test_pairs.npz: photons_1",
            "test/pairs.npz: frames_2",
        ):
            assert any(key.endswith(name) for key in found)
        assert {name: own[name] for name in found} == found
