"""kill -9 at every write point of every stage, and at random moments."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from faults.ledger import Ledger
from faults.study import CHAIN, ENGINE_STAGES, FULL, SIMULATED, Reference, Study, kill_group

from fly64_assets.store.keys import StageKey

COMPLETED = (dict.fromkeys(CHAIN, 8) | dict.fromkeys(ENGINE_STAGES, 2)) if FULL else dict.fromkeys(CHAIN, 1)
"""Every write point is judged by a reader; so many, evenly spread, are also run to the end."""

RANDOM_KILLS = 12 if FULL else 2


def spread(points: int, wanted: int) -> set[int]:
    """So many numbers of 1 ... points, evenly spread."""
    wanted = min(points, wanted)
    return {1 + round((i + 0.5) * (points - 1) / wanted) for i in range(wanted)}


@pytest.mark.slow
@pytest.mark.parametrize("key", CHAIN, ids=lambda key: key.stage)
def test_every_write_point(reference: Reference, ledger: Ledger, key: StageKey) -> None:
    """The data root as it is just before each write point is what a kill -9 there leaves."""
    study = reference.copy()
    study.forget(key)
    shots = study.folder / "shots"
    shots.mkdir()
    before = study.files()
    answer = study.run(key, snapshots=str(shots))
    assert answer["ok"], answer
    points = answer["points"]
    assert points > 15
    completed = spread(points, COMPLETED[key])
    states = []
    for point in range(1, points + 1):
        one = Study(study.zygote, _place(reference, study, shots / str(point)))
        states.append(one.state(key))
        assert states[-1] in ("missing", "fresh")
        assert reference.wrong(one, key) == []
        if point in completed:
            reference.after(ledger, f"kill -9 at a write point: {key.stage}", one, key, before)
        else:
            ledger.survived(f"kill -9 at a write point: {key.stage}")
            shutil.rmtree(one.folder)
    # Once it is done it stays done: no point after the record is missing.
    done = states.index("fresh") if "fresh" in states else points
    assert set(states[done:]) <= {"fresh"}
    shutil.rmtree(study.folder)


def _place(reference: Reference, study: Study, shot: Path) -> Path:
    folder = reference.scratch / f"{study.folder.name}_{shot.name}"
    folder.mkdir(mode=0o755)
    shutil.copy(study.file, folder / "study.yaml")
    shot.rename(folder / "data")
    return folder


@pytest.mark.parametrize("key", CHAIN if FULL else [SIMULATED], ids=lambda key: key.stage)
def test_a_process_that_kills_itself(reference: Reference, ledger: Ledger, key: StageKey) -> None:
    """The same with a real SIGKILL, at a few points."""
    for point in spread(reference.points[key], 3 if FULL and key not in ENGINE_STAGES else 1):
        study = reference.copy()
        study.forget(key)
        before = study.files()
        answer = study.run(key, kill_at=point)
        assert answer["code"] == -signal.SIGKILL
        # The last write points come after the record: what is left then is whole.
        assert study.state(key) == "missing" or reference.wrong(study, key) == []
        reference.after(ledger, "kill -9 by the process itself", study, key, before)


def test_random_moments(reference: Reference, ledger: Ledger) -> None:
    dice = random.Random(20)
    for _ in range(RANDOM_KILLS):
        key = dice.choice(CHAIN)
        study = reference.copy()
        record = study.store.required(study.layout, key)
        study.forget(key)
        before = study.files()
        pid = study.start(key)
        study.wait_for(study.layout.folder_of(key) / ".build.lock.json")
        time.sleep(dice.uniform(0, 1.2 * record.seconds))
        kill_group(pid)
        study.zygote.wait(pid)
        reference.after(ledger, "kill -9 at a random moment", study, key, before)
