"""The asset ``base_dataset`` of a study of measured frames, as the UI and the watched folder run it."""

import dagster as dg
import pytest
from fixtures.graph import make_graph
from fixtures.measured import write_measured

from fly64_assets.assets import base
from fly64_assets.automation.sensors import NEW_BASE
from fly64_assets.definitions import build_assets

MEASURED = """
name: small
patch_size_pixels: 64
scan: measured
dose_list: [1e3, 1e4]
measured: {calibrate: false}
"""


@pytest.fixture
def measured_graph(tmp_path):
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "instance")) as instance:
        yield make_graph(tmp_path, instance, MEASURED)


def test_without_frames_the_asset_names_the_command(measured_graph):
    run = measured_graph.run("base_dataset")
    assert not run.success
    (check,) = run.get_asset_check_evaluations()
    assert not check.passed
    assert check.description.startswith(
        "study small is one of measured frames (scan: measured), and none were imported"
    )
    assert "`fly64 base import FRAMES`" in check.description


def test_a_file_in_the_watched_folder_becomes_the_base_with_its_calibration_shown(measured_graph, tmp_path):
    graph = measured_graph
    (tmp_path / "inbox").mkdir()
    write_measured(tmp_path / "inbox" / "frames.npz")
    (tmp_path / "inbox" / "other.npz").write_bytes(b"no frames")
    sensor = graph.definitions.resolve_sensor_def(NEW_BASE)
    resources = {name: graph.definitions.resources[name] for name in ("study", "store", "inbox")}
    cursor, requests = None, []
    for _ in range(2):
        with dg.build_sensor_context(
            instance=graph.instance, cursor=cursor, resources=resources, sensor_name=NEW_BASE
        ) as context:
            result = sensor(context)
        cursor, requests = result.cursor, list(result.run_requests or [])
    (request,) = requests
    run = graph.definitions.resolve_job_def("ingest").execute_in_process(
        instance=graph.instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
    )
    assert run.success
    (event,) = run.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert graph.store.active_base().base_id.startswith("frames_")
    assert {"measured_photons", "frames", "deviance", "expected_deviance", "calibration"} <= metadata.keys()
    assert metadata["deviation_constant"].value
    assert metadata["calibration"].value.startswith("![")
    # Another setting of the calibration, and the asset says what to do.
    path = tmp_path / "study.yaml"
    path.write_text(MEASURED.replace("calibrate: false", "epochs: 3"))
    run = graph.run("base_dataset")
    assert not run.success
    (check,) = run.get_asset_check_evaluations()
    assert "import them again with `fly64 base import FRAMES`" in check.description


@pytest.mark.parametrize("slots", [True, False])
def test_its_calibration_takes_a_slot_like_every_engine(measured_graph, monkeypatch, slots):
    graph, asked = measured_graph, []
    monkeypatch.setattr(base, "hold_slot", lambda context, pool: asked.append(pool))
    asset = build_assets(graph.design, slots=slots)["base_dataset"]
    assert asset.op.pool == ("gpu" if slots else None)
    assert not dg.materialize(
        [asset], instance=graph.instance, resources=graph.definitions.resources, raise_on_error=False
    ).success
    assert asked == (["gpu"] if slots else [])
