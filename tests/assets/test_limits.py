"""The photon limit in the graph: sought once per view and split, shared by doses, damaged copies not believed."""

import json

import pytest

from fly64_assets.assets import comparison as limits
from fly64_assets.contract.npz import open_npz
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.study.states import active_layout


@pytest.fixture
def sought(monkeypatch):
    """How often a bound was sought, from the start of the test."""
    calls = []
    seek = limits.dose_limit

    def counted(problem):
        calls.append(problem.sha256())
        return seek(problem)

    monkeypatch.setattr(limits, "dose_limit", counted)
    return calls


@pytest.mark.slow
def test_doses_share_one_bound_and_a_damaged_copy_is_not_believed(graph, sought):
    assert graph.run("base_dataset").success
    doses = graph.design.doses[:2]
    for dose in doses:
        assert graph.run("simulated_dataset", partition=str(dose)).success
        assert graph.run("overlap_view", partition=f"{dose}|dense").success
    layout = active_layout(graph.store)
    first, second = (StageKey("comparison", Cell(dose, "dense")) for dose in doses)

    assert graph.run("comparison", partition=f"{doses[0]}|dense").success
    assert len(sought) == 2, "one bound per split"
    assert graph.run("comparison", partition=f"{doses[1]}|dense").success
    assert len(sought) == 2, "the second dose takes the bounds of the first"

    files = [layout.output(key, "limit_test.npz") for key in (first, second)]
    assert files[0].read_bytes() == files[1].read_bytes()
    documents = [json.loads(layout.output(key, "comparison.json").read_text()) for key in (first, second)]
    errors = [document["splits"]["test"]["limit"] for document in documents]
    assert [one["state"] for one in errors] == ["regular", "regular"]
    assert errors[0]["phase_rad"] / errors[1]["phase_rad"] == pytest.approx((doses[1] / doses[0]) ** 0.5, rel=1e-6)
    assert open_npz(files[0])["phase_variance"].shape == (160, 160)

    with files[0].open("r+b") as file:
        file.seek(200)
        file.write(b"damage")
    layout.record(second).unlink()
    assert graph.run("comparison", partition=f"{doses[1]}|dense").success
    assert len(sought) == 3, "the damaged bound alone is sought anew"
