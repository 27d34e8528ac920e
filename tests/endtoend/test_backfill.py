"""A backfill over nine cells, three with a damaged input: what fails, what says so, what is repeated after a repair."""

from __future__ import annotations

from typing import Any

import pytest

from endtoend.client import Client, by_partition, tag
from endtoend.conftest import CELL, CLIENTS, DOSE, Damaged, Repaired
from endtoend.services import Services
from endtoend.storm import PAGES

pytestmark = pytest.mark.slow


def counts(backfill: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Partitions materialised and failed, by asset."""
    return {
        one["assetKey"]["path"][0]: (one["numPartitionsMaterialized"], one["numPartitionsFailed"])
        for one in backfill["assetBackfillData"]["assetBackfillStatuses"]
    }


def of_dose(files: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Those of the damaged dose."""
    return {name: identity for name, identity in files.items() if f"dose_{DOSE}/" in name}


def test_exactly_the_cells_of_the_damaged_dose_fail(services: Services, damaged: Damaged) -> None:
    assert damaged.backfill["status"] == "COMPLETED_FAILED"
    views = services.design.views
    expected = {
        f"{dose}|{view}": "FAILURE" if dose == DOSE else "SUCCESS" for dose in services.design.doses for view in views
    }
    assert by_partition(damaged.backfill["runs"]) == expected
    assert counts(damaged.backfill) == dict.fromkeys(CELL, (6, 3))


def test_the_reason_is_shown(client: Client, damaged: Damaged) -> None:
    for run in damaged.backfill["runs"]:
        events = client.events(run["id"])
        failures = [one for one in events if one["__typename"] == "ExecutionStepFailureEvent"]
        verdicts = [one["evaluation"] for one in events if one["__typename"] == "AssetCheckEvaluationEvent"]
        gates = [one for one in verdicts if one["checkName"] == "gate"]
        if run["status"] == "SUCCESS":
            assert failures == []
            # Networks of one epoch may well fail the check that they learned anything; every gate was passed.
            assert {one["success"] for one in gates} == {True}
            continue
        # The first asset of the cell says why; what stands on it did not begin.
        assert [one["stepKey"] for one in failures] == ["overlap_view"]
        assert "patched_train.npz: has SHA256" in failures[0]["failureMetadata"]["description"]
        assert [(one["success"], one["partition"]) for one in gates] == [(False, tag(run, "dagster/partition"))]
        assert "patched_train.npz: has SHA256" in gates[0]["description"]
        assert not [one for one in events if one["__typename"] == "MaterializationEvent"]


def test_what_failed_is_not_called_right_and_what_was_there_is_kept(services: Services, damaged: Damaged) -> None:
    """An earlier result of a cell whose input is damaged now stays where it is, and counts as out of date."""
    assert damaged.states == {
        (dose, view): "stale" if dose == DOSE else "skipped" if view == "sparse" else "fresh"
        for dose in services.design.doses
        for view in services.design.views
    }
    assert damaged.before.keys() <= damaged.after.keys()
    assert {name for name in damaged.before if damaged.before[name] == damaged.after[name]} >= set(
        of_dose(damaged.before)
    )


def test_the_report_names_the_three(services: Services, damaged_report: dict[str, Any]) -> None:
    told = {
        (cell["dose"], cell["view"]): cell["stages"]["view"]["stale_reason"]
        for cell in damaged_report["cells"]
        if cell["stages"]["view"]["stale"]
    }
    assert set(told) == {(DOSE, view) for view in services.design.views}
    assert all("patched_train.npz: has SHA256" in reason for reason in told.values())
    page = (services.layout.report_folder / "index.html").read_text()
    assert page.count("patched_train.npz: has SHA256") >= 3


def test_many_clients_meanwhile(damaged: Damaged) -> None:
    assert damaged.answers.errors == []
    assert {page: len(damaged.answers.seconds[page]) for page in PAGES} == dict.fromkeys(PAGES, CLIENTS)


def test_failed_and_missing_only(services: Services, damaged: Damaged, repaired: Repaired) -> None:
    assert repaired.backfill["status"] == "COMPLETED_SUCCESS"
    assert by_partition(repaired.backfill["runs"]) == {f"{DOSE}|{view}": "SUCCESS" for view in services.design.views}
    assert counts(repaired.backfill) == dict.fromkeys(CELL, (3, 0))
    # All nine cells are there, and of all files only those of the three cells were made again.
    assert set(services.view_states().values()) == {"fresh", "skipped"}
    assert repaired.after.keys() >= damaged.before.keys()
    cells = {name for name in of_dose(repaired.after) if "/patched_" not in name}
    assert {name for name in repaired.before if repaired.after[name] != repaired.before[name]} <= cells
    others = damaged.after.keys() - of_dose(damaged.after).keys()
    assert {name: repaired.after[name] for name in others} == {name: damaged.after[name] for name in others}
