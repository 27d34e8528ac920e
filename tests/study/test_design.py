"""The study design: rules, forms, job matrix."""

import dataclasses
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fly64_assets.errors import DesignError
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study.design import StudyDesign, load_design, shipped_designs


def test_canonical_values():
    design = load_design("fly64")
    assert design.name == "fly64"
    assert design.doses == (1000, 10000, 100000)
    assert design.gridsizes == (1, 2)
    assert design.neighbor_count == 7
    assert dict(design.overlap_views) == {"dense": 0.7, "sparse": 0.2}
    assert design.spacing_thresholds == pytest.approx({"dense": 19.2, "sparse": 51.2})
    assert dict(design.rng_seeds) == {"simulation": 42, "grouping": 123, "subsampling": 456}
    assert (design.train_test_split_axis, design.scan, design.min_view_frames) == ("y", "uniform", 4)
    assert load_design("fly001_128").spacing_thresholds == pytest.approx({"dense": 38.4, "sparse": 102.4})


@pytest.mark.parametrize("name", ["demo", "fly64", "fly001_128"])
def test_shipped_designs_are_valid_and_round_trip(name):
    assert name in shipped_designs()
    design = load_design(name)
    assert design.name == name
    for form in (json.loads(json.dumps(design.to_dict())), yaml.safe_load(yaml.safe_dump(design.to_dict()))):
        again = StudyDesign.from_dict(form)
        assert again == design
        assert again.sha256() == design.sha256()


def test_every_broken_rule_is_named_at_once():
    design = dataclasses.replace(
        load_design("fly64"),
        name="Fly 64",
        dose_list=(1000.2, 1000.7, -1.0),
        neighbor_count=3,
        pinn=CnnSettings(),
        patch_size_pixels=50,
        overlap_views={"dense": 1.0, "baseline": 0.5, "a/b": 0.1},
        train_test_split_axis="z",
        rng_seeds={"simulation": 42},
        scan="spiral",
        min_view_frames=0,
        repeats=0,
    )
    with pytest.raises(DesignError) as caught:
        design.validate()
    text = str(caught.value)
    for fragment in (
        "name = 'Fly 64'",
        "dose_list",
        "OVERSAMPLING-001",
        "patch_size_pixels = 50",
        "overlap_views.dense = 1.0",
        "overlap_views.baseline",
        "overlap_views.a/b",
        "train_test_split_axis = 'z'",
        "missing grouping, subsampling",
        "scan = 'spiral': must be one of uniform, base",
        "min_view_frames = 0",
        "repeats = 0",
    ):
        assert fragment in text, fragment


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"levels": ()}, "pinn.levels = []: must fall and be positive, at least one"),
        ({"levels": (0.1, 0.4)}, "pinn.levels = [0.1, 0.4]: must fall"),
        ({"levels": (0.4, 0.4)}, "pinn.levels = [0.4, 0.4]: must fall"),
        ({"levels": (0.4, 0.0)}, "pinn.levels = [0.4, 0.0]: must fall and be positive"),
        ({"levels": (float("inf"), 0.1)}, "pinn.levels = [inf, 0.1]: must fall"),
        ({"levels": (0.4, float("nan"))}, "pinn.levels = [0.4, nan]: must fall"),
        ({"level_iterations": 0}, "pinn.level_iterations = 0: must be at least 1"),
        ({"photon_parts": 2, "folds": 1}, "pinn.photon_parts = 2: must be at least 3"),
        ({"folds": 0}, "pinn.folds = 0: must be at least 1"),
        ({"folds": 8}, "pinn.folds = 8: must be less than photon_parts = 8"),
        ({"steps_per_epoch": 0}, "pinn.steps_per_epoch = 0: must be at least 1"),
        ({"tile": 0}, "pinn.tile = 0: must be a multiple of 8"),
        ({"tile": 164}, "pinn.tile = 164: must be a multiple of 8"),
        ({"tile": -8}, "pinn.tile = -8: must be a multiple of 8"),
        ({"tile_frames": 0}, "pinn.tile_frames = 0: must be at least 1"),
        ({"width": 0}, "pinn.width = 0: must be at least 1"),
        ({"architecture": "unet"}, "pinn.architecture = 'unet': must be one of unrolled, cnn"),
    ],
)
def test_rules_of_the_network(changes, problem):
    design = load_design("fly64")
    found = dataclasses.replace(design, pinn=dataclasses.replace(design.pinn, **changes)).problems()
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_the_limits_of_the_network_are_valid():
    design = load_design("fly64")
    least = dataclasses.replace(design.pinn, levels=(0.1,), photon_parts=3, folds=2, tile=8, level_iterations=1)
    assert dataclasses.replace(design, pinn=least).problems() == []


def test_doses_must_differ_after_int():
    problems = dataclasses.replace(load_design("fly64"), dose_list=(1000.2, 1000.7)).problems()
    assert problems == ["dose_list = [1000.2, 1000.7]: doses must differ after int() ([1000, 1000])"]


@pytest.mark.parametrize(
    ("document", "fragment"),
    [
        ({"doses": [1]}, "doses = [1]: unknown field"),
        ({"neighbor_count": "seven"}, "neighbor_count = 'seven': must be int"),
        ({"neighbor_count": True}, "neighbor_count = True: must be int"),
        ({"dose_list": 1000}, "dose_list = 1000: must be a list"),
        ({"dose_list": [float("nan")]}, "every dose must be finite"),
        ({"pinn": {"epoch": 3}}, "pinn.epoch = 3: unknown field"),
        ({"pinn": {"architecture": "cnn", "batch_size": 24}}, "pinn.batch_size = 24: must be a power of two"),
        ({"pinn": {"levels": 0.4}}, "pinn.levels = 0.4: must be a list"),
        ({"pinn": {"levels": [0.4, "low"]}}, "pinn.levels"),
        ({"base": {"amplitude": "../camera"}}, "base.amplitude = '../camera'"),
        ({"overlap_views": ["dense"]}, "overlap_views = ['dense']: must be a mapping"),
    ],
)
def test_bad_documents(document, fragment):
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict(document)
    assert fragment in str(caught.value)


def test_exponents_without_a_dot_are_numbers(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: mine\ndose_list: [1e3, 5e4]\nbase: my_base.npz\n")
    design = load_design(path)
    assert design.doses == (1000, 50000)
    assert design.base_path == tmp_path / "my_base.npz"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "study.yaml").write_text(path.read_text())
    assert load_design(elsewhere / "study.yaml").sha256() == design.sha256()


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "!!python/object/apply:os.system ['true']"])
def test_files_that_are_no_designs(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(DesignError):
        load_design(path)


def test_an_unknown_study_names_the_shipped_ones():
    with pytest.raises(DesignError, match="demo, fly001_128, fly64"):
        load_design("nothing")


def test_a_design_cannot_be_changed():
    design = load_design("fly64")
    with pytest.raises(dataclasses.FrozenInstanceError):
        design.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        design.overlap_views["dense"] = 0.1  # type: ignore[index]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(StudyDesign)]), json_values, max_size=4))
def test_any_document_gives_a_design_or_one_error(document):
    try:
        problems = StudyDesign.from_dict(document).problems()
    except DesignError as error:
        problems = [] if error.problems else ["an error without a problem"]
    assert problems == []


def test_recipe_rules():
    recipe = BaseRecipe(object_size=60, positions=1, probe_radius=0.7, pattern="spiral", phase_range=(1.0, 0.0))
    problems = dataclasses.replace(load_design("fly64"), base=recipe).problems()
    assert [p.split(" = ")[0] for p in problems] == [
        "base.positions",
        "base.phase_range",
        "base.probe_radius",
        "base.pattern",
        "base.object_size",
    ]


def test_seeds_name_the_repeats_and_leave_other_designs_and_their_hashes_alone():
    plain = load_design("fly64")
    assert "seeds" not in plain.to_dict()
    assert plain.to_dict()["repeats"] == 1
    named = StudyDesign.from_dict({"seeds": [4, 9]})
    assert named.repeats == 2
    assert "repeats" not in named.to_dict()
    assert StudyDesign.from_dict(named.to_dict()) == named
    assert StudyDesign.from_dict(json.loads(json.dumps(named.to_dict()))).sha256() == named.sha256() != plain.sha256()
    assert [named.repeat_seed(repeat) for repeat in (1, 2)] == [4, 9]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"seeds": [1, 2], "repeats": 3}, "repeats = 3: give repeats or seeds, not both"),
        ({"seeds": [1, 2], "repeats": 1}, "repeats = 1: give repeats or seeds, not both"),
        ({"seeds": [1, 2, 1]}, "seeds = [1, 2, 1]: must be distinct"),
        ({"seeds": [0, 2]}, "seeds = [0, 2]: must be in [1, 2**32)"),
        ({"seeds": [2.5]}, "seeds[0] = 2.5: must be int"),
        ({"seeds": 3}, "seeds = 3: must be a list"),
    ],
)
def test_seeds_that_cannot_be_are_refused_in_a_sentence(document, problem):
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict(document)
    assert problem in str(caught.value)
    assert str(caught.value).count("not both") <= 1
