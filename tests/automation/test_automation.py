"""What is built automatically from a base: the conditions on a real graph, with real runs."""

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData

from fly64_assets.automation.run_tags import COMMAND_TAG, FOLLOWS_TAG, RESUME
from fly64_assets.automation.sensors import automated_assets

DATA_ASSETS, METHOD_ASSETS = automated_assets()


class Automation:
    """One automation sensor, tick by tick; what it requests is run as it would run it."""

    def __init__(self, graph, assets):
        self.graph = graph
        self.selection = dg.AssetSelection.assets(*assets)
        self.cursor = None

    def tick(self):
        """What one tick requests, by asset."""
        result = dg.evaluate_automation_conditions(
            self.graph.definitions, instance=self.graph.instance, asset_selection=self.selection, cursor=self.cursor
        )
        self.cursor = result.cursor
        wanted = {
            key.to_user_string(): result.get_requested_partitions(key)
            for key in self.selection.resolve(self.graph.definitions.resolve_asset_graph())
        }
        return {asset: partitions for asset, partitions in wanted.items() if partitions}

    def run(self, asset, partition):
        tags = {COMMAND_TAG: RESUME, FOLLOWS_TAG: "inputs"}
        return self.graph.run(asset, partition=partition, tags=tags)


@pytest.fixture
def automation(small_graph):
    return Automation(small_graph, DATA_ASSETS)


@pytest.mark.slow
def test_data_follow_a_base(automation):
    graph = automation.graph
    # A fresh instance: nothing is requested before there is a base.
    assert automation.tick() == {}
    assert automation.tick() == {}
    assert graph.run("base_dataset").success
    assert automation.tick() == {"simulated_dataset": {"1000", "10000"}}
    assert automation.run("simulated_dataset", "1000").success
    # Each dose is followed by its own views only, and nothing is requested twice.
    assert automation.tick() == {"overlap_view": {"1000|baseline", "1000|dense", "1000|sparse"}}
    assert automation.tick() == {}

    # A gate that failed stops what stands on it, and only that.
    layout = graph.store.layout(graph.store.active_base().base_id)
    base = layout.base.read_bytes()
    layout.base.write_bytes(base[:-1])
    assert not automation.run("simulated_dataset", "10000").success
    assert automation.tick() == {}
    layout.base.write_bytes(base)
    assert automation.run("simulated_dataset", "10000").success
    assert automation.tick() == {"overlap_view": {"10000|baseline", "10000|dense", "10000|sparse"}}
    for view in ("baseline", "dense", "sparse"):
        assert automation.run("overlap_view", f"10000|{view}").success
    assert automation.tick() == {}

    # An identical base makes its data requested again; they are fresh, and nothing is built anew.
    before = {path: path.stat().st_mtime_ns for path in graph.folder.rglob("*.npz")}
    assert graph.run("base_dataset").success
    assert automation.tick() == {"simulated_dataset": {"1000", "10000"}}
    run = automation.run("simulated_dataset", "1000")
    assert run.success
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # The UI shows the same picture and numbers as when they were built.
    (materialization,) = run.asset_materializations_for_node("simulated_dataset")
    assert materialization.metadata["photons_per_frame"].value == 1000
    assert "data:image/png" in materialization.metadata["frames"].value


def test_methods_follow_views_without_optional_ones(small_graph):
    automation = Automation(small_graph, METHOD_ASSETS)
    assert automation.tick() == {}
    there(small_graph, "base_dataset")
    there(small_graph, "simulated_dataset", "1000")
    assert automation.tick() == {}
    there(small_graph, "overlap_view", "1000|dense")
    cell = set(METHOD_ASSETS) - {"study_report"}
    assert automation.tick() == {asset: {"1000|dense"} for asset in cell}
    assert automation.tick() == {}
    # The report shows a cell as soon as it is there, without waiting for the others.
    for asset in cell:
        there(small_graph, asset, "1000|dense")
    assert automation.tick() == {"study_report": {None}}
    # An optional method that was requested is compared as soon as it exists.
    there(small_graph, "legacy_pinn_reconstruction", "1000|dense")
    assert automation.tick()["comparison"] == {"1000|dense"}


def there(graph, asset, partition=None):
    """Tell Dagster alone that an asset is there and passed its gate: conditions look at nothing else."""
    key = dg.AssetKey(asset)
    graph.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
    one = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition] if partition else None)
    (record,) = graph.instance.fetch_materializations(one, limit=1).records
    target = AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
    )
    graph.instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key,
            check_name="gate",
            passed=True,
            metadata={},
            partition=partition,
            target_materialization_data=target,
        )
    )
