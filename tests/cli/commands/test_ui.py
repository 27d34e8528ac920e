"""``fly64 ui`` as a user has it: started, opened, stopped; nothing stays behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

STUDY = "name: tiny\nbase: {amplitude: coins, phase: grass, object_size: 140, positions: 120}\n"
COMMAND = [str(Path(sys.executable).with_name("fly64")), "ui"]
QUESTION = b'{"query": "{ assetNodes { assetKey { path } partitionKeys } }"}'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY + "dose_list: [3e3]\n")
    return tmp_path


def environment():
    hidden = ("DAGSTER_HOME", "FLY64_DATA_ROOT", "DAGSTER_GRPC_TIMEOUT_SECONDS")
    # Relative, as a user writes it: the code location works elsewhere than the command.
    return {name: value for name, value in os.environ.items() if name not in hidden} | {"FLY64_STUDY": "study.yaml"}


def processes():
    """Process id, parent and process group of everything that runs (zombies do not)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, group = entry.read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found.append((entry.parent.name, parent, group))
    return found


def group(leader):
    return [process for process in processes() if process[2] == leader]


def test_a_port_in_use_is_one_sentence_and_nothing_starts(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*COMMAND, "--port", str(port)]
        answer = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"fly64: 127.0.0.1:{port} cannot be used")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["study.yaml"]


@pytest.mark.slow
def test_the_page_opens_and_a_signal_ends_everything(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As a shell starts a process in the background: Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )
    try:
        address = f"http://127.0.0.1:{port}  (Ctrl-C stops it)\n"
        said = [process.stdout.readline()]
        while said[-1] not in ("", address):  # a new instance has warnings of its own
            said.append(process.stdout.readline())
        (leader,) = (one for one, parent, _ in processes() if parent == str(process.pid))
        assert said[0].startswith("starting the Dagster UI")
        assert said[-1] == address
        assert len(group(leader)) >= 4  # webserver, daemon, code server and what started them
        given = Path(f"/proc/{leader}/environ").read_bytes().split(b"\0")
        assert b"DAGSTER_GRPC_TIMEOUT_SECONDS=600" in given
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert b"<!DOCTYPE html>" in page.read(100)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql", QUESTION, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            nodes = json.load(answer)["data"]["assetNodes"]
        keys = {node["assetKey"]["path"][0]: node["partitionKeys"] for node in nodes}
        assert keys["simulated_dataset"] == ["3000"]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    assert rest.endswith("stopped\n")
    assert "stopping; once more: at once\n" in rest
    assert group(leader) == []
