"""A run stays on the base on which it was begun, whichever is the active one meanwhile."""

import dagster as dg
import pytest

from fly64_assets.automation.machines import noted_machine, this_machine
from fly64_assets.automation.run_tags import BASE_TAG, DOSE_TAG, FOLLOWS_TAG, MACHINE_TAG, VIEW_TAG, keep_on_base
from fly64_assets.contract.schema import base_arrays
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.artifacts import IMPORTED
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.study.intake import intake_file, npz_bytes, recipe_base


@pytest.fixture
def bases(small_graph, tmp_path):
    """Two bases of a study; the second is the active one, the first was made and simulated by Dagster."""
    graph = small_graph
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="1000").success
    first = graph.store.active_base().base_id
    recipe = BaseRecipe(amplitude="coins", phase="grass", object_size=132, positions=60, seed=7)
    path = tmp_path / "other.npz"
    path.write_bytes(npz_bytes(base_arrays(recipe_base(recipe, 64, "other"))))
    intake_file(graph.store, graph.design, path)
    second = graph.store.active_base().base_id
    assert first != second
    return graph, first, second


def tags_of(graph, result):
    return graph.instance.get_run_by_id(result.run_id).tags


def has(graph, base, key):
    return graph.store.record(graph.store.layout(base), key) is not None


def test_runs_stay_on_their_base(bases):
    graph, first, second = bases
    view = StageKey("view", Cell(1000, "dense"))
    # Automation launched it for the frames of the first base, before the second one came.
    inherited = {MACHINE_TAG: "gone before pid:[1] another-run 7"}  # as of a run that is begun again
    run = graph.run("overlap_view", partition="1000|dense", tags={FOLLOWS_TAG: "inputs"} | inherited)
    assert run.success
    assert noted_machine(tags_of(graph, run)[MACHINE_TAG], run.run_id) == this_machine()
    assert tags_of(graph, run).items() >= {BASE_TAG: first, DOSE_TAG: "1000", VIEW_TAG: "dense"}.items()
    assert has(graph, first, view)
    assert not has(graph, second, view)
    assert all(evaluation.passed for evaluation in run.get_asset_check_evaluations())

    # A run that starts now gets the active base, which has no frames yet: a sentence, and nothing of the first.
    run = graph.run("overlap_view", partition="1000|dense")
    assert not run.success
    assert tags_of(graph, run)[BASE_TAG] == second
    assert not has(graph, second, view)

    # A person may name a base; a strange one is refused in a sentence.
    assert graph.run("overlap_view", partition="1000|baseline", tags={BASE_TAG: first}).success
    assert has(graph, first, StageKey("view", Cell(1000, "baseline")))
    run = graph.run("overlap_view", partition="1000|baseline", tags={BASE_TAG: "../nowhere"})
    assert not run.success
    (failure,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert "the run's tag fly64/base cannot be followed" in failure.user_failure_data.description

    # The later runs of a backfill stay with its first one.
    backfill = {"dagster/backfill": "abcdef"}
    assert graph.run("overlap_view", partition="1000|sparse", tags=backfill | {BASE_TAG: first}).success
    run = graph.run("overlap_view", partition="1000|dense", tags=backfill)
    assert run.success
    assert tags_of(graph, run)[BASE_TAG] == first
    assert graph.store.active_base().base_id == second
    assert graph.store.active_base().origin == IMPORTED


def test_who_waits_when_the_base_changes_is_kept_on_the_old_one(small_graph):
    graph = small_graph
    job = graph.definitions.resolve_job_def("simulate")

    def waiting(**tags):
        return graph.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.NOT_STARTED).run_id

    old, noted, follows = waiting(), waiting(**{BASE_TAG: "other"}), waiting(**{FOLLOWS_TAG: "inputs"})
    ended = graph.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS).run_id
    this = waiting()
    late = waiting()
    keep_on_base(graph.instance, this, "base_1")
    found = {
        run: graph.instance.get_run_by_id(run).tags.get(BASE_TAG) for run in (old, noted, follows, ended, this, late)
    }
    assert found == {old: "base_1", noted: "other", follows: None, ended: None, this: None, late: None}
