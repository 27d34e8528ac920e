"""Fresh, stale, missing: what a change in the design or on the disk makes of the stages, and no more."""

import dataclasses
import re

import pytest

from fly64_assets.errors import Fly64Error
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.store.keys import BASE, Cell, Dose, Half, StageKey
from fly64_assets.study import stages
from fly64_assets.study.design import load_design
from fly64_assets.study.states import active_layout, expected, study_states
from fly64_assets.study.table import ON_REQUEST

SIMULATED, VIEW = StageKey("simulated", Dose(1000)), StageKey("view", Cell(1000, "dense"))
TRAINING = StageKey("training", Cell(1000, "dense"), "pinn", 2)


@pytest.fixture
def built(graph):
    """Base, one dose and one view on disk."""
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="1000").success
    assert graph.run("overlap_view", partition="1000|dense").success
    return graph


def names(graph, design):
    states = study_states(graph.store, design)
    return {key: states[key].name for key in (BASE, SIMULATED, VIEW, TRAINING)}


def test_a_change_reaches_what_depends_on_it_and_nothing_else(built):
    design = built.design
    fresh = {BASE: "fresh", SIMULATED: "fresh", VIEW: "fresh", TRAINING: "missing"}
    assert names(built, design) == fresh
    for harmless in (
        {"pinn": UnrolledSettings(epochs=99)},
        {"lsqml": LsqmlSettings(epochs=99)},
        {"dose_list": (1e3, 5e5)},
        {"overlap_views": {"dense": 0.7}},
        {"rng_seeds": {"simulation": 42, "grouping": 1, "subsampling": 456}},
        {"repeats": 2},
    ):
        assert names(built, dataclasses.replace(design, **harmless)) == fresh, harmless

    changed = dataclasses.replace(design, neighbor_count=5)
    assert names(built, changed) == fresh | {VIEW: "stale"}
    state = study_states(built.store, changed)[VIEW]
    assert state.reason == "parameter neighbor_count changed (7 then, 5 now)"

    assert names(built, dataclasses.replace(design, overlap_views={"dense": 0.6, "sparse": 0.2}))[VIEW] == "stale"
    seeds = {"simulation": 43, "grouping": 123, "subsampling": 456}
    assert names(built, dataclasses.replace(design, rng_seeds=seeds)) == fresh | {SIMULATED: "stale", VIEW: "stale"}
    recipe = dataclasses.replace(design.base, phase="moon")
    everything = {BASE: "stale", SIMULATED: "stale", VIEW: "stale", TRAINING: "missing"}
    assert names(built, dataclasses.replace(design, base=recipe)) == everything

    # What is gone or damaged on disk is missing, and what stands on it is out of date.
    layout = active_layout(built.store)
    layout.patched(Dose(1000), "test").unlink()
    assert names(built, design) == fresh | {SIMULATED: "missing", VIEW: "stale"}


def test_only_a_resuming_run_leaves_alone_what_is_fresh(built):
    path = active_layout(built.store).patched(Dose(1000), "train")
    before = path.stat().st_mtime_ns
    assert built.run("simulated_dataset", partition="1000", resume=True).success
    assert path.stat().st_mtime_ns == before
    assert built.run("simulated_dataset", partition="1000").success
    assert path.stat().st_mtime_ns > before
    # Rebuilt to the same bytes: what stands on it is still fresh.
    assert names(built, built.design)[VIEW] == "fresh"

    # A lost sidecar: the simulation is made again, the view is not.
    view = active_layout(built.store).view_frames(Half(1000, "dense", "train"))
    before = view.stat().st_mtime_ns
    path.with_name(path.name + ".manifest.json").unlink()
    assert built.run("simulated_dataset", partition="1000", resume=True).success
    assert built.run("overlap_view", partition="1000|dense", resume=True).success
    assert view.stat().st_mtime_ns == before


def test_every_stage_comes_after_what_it_needs():
    design = dataclasses.replace(load_design("fly64"), repeats=2)
    seen = set()
    keys = list(stages.study_keys(design, ON_REQUEST))
    for key in keys:
        assert seen.issuperset(stages.upstream(design, key)), key
        seen.add(key)
    assert len(keys) == len(seen) == 1 + 2 * (3 + 9 * 14) + 1


def test_repeats_have_seeds_of_their_own():
    design = dataclasses.replace(load_design("fly64"), repeats=3)
    seeds = [design.repeat_seeds(repeat) for repeat in (1, 2, 3)]
    assert seeds[0] == dict(design.rng_seeds)
    assert len({tuple(one.values()) for one in seeds}) == 3
    assert design.repeat_seeds(2) == seeds[1]


def test_named_seeds_are_the_repeats_of_the_same_number_and_change_no_other():
    design = load_design("fly64")
    counted = dataclasses.replace(design, repeats=3)
    named = dataclasses.replace(design, seeds=(1, 7, 3))
    assert named.repeats == 3
    for stage in ("simulated", "view", "training", "inference", "reconstruction", "comparison"):
        for repeat in (1, 2, 3):
            place = {"dose": 1000, "repeat": repeat} | ({} if stage == "simulated" else {"view": "dense"})
            place |= {"arm": "pinn"} if stage in ("training", "inference") else {}
            place |= {"gridsize": 2} if stage == "training" else {}
            place |= {"arm": "lsqml", "split": "test"} if stage == "reconstruction" else {}
            key = StageKey.from_dict({"stage": stage, **place})
            one, other = (stages.parameters(d, key) for d in (counted, named))
            same = repeat != 2 or stage in ("view", "inference", "comparison")
            assert (one == other) is same, (stage, repeat)
    assert named.repeat_seeds(2) == dataclasses.replace(design, repeats=7).repeat_seeds(7)


def record(store, design, parameters):
    """Results of a design whose records hold these parameters, by key."""
    layout = active_layout(store)
    for key, recorded in parameters.items():
        with store.build(
            layout,
            key,
            inputs=expected(store, layout, design, key).inputs,
            parameters=recorded,
            design_sha256=design.sha256(),
            code_version=stages.code_version(key),
            seeds={},
        ) as build:
            build.write_bytes(layout.folder_of(key) / "result.npz", b"numbers")
            build.succeed({})


def test_results_from_before_slow_phases_are_those_of_a_design_without_them(built):
    """Records of then do not name the settings, whose defaults have changed since."""
    store = built.store
    unrolled, tv_ml = built.design.pinn, built.design.tv_ml
    without = dataclasses.replace(
        built.design,
        pinn=dataclasses.replace(unrolled, start="likelihood"),
        tv_ml=dataclasses.replace(tv_ml, slow_phases=False),
    )
    solved, learned = (
        StageKey("reconstruction", Half(1000, "dense", "test"), method) for method in ("tv_ml", "pretrained")
    )
    older = {key: stages.parameters(without, key) for key in (TRAINING, solved, learned)}
    del older[TRAINING]["pinn"]["start"]
    del older[solved]["tv_ml"]["slow_phases"], older[learned]["pretrained"]["slow_phases"]
    record(store, without, older)
    today = dataclasses.replace(built.design, pretrained=dataclasses.replace(built.design.pretrained, slow_phases=True))
    for design, state in ((without, "fresh"), (today, "stale")):
        states = study_states(store, design)
        assert [states[key].name for key in older] == [state] * 3


def test_results_of_an_older_version_stay_fresh(built):
    """It recorded the settings of both networks, and of LSQML one under another name and one that changes nothing."""
    design, store = built.design, built.store
    solved = StageKey("reconstruction", Half(1000, "dense", "test"), "lsqml")
    older = {key: stages.parameters(design, key) for key in (TRAINING, solved)}
    older[TRAINING]["pinn"] |= {k: v for k, v in CnnSettings().parameters().items() if k not in older[TRAINING]["pinn"]}
    older[solved]["lsqml"] |= {"windows": older[solved]["lsqml"].pop("subpixel"), "fast_shift": True, "engine": "lsqml"}
    record(store, design, older)

    def names(design):
        states = study_states(store, design)
        return [states[key].name for key in older]

    assert names(design) == ["fresh", "fresh"]
    assert names(dataclasses.replace(design, pinn=dataclasses.replace(design.pinn, tile=64))) == ["stale", "fresh"]
    assert names(dataclasses.replace(design, lsqml=LsqmlSettings(subpixel="fourier"))) == ["fresh", "stale"]
    assert names(dataclasses.replace(design, pinn=CnnSettings())) == ["stale", "fresh"]


def test_a_comparison_leaves_out_a_method_whose_result_is_out_of_date_because_building_it_again_failed(built):
    """What stands there was made with other settings; where it is what the design asks for, it is compared."""
    design, store, layout = built.design, built.store, active_layout(built.store)
    comparison = StageKey("comparison", Cell(1000, "dense"))
    solved = StageKey("reconstruction", Half(1000, "dense", "test"), "lsqml")

    def build(design, fails):
        with store.build(
            layout,
            solved,
            inputs=expected(store, layout, design, solved).inputs,
            parameters=stages.parameters(design, solved),
            design_sha256=design.sha256(),
            code_version=stages.code_version(solved),
            seeds={},
        ) as build:
            if fails:
                raise Fly64Error("out of memory")
            build.write_bytes(layout.result(solved), b"numbers")
            build.succeed({})

    def compared(design):
        return layout.result(solved) in expected(store, layout, design, comparison).inputs

    build(design, fails=False)
    assert compared(design)
    with pytest.raises(Fly64Error):
        build(design, fails=True)
    assert compared(design)
    build(dataclasses.replace(design, lsqml=LsqmlSettings(epochs=99)), fails=False)
    with pytest.raises(Fly64Error):
        build(design, fails=True)
    assert not compared(design)
    assert built.run("comparison", partition="1000|dense").success
    arms = store.required(layout, comparison).values["arms"]["test"]
    assert re.fullmatch("failed: building it again failed on .*: out of memory", arms["lsqml"])
    states = study_states(store, design)
    assert (states[solved].name, states[comparison].name) == ("stale", "fresh")
    build(design, fails=False)
    assert compared(design)
    assert study_states(store, design)[comparison].name == "stale"
