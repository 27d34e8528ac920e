"""The job ``audit``: all checks over all that is on disk, with a partition key and without."""

import shutil

import pytest

from fly64_assets.checks.factory import concerned
from fly64_assets.definitions import build_assets, build_checks, build_definitions
from fly64_assets.store.keys import Cell, Half, StageKey
from fly64_assets.study.states import active_layout


@pytest.fixture
def built(small_graph):
    graph = small_graph
    for asset, partition in (
        ("base_dataset", None),
        ("simulated_dataset", "1000"),
        ("simulated_dataset", "10000"),
        ("overlap_view", "1000|dense"),
        ("overlap_view", "10000|dense"),
        ("overlap_view", "10000|baseline"),
    ):
        assert graph.run(asset, partition=partition).success
    return graph


def audit(graph, partition=None):
    """As the UI runs it: the partition comes as a tag."""
    return graph.definitions.resolve_job_def("audit").execute_in_process(
        instance=graph.instance, tags={"dagster/partition": partition} if partition else {}, raise_on_error=False
    )


def judged(result):
    return {
        (one.asset_check_key.asset_key.to_user_string(), one.asset_check_key.name, one.partition): one.passed
        for one in result.get_asset_check_evaluations()
    }


def test_audit_with_and_without_a_partition(built):
    checks = {("base_dataset", name, None) for name in ("sha256", "data_001")}
    doses = {("simulated_dataset", name) for name in ("sha256", "data_001", "physics")}
    views = {("overlap_view", name) for name in ("sha256", "data_001", "oversampling_001")}
    whole = audit(built)
    assert whole.success
    assert judged(whole).keys() == (
        checks
        | {(*one, dose) for one in doses for dose in ("1000", "10000")}
        | {(*one, cell) for one in views for cell in ("1000|dense", "10000|dense", "10000|baseline")}
    )
    assert all(judged(whole).values())

    layout = active_layout(built.store)
    victim = layout.view_frames(Half(10000, "dense", "test"))
    content = bytearray(victim.read_bytes())
    content[5000] ^= 1
    victim.write_bytes(content)
    bad = {key for key, passed in judged(audit(built)).items() if not passed}
    assert ("overlap_view", "sha256", "10000|dense") in bad
    assert {key[2] for key in bad} == {"10000|dense"}

    # A dose: its own checks, and those of its cells.
    found = judged(audit(built, "10000"))
    assert {key[2] for key in found} == {None, "10000", "10000|dense", "10000|baseline"}
    assert {key for key, passed in found.items() if not passed} == bad

    # A cell: what stands in it is judged, missing things are missing, and its dose is judged with it.
    found = judged(audit(built, "1000|dense"))
    assert {key[2] for key in found} == {None, "1000", "1000|dense"}
    assert all(found[*one, "1000|dense"] for one in views)
    assert found["simulated_dataset", "physics", "1000"]
    assert not found["pinn_bundle", "sha256", "1000|dense"]


def deleted(result):
    return {
        (one.asset_check_key.asset_key.to_user_string(), one.partition)
        for one in result.get_asset_check_evaluations()
        if not one.passed and "Dagster has a materialisation of " in one.description
    }


def test_what_was_deleted_fails_the_audit(built):
    """A view's folder, one record, a whole dose, the base's folder, the whole study: Dagster knows of all of them."""
    layout = active_layout(built.store)
    assert deleted(audit(built)) == set()
    shutil.rmtree(layout.folder_of(StageKey("view", Cell(10000, "dense"))))
    result = audit(built)
    assert deleted(result) == {("overlap_view", "10000|dense")}
    assert sum(not passed for passed in judged(result).values()) == 3  # each of the asset's checks
    assert "materialise it again" in next(
        one.description for one in result.get_asset_check_evaluations() if not one.passed
    )
    layout.record(StageKey("view", Cell(1000, "dense"))).unlink()
    assert deleted(audit(built)) == {("overlap_view", "10000|dense"), ("overlap_view", "1000|dense")}
    shutil.rmtree(layout.folder / "dose_10000")
    doses = {("simulated_dataset", "10000"), ("overlap_view", "10000|dense"), ("overlap_view", "10000|baseline")}
    assert deleted(audit(built, "10000")) >= doses - {("simulated_dataset", "10000")}
    assert deleted(audit(built)) == doses | {("overlap_view", "1000|dense")}
    shutil.rmtree(built.store.folder)
    everything = doses | {("overlap_view", "1000|dense"), ("simulated_dataset", "1000"), ("base_dataset", None)}
    assert deleted(audit(built)) == everything


def test_the_audit_asks_only_for_what_was_made_on_this_base_and_in_this_place(built, tmp_path):
    """Another base has its own results, and another data root of the same instance, too."""
    layout = active_layout(built.store)
    other = tmp_path / "elsewhere"
    shutil.copytree(built.store.data_root, other)
    shutil.rmtree(other / layout.folder.relative_to(built.store.data_root) / "dose_10000")
    root = built.store.data_root
    root.rename(tmp_path / "moved")
    other.rename(root)
    assert ("simulated_dataset", "10000") in deleted(audit(built))

    base = built.definitions.resources["store"]
    built.definitions = build_definitions(
        design=built.design,
        resources={**built.definitions.resources, "store": type(base)(data_root=str(tmp_path / "moved"))},
    )
    assert deleted(audit(built)) == set()


@pytest.mark.parametrize("key", ["77", "10000|nothing", "../../etc", "1000|dense|x", "💥", "|", "1e3", "-1", "00"])
def test_hostile_partition_keys_are_one_sentence(graph, key):
    result = audit(graph, key)
    assert not result.success
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert all("is neither a dose (1000, 10000) nor a cell" in one.user_failure_data.description for one in failures)
    assert len(failures) == len(build_checks(build_assets(graph.design))) > 20


def test_which_partitions_a_key_concerns():
    assert concerned("1000", "")
    assert concerned("1000|dense", "1000")
    assert concerned("1000", "1000|dense")
    assert not concerned("1000|dense", "10000")
    assert not concerned("10000|dense", "1000")
    assert not concerned("1000|sparse", "1000|dense")
