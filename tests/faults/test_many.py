"""Two and eight processes that build the same cell at once; engines that are killed; ``fly64 run`` that is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.ledger import Ledger
from faults.study import CHAIN, COMPARISON, ENGINE_STAGES, FULL, RECONSTRUCTION, SIMULATED, STUDY, Reference

from fly64_assets.store.keys import StageKey

FLY64 = str(Path(sys.executable).with_name("fly64"))
OOM_BYTES = 250 * 2**20


@pytest.mark.parametrize("processes", [2, 8] if FULL else [3])
@pytest.mark.parametrize("key", (CHAIN[1], CHAIN[2], RECONSTRUCTION) if FULL else (SIMULATED,), ids=lambda k: k.stage)
def test_processes_on_the_same_stage(reference: Reference, ledger: Ledger, key: StageKey, processes: int) -> None:
    """One wins, the others wait and find it done."""
    study = reference.copy()
    study.forget(key)
    before = study.files()
    pids = [study.start(key) for _ in range(processes)]
    answers = [study.zygote.wait(pid) for pid in pids]
    assert [answer["ok"] for answer in answers] == [True] * processes
    log = study.folder.with_suffix(".log").read_text()
    assert log.count("already there, from the same inputs and parameters") == processes - 1
    reference.after(ledger, f"{processes} processes on the same cell", study, key, before)


def children(pid: int) -> list[int]:
    """Process numbers of the direct children of a process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident(pid: int) -> int:
    """Memory of a process in bytes."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


@pytest.mark.skipif(not FULL, reason="make faults runs engines")
@pytest.mark.parametrize("key", ENGINE_STAGES, ids=lambda key: key.stage)
def test_an_engine_that_is_killed_for_memory(reference: Reference, ledger: Ledger, key: StageKey) -> None:
    """SIGKILL to the engine when it has grown, as the kernel does; the step fails with its reason, and only it."""
    study = reference.copy()
    study.forget(key)
    pid = study.start(key)
    killed = False
    while not killed and Path(f"/proc/{pid}").exists():
        for engine in children(pid):
            if resident(engine) > OOM_BYTES:
                os.kill(engine, signal.SIGKILL)
                killed = True
        time.sleep(0.01)
    answer = study.zygote.wait(pid)
    assert answer["code"] == 0
    assert "SIGKILL (probably out of memory)" in answer["reason"]
    assert study.state(key) == "failed"
    assert study.run(COMPARISON)["ok"]
    # The comparison of the methods that were left is not that of the undisturbed study: made again, it is.
    study.run(key)
    assert study.run(COMPARISON)["ok"]
    reference.after(ledger, "engine killed for memory", study, key, None)


@pytest.mark.skipif(not FULL, reason="make faults runs whole studies")
def test_an_interrupted_run_goes_on_from_where_it_was(reference: Reference, ledger: Ledger, tmp_path: Path) -> None:
    """``fly64 run`` is interrupted or killed at random moments until it completes; nothing finished is made again."""
    dice = random.Random(7)
    (tmp_path / "study.yaml").write_text(STUDY)
    hidden = ("DAGSTER_HOME", "FLY64_STUDY", "FLY64_DATA_ROOT")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [FLY64, "--study", "study.yaml", "run", "--view", "dense", "--jobs", "1"]
    finished: dict[Path, int] = {}
    row = ledger.row("fly64 run interrupted at a random moment")
    for attempt in range(40):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        interrupt = attempt < 5
        try:
            process.wait(dice.uniform(15, 60) if interrupt else 1800)
        except subprocess.TimeoutExpired:
            row.injected += 1
            process.send_signal(dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
            process.wait(60)
            time.sleep(2)  # a worker whose parent was killed ends by itself or goes on; both must be right
        done = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*/dose_*/**/result.json")}
        assert {path for path, when in finished.items() if done.get(path, when) != when} == set()
        finished |= {path: when for path, when in done.items() if json.loads(path.read_text())["outcome"] != "failed"}
        if process.returncode == 0:
            break
    assert process.returncode == 0
    found = {
        name: sha256
        for path in (tmp_path / "data").rglob("result.json")
        for name, sha256 in json.loads(path.read_text())["outputs"].items()
    }
    expected = {name: sha for name, sha in reference.hashes.items() if name in found and "comparison" not in name}
    wrong = {name for name, sha256 in expected.items() if found[name] != sha256}
    row.wrong += len(wrong)
    assert len(expected) >= 8
    assert wrong == set()
    row.survived = row.injected
    shutil.rmtree(tmp_path / "data")
