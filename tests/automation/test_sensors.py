"""Word of a failed run, through a real command."""

import json
import sys

import dagster as dg
import pytest

from fly64_assets.automation import sensors
from fly64_assets.automation.sensors import failure_sensor, notify
from fly64_assets.errors import Fly64Error


def script(tmp_path, text):
    path = tmp_path / "a command.py"
    path.write_text(text)
    return f"{sys.executable} '{path}' $HOME"


def test_a_command_gets_the_document_and_no_shell(tmp_path):
    answer = tmp_path / "answer.json"
    command = script(
        tmp_path,
        f"import json, sys; from pathlib import Path\n"
        f"Path({str(answer)!r}).write_text(json.dumps([sys.argv[1:], json.load(sys.stdin)]))",
    )
    notify(command, {"run": "1", "message": 'with "quotes", $HOME and 💥'})
    assert json.loads(answer.read_text()) == [["$HOME"], {"run": "1", "message": 'with "quotes", $HOME and 💥'}]


def test_commands_that_do_not_work_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(Fly64Error, match="'/no/such/program' cannot be started"):
        notify("/no/such/program", {})
    with pytest.raises(Fly64Error, match="is no command line"):
        notify("mail 'operator", {})
    with pytest.raises(Fly64Error, match="ended with status 3: no such address"):
        notify(script(tmp_path, "import sys; print('no such address', file=sys.stderr); sys.exit(3)"), {})
    monkeypatch.setattr(sensors, "COMMAND_SECONDS", 0.5)
    with pytest.raises(Fly64Error, match=r"was ended after 0\.5 s"):
        notify(script(tmp_path, "import time; time.sleep(60)"), {})


def test_a_failed_run_is_told(tmp_path, monkeypatch):
    @dg.asset(key="simulated_dataset", partitions_def=dg.StaticPartitionsDefinition(["1000"]))
    def broken():
        raise dg.Failure("patched_train.npz: another SHA256", allow_retries=False)

    answer = tmp_path / "answer.json"
    copy = f"import sys; from pathlib import Path\nPath({str(answer)!r}).write_bytes(sys.stdin.buffer.read())"
    monkeypatch.setenv("FLY64_ON_FAILURE", script(tmp_path, copy))
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        job = dg.Definitions(assets=[broken]).resolve_implicit_global_asset_job_def()
        tags = {"fly64/base": "mine_1234", "fly64/dose": "1000"}
        result = job.execute_in_process(instance=instance, partition_key="1000", tags=tags, raise_on_error=False)
        sensor = failure_sensor()
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor.name,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        sensor(context)
        document = json.loads(answer.read_text())
        assert document["run"] == result.run_id
        assert (document["base"], document["dose"], document["view"]) == ("mine_1234", "1000", None)
        assert document["steps"] == [{"step": "simulated_dataset", "reason": "patched_train.npz: another SHA256"}]
        assert "failed" in document["message"]
        assert document["begun_again"] is False

        answer.unlink()
        monkeypatch.delenv("FLY64_ON_FAILURE")
        assert "names no command" in sensor(context).skip_message
        assert not answer.exists()
