from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import (
    PROCESS_GROUP_VARIABLES,
    THREAD_VARIABLES,
    child_environment,
    run_isolated,
    run_job,
)
from fly64_assets.errors import EngineError

JOBS = Path(__file__).parents[1] / "jobs"
PARENT = """
import json, sys
from pathlib import Path
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import run_isolated
folder = Path(sys.argv[1])
request = {"pid_file": str(folder / "pid")}
run_isolated("process_jobs:wait", request, execution=Execution(), log_path=folder / "job.log")
"""

PATIENT_PARENT = """
import os
from pathlib import Path
from fly64_assets.engines.process import run_job
listen = lambda message: print("at work", flush=True)
run_job("process_jobs:interruptible", {{"file": {file!r}}}, [os.environ], log_path=Path({log!r}), listen=listen,
        grace_seconds=20)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a job of ``tests/jobs`` in a child; the log is ``tmp_path / "job.log"``."""
    monkeypatch.setenv("PYTHONPATH", str(JOBS))

    def call(name, request=None, *, progress=None, processes=1, **execution):
        return run_isolated(
            f"process_jobs:{name}",
            request or {},
            execution=Execution(**execution),
            log_path=tmp_path / "job.log",
            progress=progress,
            processes=processes,
        )

    return call


@pytest.fixture
def log(tmp_path):
    return lambda: (tmp_path / "job.log").read_bytes().decode(errors="replace")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def eventually(condition, seconds=60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_job_gets_its_request_and_returns_its_result_from_another_process(run):
    request = {"path": "/räume/α.npz", "settings": {"rate": 0.1, "names": ["a", None]}}
    answer = run("echo", request)
    assert answer["request"] == request
    assert answer["pid"] != os.getpid()


def test_a_request_longer_than_a_pipe_arrives(run):
    request = {"text": "x" * 300_000}
    assert run("echo", request)["request"] == request


def test_progress_comes_in_order_while_the_prints_go_to_the_log(run, log):
    seen = []
    run("steps", {"total": 5}, progress=lambda *row: seen.append(row))
    assert seen == [(done, 5, {"loss": 1 / done}) for done in range(1, 6)]
    assert log().splitlines() == [f"step {done}" for done in range(1, 6)]


def test_the_log_of_an_earlier_job_is_kept(run, log):
    run("steps", {"total": 1})
    run("steps", {"total": 2})
    assert log().splitlines() == ["step 1", "step 1", "step 2"]


def test_a_sentence_for_the_user_passes_through_without_a_traceback(run, log):
    with pytest.raises(EngineError) as caught:
        run("known_error")
    assert str(caught.value) == "frame 3 holds NaN; expected finite amplitudes"
    assert "Traceback" not in log()


def test_any_other_exception_is_one_sentence_and_its_traceback_is_in_the_log(run, log):
    with pytest.raises(EngineError) as caught:
        run("other_error")
    assert str(caught.value) == "ValueError: first line second line"
    assert "Traceback" in log()
    assert "in other_error" in log()


def test_a_job_answers_though_its_log_lies_on_a_full_disk(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(JOBS))
    with pytest.raises(EngineError, match=r"^ValueError: first line second line$"):
        run_isolated("process_jobs:other_error", {}, execution=Execution(), log_path=Path("/dev/full"))


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("process_jobs:nowhere", "AttributeError: module 'process_jobs' has no attribute 'nowhere'"),
        ("no_such_module:job", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_job_that_does_not_exist_is_said(tmp_path, target, sentence):
    with pytest.raises(EngineError, match=sentence):
        run_isolated(target, {}, execution=Execution(), log_path=tmp_path / "job.log")


def test_a_result_that_is_no_json_is_an_error_with_a_pointer_to_the_log(run, log):
    with pytest.raises(EngineError, match="JSON serializable"):
        run("no_json")
    assert "Traceback" in log()


def test_a_job_that_leaves_without_an_answer_is_an_error(run):
    with pytest.raises(EngineError, match="process_jobs:leave ended with status 3 and no answer; see its log"):
        run("leave")


def test_death_by_sigkill_is_said_with_its_likely_cause(run):
    seen = []
    with pytest.raises(EngineError, match=r"process_jobs:killed was ended by SIGKILL \(probably out of memory\)"):
        run("killed", {"signal": "SIGKILL"}, progress=lambda *row: seen.append(row))
    assert seen == [(1, 2, {})]


def test_death_by_another_signal_names_it(run):
    with pytest.raises(EngineError, match="ended by SIGTERM; "):
        run("killed", {"signal": "SIGTERM"})


def test_half_an_answer_is_no_answer(run):
    with pytest.raises(EngineError, match="ended by SIGKILL"):
        run("killed_while_answering")


def test_what_a_job_prints_cannot_be_taken_for_its_answer(run, log):
    seen = []
    assert run("noise", progress=lambda *row: seen.append(row)) == {"value": "from the job"}
    assert seen == [(1, 1, {})]
    assert "{broken" in log()
    assert '{"error": "from the output"}' in log()
    assert "from a grandchild" in log()


def test_the_child_has_its_threads_fixed_and_forgets_process_groups(run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("KEPT", "yes")
    found = run("environment", threads=3)
    assert {found[name] for name in THREAD_VARIABLES} == {"3"}
    assert not set(PROCESS_GROUP_VARIABLES) & set(found)
    assert found["KEPT"] == "yes"
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert os.environ["WORLD_SIZE"] == "4"


def test_a_job_on_a_gpu_keeps_the_visible_devices():
    environment = child_environment({"CUDA_VISIBLE_DEVICES": "1"}, Execution(accelerator="cuda"))
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in child_environment({}, Execution(accelerator="cuda"))


def test_the_child_dies_with_its_parent(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(JOBS)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=environment)
    child = 0
    try:
        file = tmp_path / "pid"
        assert eventually(lambda: file.exists() and file.read_text().isdigit())
        child = int(file.read_text())
        assert is_alive(child)
        parent.kill()
        parent.wait()
        assert eventually(lambda: not is_alive(child), 20)
    finally:
        parent.kill()
        parent.wait()
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def test_an_exception_in_the_parent_ends_the_child(run, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    file = tmp_path / "pid"
    with pytest.raises(KeyboardInterrupt):
        run("wait", {"pid_file": str(file)}, progress=interrupted)
    assert not is_alive(int(file.read_text()))


def test_no_descriptor_stays_open(run):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    run("echo")
    before = descriptors()
    run("echo")
    with pytest.raises(EngineError):
        run("known_error")
    assert descriptors() == before


def test_no_descriptor_stays_open_where_no_process_could_start(run, monkeypatch, tmp_path):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    with pytest.raises(FileNotFoundError):
        run("echo")
    monkeypatch.undo()
    with pytest.raises(IsADirectoryError):
        run_isolated("process_jobs:echo", {}, execution=Execution(), log_path=tmp_path)
    assert descriptors() == before


def test_a_child_whose_parent_has_gone_does_not_start_its_job(tmp_path):
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "fly64_assets.engines.process", "process_jobs:echo", str(write_end), "1", "9"]
    environment = {**os.environ, "PYTHONPATH": str(JOBS)}
    done = subprocess.run(
        command, input=b"{}", env=environment, pass_fds=(write_end,), stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    with os.fdopen(read_end) as answers:
        assert answers.read() == ""
    assert done.returncode == 1
    assert b"has ended" in done.stderr


def test_a_loss_that_is_not_finite_is_carried_too(run):
    seen = []
    run("infinite", progress=lambda *row: seen.append(row))
    assert seen == [(1, 1, {"loss": float("inf")})]


def test_a_group_knows_itself_and_its_first_process_answers(run):
    heard = []
    answer = run("member", progress=lambda done, *_: heard.append(done), processes=3, threads=2)
    assert answer == {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "OMP_NUM_THREADS": "2"}
    assert heard == [1]


@pytest.mark.parametrize("failing", [0, 2])
def test_one_failure_ends_the_whole_group(run, failing):
    with pytest.raises(EngineError, match=f"process {failing} had enough"):
        run("member", {"fails": failing}, processes=3)


def test_a_process_alone_is_in_no_group(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "7")
    assert not set(PROCESS_GROUP_VARIABLES) & set(run("environment"))


def run_patiently(tmp_path, name, request, *, listen=None, stop=None, grace_seconds=20):
    environment = {**os.environ, "PYTHONPATH": str(JOBS)}
    return run_job(
        f"process_jobs:{name}",
        request,
        [environment],
        log_path=tmp_path / "job.log",
        listen=listen,
        stop=stop,
        grace_seconds=grace_seconds,
    )


def test_progress_may_say_what_it_is_about(tmp_path):
    heard = []
    run_patiently(tmp_path, "labelled", {}, listen=heard.append)
    assert heard == [{"label": "dose_1000/dense", "done": 1, "total": 2, "values": {"loss": 0.5}}]


def test_a_job_that_is_stopped_may_note_that_it_was_interrupted(tmp_path):
    file, stop = tmp_path / "note", threading.Event()
    with pytest.raises(EngineError, match="ended by SIGINT"):
        run_patiently(tmp_path, "interruptible", {"file": str(file)}, listen=lambda _: stop.set(), stop=stop)
    assert file.read_text() == "interrupted"


def test_a_job_that_does_not_stop_in_time_is_killed_with_what_it_has_started(tmp_path):
    file, stop = tmp_path / "pids", threading.Event()
    begun = time.monotonic()
    with pytest.raises(EngineError, match="ended by SIGKILL"):
        run_patiently(tmp_path, "deaf", {"file": str(file)}, listen=lambda _: stop.set(), stop=stop, grace_seconds=0.5)
    assert time.monotonic() - begun < 30
    assert eventually(lambda: not any(is_alive(int(pid)) for pid in file.read_text().split()), 20)


def test_an_interruptible_job_is_interrupted_when_its_parent_is_killed(tmp_path):
    program = PATIENT_PARENT.format(file=str(tmp_path / "note"), log=str(tmp_path / "job.log"))
    # As a shell starts a process in the background: Ctrl-C ignored.
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(JOBS)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )
    assert parent.stdout.readline() == "at work\n"
    parent.kill()
    parent.communicate()
    assert eventually(lambda: (tmp_path / "note").exists() and (tmp_path / "note").read_text() == "interrupted", 20)


def test_it_says_what_the_engine_computed_with(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(JOBS))
    told = []
    for name in ("uses_torch", "known_error"):
        with suppress(EngineError):
            run_isolated(
                f"process_jobs:{name}", {}, execution=Execution(), log_path=tmp_path / "job.log", libraries=told.append
            )
    assert {"torch_vector_instructions", "torch_blas", "torch_fft"} <= told[0].keys()
    assert all(told[0].values())
    assert told[1] == {}
