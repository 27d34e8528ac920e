"""kill -9 at every file-system action of a build, and at random moments of a real child process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import Dose, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import verified

KEY = StageKey("simulated", Dose(1000))
ACTIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir"}
OLD, NEW = b"old" * 100, b"new" * 100


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it has handed to the kernel; that the flushes happen is tested elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def kill_at(moment: int) -> None:
    """From now on, count the file-system actions of this process and end it with SIGKILL just before one of them."""
    seen = 0

    def hook(event: str, _: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ACTIONS:
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def survives(workshop: Any, layout: Layout) -> str:
    """Check what a crash may leave, and return the state of the stage."""
    state = workshop.state(KEY)
    assert state.name in ("missing", "fresh")
    contents = set()
    for split in ("train", "test"):
        path = layout.patched(Dose(1000), split)
        try:
            verified(path)
        except ArtifactError:
            assert state.name == "missing"
            continue
        content = path.read_bytes()
        assert content in (OLD * 100 + split.encode(), NEW * 100 + split.encode())
        contents.add(content[:3])
    if state.name == "fresh":
        assert len(contents) == 1
    return str(state.name)


@pytest.mark.parametrize("rebuild", [False, True])
def test_killed_at_every_action_of_a_build(
    workshop: Any, layout: Layout, in_child: Callable[[Callable[[], Any]], tuple[int, Any]], rebuild: bool
) -> None:
    states: list[str] = []
    for moment in range(1, 1000):
        if rebuild:
            workshop.simulated(content=OLD)

        def work(moment: int = moment) -> None:
            kill_at(moment)
            workshop.simulated(content=NEW)

        status, _ = in_child(work)
        states.append(survives(workshop, layout))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        messages: list[str] = []
        workshop.simulated(content=NEW, announce=messages.append)
        assert workshop.state(KEY).name == "fresh"
        assert verify_folder(layout.folder).ok
        rest = [path.name for path in layout.folder_of(KEY).iterdir() if path.name.startswith(".")]
        assert rest == [".build.lock"]
        if not rebuild:
            for path in layout.folder_of(KEY).iterdir():
                if path.name != ".build.lock":
                    path.unlink()
    assert len(states) > 30
    assert states[-1] == "fresh"
    first_missing = states.index("missing")
    last_missing = len(states) - 1 - states[::-1].index("missing")
    assert set(states[first_missing : last_missing + 1]) == {"missing"}
    assert (first_missing > 0) == rebuild


CHILD = """
import sys
from pathlib import Path
from fly64_assets.study.design import StudyDesign
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import Dose, StageKey

store = ArtifactStore(Path(sys.argv[1]), "demo")
layout = store.layout("camera_0123abcd")
key = StageKey("simulated", Dose(1000))
print("ready", flush=True)
while True:
    for content in (b"old" * 100, b"new" * 100):
        with store.build(layout, key, inputs=(), parameters={"seed": 42}, design_sha256=StudyDesign().sha256(),
                         code_version="1", seeds={}) as build:
            for split in ("train", "test"):
                def write(file):
                    for _ in range(100):
                        file.write(content)
                    file.write(split.encode())
                build.write(layout.patched(Dose(1000), split), write)
            build.succeed({})
"""


def test_killed_from_outside_at_random_moments(workshop: Any, layout: Layout, tmp_path: Path) -> None:
    moments = random.Random(5)
    for _ in range(6):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "data")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.005, 0.08))
            child.kill()
            child.wait()
        survives(workshop, layout)
    workshop.simulated()
    assert verify_folder(layout.folder).ok
