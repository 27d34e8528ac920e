"""One Dagster run in this process: its answer, the progress of its engines, the audit's failures."""

import base64
import io
import os
import re
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from fly64_assets.assets.engines import reporter
from fly64_assets.assets.live import INK
from fly64_assets.automation.graph import AUDIT
from fly64_assets.automation.run_tags import BASE_TAG, COMMAND_TAG, RESUME
from fly64_assets.automation.runs import audit, execute
from fly64_assets.engines.preview import FILE, GAP_PX, SIDE_PX, Preview
from fly64_assets.errors import Fly64Error


@pytest.fixture(autouse=True)
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as found:
        yield found


@dg.asset
def engine(context: dg.AssetExecutionContext) -> None:
    """Report twice, as an engine does."""
    report = reporter(context, "dose_1000/dense: training pinn")
    report(1, 2, {"loss": 0.5})
    report(2, 2, {})


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["1000"]))
def long_engine(context: dg.AssetExecutionContext) -> None:
    """Report a hundred falling losses, as a training does."""
    folder = Path(os.environ["DAGSTER_HOME"])
    report, preview = reporter(context, "dose_1000: training pinn", folder), Preview(folder)
    obj = np.ones((40, 50), np.complex64)
    obj[10:30, 5:45] = 0.5
    obj[10:30, 25:45] = np.exp(1j)
    for epoch in range(1, 101):
        if epoch <= 50:
            preview.update(epoch, 100, lambda: obj)
        report(epoch, 100, {"loss": 1 / epoch})


@dg.asset
def broken() -> None:
    """Refuse, with a sentence."""
    raise dg.Failure("patched_train.npz: another SHA256", allow_retries=False)


def test_progress_reaches_the_process_that_started_the_run_under_its_label(instance):
    heard = []
    listen = lambda *numbers, label: heard.append((label, *numbers))  # noqa: E731
    assert execute(dg.Definitions([engine]), ["engine"], None, base="mine_1234", progress=listen) == (True, "")
    label = "dose_1000/dense: training pinn"
    assert heard == [(label, 1, 2, {"loss": 0.5}), (label, 2, 2, {})]
    (run,) = instance.get_runs()
    assert run.tags.items() >= {COMMAND_TAG: RESUME, BASE_TAG: "mine_1234"}.items()
    # The next run is heard by no one.
    assert execute(dg.Definitions([engine]), ["engine"], None) == (True, "")
    assert len(heard) == 2


def test_a_running_engine_shows_its_curve_in_its_run(instance):
    """Ten observations of the partition on which it works, with the newest number and a picture of its course."""
    assert execute(dg.Definitions([long_engine]), ["long_engine"], "1000") == (True, "")
    (run,) = instance.get_runs()
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    seen = [entry.dagster_event.event_specific_data.asset_observation for entry in entries]
    assert [one.metadata["done"].value for one in seen] == list(range(10, 101, 10))
    assert {one.partition for one in seen} == {"1000"}
    assert seen[-1].metadata["live_loss"].value == pytest.approx(0.01)
    png, pixels = drawn(seen[-1], "live_loss_curve")
    ink = np.argwhere((pixels == INK).all(axis=2))
    # The curve falls: its first point is high, its last one low.
    assert ink[ink[:, 1].argmin(), 0] < 15
    assert ink[ink[:, 1].argmax(), 0] > pixels.shape[0] - 15
    assert len(png) < 10_000


def drawn(observation, name):
    """A picture of an observation: its PNG, and its pixels (H, W, 3)."""
    png = base64.b64decode(re.search(r"base64,([^)]+)", observation.metadata[name].value)[1])
    with Image.open(io.BytesIO(png)) as image:
        return png, np.asarray(image.convert("RGB"))


def test_a_running_engine_shows_its_object_in_its_run(instance, tmp_path):
    """Amplitude and phase of what is illuminated, each picture once, and no file is left where the results are made."""
    assert execute(dg.Definitions([long_engine]), ["long_engine"], "1000") == (True, "")
    (run,) = instance.get_runs()
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    seen = [entry.dagster_event.event_specific_data.asset_observation for entry in entries]
    assert ["live_object" in one.metadata for one in seen] == [True] * 5 + [False] * 5
    png, pixels = drawn(seen[0], "live_object")
    assert len(png) < 20_000
    assert pixels.shape == (SIDE_PX // 2, 2 * SIDE_PX + GAP_PX, 3)  # cropped to the 20 x 40 pixels that are not 1
    row = pixels[10, :, 0]
    quarter = SIDE_PX // 4
    left, right = row[:SIDE_PX], row[-SIDE_PX:]
    assert (left[quarter], left[-quarter]) == (0, 255)  # amplitude 0.5, then 1
    assert (right[quarter], right[-quarter]) == (0, 255)  # phase 0, then 1 rad
    assert not (tmp_path / FILE).exists()


def test_a_failed_asset_is_named_with_its_reason():
    assert execute(dg.Definitions([broken]), ["broken"], None) == (False, "broken: patched_train.npz: another SHA256")


def test_an_audit_that_cannot_be_carried_out_says_so():
    job = dg.define_asset_job(AUDIT, selection="broken")
    with pytest.raises(Fly64Error, match=r"the audit itself failed: patched_train\.npz: another SHA256"):
        audit(dg.Definitions([broken], jobs=[job]))
