"""An instance with a history moves from SQLite to PostgreSQL, and nothing of it is lost or otherwise than before."""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from deploy.postgres_server import HOST, PASSWORD, USER
from endtoend.services import until

import fly64_assets
from fly64_assets.automation.runs import load_instance
from fly64_assets.cli.main import main

psycopg2 = pytest.importorskip("psycopg2", reason="needs the extra postgres: make cluster")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@dg.job
def elsewhere():
    """A job whose runs are only noted."""


@dg.asset(pool="gpu", check_specs=[dg.AssetCheckSpec("gate", asset="frames")], tags={"kind": "data"})
def frames(context):
    yield dg.MaterializeResult(
        metadata={"count": 3, "note": "Zo\u00eb's \\ 'quoted' \u2603"},
        data_version=dg.DataVersion(context.run.run_id),
        check_results=[dg.AssetCheckResult(check_name="gate", passed=True, metadata={"worst": 0.25})],
    )


@dg.asset(deps=[frames], partitions_def=dg.StaticPartitionsDefinition(["1000|dense", "1000|sparse", "bad"]))
def views(context):
    context.log.info("a line of the log")
    if context.partition_key == "bad":
        raise dg.Failure("no such dose")
    return dg.MaterializeResult()


def run(instance, asset, partition=None, **tags):
    return dg.materialize(
        [frames, views], instance=instance, selection=[asset], partition_key=partition, tags=tags, raise_on_error=False
    )


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """An instance with a history: runs that succeeded, failed, wait; checks, a wiped asset, a backfill, a sensor."""
    home = tmp_path_factory.mktemp("filled") / "home"
    home.mkdir()
    shutil.copy(Path(fly64_assets.__file__).with_name("dagster.yaml"), home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert run(instance, "frames").success
        assert run(instance, "views", "1000|dense", who="Zo\u00eb").success
        instance.wipe_assets([dg.AssetKey("frames")])
        assert run(instance, "frames").success
        assert run(instance, "views", "1000|dense").success
        assert run(instance, "views", "1000|sparse").success
        assert not run(instance, "views", "bad").success
        instance.create_run_for_job(elsewhere, status=dg.DagsterRunStatus.NOT_STARTED, tags={"waits": "yes"})
        instance.add_dynamic_partitions("samples", ["star", "chip|2"])
        instance.event_log_storage.set_concurrency_slots("gpu", 3)
        instance.add_backfill(PartitionBackfill("backfill1", BulkActionStatus.REQUESTED, False, {"a": "b"}, 1.7e9))
        location = RegisteredCodeLocationOrigin("fly64_assets.definitions")
        origin = RemoteRepositoryOrigin(location, "__repository__").get_instigator_origin("inbox")
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
        instance.add_instigator_state(state)
        tick = TickData(origin.get_id(), "inbox", InstigatorType.SENSOR, TickStatus.SKIPPED, 1.7e9)
        instance.create_tick(tick._replace(selector_id=state.selector_id))
        instance.run_storage.set_cursor_values({"automation": "evaluated 17"})
    return home


@pytest.fixture
def home(filled, tmp_path, monkeypatch):
    """A copy of that instance, which is the one of this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(filled, tmp_path / "home"))


def fly64(*arguments):
    return CliRunner().invoke(main, ["--data-root", "data", *arguments])


def history(instance):
    """What Dagster answers about everything that it keeps."""
    runs = instance.get_run_records()
    found = {
        "runs": [(one.dagster_run, one.create_timestamp, one.start_time, one.end_time) for one in runs],
        "logs": {one.dagster_run.run_id: Counter(map(repr, logs(instance, one))) for one in runs},
        "statistics": [instance.get_run_stats(one.dagster_run.run_id) for one in runs],
        "steps": {one.dagster_run.run_id: steps(instance, one) for one in runs},
        "snapshots": [instance.get_job_snapshot(one.dagster_run.job_snapshot_id).name for one in runs],
        "partitions": sorted(instance.get_dynamic_partitions("samples")),
        "pools": instance.event_log_storage.get_pool_limits(),
        "backfills": instance.get_backfills(),
        "sensors": instance.all_instigator_state(),
        "cursors": instance.run_storage.get_cursor_values({"automation"}),
        "storage id": instance.run_storage.get_run_storage_id(),
    }
    (sensor,) = found["sensors"]
    found["ticks"] = instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)
    for asset in instance.all_asset_keys():
        name = asset.to_user_string()
        events = instance.fetch_materializations(asset, limit=1000).records
        found[f"materialisations of {name}"] = [(one.storage_id, one.event_log_entry) for one in events]
        found[f"partitions of {name}"] = instance.get_materialized_partitions(asset)
        found[f"record of {name}"] = instance.get_asset_records([asset])
        found[f"tags of {name}"] = sorted(map(repr, instance.event_log_storage.get_event_tags_for_asset(asset)))
        key = dg.AssetCheckKey(asset, "gate")
        found[f"gate of {name}"] = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    return found


def logs(instance, record):
    return instance.all_logs(record.dagster_run.run_id)


def steps(instance, record):
    found = instance.get_run_step_stats(record.dagster_run.run_id)
    return sorted(
        (one.step_key, one.status, one.start_time, one.end_time, len(one.materialization_events)) for one in found
    )


def test_everything_is_there_afterwards_and_work_goes_on(home, new_database, monkeypatch):
    with load_instance() as instance:
        before = history(instance)
    assert len(before["runs"]) == 7
    assert len(before["materialisations of views"]) == 3
    assert len(before["materialisations of frames"]) == 1
    url = new_database()

    answer = fly64("instance", "move", url)
    assert answer.exit_code == 0, answer.output
    assert "holds 7 runs" in answer.output
    assert "every process that uses this instance needs the variable FLY64_POSTGRES_PASSWORD" in answer.output
    settings = (home / "dagster.yaml").read_text()
    assert PASSWORD not in settings
    assert settings.startswith("# Settings of the Dagster instance")

    with load_instance() as instance:
        assert type(instance.run_storage).__name__ == "PostgresRunStorage"
        after = history(instance)
        assert set(after) == set(before)
        for name, value in before.items():
            assert after[name] == value, name
        newest = max(number for name in before if name.startswith("materialisations") for number, _ in before[name])
        assert run(instance, "views", "1000|sparse").success
        (event,) = instance.fetch_materializations(dg.AssetKey("views"), limit=1).records
        assert event.storage_id > newest
        assert event.partition_key == "1000|sparse"
        # The server's clock is that of Chicago; a run that seemed hours old would be failed before it starts.
        (newest_run,) = instance.get_run_records(limit=1)
        assert abs(newest_run.create_timestamp.timestamp() - time.time()) < 3600

    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ())
    said = fly64("doctor").output
    assert "its runs are in postgresql: database" in said
    assert "storage (shipped: none)" in said
    assert PASSWORD not in said
    # Someone made the database by hand, or took the setting back.
    with load_instance() as instance, instance.run_storage.connect() as connection:
        name = connection.engine.url.database
        connection.exec_driver_sql(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET timezone")
    assert re.search(r"instance .* is [56] h behind UTC; .* ALTER DATABASE", fly64("doctor").output)
    again = fly64("instance", "move", url)
    assert again.exit_code == 0
    assert again.output.endswith(" already\n")
    other = fly64("instance", "move", new_database())
    assert other.exit_code == 1
    assert "only an instance that keeps everything in SQLite can be moved" in other.output


def test_an_interrupted_move_is_repeated_and_a_filled_database_refused(home, new_database):
    settings = (home / "dagster.yaml").read_bytes()
    url = new_database()
    # It ended after the copy and before the settings.
    assert fly64("instance", "move", url).exit_code == 0
    (home / "dagster.yaml").write_bytes(settings)
    answer = fly64("instance", "move", url)
    assert answer.exit_code == 0, answer.output
    assert "holds 7 runs" in answer.output

    # Another instance, or this one with more in it, is not mixed with what is there.
    (home / "dagster.yaml").write_bytes(settings)
    with load_instance() as instance:
        instance.create_run_for_job(elsewhere)
    answer = fly64("instance", "move", url)
    assert answer.exit_code == 1
    assert "holds another Dagster instance already (7 runs," in answer.output
    assert (home / "dagster.yaml").read_bytes() == settings


def test_a_killed_move_leaves_an_empty_database_and_goes_through_the_next_time(home, tmp_path, new_database):
    url = new_database()
    port, name = int(url.split(":")[2].split("/")[0]), url.rpartition("/")[2]
    assert fly64("instance", "move", url.replace(f":{port}/", ":1/")).exit_code == 1
    # Dagster's tables are there, and somebody is at work in the one that is filled last.
    from fly64_assets.automation.moving import Database, _prepared

    _prepared(Database.from_url(url)).dispose()
    with psycopg2.connect(host=HOST, port=port, user=USER, password=PASSWORD, dbname=name) as other:
        other.cursor().execute("LOCK TABLE asset_daemon_asset_evaluations IN ACCESS EXCLUSIVE MODE")
        command = [Path(sys.executable).with_name("fly64"), "instance", "move", url]
        child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with psycopg2.connect(host=HOST, port=port, user=USER, password=PASSWORD, dbname=name) as look:

            def waits():
                cursor = look.cursor()
                cursor.execute(waiting)
                found = cursor.fetchone()[0]
                look.rollback()
                return found

            until(waits, 120, "the move waits for the lock")
        child.kill()
        child.wait()
    other.close()
    assert "storage" not in yaml.safe_load((home / "dagster.yaml").read_text())
    answer = fly64("instance", "move", url)
    assert answer.exit_code == 0, answer.output


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://a@b/c", "expected a URL such as postgresql://USER@HOST:5432/DATABASE"),
        ("postgresql://b/c", "expected a URL such as"),
        ("nonsense", "expected a URL such as"),
        ("postgresql://a@b/c?password=secret", "put it into the variable FLY64_POSTGRES_PASSWORD instead"),
        ("postgresql://a:secret@b/c", "put it into the variable FLY64_POSTGRES_PASSWORD instead"),
        ("postgresql://a@127.0.0.1:1/c", "c on 127.0.0.1:1 cannot be used"),
    ],
)
def test_what_cannot_be_a_database_is_one_sentence(home, url, sentence):
    pytest.importorskip("dagster_postgres", reason="needs the extra postgres: make cluster")
    answer = fly64("instance", "move", url)
    assert answer.exit_code == 1, answer.output
    assert sentence in answer.output
    assert "secret" not in answer.output
    assert "Traceback" not in answer.output
