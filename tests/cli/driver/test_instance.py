"""The Dagster instance of a command: places and settings that cannot be used, and slots that ended runs still hold."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

import fly64_assets
from fly64_assets.automation import runs
from fly64_assets.cli.driver.instance import FREE_SLOTS, ready_instance, slots_are_kept, with_free_slots
from fly64_assets.cli.main import main
from fly64_assets.definitions import build_definitions
from fly64_assets.errors import Fly64Error
from fly64_assets.store.atomic import explained
from fly64_assets.store.locks import file_lock
from fly64_assets.study.table import STAGES

OLD = """# settings of this laboratory
telemetry: {enabled: false}
concurrency:
  pools: {default_limit: 1, granularity: op}
run_monitoring:
  # patient
  enabled: true  # since May
  poll_interval_seconds: 60
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


# -- the setting that frees slots ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        OLD,
        "nux: {enabled: false}\n",
        "{nux: {enabled: false}}",
        "{}",
        "run_monitoring:\nnux: {enabled: false}\n",
        "run_monitoring: null # not yet\n",
        "run_monitoring: {}\n",
        "run_monitoring: {\n  enabled: true,\n}\n",
        "\ufeffnux:\r\n  enabled: false\r\nrun_monitoring:\r\n    enabled: true\r\n",
        "---\nnux:\n  enabled: false\n...\n",
        "? run_monitoring\n: enabled: true\n",
    ],
)
def test_the_setting_is_added_and_all_else_stays(text):
    before = yaml.safe_load(text) or {}
    added = with_free_slots(text.encode())
    after = yaml.safe_load(added)
    monitoring = after.pop("run_monitoring")
    known = before.pop("run_monitoring", None)
    assert monitoring == (known or {"enabled": True}) | {FREE_SLOTS: 1}
    assert after == before
    # Comments and the user's own lines are there still.
    lines = [line for line in text.splitlines() if line.startswith(("#", "  #", "  enabled: true  #", "telemetry"))]
    assert set(lines) <= set(added.decode().splitlines())
    assert with_free_slots(added) == b""


@pytest.mark.parametrize(
    "content",
    [
        b"run_monitoring: {free_slots_after_run_end_seconds: 600}",
        b"run_monitoring: {free_slots_after_run_end_seconds: 0}",
        b"run_monitoring: {enabled: false}",
        b"run_monitoring: on and off",
        b"- a\n- b\n",
        b"a:\n\tb: 1\n",
        b"\xff\xfe",
        b"run_monitoring: &same\n  enabled: true\nother: *same\n",
    ],
)
def test_what_a_user_chose_and_what_cannot_be_read_is_left_alone(content):
    assert with_free_slots(content) == b""


def test_the_shipped_settings_free_slots():
    shipped = Path(fly64_assets.__file__).with_name("dagster.yaml").read_bytes()
    assert with_free_slots(shipped) == b""
    assert yaml.safe_load(shipped)["run_monitoring"][FREE_SLOTS] == 1


def test_an_instance_that_exists_gets_the_setting_once(home, capsys):
    home.mkdir()
    settings = home / "dagster.yaml"
    settings.write_text(OLD)
    settings.chmod(0o600)
    assert ready_instance() == home
    assert settings.stat().st_mode & 0o777 == 0o600
    assert f"{settings}: added run_monitoring.{FREE_SLOTS}" in capsys.readouterr().err
    text = settings.read_text()
    assert yaml.safe_load(text)["run_monitoring"][FREE_SLOTS] == 1
    ready_instance()
    assert capsys.readouterr().err == ""
    assert settings.read_text() == text


LINES = f"run_monitoring:\n  enabled: true\n  {FREE_SLOTS}: 1\n"


def test_settings_behind_a_link_are_left_alone_and_the_lines_are_said(home, capsys, monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ())
    home.mkdir()
    shared = home.parent / "shared.yaml"
    shared.write_text(OLD)
    (home / "dagster.yaml").symlink_to(shared)
    assert ready_instance() == home
    said = capsys.readouterr().err
    assert "is a symbolic link and was not changed" in said
    assert f"add to {shared} what it lacks of these lines" in said
    assert said.endswith(f":\n{LINES}")
    assert shared.read_text() == OLD
    assert (home / "dagster.yaml").is_symlink()
    shared.unlink()
    with pytest.raises(Fly64Error, match="a symbolic link to a file that does not exist"):
        ready_instance()
    assert "a symbolic link to a file that does not exist" in CliRunner().invoke(main, ["doctor"]).output
    assert not shared.exists()


@pytest.mark.parametrize("refusal", ["mode", "explained", "system"])
def test_settings_that_cannot_be_written_stop_nothing_and_the_lines_are_said(home, capsys, monkeypatch, refusal):
    home.mkdir()
    settings = home / "dagster.yaml"
    settings.write_text(OLD)

    def refuse(path, _writer):
        with explained(path if refusal == "explained" else home.parent / "x" / "y"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("fly64_assets.cli.driver.instance.write_atomically", refuse)
    if refusal == "mode":
        monkeypatch.setattr(os, "access", lambda path, mode, **_: not (path == settings and mode == os.W_OK))
    assert ready_instance() == home
    said = capsys.readouterr().err
    why = "is not writable and was not changed" if refusal == "mode" else "could not be changed (Read-only file system)"
    assert f"{settings} {why}. " in said
    assert f"add to {settings} what it lacks of these lines" in said
    assert said.endswith(f":\n{LINES}")
    assert "data root" not in said
    assert settings.read_text() == OLD


def test_where_monitoring_is_switched_off_nothing_changes_and_doctor_says_the_same(home, capsys, monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ())
    home.mkdir()
    settings = home / "dagster.yaml"
    settings.write_text("run_monitoring: {enabled: false}\n")
    ready_instance()
    said = capsys.readouterr().err.strip()
    assert said == slots_are_kept(settings)
    assert settings.read_text() == "run_monitoring: {enabled: false}\n"
    assert said in CliRunner().invoke(main, ["doctor"]).output


# -- slots --------------------------------------------------------------------------------------------------------


def claim(instance, status, step):
    run = instance.create_run_for_job(dg.job(name="elsewhere")(lambda: None), status=status)
    assert instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, step).is_claimed
    return run.run_id


def test_finished_runs_give_back_their_slots_and_others_keep_theirs(home, capsys, monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ())
    ready_instance()
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 4)
        failed = claim(instance, dg.DagsterRunStatus.FAILURE, "a")
        cancelled = claim(instance, dg.DagsterRunStatus.CANCELED, "b")
        working = claim(instance, dg.DagsterRunStatus.STARTED, "c")
        assert storage.claim_concurrency_slot("gpu", "elsewhere", "d").is_claimed
        # A finished run may also have waited for a slot.
        waiting = instance.create_run_for_job(dg.job(name="waits")(lambda: None), status=dg.DagsterRunStatus.FAILURE)
        assert not storage.claim_concurrency_slot("gpu", waiting.run_id, "e").is_claimed

        said = CliRunner().invoke(main, ["doctor"]).output
        line = next(line for line in said.splitlines() if line.startswith("! slots"))
        assert f"run {failed[:8]} (failure)" in line
        assert f"run {working[:8]} (started)" in line
        assert "`fly64 run` and `fly64 ui` free what finished runs hold" in line

        ready_instance()
        assert storage.get_concurrency_info("gpu").active_run_ids == {working, "elsewhere"}
        assert storage.get_concurrency_run_ids() == {working, "elsewhere"}
        said = capsys.readouterr().err.splitlines()
        assert sorted(line.split()[1] for line in said) == sorted(
            run[:8] for run in (failed, cancelled, waiting.run_id)
        )
        assert all("still held a slot of a pool: it is free now" in line for line in said)


def test_an_instance_that_an_older_version_broke_works_again(home):
    """A limit that was deleted while its slot was held left slots without a limit: every later engine run failed."""
    ready_instance()
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        claim(instance, dg.DagsterRunStatus.FAILURE, "a")
        storage.delete_concurrency_limit("gpu")
        with pytest.raises(Exception, match="NOT NULL constraint failed"):
            storage.initialize_concurrency_limit_to_default("gpu")
        ready_instance()
        storage.initialize_concurrency_limit_to_default("gpu")
        assert storage.get_concurrency_info("gpu").slot_count == 1


def test_engines_take_slots_unless_they_are_told_not_to():
    for slots, pools in ((True, {"gpu", None}), (False, {None})):
        definitions = build_definitions(slots=slots)
        assets = [definitions.resolve_assets_def(dg.AssetKey(name)) for name in STAGES]
        assert {asset.op.pool for asset in assets} == pools
        assert {bool(asset.op.pool) for asset in assets if STAGES[asset.key.to_user_string()].engine} == {slots}


STUDY = """
name: tiny
base: {amplitude: coins, phase: grass, object_size: 132, positions: 60}
"""


@pytest.mark.slow
def test_a_run_of_the_command_leaves_the_pool_alone(home):
    """Another run holds a slot while the command begins, works and ends; the user's limit stays."""
    ready_instance()
    Path("study.yaml").write_text(STUDY)
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 2)
        working = claim(instance, dg.DagsterRunStatus.STARTED, "training")
        before = storage.get_pool_limits(), storage.get_concurrency_info("gpu").claimed_slots
        command = [Path(sys.executable).with_name("fly64"), "--study", "study.yaml", "--data-root", "data", "run"]
        ended = subprocess.run(
            [*command, "--stage", "base"], env=os.environ, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert (storage.get_pool_limits(), storage.get_concurrency_info("gpu").claimed_slots) == before
        storage.free_concurrency_slots_for_run(working)
        assert storage.claim_concurrency_slot("gpu", "next", "training").is_claimed


# -- an instance that cannot be used ------------------------------------------------------------------------------

BROKEN = {
    "unknown": (b"telemetri:\n  enabled: false\n", 'unexpected config entry "telemetri"'),
    "type": (b"telemetry: {enabled: maybe}\n", 'Value "maybe"'),
    "tab": (b"a:\n\tb: 1\n", "line 2, column 1"),
    "list": (b"- a\n- b\n", "to parse to dictionary"),
    "encoding": (b"\xff\xfe\x00", "can't decode"),
    "plugin": (b"run_launcher: {module: nowhere_to_be_found, class: Launcher}\n", "nowhere_to_be_found"),
    "setting": (
        b"run_launcher: {module: fly64_assets.automation.slurm, class: SlurmRunLauncher,"
        b" config: {partitoin: gpu, cpus: many}}\n",
        '(Received unexpected config entry "partitoin"; Invalid scalar at path cpus. Value "many" of type',
    ),
    "variable": (b"storage: {sqlite: {base_dir: {env: FLY64_NOT_SET}}}\n", "FLY64_NOT_SET"),
    "folder": (b"storage: {sqlite: {base_dir: /proc/x}}\n", "/proc/x"),
}

COMMANDS = (["generate"], ["run"], ["ui"], ["doctor"])


@pytest.fixture
def no_engines(monkeypatch):
    monkeypatch.setattr("fly64_assets.cli.commands.doctor.ENGINES", ())
    monkeypatch.setattr("fly64_assets.cli.commands.ui._require_free", lambda *_: None)


def refused(command):
    """What a command says, having ended with 1 and a sentence."""
    answer = CliRunner().invoke(main, ["--data-root", "data", *command])
    assert answer.exit_code == 1, answer.output
    lines = [line for line in answer.output.splitlines() if line.startswith(("fly64: ", "✗ "))]
    assert lines
    assert "Traceback" not in answer.output
    return lines[0]


@pytest.mark.parametrize(
    ("name", "command"), [("unknown", command) for command in COMMANDS] + [(name, ["doctor"]) for name in BROKEN]
)
def test_settings_that_dagster_refuses_are_one_sentence_of_every_command(home, no_engines, name, command):
    content, why = BROKEN[name]
    home.mkdir()
    (home / "dagster.yaml").write_bytes(content)
    said = refused(command)
    assert f"Dagster's instance in {home} cannot be used" in said
    assert why in said
    assert "set DAGSTER_HOME to another folder" in said
    assert (home / "dagster.yaml").read_bytes() == content


@pytest.mark.parametrize("command", [["generate"], ["doctor"]], ids=" ".join)
def test_databases_that_are_none_are_one_sentence(home, no_engines, command):
    ready_instance()
    with dg.DagsterInstance.get() as instance:
        instance.run_storage.get_runs_count()
    for path in home.rglob("runs.db"):
        path.write_bytes(b"this is no database" * 100)
    assert "file is not a database" in refused(command)


@pytest.mark.parametrize("place", ["afile", "afile/x", "circle", "d" * 300, "/proc/x"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_home_that_cannot_be_is_one_sentence(tmp_path, monkeypatch, no_engines, place, command):
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("x")
    Path("circle").symlink_to("circle")
    monkeypatch.setenv("DAGSTER_HOME", place)
    if (place, command) == ("/proc/x", ["doctor"]):
        return  # it would be made there, and nothing is tried
    said = refused(command)
    assert "choose another" in said or "choose a shorter" in said


# -- several commands at once -------------------------------------------------------------------------------------


def test_commands_that_begin_together_create_one_instance(tmp_path, home):
    """Without turns each run of this left databases that no later command could use (`alembic_version`)."""
    begin = tmp_path / "begin"
    program = (
        "import os, time; from pathlib import Path\n"
        "import fly64_assets.automation.runs\n"
        "from fly64_assets.cli.driver.instance import ready_instance\n"
        f"Path({str(tmp_path)!r}, f'ready.{{os.getpid()}}').touch()\n"
        f"while not Path({str(begin)!r}).exists(): time.sleep(0.001)\n"
        "ready_instance()\n"
    )
    commands = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(4)
    ]
    while len(list(tmp_path.glob("ready.*"))) < len(commands):
        assert all(command.poll() is None for command in commands)
        time.sleep(0.05)
    begin.touch()
    printed = [command.communicate()[0].decode() for command in commands]
    assert printed == [""] * len(commands)
    assert [command.returncode for command in commands] == [0] * len(commands)
    assert not list(home.glob("*.tmp"))
    assert ready_instance() == home


def test_a_command_that_never_ends_its_creation_is_named(home, monkeypatch):
    monkeypatch.setattr(runs, "CREATION_SECONDS", 0.2)
    home.mkdir()
    with file_lock(home / runs.LOCK_NAME, "another command"), pytest.raises(Fly64Error) as caught:
        ready_instance()
    assert f"process {os.getpid()}" in str(caught.value)
    assert "created by another process for more than" in str(caught.value)


def test_an_instance_that_was_created_waits_for_nobody(home):
    ready_instance()
    with file_lock(home / runs.LOCK_NAME, "another command"):
        assert ready_instance() == home


def test_a_link_in_the_place_of_the_lock_is_named(home):
    home.mkdir()
    (home / runs.LOCK_NAME).symlink_to("elsewhere")
    with pytest.raises(Fly64Error, match="symbolic link"):
        ready_instance()
