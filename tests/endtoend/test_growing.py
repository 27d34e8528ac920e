"""A base file is dropped into the watched folder: base, simulated doses and views are built automatically."""

from __future__ import annotations

from typing import Any

import pytest

from endtoend.client import tag
from endtoend.conftest import BAD, Grown
from endtoend.services import Services

pytestmark = pytest.mark.slow


def built_by(run: dict[str, Any]) -> str:
    """What a run was launched for: a job by its name, or assets."""
    return ", ".join(key["path"][0] for key in run["assetSelection"] or ()) or run["jobName"]


def test_everything_grows_from_a_dropped_file(services: Services, grown: Grown) -> None:
    active = services.store.active_base()
    assert active is not None
    assert active.origin == "imported"
    assert active.base_id.startswith("dropped_")
    design = services.design
    assert grown.doses == {str(dose) for dose in design.doses}
    assert len(grown.views) == 9
    # Each was built once, and nothing else: trainings are not automated by default.
    built = [(built_by(run), tag(run, "dagster/partition")) for run in grown.runs]
    assert len(built) == len(set(built)) == 1 + 3 + 9
    assert {what for what, _ in built} == {"ingest", "simulated_dataset", "overlap_view"}
    assert grown.failed == []


def test_a_bad_file_is_reported_once(grown: Grown) -> None:
    ticks = grown.sensors["new_base_npz"]["ticks"]
    told = [tick for tick in ticks if BAD in (tick["skipReason"] or "")]
    assert len(told) == 1
    assert f"'{BAD}' cannot become a base" in told[0]["skipReason"]
    assert [tick["error"] for tick in ticks if tick["error"]] == []
    # The good one was imported by one run.
    assert sum(len(tick["runIds"]) for tick in ticks) == 1
