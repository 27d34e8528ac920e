"""Which runs a request needs: pure decisions, from states."""

import pytest

from fly64_assets import stages
from fly64_assets.cli.schedule import Filters, cell_runs, dose_run, single_run, to_build
from fly64_assets.design import load_design
from fly64_assets.store.artifacts import State
from fly64_assets.store.layout import StageKey


@pytest.fixture(scope="module")
def design():
    return load_design("demo")


def states(design, done=()):
    return {key: State("fresh" if key in done else "missing", "", None) for key in stages.study_keys(design)}


def test_everything_is_built_in_order(design):
    keys = to_build(design, states(design), Filters())
    assert len(keys) == 1 + 3 + 9 * 6 + 1
    place = {key: index for index, key in enumerate(keys)}
    for key in keys:
        assert all(place[other] < place[key] for other in stages.upstream(design, key))


def test_a_filter_brings_what_it_needs_and_no_more(design):
    keys = to_build(design, states(design), Filters(doses=(1000,), views=("dense",), stages=("inference",)))
    assert [key.stage for key in keys] == ["base", "simulated", "view", "training", "inference"]
    assert {key.view for key in keys} == {None, "dense"}


def test_a_comparison_does_not_drag_in_arms_that_nobody_asked_for(design):
    keys = to_build(design, states(design), Filters(doses=(1000,), views=("dense",), stages=("comparison",)))
    assert [key.stage for key in keys] == ["base", "simulated", "view", "comparison"]


def test_a_request_for_some_cells_refreshes_the_report_but_is_not_judged_by_it(design):
    filters = Filters(doses=(1000,), views=("dense",))
    keys = to_build(design, states(design), filters)
    assert keys[-1] == StageKey("report")
    assert {key.dose for key in keys} == {None, 1000}
    assert not filters.match(StageKey("report"))
    assert Filters().match(StageKey("report"))
    assert Filters(doses=(1000,), stages=("report",)).match(StageKey("report"))


def test_a_finished_study_needs_nothing(design):
    keys = list(stages.study_keys(design))
    assert to_build(design, states(design, keys), Filters()) == []
    assert single_run([], "report") is None
    assert dose_run([], 1000) is None


def test_a_cell_is_one_run_and_its_comparison_another(design):
    keys = to_build(design, states(design), Filters())
    work, last = cell_runs(keys, 1000, "dense")
    assert work.partition == "1000|dense"
    assert work.assets == (
        "overlap_view",
        "pinn_bundle",
        "pinn_reconstruction",
        "lsqml_reconstruction_train",
        "lsqml_reconstruction_test",
    )
    assert last.assets == ("comparison",)
    assert dose_run(keys, 1000).keys == (StageKey("simulated", 1000),)


def test_split_filter_touches_one_reconstruction(design):
    keys = to_build(design, states(design), Filters(stages=("reconstruction",), splits=("test",)))
    assert {key.split for key in keys if key.stage == "reconstruction"} == {"test"}
