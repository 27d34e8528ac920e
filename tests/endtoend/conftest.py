"""One deployment for all end-to-end tests, and what happens on it, in the order of a study's life.

``make test`` runs a short form without engines, ``make endtoend`` (``FLY64_ENDTOEND=full``) all of it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from endtoend.client import Client
from endtoend.services import FULL, Services, until
from endtoend.storm import Answers, storm
from fly64_assets.contract.schema import base_arrays
from fly64_assets.store.keys import Dose
from fly64_assets.study.intake import npz_bytes, recipe_base
from fly64_assets.study.table import job_assets

DOSE = 10000
"""The dose whose input gets damaged."""
CELL = job_assets("cell") if FULL else ("overlap_view",)
"""What the backfill over all cells builds."""
CLIENTS = 50
BAD = "notes.npz"


@pytest.fixture(scope="package")
def services() -> Iterator[Services]:
    """Webserver, daemon and code server on a study that has no base yet; nothing of them is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fly64_endtoend_"))
    deployment = Services(folder / "study")
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def client(services: Services) -> Client:
    return Client(services.port)


def base_file(services: Services) -> bytes:
    """The design's base as a user's file."""
    design = services.design
    assert not isinstance(design.base, str)
    return npz_bytes(base_arrays(recipe_base(design.base, design.patch_size_pixels, "dropped")))


@dataclass
class Grown:
    """What came of dropping files into the watched folder: doses and views that were built, runs, and the sensors.

    As it was then: fixtures of other tests damage a dose afterwards.
    """

    doses: set[str]
    views: set[str]
    runs: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    sensors: dict[str, dict[str, Any]]


@pytest.fixture(scope="package")
def grown(services: Services, client: Client) -> Grown:
    """A good and a bad file are dropped into the watched folder; the data follow automatically."""
    (services.inbox / BAD).write_bytes(b"not an archive")
    (services.inbox / "dropped.npz").write_bytes(base_file(services))
    until(services.store.active_base, 600, "the base")
    cells = [f"{dose}|{view}" for dose in services.design.doses for view in services.design.views]
    until(lambda: set(client.materialized("overlap_view")) == set(cells), 1200, "the views of all cells")
    sensors = client.sensors()
    # From here on things are built only on demand.
    client.stop_sensor("data_automation")
    client.stop_sensor("new_base_npz")
    until(lambda: not client.runs("STARTED", "STARTING", "QUEUED"), 300, "end of the runs that the sensors launched")
    doses, views = (set(client.materialized(asset)) for asset in ("simulated_dataset", "overlap_view"))
    return Grown(doses, views, client.runs("SUCCESS"), client.runs("FAILURE"), sensors)


@dataclass
class Damaged:
    """What came of a backfill over all cells with one damaged dose, and of many clients meanwhile."""

    backfill: dict[str, Any]
    before: dict[str, tuple[int, int]]
    after: dict[str, tuple[int, int]]
    states: dict[tuple[int, str], str]
    answers: Answers


def flip_byte(path: Path) -> None:
    """Damage a file in place, as a disk might: same size, one byte another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture(scope="package")
def damaged(services: Services, client: Client, grown: Grown) -> Damaged:
    """The simulated data of one dose are damaged; then all nine cells are backfilled, while 50 clients look on."""
    flip_byte(services.layout.patched(Dose(DOSE), "train"))
    before = services.files()
    backfill = client.backfill(CELL, None)
    answers = storm(services.port, CLIENTS)
    ended = client.ended(backfill, 3600)
    return Damaged(ended, before, services.files(), services.view_states(), answers)


@dataclass
class Repaired:
    """What came of repairing the damaged dose and of re-executing what had failed or was missing."""

    backfill: dict[str, Any]
    before: dict[str, tuple[int, int]]
    after: dict[str, tuple[int, int]]


@pytest.fixture(scope="package")
def repaired(services: Services, client: Client, damaged: Damaged, damaged_report: dict[str, Any]) -> Repaired:
    """The dose is simulated again; then "failed and missing only"."""
    again = client.ended(client.backfill(["simulated_dataset"], [str(DOSE)]))
    assert again["status"] == "COMPLETED_SUCCESS"
    before = services.files()
    backfill = client.failed_and_missing(damaged.backfill["id"])
    return Repaired(client.ended(backfill, 1800), before, services.files())


@pytest.fixture(scope="package")
def damaged_report(services: Services, client: Client, damaged: Damaged) -> dict[str, Any]:
    """The report over the study with the damaged dose."""
    assert client.run("report") == "SUCCESS"
    document: dict[str, Any] = json.loads((services.layout.report_folder / "metrics_summary.json").read_text())
    return document
