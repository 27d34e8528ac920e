"""File systems that keep no locks, that cannot flush a folder, or that answer with errors of a network."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.store import locks
from fly64_assets.store.atomic import write_atomically
from fly64_assets.store.file_system import examined
from fly64_assets.store.garbage import KINDS, remove_garbage
from fly64_assets.store.keys import Dose, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.locks import LOCK_NAME, NOTE_NAME, HeldError, file_lock, held, stage_lock

KEY = StageKey("simulated", Dose(1000))
REFUSALS = [errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP]


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(_descriptor: Any, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def cannot_flush_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def note(folder: Path, **other: Any) -> Path:
    """A note as its owner left it there, by default on another machine without locks."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NOTE_NAME
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "today", "kernel": False} | other))
    return path


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_without_locks_the_work_goes_on_and_says_so(
    workshop: Any, layout: Layout, monkeypatch: pytest.MonkeyPatch, number: int, tmp_path: Path
) -> None:
    workshop.simulated()  # leaves its lock file behind, as a copied study has it
    assert (layout.folder_of(KEY) / LOCK_NAME).exists()
    refuse(monkeypatch, number)
    said: list[str] = []
    workshop.simulated(content=b"again", announce=said.append)
    assert workshop.state(KEY).name == "fresh"
    (sentence,) = said
    assert "keeps no locks" in sentence
    assert os.strerror(number) in sentence
    assert "flock" in sentence
    assert not (layout.folder_of(KEY) / NOTE_NAME).exists()
    assert examined(tmp_path)[0] == "warning"
    assert os.strerror(number) in examined(tmp_path)[1]


def test_without_locks_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOSYS)
    note(tmp_path, host=locks.socket.gethostname(), pid=2**22 + 1)  # of a process that has ended: all want it at once
    inside, most = [], []

    def work() -> None:
        with stage_lock(tmp_path, "stage"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]


@pytest.mark.parametrize("content", ["", "{", '{"pid": "x"}'])
def test_without_locks_a_silent_owner_is_dead_and_one_that_lives_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    refuse(monkeypatch, errno.ENOLCK)
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0.6)
    path, said = note(tmp_path), []
    if content:
        path.write_text(content)
    with pytest.raises(HeldError), file_lock(tmp_path / LOCK_NAME, "stage", wait=False):
        pass
    assert held(tmp_path) is not bool(content)
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=live)
    thread.start()
    taken: list[float] = []

    def take() -> None:
        with stage_lock(tmp_path, "stage", said.append):
            taken.append(time.monotonic())

    other = threading.Thread(target=take)
    other.start()
    other.join(1.5)
    assert not taken
    ended.set()
    thread.join()
    other.join(20)
    assert len(taken) == 1
    assert "waiting for" in said[0]


def test_an_owner_is_heard_of_while_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr(locks, "TOUCH_SECONDS", 0.05)
    with stage_lock(tmp_path, "stage"):
        path = tmp_path / NOTE_NAME
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0
    assert not path.exists()


def test_a_machine_with_locks_waits_for_an_owner_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SILENT_SECONDS", 0.5)
    note(tmp_path)
    with pytest.raises(HeldError, match="process 1 on elsewhere"), file_lock(tmp_path / LOCK_NAME, "x", wait=False):
        pass
    with stage_lock(tmp_path, "stage") as waited:
        assert waited


def test_without_locks_clean_leaves_alone_what_somebody_builds(
    workshop: Any, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.simulated()
    refuse(monkeypatch, errno.ENOSYS)
    stray = layout.folder_of(KEY) / "stray.txt"
    stray.write_text("x")
    with stage_lock(layout.folder_of(KEY), "somebody builds"):
        assert remove_garbage(workshop.store, KINDS) == []
    assert [item.path for item in remove_garbage(workshop.store, KINDS)] == [stray]


@pytest.mark.parametrize("host", ["elsewhere", "here", "damaged"])
def test_without_locks_clean_takes_over_from_an_owner_elsewhere_that_was_silent(
    workshop: Any, layout: Layout, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    workshop.simulated()
    refuse(monkeypatch, errno.ENOSYS)
    folder = layout.folder_of(KEY)
    stray = folder / "stray.txt"
    stray.write_text("x")
    path = note(folder, **({"host": locks.socket.gethostname(), "pid": os.getpid()} if host == "here" else {}))
    if host == "damaged":
        path.write_text("{")
    present = path.stat().st_mtime
    real = time.time
    with monkeypatch.context() as fast:  # the clock of this machine does not matter
        fast.setattr(time, "time", lambda: real() + 3600)
        assert held(folder) is (host != "damaged")
        assert remove_garbage(workshop.store, KINDS) == []
    os.utime(path, (present, present - locks.SILENT_SECONDS - 10))
    before = sorted(folder.iterdir())
    assert held(folder) is (host == "here")
    assert sorted(folder.iterdir()) == before
    removed = [item.path for item in remove_garbage(workshop.store, KINDS)]
    assert removed == ([] if host == "here" else [stray])
    assert path.exists() is (host == "here")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_flushed(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, number: int, tmp_path: Path
) -> None:
    cannot_flush_folders(monkeypatch, number)
    said: list[str] = []
    workshop.simulated(announce=said.append)
    assert workshop.state(KEY).name == "fresh"
    assert len(said) == 1
    assert "cannot flush a folder" in said[0]
    level, sentence = examined(tmp_path)
    assert level == "warning"
    assert "cannot flush a folder" in sentence


def test_a_good_file_system_is_called_good(tmp_path: Path) -> None:
    assert examined(tmp_path) == ("good", f"{tmp_path} can be written, flushed and locked")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN, errno.ENOENT])
def test_any_other_answer_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    refuse(monkeypatch, number)
    with pytest.raises(ArtifactError, match=r"could not be written \(.+\); .+"), stage_lock(tmp_path, "stage"):
        pass
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    with pytest.raises(ArtifactError, match=r"could not be written \(.+\); .+"):
        write_atomically(tmp_path / "file", lambda file: file.write(b"x"))
    assert not (tmp_path / "file").exists()
