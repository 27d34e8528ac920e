"""GPU slots: who waits, who does not, and what is said; devices that are not there are refused beforehand."""

import threading
import time

import dagster as dg
import pytest

from fly64_assets.resources import gpu
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.study.states import active_layout


def test_an_engine_waits_for_a_slot_and_says_so_while_data_go_on(slotted_graph):
    graph = slotted_graph
    assert graph.run("base_dataset").success
    assert graph.run("simulated_dataset", partition="1000").success
    storage = graph.instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    assert storage.claim_concurrency_slot("gpu", "somebody", "pinn_bundle").is_claimed
    # Data take no slot.
    assert graph.run("overlap_view", partition="1000|sparse").success
    outcome = []
    thread = threading.Thread(
        target=lambda: outcome.append(graph.run("lsqml_reconstruction_test", partition="1000|sparse"))
    )
    thread.start()
    message = "Step blocked by limit for pool gpu"
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        runs = graph.instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        said = [entry.message or entry.user_message for run in runs for entry in graph.instance.all_logs(run.run_id)]
        if any(message in one for one in said):
            break
        time.sleep(0.2)
    else:
        pytest.fail(f"nothing was said in two minutes: {said}")
    assert not outcome
    storage.free_concurrency_slot_for_step("somebody", "pinn_bundle")
    thread.join()
    assert outcome[0].success


def test_an_engine_that_was_given_another_ones_slot_waits_for_it(slotted_graph, monkeypatch):
    """Two steps read the slot as free; the name of the other one stands there."""
    graph = slotted_graph
    for asset, partition in (("base_dataset", None), ("simulated_dataset", "1000"), ("overlap_view", "1000|dense")):
        assert graph.run(asset, partition=partition).success
    storage = graph.instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    monkeypatch.setattr(type(storage), "has_unassigned_slots", lambda self, pool: True)
    monkeypatch.setattr(type(storage), "_claim_concurrency_slot", _given_to_another(storage))
    freed = threading.Timer(6, lambda: storage.free_concurrency_slots_for_run("another"))
    freed.start()
    run = graph.run("lsqml_reconstruction_test", partition="1000|dense")
    freed.join()
    assert run.success
    said = [entry.user_message for entry in graph.instance.all_logs(run.run_id)]
    (waits,) = [place for place, message in enumerate(said) if "no slot of the pool gpu to itself" in message]
    (begins,) = [place for place, message in enumerate(said) if "engines run on" in message]
    assert waits < begins


def _given_to_another(storage):
    """Tells the first step that a slot is its own while another one's name is written there."""
    claim, told = type(storage)._claim_concurrency_slot, []

    def claims(self, concurrency_key, run_id, step_key):
        if told:
            return claim(self, concurrency_key, run_id, step_key)
        told.append(run_id)
        storage.add_pending_step(concurrency_key, "another", "pinn_bundle", should_assign=True)
        return claim(self, concurrency_key, "another", "pinn_bundle")

    return claims


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_touched(small_graph, monkeypatch):
    graph = small_graph
    for asset, partition in (("base_dataset", None), ("simulated_dataset", "1000"), ("overlap_view", "1000|baseline")):
        assert graph.run(asset, partition=partition).success
    # A result of older code stands there.
    layout, key = active_layout(graph.store), StageKey("training", Cell(1000, "baseline"), "pinn", 1)
    with graph.store.build(
        layout, key, inputs=(), parameters={}, design_sha256=graph.design.sha256(), code_version="0", seeds={}
    ) as build:
        build.write_bytes(layout.output(key, "history.csv"), b"epoch,train_loss\n1,2.0\n")
        build.succeed({"final_loss": 2.0})
    before = graph.store.required(layout, key)

    monkeypatch.setattr(gpu, "cuda_devices", lambda: 0)
    graph.definitions = dg.Definitions(
        assets=graph.definitions.assets,
        asset_checks=graph.definitions.asset_checks,
        resources={**graph.definitions.resources, "gpu": GpuResource(accelerator="cuda")},
    )
    run = graph.run("pinn_bundle", partition="1000|baseline")
    assert not run.success
    (failure,) = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert "1 GPU(s) were requested and torch can use 0" in failure.user_failure_data.description
    assert graph.store.required(layout, key) == before
