"""Which results a setting reaches: every field of every settings class is changed, one at a time.

A stage that becomes stale by a setting that it does not use wastes hours; one that stays fresh although it uses it is
wrong. The table below says for each field which assets use it; what depends on those follows from the graph.
"""

import dataclasses

import pytest

from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import ON_REQUEST, STAGES

BASE, SIMULATED, VIEW, COMPARISON, REPORT = (
    "base_dataset", "simulated_dataset", "overlap_view", "comparison", "study_report"
)  # fmt: skip
PINN, LEGACY = "pinn_bundle", "legacy_pinn_bundle"
LSQML = {f"lsqml{start}_reconstruction_{split}" for start in ("", "_from_pinn") for split in ("train", "test")}
NETWORKS = {PINN, LEGACY}

DESIGN = {
    "name": ("other", {REPORT}),
    "dose_list": ((1e3, 1e4, 1e5, 1e6), set()),
    "gridsizes": ((1,), {VIEW, *NETWORKS}),
    "neighbor_count": (9, {VIEW, LEGACY}),
    "patch_size_pixels": (128, {BASE, SIMULATED, VIEW, *NETWORKS}),
    "overlap_views": ({"dense": 0.6, "sparse": 0.2}, {VIEW}),
    "train_test_split_axis": ("x", {SIMULATED}),
    "scan": ("base", {SIMULATED}),
    "min_view_frames": (5, {VIEW}),
    "patches": (False, {SIMULATED}),
    "repeats": (2, set()),
    "seeds": ((7,), {SIMULATED, *NETWORKS, *LSQML}),
    "rng_seeds.simulation": (1, {SIMULATED}),
    "rng_seeds.subsampling": (1, {VIEW}),
    "rng_seeds.grouping": (1, {*NETWORKS, *LSQML}),
}
"""Changed value of each field of the design, and the assets that use it."""

SECTIONS = {
    ("base", BaseRecipe): {BASE},
    ("metrics_config", MetricsConfig): {COMPARISON},
    ("evaluation", EvaluationSettings): {COMPARISON},
    ("lsqml", LsqmlSettings): LSQML,
}
"""Assets that use every field of a section."""

SHARED = ("epochs", "learning_rate", "gradient_clip", "patience", "validation_fraction")
"""Settings that both architectures have: the TensorFlow network, always `cnn`, takes them from either."""

SPECIAL = {"gridsizes", "pinn", "folder", "notes", "rng_seeds"} | {section for section, _ in SECTIONS}


def users(design, other):
    """Assets of which a stage that both designs have depends on other values."""
    keys = [set(stages.study_keys(one, ON_REQUEST)) for one in (design, other)]
    changed = {key for key in keys[0] & keys[1] if stages.parameters(design, key) != stages.parameters(other, key)}
    # A training in another folder is another training.
    changed |= {key for key in keys[0] - keys[1] if key.stage == "training" and key.view in other.views}
    return {stages.stage_of(design, key).asset for key in changed}


def different(value):
    """Another legal value of a setting."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value
    if isinstance(value, float):
        return value / 2 if value else 0.5
    if isinstance(value, tuple):
        return tuple(item / 2 for item in value)
    return {
        "lsqml": "epie", "held_out": "epochs", "fixed": "refined", "bilinear": "fourier", "compact": "random",
        "gaussian": "poisson", "uniform": "raster", "camera": "moon", "brick": "grass",
    }[value]  # fmt: skip


@pytest.mark.parametrize("field", DESIGN)
def test_a_field_of_the_design_reaches_what_uses_it(field):
    design = StudyDesign()
    value, expected = DESIGN[field]
    name, _, seed = field.partition(".")
    changed = {name: dict(design.rng_seeds) | {seed: value} if seed else value}
    assert users(design, dataclasses.replace(design, **changed).validate()) == expected


def test_no_field_of_the_design_is_forgotten():
    fields = {field.name for field in dataclasses.fields(StudyDesign)}
    assert {name.partition(".")[0] for name in DESIGN} | SPECIAL == fields


@pytest.mark.parametrize(
    ("section", "field"),
    [(section, field.name) for section, cls in SECTIONS for field in dataclasses.fields(cls)],
)
def test_a_field_of_a_section_reaches_what_uses_the_section(section, field):
    design = dataclasses.replace(StudyDesign(), base=BaseRecipe())
    value = getattr(design, section)
    other = dataclasses.replace(value, **{field: different(getattr(value, field))})
    expected = next(assets for (name, _), assets in SECTIONS.items() if name == section)
    found = users(design, dataclasses.replace(design, **{section: other}))
    if field == "engine":
        # Another engine is another method with folders of its own; what starts from the network's object uses it too.
        expected = {asset for asset in LSQML if "from_pinn" in asset}
    assert found == expected


@pytest.mark.parametrize("architecture", [UnrolledSettings, CnnSettings])
def test_a_field_of_a_network_reaches_that_network_alone(architecture):
    design = dataclasses.replace(StudyDesign(), pinn=architecture())
    for field in dataclasses.fields(architecture):
        if field.name == "architecture":
            continue
        other = dataclasses.replace(design.pinn, **{field.name: different(getattr(design.pinn, field.name))})
        found = users(design, dataclasses.replace(design, pinn=other))
        both = field.name in SHARED or architecture is CnnSettings
        assert found == (NETWORKS if both else {PINN}), field.name


def test_what_depends_on_a_changed_stage_follows_from_the_graph():
    design = StudyDesign()
    keys = list(stages.study_keys(design, ON_REQUEST))
    for asset, stage in STAGES.items():
        direct = {key for key in keys if stages.stage_of(design, key) is stage}
        stale = set(direct)
        for key in keys:
            if stale & set(stages.upstream(design, key)):
                stale.add(key)
        below = {asset}
        for name, other in STAGES.items():
            if below & {*other.needs, *((BASE,) if other.reads_base else ())}:
                below.add(name)
        assert {stages.stage_of(design, key).asset for key in stale} == below
