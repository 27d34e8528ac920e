"""Which runs a request needs: pure decisions, from states."""

import pytest

from fly64_assets.cli.driver.schedule import PHASES, Filters, cell_runs, phase_plan, phases_before, stage_run, to_build
from fly64_assets.store.artifacts import State
from fly64_assets.store.keys import BASE, REPORT, Cell, Dose, StageKey
from fly64_assets.study import stages
from fly64_assets.study.design import load_design
from fly64_assets.study.table import STAGES

ITERATIVE = [asset for asset, stage in STAGES.items() if stage.kind == "reconstruction" and not stage.on_request]


@pytest.fixture(scope="module")
def design():
    return load_design("demo")


def states(design, done=()):
    return {key: State("fresh" if key in done else "missing", "", None) for key in stages.study_keys(design)}


def test_everything_is_built_in_order(design):
    keys = to_build(design, states(design), Filters())
    assert len(keys) == 1 + 3 + 9 * (4 + len(ITERATIVE)) + 1
    place = {key: index for index, key in enumerate(keys)}
    for key in keys:
        assert all(place[other] < place[key] for other in stages.upstream(design, key) if other in place)


def test_a_filter_brings_what_it_needs_and_no_more(design):
    keys = to_build(design, states(design), Filters(doses=(1000,), views=("dense",), stages=("inference",)))
    assert [key.stage for key in keys] == ["base", "simulated", "view", "training", "inference"]
    assert {key.view for key in keys} == {None, "dense"}


def test_a_comparison_does_not_add_optional_methods(design):
    keys = to_build(design, states(design), Filters(doses=(1000,), views=("dense",), stages=("comparison",)))
    assert [key.stage for key in keys] == ["base", "simulated", "view", "comparison"]


def test_a_request_for_some_cells_refreshes_the_report_but_is_not_judged_by_it(design):
    filters = Filters(doses=(1000,), views=("dense",))
    keys = to_build(design, states(design), filters)
    assert keys[-1] == REPORT
    assert {key.dose for key in keys} == {None, 1000}
    assert not filters.match(REPORT)
    assert Filters().match(REPORT)
    assert Filters(doses=(1000,), stages=("report",)).match(REPORT)


def test_a_finished_study_needs_nothing(design):
    keys = list(stages.study_keys(design))
    assert to_build(design, states(design, keys), Filters()) == []
    assert stage_run([], "report") is None
    assert stage_run([], "simulated", 1000) is None


def test_a_cell_is_one_run_and_its_comparison_another(design):
    keys = to_build(design, states(design), Filters())
    work, last = cell_runs(keys, 1000, "dense")
    assert work.partition == "1000|dense"
    assert work.assets == ("overlap_view", "pinn_bundle", "pinn_reconstruction", *ITERATIVE)
    assert last.assets == ("comparison",)
    assert stage_run(keys, "simulated", 1000).keys == (StageKey("simulated", Dose(1000)),)


def test_split_filter_touches_one_reconstruction(design):
    keys = to_build(design, states(design), Filters(stages=("reconstruction",), splits=("test",)))
    assert {key.split for key in keys if key.stage == "reconstruction"} == {"test"}


def phase(design, states, stage_names, **filters):
    return phase_plan(design, states, Filters(stages=stage_names, **filters))


def test_a_phase_builds_its_own_stages_only(design):
    known = states(design, [BASE, *(StageKey("simulated", Dose(dose)) for dose in design.doses)])
    plan = phase(design, known, PHASES["overlap"], doses=(1000,))
    assert [key.label for key in plan.keys] == [f"dose_1000/{view}: view" for view in ("baseline", "dense", "sparse")]
    assert plan.missing == {}
    assert [key.stage for key in phase(design, states(design), PHASES["generate"]).keys] == ["base"] + 3 * ["simulated"]


def test_a_phase_leaves_out_what_lacks_an_input_of_an_earlier_one(design):
    view = StageKey("view", Cell(1000, "dense"))
    known = states(design, [BASE, StageKey("simulated", Dose(1000)), view])
    plan = phase(design, known, PHASES["train"], doses=(1000,))
    assert [key.view for key in plan.keys] == ["dense"]
    assert {key.view: [other.stage for other in lacking] for key, lacking in plan.missing.items()} == {
        "baseline": ["view"],
        "sparse": ["view"],
    }
    assert plan.left_out == set(plan.missing)
    lacking = [other for others in plan.missing.values() for other in others]
    assert phases_before(design, known, lacking) == ["overlap"]
    assert phases_before(design, states(design), [view]) == ["generate", "overlap"]


def test_a_comparison_can_do_without_an_arm_but_says_so(design):
    cell = [key for key in stages.study_keys(design) if (key.dose, key.view) == (1000, "dense")]
    done = [BASE, StageKey("simulated", Dose(1000)), *cell]
    without = [key for key in done if key.stage not in ("inference", "comparison")]
    known = states(design, without)
    plan = phase(design, known, PHASES["compare"], doses=(1000,), views=("dense",))
    assert [key.stage for key in plan.keys] == ["comparison", "report"]
    assert [[other.stage for other in lacking] for lacking in plan.missing.values()] == [["inference"]]
    assert plan.left_out == set()
    # Also where it has been made without.
    known = states(design, [*without, cell[-1], REPORT])
    plan = phase(design, known, PHASES["compare"], doses=(1000,), views=("dense",))
    assert plan.keys == []
    assert list(plan.missing) == [cell[-1]]
    assert phase(design, states(design, done), PHASES["compare"], doses=(1000,), views=("dense",)).missing == {}


def test_phases_cover_every_stage_once(design):
    names = [name for built in PHASES.values() for name in built]
    assert sorted(names) == sorted({key.stage for key in stages.study_keys(design)})
