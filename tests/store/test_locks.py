from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.store.keys import Dose, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.locks import LOCK_NAME, NOTE_NAME, holder, stage_lock

KEY = StageKey("simulated", Dose(1000))


def build_in_child(workshop: Any, holds: int, goes_on: int) -> int:
    """Fork a process that builds KEY, says when it holds the lock, and goes on when it is told to."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        layout = workshop.layout
        options = {"inputs": (), "parameters": {"seed": 42}, "code_version": "1", "seeds": {}}
        with workshop.store.build(layout, KEY, design_sha256=workshop.design.sha256(), **options) as build:
            os.write(holds, b"x")
            os.read(goes_on, 1)
            build.write_bytes(layout.patched(Dose(1000), "train"), b"by the child")
            build.succeed({"by": os.getpid()})
        code = 0
    finally:
        os._exit(code)


def test_the_second_of_two_builders_waits_and_finds_it_done(workshop: Any, layout: Layout) -> None:
    holding, holds = os.pipe()
    told, tell = os.pipe()
    pid = build_in_child(workshop, holds, told)
    os.read(holding, 1)
    found = holder(layout.folder_of(KEY))
    assert found is not None
    assert (found.pid, found.dead) == (pid, False)

    messages: list[str] = []

    def announce(message: str) -> None:
        messages.append(message)
        os.write(tell, b"x")

    options = {"inputs": (), "parameters": {"seed": 42}, "code_version": "1", "seeds": {}, "announce": announce}
    with workshop.store.build(layout, KEY, design_sha256=workshop.design.sha256(), **options) as build:
        assert build.done is not None
        assert build.done.values == {"by": pid}
        with pytest.raises(ArtifactError, match=r"use build\.done"):
            build.write_bytes(layout.patched(Dose(1000), "train"), b"again")
    assert os.waitpid(pid, 0) == (pid, 0)
    assert len(messages) == 1
    assert re.search(rf"waiting for process {pid} on ", messages[0])
    assert layout.patched(Dose(1000), "train").read_bytes() == b"by the child"
    assert workshop.state(KEY).name == "fresh"


def test_the_second_builds_if_it_wants_something_else(workshop: Any, layout: Layout) -> None:
    holding, holds = os.pipe()
    told, tell = os.pipe()
    pid = build_in_child(workshop, holds, told)
    os.read(holding, 1)
    record = workshop.simulated(parameters={"seed": 43}, announce=lambda _: os.write(tell, b"x"))
    assert os.waitpid(pid, 0) == (pid, 0)
    assert record.parameters == {"seed": 43}
    assert layout.patched(Dose(1000), "train").read_bytes() != b"by the child"


def test_the_lock_of_a_killed_builder_is_taken_over_and_named(workshop: Any, layout: Layout) -> None:
    holding, holds = os.pipe()
    told, _ = os.pipe()
    pid = build_in_child(workshop, holds, told)
    os.read(holding, 1)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    found = holder(layout.folder_of(KEY))
    assert found is not None
    assert (found.pid, found.dead) == (pid, True)
    messages: list[str] = []
    workshop.simulated(announce=messages.append)
    assert len(messages) == 1
    assert f"taken over from process {pid}" in messages[0]
    assert "the stage starts over" in messages[0]
    assert "ended without releasing" in messages[0]
    assert holder(layout.folder_of(KEY)) is None


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with stage_lock(tmp_path / "stage", "stage"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize("note", [b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_damaged_note_does_not_block(tmp_path: Path, note: bytes) -> None:
    (tmp_path / NOTE_NAME).write_bytes(note)
    assert holder(tmp_path) is None
    with stage_lock(tmp_path, "stage"):
        assert holder(tmp_path) is not None


def test_a_folder_that_may_not_be_written_is_a_sentence_and_can_still_be_read(
    workshop: Any, layout: Layout, tmp_path: Path, in_child: Callable[[Callable[[], Any]], tuple[int, Any]]
) -> None:
    workshop.simulated()
    for path in (tmp_path, *tmp_path.parents[:3], *tmp_path.rglob("*")):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(0o555 if path.is_relative_to(layout.folder) else 0o755)
    (layout.folder_of(KEY) / LOCK_NAME).unlink()

    def work() -> tuple[str, str]:
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        state = workshop.state(KEY)
        with pytest.raises(ArtifactError) as caught:
            workshop.simulated()
        return state.name, str(caught.value)

    code, answer = in_child(work)
    assert code == 0
    assert answer[0] == "fresh"
    assert "folder is not writable" in answer[1]
    assert workshop.state(KEY).name == "fresh"
