"""What a store promises, the same on a file system and in an object store."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.object_store import data_root, s3_address, s3_url  # noqa: F401
from fixtures.store import BASE_ID, Workshop

from fly64_assets.errors import ArtifactError, EngineError
from fly64_assets.store.artifacts import IMPORTED, ArtifactStore
from fly64_assets.store.garbage import KINDS, find_garbage, remove_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, Dose, StageKey
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import root_folder, size_of, storage_of

KEY = StageKey("simulated", Dose(1000))
OLD, NEW = b"old" * 100, b"new" * 100


def workshop_on(root: str) -> Workshop:
    store = ArtifactStore(root_folder(root), "demo")
    return Workshop(store, store.layout(BASE_ID))


@pytest.fixture
def workshop(data_root: str) -> Workshop:  # noqa: F811
    return workshop_on(data_root)


@pytest.fixture
def elsewhere(data_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Workshop]:  # noqa: F811
    """The data root as a process on another machine sees it: without what this one has in its local copy."""
    made = []

    def look() -> Workshop:
        made.append(1)
        monkeypatch.setenv("FLY64_CACHE", str(tmp_path / f"cache_{len(made)}"))
        return workshop_on(data_root)

    return look


def test_what_is_built_is_found_elsewhere(workshop: Workshop, elsewhere: Callable[[], Workshop]) -> None:
    workshop.base()
    record = workshop.simulated(inputs=[workshop.layout.base], logs={workshop.layout.output(KEY, "a.log"): b"log"})
    workshop.store.set_active_base(BASE_ID, IMPORTED)
    other = elsewhere()
    assert other.store.active_base() == workshop.store.active_base()
    assert other.store.bases() == (BASE_ID,)
    assert other.store.record(other.layout, KEY) == record
    for quick in (True, False):
        assert other.state(KEY, [other.layout.base], quick=quick).name == "fresh"
    path = other.layout.patched(Dose(1000), "train")
    assert size_of(path) == len(b"frames" * 100 + b"train")
    assert verified(path).sha256 == record.outputs["dose_1000/patched_train.npz"]
    assert path.read_bytes() == b"frames" * 100 + b"train"
    names = {path.relative_to(other.layout.folder).as_posix() for path in storage_of(path).files(other.layout.folder)}
    assert {"base.npz", "base.json", "dose_1000/patched_test.npz", "dose_1000/a.log"} <= names


def test_a_rebuild_replaces_what_was_there_everywhere(workshop: Workshop, elsewhere: Callable[[], Workshop]) -> None:
    log = workshop.layout.output(KEY, "train.log")
    workshop.simulated(content=OLD, logs={log: b"epoch 1"})
    other = elsewhere()
    verified(other.layout.patched(Dose(1000), "test"))
    workshop.simulated(content=NEW)
    seen = Workshop(ArtifactStore(other.store.data_root, "demo"), other.layout)
    path = seen.layout.patched(Dose(1000), "test")
    verified(path)
    assert path.read_bytes() == NEW * 100 + b"test"
    assert size_of(seen.layout.output(KEY, "train.log")) is None
    assert verify_folder(seen.layout.folder).ok
    assert find_garbage(seen.store) == []


def test_a_failure_is_recorded_and_leaves_the_standing_result(
    workshop: Workshop, elsewhere: Callable[[], Workshop]
) -> None:
    options: dict[str, Any] = {"inputs": (), "parameters": {"seed": 42}, "code_version": "1", "seeds": {}}
    options["design_sha256"] = workshop.design.sha256()

    def fails() -> None:
        with pytest.raises(EngineError), workshop.store.build(workshop.layout, KEY, **options) as build:  # noqa: PT012
            build.write_bytes(workshop.layout.patched(Dose(1000), "train"), b"half the work")
            build.write_bytes(workshop.layout.output(KEY, "train.log"), b"epoch 1", data=False)
            raise EngineError("loss is not finite")

    fails()
    assert elsewhere().state(KEY).name == "failed"
    workshop.simulated()
    fails()
    state = elsewhere().state(KEY)
    assert state.name == "fresh"
    assert "loss is not finite" in state.reason
    assert verify_folder(elsewhere().layout.folder).ok


def test_clean_removes_a_superseded_base_and_orphans_everywhere(
    workshop: Workshop, elsewhere: Callable[[], Workshop]
) -> None:
    workshop.make(BASE, {workshop.layout.base: b"base"}, values={"origin": "recipe"})
    workshop.simulated()
    newer = Workshop(workshop.store, workshop.store.layout("camera_89abcdef"))
    newer.base()
    workshop.store.set_active_base("camera_89abcdef", IMPORTED)
    (item,) = find_garbage(workshop.store)
    assert (item.kind, item.path) == ("superseded", workshop.layout.folder)
    assert item.bytes > len(b"frames" * 200)
    assert remove_garbage(workshop.store, KINDS) == [item]
    other = elsewhere()
    assert other.store.bases() == ("camera_89abcdef",)
    assert find_garbage(other.store) == []


# -- crashes and contention ---------------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
import obstore
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.storage import root_folder
from fixtures.store import BASE_ID, Workshop

real, seen = obstore.put, 0

def killed_at(moment):
    def put(*args, **options):
        for step in (lambda: None, lambda: real(*args, **options)):
            global seen
            answer = step()
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return put

for line in sys.stdin:
    root, moment = line.split()
    pid = os.fork()
    if pid == 0:
        store = ArtifactStore(root_folder(root), "demo")
        obstore.put = killed_at(int(moment))
        Workshop(store, store.layout(BASE_ID)).simulated(content=b"new" * 100)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def contents(workshop: Workshop) -> set[bytes]:
    """Beginnings of the two files as somebody reads them who verifies."""
    found = set()
    for split in ("train", "test"):
        path = workshop.layout.patched(Dose(1000), split)
        verified(path)
        found.add(path.read_bytes()[:3])
    return found


@pytest.fixture
def builder(s3_url: str) -> Iterator[Callable[[str, int], int]]:  # noqa: F811
    """Builds a stage in a process that is killed before or after one of its puts; returns its status."""
    command, tests = [sys.executable, "-c", CHILD], Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=tests, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        questions, answers = process.stdin, process.stdout

        def build(root: str, moment: int) -> int:
            questions.write(f"{root} {moment}\n")
            return int(answers.readline())

        yield build
        questions.close()


@pytest.mark.parametrize("rebuild", [False, True])
def test_killed_before_and_after_every_put_of_a_build(
    s3_url: str,  # noqa: F811
    builder: Callable[[str, int], int],
    rebuild: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until the index is replaced everybody sees the old result, afterwards the new one, and never a part of one."""
    states, status = [], -signal.SIGKILL
    while status != 0:
        moment = len(states) + 1
        root = f"{s3_url}/{moment}"
        if rebuild:
            workshop_on(root).simulated(content=OLD)
        status = builder(root, moment)
        assert status in (0, -signal.SIGKILL)
        for cache in (f"cache_{moment}", "cache"):  # on another machine, then on the one where it was killed
            monkeypatch.setenv("FLY64_CACHE", str(tmp_path / cache))
            seen = workshop_on(root)
            state = seen.state(KEY)
            assert state.name == "fresh" if rebuild else state.name in ("missing", "fresh")
            read = contents(seen) if state.name == "fresh" else {b""}
            assert len(read) == 1
        states += read
        assert verify_folder(seen.layout.folder).ok
        if status != 0:
            announced: list[str] = []
            seen.simulated(content=NEW, announce=announced.append, parameters={"seed": 43})
            assert contents(seen) == {b"new"}
            assert verify_folder(seen.layout.folder).ok
    assert len(states) > 12
    published = states.index(b"new")
    assert set(states[:published]) == {OLD[:3] if rebuild else b""}
    assert set(states[published:]) == {b"new"}
    assert published < len(states) - 1


def test_two_builders_at_once(data_root: str) -> None:  # noqa: F811
    """Of many threads that want the same stage one builds and the others find it done, each with its own eyes."""
    inside: list[int] = []
    most: list[int] = []
    done: list[bool] = []
    workshops = [workshop_on(data_root) for _ in range(4)]
    options: dict[str, Any] = {"inputs": (), "parameters": {"seed": 42}, "code_version": "1", "seeds": {}}

    def build(workshop: Workshop) -> None:
        with workshop.store.build(
            workshop.layout, KEY, design_sha256=workshop.design.sha256(), force=False, **options
        ) as work:
            done.append(work.done is not None)
            if not work.done:
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.2)
                work.write_bytes(workshop.layout.patched(Dose(1000), "train"), b"x")
                work.succeed({})
                inside.pop()

    threads = [threading.Thread(target=build, args=(workshop,)) for workshop in workshops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == [False, True, True, True]
    assert most == [1]


def test_a_url_that_names_no_data_root_is_a_sentence() -> None:
    for url in (
        "s3://",
        "s3://bucket/../x",
        "gs://bucket/x",
        "s3://key:secret@bucket/x",
        "s3://bucket//x",
        "s3:/bucket/x",
    ):
        with pytest.raises(ArtifactError, match="s3://BUCKET/PREFIX") as caught:
            root_folder(url)
        assert "secret" not in str(caught.value)
