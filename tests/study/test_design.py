"""The study design: rules, forms, settings that moved, and its reference."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fly64_assets.errors import DesignError
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.pinn.settings import CnnSettings, PinnSettings, UnrolledSettings, cnn_settings
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study.design import StudyDesign, load_design, shipped_designs
from fly64_assets.study.documents import document_fields
from fly64_assets.study.reference import SCHEMA, schema, sections, written


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
        dose_list=(1000.2, -1.0),
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
        "scan = 'spiral': must be one of uniform, raster, fermat, base",
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
        ({"start": "random"}, "pinn.start = 'random': must be one of likelihood, slow_phases, pretrained"),
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


@pytest.mark.parametrize(
    ("doses", "rule"),
    [
        ((1000.0, 1e3), "doses must differ"),
        *(
            ((dose,), "every dose must be a whole number of photons, from 1 to 1e+15")
            for dose in (1.9, 1000.7, 1e3 + 1e-9, 0.5, 0.0, -5.0, 1e15 + 1, 1e19, 1e300, float("inf"), float("nan"))
        ),
    ],
)
def test_a_dose_is_kept_as_it_is_written_or_refused(doses, rule):
    design = dataclasses.replace(load_design("fly64"), dose_list=doses)
    assert design.problems() == [f"dose_list = {list(doses)}: {rule}"]


@pytest.mark.parametrize("dose", [1.9, 0.5, float("inf"), float("nan")])
def test_no_dose_is_ever_cut(dose):
    with pytest.raises(ValueError, match="no whole number"):
        StudyDesign(dose_list=(dose,)).doses  # noqa: B018


def test_the_doses_of_partitions_are_those_of_the_design():
    design = StudyDesign.from_dict({"dose_list": [1, 1e3, "2e4", 3162.0, 1e15]})
    assert design.doses == (1, 1000, 20000, 3162, 10**15)
    assert [str(dose) for dose in design.doses] == ["1", "1000", "20000", "3162", "1000000000000000"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"name": "a" * 64}, "must have at most 63 characters"),
        ({"overlap_views": {"a" * 100: 0.5}}, "a view's name must have at most 99 characters"),
        ({"repeats": 10**9}, "repeats = 1000000000: must be at most 1000"),
        ({"neighbor_count": 0}, "neighbor_count = 0: must be at least 1"),
        ({"neighbor_count": 10**12}, "neighbor_count = 1000000000000: must be at most 1000"),
        ({"min_view_frames": 10**30}, "must be at most 1000000"),
        ({"base": {"object_size": 100_000_000}}, "base.object_size = 100000000: must be at most 32768"),
        ({"base": {"positions": 10**18}}, "base.positions = 1000000000000000000: must be at most 10000000"),
        ({"pinn": {"width": 10**6}}, "pinn.width = 1000000: must be at most 1024"),
        ({"pinn": {"epochs": 10**18}}, "pinn.epochs = 1000000000000000000: must be at most 1000000"),
        ({"pinn": {"architecture": "cnn", "batch_size": 2**40}}, "must be at most 1048576"),
        ({"tv_ml": {"count_splits": 10**9}}, "must be at most 1000"),
        ({"metrics_config": {"ms_ssim_sigma": 1e9}}, "must be at most 100"),
    ],
)
def test_what_no_machine_could_hold_is_refused_by_the_design(document, problem):
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict(document)
    (found,) = caught.value.problems
    assert problem in found


def test_long_names_that_every_part_of_a_study_takes():
    assert StudyDesign.from_dict({"name": "a" * 63, "overlap_views": {"b" * 99: 0.5}}).views[1] == "b" * 99


@pytest.mark.parametrize(
    ("document", "fragment"),
    [
        ({"doses": [1]}, "doses = [1]: unknown field"),
        ({"neighbor_count": "seven"}, "neighbor_count = 'seven': must be a whole number"),
        ({"neighbor_count": True}, "neighbor_count = True: must be a whole number"),
        ({"dose_list": 1000}, "dose_list = 1000: must be a list"),
        ({"dose_list": [float("nan")]}, "every dose must be a whole number"),
        ({"pinn": {"epoch": 3}}, "pinn.epoch = 3: unknown field"),
        ({"pinn": {"architecture": "cnn", "batch_size": 24}}, "pinn.batch_size = 24: must be a power of two"),
        ({"pinn": {"levels": 0.4}}, "pinn.levels = 0.4: must be a list"),
        ({"pinn": {"levels": [0.4, "low"]}}, "pinn.levels"),
        ({"base": {"amplitude": "../camera"}}, "base.amplitude = '../camera'"),
        ({"overlap_views": ["dense"]}, "overlap_views = ['dense']: must be a mapping"),
        ({"overlap_views": {"\U00010000": None}}, "= None: must be a number"),
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


# One value outside the range of each field, as a document gives it.
OUTSIDE = {
    "name": "Fly 64",
    "dose_list": [0.5],
    "gridsizes": [3],
    "neighbor_count": 7.0,
    "patch_size_pixels": 100,
    "overlap_views": {"dense": 1.0},
    "overlap_of": "discs",
    "probe_diameter": "waist",
    "dose_per": "area",
    "train_test_split_axis": "z",
    "rng_seeds": {"simulation": -1, "grouping": 1, "subsampling": 1},
    "scan": "spiral",
    "min_view_frames": 0,
    "patches": 1,
    "repeats": 0,
    "seeds": [0],
    "metrics_config": {"ms_ssim_sigma": 0.0, "emphasize_phase": "yes", "report_amplitude": 1, "frc_threshold": 1.0},
    "evaluation": {"coverage_threshold": 0, "max_shift_px": 10.5},
    "report": {"threshold_rad": 0.0},
    "base": {
        "amplitude": "cat",
        "phase": "dog",
        "object_size": 65,
        "positions": 3,
        "amplitude_range": [0.5, 0.5],
        "phase_range": [1.0, 0.0],
        "probe_radius": 0.5,
        "probe_edge": 0.0,
        "probe_curvature": float("inf"),
        "pattern": "spiral",
        "seed": 2**32,
    },
    "detector": {
        "mask": 3,
        "gap_rows": [[0, 0]],
        "gap_columns": [[-1, 2]],
        "beamstop_radius": -1.0,
        "beamstop_offset": [0.0, float("inf")],
        "saturation": 1.5,
        "read_noise": 101.0,
    },
    "measured": {"calibrate": 1, "refine_positions": "no", "epochs": 0, "thinning": "disjoint", "pairs": None},
    "unrolled": {
        "epochs": 0,
        "learning_rate": 0.0,
        "gradient_clip": float("inf"),
        "patience": 0,
        "validation_fraction": 1.0,
        "architecture": "unet",
        "width": 0,
        "levels": [0.4, 0.4],
        "start": "zero",
        "level_iterations": 0,
        "photon_parts": 2,
        "folds": 8,
        "steps_per_epoch": 0,
        "tile": 12,
        "tile_frames": 0,
    },
    "cnn": {
        "epochs": True,
        "learning_rate": float("nan"),
        "gradient_clip": -1.0,
        "patience": "many",
        "validation_fraction": 0.0,
        "architecture": "unet",
        "batch_size": 24,
        "samples_per_position": 0,
        "n_filters_scale": 0,
        "amplitude_max": 0.0,
        "target_fraction": 1.0,
        "thinning_fraction": 0.0,
    },
    "lsqml": {
        "epochs": 101,
        "stopping": "never",
        "probe": "unknown",
        "subpixel": "cubic",
        "batching": "none",
        "batch_size": 0,
        "momentum": 10.5,
        "noise_model": "none",
        "gaussian_epochs": -1,
        "total_variation": 10.5,
    },
    "tv_ml": {"levels": [0.1, 0.2], "steps": 0, "count_splits": 1, "patience": 0, "slow_phases": 1},
    "pretrained": {"network": "", "slow_phases": 1},
}


def every_field():
    """Name of every field of the design and of its sections, with a document in which it is out of its range."""
    for field in document_fields(StudyDesign):
        if field.name not in dict(sections(StudyDesign)):
            yield field.name, {field.name: OUTSIDE[field.name]}
    for name, cls in sections(StudyDesign):
        own = getattr(cls, "architecture", name)
        architecture = {"architecture": own} if own != name else {}
        for field in document_fields(cls):
            yield f"{name}.{field.name}", {name: {**architecture, field.name: OUTSIDE[own][field.name]}}


@pytest.mark.parametrize(
    ("place", "document"), list(every_field()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_range_of_every_field_is_enforced(place, document):
    """A field that has no value above fails here: a new field needs a value out of its range."""
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict(document)
    (problem,) = caught.value.problems
    assert problem.startswith(place)


def test_problems_of_types_ranges_names_and_between_fields_come_at_once():
    document = {
        "nmae": "x",
        "min_view_frames": "four",
        "base": {"positions": 1, "object_size": 60, "probe": 3},
        "pinn": {"epochs": 0, "folds": 8, "epoch": 3},
        "lsqml": {"momentum": -1},
        "rng_seeds": {"simulation": 1},
    }
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict(document)
    assert {problem.split(" = ")[0] for problem in caught.value.problems} == {
        "nmae", "min_view_frames", "base.positions", "base.probe", "base.object_size", "pinn.epochs", "pinn.epoch",
        "pinn.folds", "lsqml.momentum", "rng_seeds",
    }  # fmt: skip
    text = str(caught.value)
    assert "nmae = 'x': unknown field (known: base, detector, dose_list, " in text
    assert "pinn.epoch = 3: unknown field (known: architecture, epochs, folds, " in text
    assert "base.probe = 3: unknown field (known: amplitude, amplitude_range, " in text


@pytest.mark.parametrize(
    ("document", "sentence", "expected"),
    [
        (
            {"pinn": {"batch_size": 8}},
            "pinn.batch_size was left out: it is a setting of the architecture cnn, not of unrolled",
            UnrolledSettings(),
        ),
        (
            {"pinn": {"architecture": "cnn", "tile": 7}},
            "pinn.tile was left out: it is a setting of the architecture unrolled, not of cnn",
            CnnSettings(),
        ),
        (
            {"lsqml": {"engine": "epie", "epochs": 9}},
            "lsqml.engine was left out: the method lsqml is LSQML alone, and epie is no method of a study",
            LsqmlSettings(epochs=9),
        ),
        ({"lsqml": {"fast_shift": False}}, "lsqml.fast_shift was left out: it changes no result", LsqmlSettings()),
        (
            {"lsqml": {"windows": "fourier"}},
            "lsqml.windows is called lsqml.subpixel now",
            LsqmlSettings(subpixel="fourier"),
        ),
    ],
)
def test_a_setting_that_moved_loads_with_its_sentence(document, sentence, expected):
    design = StudyDesign.from_dict(document)
    (note,) = design.notes
    assert note.startswith(sentence)
    assert getattr(design, *document) == expected
    again = StudyDesign.from_dict(design.to_dict())
    assert (again.notes, again, again.sha256()) == ((), design, design.sha256())


@pytest.mark.parametrize("settings", [UnrolledSettings(epochs=7, width=4), CnnSettings(epochs=7, batch_size=4)])
def test_a_document_of_the_last_version_loads_to_the_same_values(settings):
    """It held the settings of both architectures, whichever was in use."""
    both = UnrolledSettings().parameters() | CnnSettings().parameters() | settings.parameters()
    lsqml = LsqmlSettings(epochs=9).parameters() | {"fast_shift": True, "engine": "lsqml"}
    lsqml["windows"] = lsqml.pop("subpixel")
    design = StudyDesign.from_dict({"pinn": both, "lsqml": lsqml})
    assert not any("engine" in note for note in design.notes)
    assert (design.pinn, design.lsqml) == (settings, LsqmlSettings(epochs=9))


def test_the_networks_do_not_depend_on_each_others_settings():
    cnn, unrolled = CnnSettings().parameters(), UnrolledSettings().parameters()
    assert set(cnn) & set(unrolled) == {f.name for f in dataclasses.fields(PinnSettings)} | {"architecture"}
    for parameters in (cnn, unrolled):
        assert PinnSettings.from_dict(json.loads(json.dumps(parameters))).parameters() == parameters
    assert cnn_settings(UnrolledSettings(epochs=3, patience=2)) == CnnSettings(epochs=3, patience=2)
    assert cnn_settings(CnnSettings(batch_size=4)) == CnnSettings(batch_size=4)


def test_the_network_that_was_trained_once_is_a_file_beside_the_design_and_leaves_older_hashes_alone(tmp_path):
    assert "pretrained" not in StudyDesign().to_dict()
    document = {"pretrained": {"network": "mine.zip"}}
    with pytest.raises(DesignError, match=r"pretrained\.network = 'mine.zip': there is no file /.*; `general` is in"):
        StudyDesign.from_dict(document, tmp_path)
    (tmp_path / "mine.zip").write_bytes(b"")
    design = StudyDesign.from_dict(document, tmp_path)
    assert design.pretrained.file(design.folder) == tmp_path / "mine.zip"
    assert StudyDesign.from_dict(design.to_dict(), tmp_path) == design
    assert design.sha256() != StudyDesign().sha256()


def test_gridsize_binds_only_a_network_that_takes_groups():
    design = StudyDesign.from_dict({"gridsizes": [2], "neighbor_count": 2, "min_view_frames": 1})
    assert (design.gridsize("dense"), design.least_frames("dense")) == (2, 1)
    grouping = dataclasses.replace(design, pinn=CnnSettings())
    assert grouping.least_frames("dense") == 4
    assert design.view_rule("dense").needed_for == "min_view_frames"
    assert grouping.view_rule("dense").needed_for == "gridsize 2"
    assert (
        dataclasses.replace(grouping, min_view_frames=4).view_rule("dense").needed_for
        == "min_view_frames and gridsize 2"
    )
    assert "OVERSAMPLING-001" in grouping.problems()[0]
    assert StudyDesign().least_frames("dense") == 4


def test_page_and_schema_are_those_of_the_fields():
    folder = Path(__file__).parents[2] / "docs" / "reference"
    text = (folder / "design.md").read_text()
    assert written(text) == text, "run python -m fly64_assets.study.reference"
    assert json.loads((folder / SCHEMA).read_text()) == schema(), "run python -m fly64_assets.study.reference"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def documents(cls):
    """Documents of a settings class: known, moved and unknown fields, right and wrong values, sections inside."""
    inner = {}
    for name, section in sections(cls):
        inner[name] = inner.get(name, st.nothing()) | documents(section)
    names = [f.name for f in document_fields(cls)] + ["windows", "fast_shift", "batch_size", "tile"]
    near = st.sampled_from(["1e5", "cnn", "unrolled", "base", [0.5, 1], 1, 4, 0.5])
    return st.fixed_dictionaries({}, optional={name: inner.get(name, near) | near | json_values for name in names})


@settings(max_examples=200, deadline=None)
@given(documents(StudyDesign))
def test_any_document_gives_a_design_or_one_error(document):
    try:
        design = StudyDesign.from_dict(document)
    except DesignError as error:
        sentences = error.problems
    else:
        sentences = ("a design: valid",)
        assert design.problems() == []
        assert StudyDesign.from_dict(design.to_dict()) == design
    assert sentences
    assert all(": " in sentence for sentence in sentences)


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
        ({"seeds": [2.5]}, "seeds[0] = 2.5: must be a whole number"),
        ({"seeds": 3}, "seeds = 3: must be a list"),
    ],
)
def test_seeds_that_cannot_be_are_refused_in_a_sentence(document, problem):
    with pytest.raises(DesignError) as caught:
        StudyDesign.from_dict(document)
    assert problem in str(caught.value)
    assert str(caught.value).count("not both") <= 1


def test_views_by_the_probe_and_photons_per_pixel_leave_other_designs_and_their_hashes_alone():
    plain = StudyDesign()
    assert not {"overlap_of", "probe_diameter", "dose_per"} & set(plain.to_dict())
    design = StudyDesign.from_dict(
        {"overlap_of": "probe", "probe_diameter": "fwhm", "dose_per": "pixel", "scan": "fermat"}
    )
    assert StudyDesign.from_dict(design.to_dict()) == design
    assert design.sha256() != plain.sha256()
    rule = design.view_rule("dense")
    assert (rule.spacing_px, rule.probe_overlap, rule.probe_diameter, rule.keeps_photons) == (None, 0.7, "fwhm", True)
    assert design.view_rule("baseline").keeps_all
    assert design.spacing_thresholds == {}
    for document, sentence in (
        ({"probe_diameter": "fwhm"}, "probe_diameter = 'fwhm': is for views of the probe; expected overlap_of: probe"),
        (
            {"dose_per": "pixel", "scan": "measured"},
            "dose_per = 'pixel': is for simulated frames; measured ones cannot be exposed anew",
        ),
    ):
        with pytest.raises(DesignError) as caught:
            StudyDesign.from_dict(document)
        assert caught.value.problems == (sentence,)
