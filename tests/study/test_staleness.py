"""What the project calls out of date and what Dagster calls out of date are the same, step by step."""

import dataclasses

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from fly64_assets.cli.driver.schedule import Filters, to_build
from fly64_assets.definitions import build_definitions
from fly64_assets.measured.settings import MeasuredSettings
from fly64_assets.pinn.settings import CnnSettings, PinnSettings, UnrolledSettings
from fly64_assets.store.keys import BASE, Cell, Dose, StageKey
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.documents import document_fields
from fly64_assets.study.reference import sections
from fly64_assets.study.states import study_states
from fly64_assets.study.table import ON_REQUEST, STAGES

SIMULATED, VIEW = StageKey("simulated", Dose(1000)), StageKey("view", Cell(1000, "dense"))
COMPARISON = StageKey("comparison", Cell(1000, "dense"))
CHAIN = (BASE, SIMULATED, VIEW, COMPARISON)


class Study:
    """A base, a dose, a view and a comparison without methods, under a design that changes."""

    def __init__(self, graph):
        self.graph = graph
        self.design = graph.design

    def change(self, **fields):
        """Work under a changed design from now on, as after an edit of the YAML file."""
        self.design = dataclasses.replace(self.design, **fields)
        document = dg.serialize_value(self.design.to_dict())
        path = self.graph.store.data_root.parent / "study.yaml"
        path.write_text(document)
        self.graph.definitions = build_definitions(design=self.design, resources=self.graph.definitions.resources)

    def build(self, key):
        partition = "|".join(str(part) for part in (key.dose, key.view) if part) or None
        assert self.graph.run(stages.stage_of(key).asset, partition=partition).success

    def own_view(self):
        """Stages of the chain that are out of date though all that they stand on is up to date."""
        states = study_states(self.graph.store, self.design)
        return {
            key
            for key in CHAIN
            if states[key].name == "stale"
            and all(states[other].done for other in stages.upstream(self.design, key) if other in CHAIN)
        }

    def dagsters_view(self):
        """Stages of the chain that Dagster calls stale, by data and code versions."""
        instance = self.graph.instance
        resolver = CachingStaleStatusResolver(
            instance, self.graph.definitions.resolve_asset_graph(), LoadingContextForTest(instance)
        )
        partitions = {key: "|".join(str(part) for part in (key.dose, key.view) if part) or None for key in CHAIN}
        status = {key: resolver.get_status(dg.AssetKey(stages.stage_of(key).asset), partitions[key]) for key in CHAIN}
        assert StaleStatus.MISSING not in status.values()
        return {key for key in CHAIN if status[key] == StaleStatus.STALE}

    def would_run(self):
        """What ``fly64 run`` would build of the chain."""
        states = study_states(self.graph.store, self.design)
        filters = Filters(doses=(1000,), views=("dense",), stages=("simulated", "view", "comparison"))
        return to_build(self.design, states, filters)

    def both(self):
        found = self.own_view()
        assert found == self.dagsters_view()
        return found


@pytest.fixture
def study(small_graph):
    one = Study(small_graph)
    for key in CHAIN:
        one.build(key)
    return one


@pytest.mark.slow
def test_both_call_the_same_stages_stale(study):
    assert study.both() == set()

    # Built again to the same bytes: nothing after it is out of date.
    study.build(SIMULATED)
    assert study.both() == set()

    # A change that this chain does not depend on.
    study.change(pinn=UnrolledSettings(epochs=99), dose_list=(1e3, 1e4, 1e5))
    assert study.both() == set()

    # Another seed: the frames, and step by step what stands on them.
    study.change(rng_seeds=dict(study.design.rng_seeds) | {"simulation": 43})
    for key in (SIMULATED, VIEW, COMPARISON):
        assert study.both() == {key}
        study.build(key)
    assert study.both() == set()

    # A parameter of the view whose change leaves the kept frames as they were: it is made again, but nothing after it.
    study.change(rng_seeds=dict(study.design.rng_seeds) | {"subsampling": 457})
    assert study.both() == {VIEW}

    # And back: what is on disk fits the design again.
    study.change(rng_seeds=dict(study.design.rng_seeds) | {"subsampling": 456})
    assert study.both() == set()

    # Another measure of comparison touches the comparison only.
    study.change(metrics_config=dataclasses.replace(study.design.metrics_config, ms_ssim_sigma=2.0))
    assert study.both() == {COMPARISON}

    # A run would build exactly these, and what stands on them.
    assert study.would_run() == [COMPARISON]
    study.build(COMPARISON)
    assert study.would_run() == []
    study.change(overlap_views={"dense": 0.6, "sparse": 0.2})
    assert study.would_run() == [VIEW, COMPARISON]
    states = study_states(study.graph.store, study.design)
    assert states[VIEW].reason == "parameter overlap changed (0.7 then, 0.6 now)"
    assert states[COMPARISON].reason == "dose_1000/dense: view is stale"


def test_code_versions_follow_the_design_and_not_the_partitions(graph):
    design = graph.design
    for asset, changed in (
        ("simulated_dataset", {"rng_seeds": dict(design.rng_seeds) | {"simulation": 1}}),
        ("overlap_view", {"rng_seeds": dict(design.rng_seeds) | {"subsampling": 1}}),
        ("pinn_bundle", {"pinn": UnrolledSettings(epochs=99)}),
    ):
        stage = STAGES[asset]
        before = stages.asset_version(design, stage)
        assert stages.asset_version(dataclasses.replace(design, **changed), stage) != before
        more = dataclasses.replace(design, dose_list=(1e3, 1e4, 1e5), overlap_views={"dense": 0.7}, repeats=2)
        assert stages.asset_version(more, stage) == before


# -- which stages a field of the design makes stale -----------------------------------------------------------------

NETWORKS = {"pinn_bundle", "legacy_pinn_bundle"}
ITERATIVE = {
    section: {asset for asset, stage in STAGES.items() if stage.section == section}
    for section in {stage.section for stage in STAGES.values() if stage.section}
}
SEEDED = NETWORKS.union(*(assets for section, assets in ITERATIVE.items() if section != "pretrained"))

TOP_LEVEL = {
    "name": ("other", {"study_report"}),
    "dose_list": ((1e3, 2e4), set()),
    "gridsizes": ((2,), {"overlap_view"} | NETWORKS),
    "neighbor_count": (9, {"overlap_view", "legacy_pinn_bundle"}),
    "patch_size_pixels": (128, {"base_dataset", "simulated_dataset", "overlap_view"} | NETWORKS),
    "overlap_views": ({"dense": 0.6, "sparse": 0.2}, {"overlap_view"}),
    "overlap_of": ("probe", {"overlap_view"}),
    "probe_diameter": ("fwhm", set()),
    "dose_per": ("pixel", {"overlap_view"}),
    "train_test_split_axis": ("x", {"simulated_dataset"}),
    "scan": ("base", {"simulated_dataset"}),
    "min_view_frames": (9, {"overlap_view"}),
    "patches": (False, {"simulated_dataset"}),
    "repeats": (2, set()),
    "seeds": ((2,), {"simulated_dataset"} | SEEDED),
    "rng_seeds": ({"simulation": 1, "grouping": 1, "subsampling": 1}, {"simulated_dataset", "overlap_view"} | SEEDED),
}
"""Another value of each field of the design itself, and the assets that depend on it directly."""

SECTIONS = {
    "base": {"base_dataset"},
    "detector": {"simulated_dataset"},
    "metrics_config": {"comparison"},
    "evaluation": {"comparison"},
    "report": {"study_report"},
    "unrolled": {"pinn_bundle"},
    "shared by the networks": NETWORKS,
    "cnn": NETWORKS,
    **ITERATIVE,
}
"""Assets that depend directly on the fields of each section; under `unrolled`, `legacy_pinn` takes what is shared."""


def dependent(design, other):
    """Assets whose parameters differ between two designs, in at least one partition that both have."""
    found = set()
    for asset, stage in STAGES.items():
        there = {key.at: stage.settings(other, key) for key in stage.keys(other)}
        if any(key.at in there and stage.settings(design, key) != there[key.at] for key in stage.keys(design)):
            found.add(asset)
    return found


def another(value):
    """A value that differs, whether or not it is in the field's range."""
    if isinstance(value, bool):
        return not value
    return (*value, 1.0) if isinstance(value, tuple) else value + ("x" if isinstance(value, str) else 1)


def fields_of_sections():
    shared = {field.name for field in dataclasses.fields(PinnSettings)}
    for name, cls in sections(StudyDesign):
        for field in dataclasses.fields(cls):
            if field.name != "architecture" and cls is not MeasuredSettings:
                section = getattr(cls, "architecture", name)
                if section == "unrolled" and field.name in shared:
                    section = "shared by the networks"
                yield name, cls(), field.name, section


@pytest.mark.parametrize(
    "name", [f.name for f in document_fields(StudyDesign) if f.name not in dict(sections(StudyDesign))]
)
def test_a_field_of_the_design_makes_exactly_its_stages_stale(name):
    design, (value, expected) = StudyDesign(), TOP_LEVEL[name]
    assert dependent(design, dataclasses.replace(design, **{name: value})) == expected


@pytest.mark.parametrize(("name", "settings", "field", "section"), list(fields_of_sections()))
def test_a_field_of_a_section_makes_exactly_its_stages_stale(name, settings, field, section):
    design = dataclasses.replace(StudyDesign(), **{name: settings})
    changed = dataclasses.replace(settings, **{field: another(getattr(settings, field))})
    assert dependent(design, dataclasses.replace(design, **{name: changed})) == SECTIONS[section]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("calibrate", {"base_dataset"}),
        ("refine_positions", {"base_dataset"}),
        ("epochs", {"base_dataset"}),
        ("thinning", {"simulated_dataset"}),
        ("pairs", {"pinn_reconstruction", "legacy_pinn_reconstruction"} | {a for a in STAGES if a.endswith("_test")}),
    ],
)
def test_a_field_of_measured_frames_makes_exactly_its_stages_stale(field, expected):
    design = StudyDesign(scan="measured")
    changed = dataclasses.replace(design.measured, **{field: another(getattr(design.measured, field))})
    assert dependent(design, dataclasses.replace(design, measured=changed)) == expected
    assert {field.name for field in dataclasses.fields(MeasuredSettings)} == {
        "calibrate", "refine_positions", "epochs", "thinning", "pairs",
    }  # fmt: skip


def test_a_nested_dose_depends_on_the_higher_ones_only():
    design = StudyDesign(scan="measured", dose_list=(1e3, 1e4))
    more = dataclasses.replace(design, dose_list=(1e3, 1e4, 1e5)), dataclasses.replace(design, dose_list=(10, 1e3, 1e4))
    assert [dependent(design, other) for other in more] == [{"simulated_dataset"}, set()]


def test_neighbours_concern_the_network_only_where_it_takes_groups():
    design = StudyDesign(pinn=CnnSettings())
    assert dependent(design, dataclasses.replace(design, neighbor_count=9)) == {"overlap_view"} | NETWORKS


@pytest.mark.parametrize(
    ("seed", "expected"),
    [("simulation", {"simulated_dataset"}), ("subsampling", {"overlap_view"}), ("grouping", SEEDED)],
)
def test_a_seed_concerns_what_it_draws(seed, expected):
    design = StudyDesign()
    other = dataclasses.replace(design, rng_seeds=dict(design.rng_seeds) | {seed: 1})
    assert dependent(design, other) == expected


def test_what_depends_on_a_stale_stage_follows_from_the_table():
    design = StudyDesign()
    keys = list(stages.study_keys(design, ON_REQUEST))
    for asset, stage in STAGES.items():
        stale = {key for key in keys if stages.stage_of(key) is stage}
        for key in keys:
            if stale & set(stages.upstream(design, key)):
                stale.add(key)
        expected = {asset}
        for name, other in STAGES.items():
            if expected & {*other.needs, *(("base_dataset",) if other.reads_base else ())}:
                expected.add(name)
        assert {stages.stage_of(key).asset for key in stale} == expected
