from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fly64_assets.errors import Fly64Error
from fly64_assets.store.keys import BASE, KINDS, REPORT, Cell, Dose, Half, LayoutError, StageKey, Study
from fly64_assets.store.layout import Layout, active_base_path, base_id, stage_of

LAYOUT = Layout(Path("data"), "fly64", "run1084_0123abcd")
ROOT = "data/fly64/run1084_0123abcd"


def test_paths_of_the_specification() -> None:
    found = {
        LAYOUT.base: "base.npz",
        LAYOUT.patched(Dose(1000), "train"): "dose_1000/patched_train.npz",
        LAYOUT.patched(Dose(1000), "test"): "dose_1000/patched_test.npz",
        LAYOUT.view_frames(Half(1000, "dense", "train")): "dose_1000/dense/dense_train.npz",
        LAYOUT.view_metrics(Half(1000, "dense", "train")): "dose_1000/dense/train_metrics.json",
        LAYOUT.result(
            StageKey("training", Cell(1000, "dense"), "pinn", 2)
        ): "training/dose_1000/dense/gs2/pinn/wts.h5.zip",
        LAYOUT.result(
            StageKey("inference", Cell(1000, "dense"), "pinn"), "test"
        ): "inference/dose_1000/dense/pinn/test.npz",
        LAYOUT.result(StageKey("reconstruction", Half(1000, "dense", "train"), "lsqml")): (
            "reconstruction/lsqml/dose_1000/dense/train/ptychi_reconstruction.npz"
        ),
        LAYOUT.folder_of(StageKey("comparison", Cell(1000, "dense"))): "comparison/dose_1000/dense",
        LAYOUT.report_folder: "report",
        LAYOUT.manifest("training"): "training_manifest.json",
        LAYOUT.manifest("skip_summary"): "skip_summary.json",
        LAYOUT.record(BASE): "base.json",
        LAYOUT.record(REPORT): "report/result.json",
        LAYOUT.record(StageKey("simulated", Dose(1000, 2))): "repeat_2/dose_1000/result.json",
    }
    assert {path.as_posix() for path in found} == {f"{ROOT}/{expected}" for expected in found.values()}
    assert active_base_path(Path("data"), "fly64").as_posix() == "data/fly64/active_base.json"


def test_baseline_is_read_from_the_patched_file() -> None:
    assert LAYOUT.view_frames(Half(1000, "baseline", "train", 3)) == LAYOUT.patched(Dose(1000, 3), "train")
    dense = LAYOUT.output(StageKey("view", Cell(1000, "dense")), "dense_train.npz")
    assert LAYOUT.view_frames(Half(1000, "dense", "train")) == dense


def all_keys() -> list[StageKey]:
    keys = [BASE, REPORT]
    for repeat, dose in itertools.product((1, 2), (1000, 10000)):
        keys.append(StageKey("simulated", Dose(dose, repeat)))
        for view in ("baseline", "dense"):
            cell = Cell(dose, view, repeat)
            keys += [StageKey(stage, cell) for stage in ("view", "comparison")]
            for method in ("pinn", "lsqml"):
                keys.append(StageKey("inference", cell, method))
                keys += [StageKey("training", cell, method, g) for g in (1, 2)]
                keys += [StageKey("reconstruction", cell.half(split), method) for split in ("train", "test")]
    return keys


def test_every_key_has_its_own_folder_record_and_label() -> None:
    keys = all_keys()
    assert len({LAYOUT.folder_of(key) for key in keys}) == len(keys)
    assert len({LAYOUT.record(key) for key in keys}) == len(keys)
    assert {LAYOUT.record(key).parent for key in keys} == {LAYOUT.folder_of(key) for key in keys}
    labels = {key.label for key in keys}
    assert len(labels) == len({(k.stage, k.dose, k.view, k.split, k.method, k.repeat) for k in keys})
    assert all(stage_of(LAYOUT.record(key)) == key.stage for key in keys)
    for above in ("reconstruction", "training/dose_1000", "a/comparison", "dose_5/inference"):
        for base in ("dose_a_0123abcd", "dose_01234567", "report_0123abcd"):
            layout = Layout(Path(above), "fly64", base)
            assert all(stage_of(layout.record(key)) == key.stage for key in keys)
    assert all(StageKey.from_dict(key.to_dict()) == key for key in keys)


def test_keys_sort_in_the_order_of_the_stages() -> None:
    ordered = sorted(all_keys())
    first = [key for key in ordered if key.repeat == 1]
    assert ordered[: len(first)] == first
    assert [list(KINDS).index(key.stage) for key in first] == sorted(list(KINDS).index(key.stage) for key in first)
    assert StageKey("simulated", Dose(1000)) < StageKey("simulated", Dose(10000))


def test_label() -> None:
    key = StageKey("training", Cell(1000, "dense"), "pinn", 2)
    assert key.label == "dose_1000/dense: training pinn"
    assert BASE.label == "base"
    assert StageKey("simulated", Dose(10, 2)).label == "dose_10: simulated (repeat 2)"


HOSTILE = ["..", "../x", "/etc", "a/b", "", "A", "a b", "a\n", "ü", "a.b", "~", ".hidden", "a" * 101, "x\0y"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_no_names_never_become_paths(name: str) -> None:
    makers = [
        lambda: Cell(1000, name),
        lambda: StageKey("inference", Cell(1000, "dense"), name),
        lambda: Layout(Path("data"), name, "base"),
        lambda: Layout(Path("data"), "fly64", name),
        lambda: active_base_path(Path("data"), name),
        lambda: LAYOUT.patched(Dose(1000), name),
        lambda: LAYOUT.result(StageKey("reconstruction", Half(1000, "dense", "train"), name)),
        lambda: LAYOUT.manifest(name),
    ]
    for make in makers:
        with pytest.raises(LayoutError):
            make()


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_file_name_stays_in_its_folder_or_is_refused(name: str) -> None:
    key = REPORT
    try:
        path = LAYOUT.output(key, name)
    except Fly64Error:
        return
    assert path.parent == LAYOUT.report_folder
    assert path.name == name
    assert not name.startswith(".")


@pytest.mark.parametrize(
    "arguments",
    [
        {"stage": "nothing"},
        {"stage": "view", "dose": 1000},
        {"stage": "base", "dose": 1000},
        {"stage": "simulated", "dose": -1},
        {"stage": "simulated", "dose": True},
        {"stage": "simulated", "dose": 1000, "view": "dense"},
        {"stage": "simulated", "dose": "1000"},
        {"stage": "simulated", "dose": 1000, "repeat": 0},
        {"stage": "report", "repeat": 2},
        {"stage": "training", "dose": 1000, "view": "dense", "arm": "pinn"},
        {"stage": "reconstruction", "dose": 1000, "view": "dense", "arm": "lsqml", "split": "both"},
    ],
)
def test_keys_have_exactly_their_coordinates(arguments: dict[str, object]) -> None:
    with pytest.raises(LayoutError):
        StageKey.from_dict(arguments)


def test_a_key_belongs_to_the_coordinates_of_its_kind() -> None:
    for wrong in (
        lambda: StageKey("view", Dose(1000)),
        lambda: StageKey("base", Dose(1000)),
        lambda: StageKey("reconstruction", Cell(1000, "dense"), "lsqml"),
        lambda: StageKey("training", Cell(1000, "dense"), "pinn"),
        lambda: StageKey("report", Study(), "pinn"),
    ):
        with pytest.raises(LayoutError, match="key"):
            wrong()


def test_base_id() -> None:
    sha256 = "89abcdef" * 8
    assert base_id(Path("/x/run1084_base.npz"), sha256) == "run1084_base_89abcdef"
    assert base_id("Fly 001 (v2).npz", sha256) == "fly_001_v2_89abcdef"
    assert base_id("../..", sha256) == "base_89abcdef"
    assert Layout(Path("data"), "fly64", base_id("Ü" * 300, sha256)).base_id == "base_89abcdef"
    with pytest.raises(LayoutError):
        base_id("x", "../../../../")
