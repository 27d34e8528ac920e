"""``fly64 ui`` as a user has it: started, opened, stopped; nothing stays behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

STUDY = "name: tiny\nbase: {amplitude: coins, phase: grass, object_size: 140, positions: 120}\n"
COMMAND = [str(Path(sys.executable).with_name("fly64")), "ui"]
QUESTION = "{ assetNodes { assetKey { path } partitionKeys } }"
LOCATIONS = """{
  assetNodes { assetKey { path } repository { location { name } } assetMaterializations(limit: 1) { runId } }
  workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    ... on RepositoryLocation { repositories { jobs { name } sensors { name } schedules { name } } } } } } } }"""
LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"


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


def started(folder, *arguments, command=COMMAND, **variables):
    """The command at work on a port that was free, and that port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port), *arguments],
        cwd=folder,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As a shell starts a process in the background: Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )
    return process, port


def heard(process, last):
    """Lines that the command prints, up to ``last``: a new instance has warnings of its own."""
    said = [process.stdout.readline()]
    while said[-1] not in ("", last):
        said.append(process.stdout.readline())
    return said


def asked(port, query, **variables):
    """Data of an answer of the webserver."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        document = json.load(answer)
    assert "errors" not in document, document["errors"]
    return document["data"]


def run_job(port, location, job):
    """Launch a job of a code location, wait for its end, and return its status and tags."""
    selector = {"repositoryName": "__repository__", "repositoryLocationName": location, "jobName": job}
    launched = asked(port, LAUNCH, params={"selector": selector, "runConfigData": "{}", "mode": "default"})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    end = time.monotonic() + 300
    while True:
        run = asked(port, STATUS, id=launched["run"]["runId"])["runOrError"]
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            return run["status"], {tag["key"]: tag["value"] for tag in run["tags"]}
        assert time.monotonic() < end, run
        time.sleep(1)


def fly64(folder, *arguments):
    command = [COMMAND[0], *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def test_the_same_study_twice_is_refused(folder):
    answer = fly64(folder, "ui", "--study", "study.yaml", "--study", str(folder / "study.yaml"))
    assert answer.returncode == 2
    assert "are both the study tiny: name it once" in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["study.yaml"]


@pytest.mark.slow
def test_studies_side_by_side_share_the_instance_and_nothing_else(folder):
    (folder / "other.yaml").write_text(STUDY.replace("tiny", "other") + "dose_list: [5e3, 7e3]\n")
    before = fly64(folder, "run", "--stage", "base")  # its key in the instance has no prefix
    assert before.returncode == 0, before.stderr
    process, port = started(folder, "--study", "study.yaml", "--study", "other.yaml")
    try:
        said = heard(process, f"http://127.0.0.1:{port}  (Ctrl-C stops it)\n")
        assert said[0] == "study tiny: 1 results on disk are known to this instance now\n"
        data = asked(port, LOCATIONS)
        entries = {entry["name"]: entry["locationOrLoadError"] for entry in data["workspaceOrError"]["locationEntries"]}
        assert set(entries) == {"tiny", "other"}
        for entry in entries.values():
            (repository,) = entry["repositories"]
            assert {"audit", "cell"} <= {job["name"] for job in repository["jobs"]}
            assert "new_base_npz" in {sensor["name"] for sensor in repository["sensors"]}
            assert [schedule["name"] for schedule in repository["schedules"]] == ["nightly_audit"]
        nodes = {tuple(node["assetKey"]["path"]): node for node in data["assetNodes"]}
        assert all(node["repository"]["location"]["name"] == path[0] for path, node in nodes.items())
        assert {path[1] for path in nodes if path[0] == "tiny"} == {path[1] for path in nodes if path[0] == "other"}
        assert len(nodes[("tiny", "base_dataset")]["assetMaterializations"]) == 1
        assert nodes[("other", "base_dataset")]["assetMaterializations"] == []
        # A run of one location works on its study alone, in a process of its own.
        status, tags = run_job(port, "other", "ingest")
        assert (status, tags["fly64/base"][:6]) == ("SUCCESS", "other_")
        assert len(list((folder / "data/other").glob("other_*/base.npz"))) == 1
        # A run of the command is seen beside it.
        simulated = fly64(folder, "--study", "other.yaml", "run", "--dose", "7e3", "--stage", "simulated")
        assert simulated.returncode == 0, simulated.stderr
        question = "{ assetNodes { assetKey { path } assetMaterializations { partition } } }"
        seen = {tuple(node["assetKey"]["path"]): node for node in asked(port, question)["assetNodes"]}
        # The location's automation, which follows the new base, may have been quicker.
        assert "7000" in {one["partition"] for one in seen[("other", "simulated_dataset")]["assetMaterializations"]}
        assert ("simulated_dataset",) not in seen
        audit = fly64(folder, "--study", "other.yaml", "audit", "--json")
        assert {"base_dataset", "simulated_dataset"} <= {check["asset"] for check in json.loads(audit.stdout)["checks"]}
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest


def marked_processes(mark):
    """Everything at work whose environment has a mark of this test: also what has left its process group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"FLY64_TEST_MARK={mark}".encode() in entry.read_bytes():
                found.append(entry.parent.name)
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_page_is_open_is_one_sentence_and_nothing_is_left(folder, number, status):
    mark = f"{os.getpid()}-{status}"
    process, _ = started(folder, FLY64_TEST_MARK=mark)
    try:
        begun = time.monotonic()
        assert process.stdout.readline().startswith("starting the Dagster UI")
        while len(marked_processes(mark)) < 3 and time.monotonic() < begun + 60:
            time.sleep(0.1)
        time.sleep(2)  # the services are being loaded
    finally:
        process.send_signal(number)
        rest, _ = process.communicate(timeout=120)
    lines = [line for line in rest.splitlines() if line]
    assert lines == ["fly64: stopped before the UI was open; nothing is left at work"]
    assert process.returncode == status
    assert marked_processes(mark) == []


def test_ctrl_c_before_anything_has_started_is_one_sentence(folder):
    """While the command's own modules are loaded, and while it prepares the instance."""
    script = """
import sys
interrupted = sys.argv[1]
class Interrupt:
    def find_spec(self, name, *_):
        if name == interrupted:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.argv = ["fly64", "ui", "--port", "39999"]
from fly64_assets.cli.__main__ import start
start()
"""
    for module in ("fly64_assets.cli.main", "fly64_assets.automation.daemons"):
        command = [sys.executable, "-c", script, module]
        answer = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
        assert answer.stderr == "fly64: stopped by Ctrl-C\n"
        assert answer.returncode == 130


@pytest.mark.slow
def test_it_starts_where_no_script_of_dagster_is_beside_python(folder):
    """As `python -m fly64_assets.cli`, with an interpreter of another folder and a PATH without the environment's."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    found = os.pathsep.join([sysconfig.get_path("purelib"), str(Path(__file__).parents[3])])
    process, port = started(
        folder, command=[str(python), "-m", "fly64_assets.cli", "ui"], PATH="/usr/bin:/bin", PYTHONPATH=found
    )
    try:
        address = f"http://127.0.0.1:{port}  (Ctrl-C stops it)\n"
        assert heard(process, address)[-1] == address
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest


@pytest.mark.slow
def test_the_page_opens_and_a_signal_ends_everything(folder):
    process, port = started(folder)
    try:
        address = f"http://127.0.0.1:{port}  (Ctrl-C stops it)\n"
        said = heard(process, address)
        (leader,) = (one for one, parent, _ in processes() if parent == str(process.pid))
        assert said[0].startswith("starting the Dagster UI")
        assert said[-1] == address
        assert len(group(leader)) >= 4  # webserver, daemon, code server and what started them
        given = Path(f"/proc/{leader}/environ").read_bytes().split(b"\0")
        assert b"DAGSTER_GRPC_TIMEOUT_SECONDS=600" in given
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert b"<!DOCTYPE html>" in page.read(100)
        nodes = asked(port, QUESTION)["assetNodes"]
        keys = {node["assetKey"]["path"][0]: node["partitionKeys"] for node in nodes}
        assert keys["simulated_dataset"] == ["3000"]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    assert rest.endswith("stopped\n")
    assert "stopping; once more: at once\n" in rest
    assert group(leader) == []
