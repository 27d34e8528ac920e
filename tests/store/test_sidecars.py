from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.store import hashing
from fly64_assets.store.atomic import is_temporary, remove_leftovers
from fly64_assets.store.hashing import json_bytes, json_sha256, sha256_file
from fly64_assets.store.keys import Dose, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import Provenance, read_sidecar, sidecar_path, verified, write_artifact

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def path(layout: Layout) -> Path:
    """A data file with its sidecar, made from the base."""
    target = layout.patched(Dose(1000), "train")
    inputs = {"base.npz": "a" * 64, "external:camera.npz": "b" * 64}
    provenance = Provenance(StageKey("simulated", Dose(1000)), inputs, {"seed": 42}, "c" * 64, "1", {"simulation": 42})
    write_artifact(layout, target, lambda file: file.write(CONTENT), provenance)
    return target


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def edit(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def test_an_intact_file_is_verified(path: Path) -> None:
    artifact = verified(path)
    assert artifact.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert artifact.bytes == len(CONTENT)
    assert verified(path, quick=True) == artifact


def test_the_sidecar_says_how_the_file_was_made(path: Path) -> None:
    sidecar = read_sidecar(path)
    assert sidecar["inputs"] == {"../base.npz": "a" * 64, "external:camera.npz": "b" * 64}
    assert sidecar["stage"] == {"stage": "simulated", "dose": 1000, "repeat": 1}
    assert sidecar["outcome"] == "succeeded"
    assert sidecar["parameters"] == {"seed": 42}
    assert sidecar["parameters_sha256"] == hashlib.sha256(b'{"seed":42}').hexdigest()
    assert sidecar["design_sha256"] == "c" * 64
    assert sidecar["seeds"] == {"simulation": 42}
    assert sidecar["code_version"] == "1"
    assert {"python", "numpy", "torch", "ptychi"} <= set(sidecar["library_versions"])
    assert sidecar["host"]
    assert {"processor", "vector_instructions", "numpy_blas", "scipy_blas", "fft"} <= set(sidecar["machine"])
    assert all(sidecar["machine"].values())
    assert sidecar["start"] <= sidecar["end"]


@pytest.mark.parametrize("position", [0, len(CONTENT) // 2, len(CONTENT) - 1])
def test_one_flipped_bit_is_found_and_named(path: Path, position: int) -> None:
    verified(path)
    before = path.stat()
    flip(path, position)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match=f"patched_train.npz.*{found}.*stage 'simulated' again"):
        verified(path)
    # A quick check accepts a file of the right size, unless it was written after its sidecar.
    with pytest.raises(ArtifactError, match=found):
        verified(path, quick=True)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    verified(path, quick=True)


def test_a_change_that_restores_the_modification_time_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "CLOCK_GRAIN_SECONDS", 0.0)
    clock = path.with_name("clock")
    clock.touch()
    while clock.stat().st_ctime_ns == path.stat().st_ctime_ns:
        clock.touch()
    before = path.stat()
    sha256_file(path)
    flip(path, 7)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(ArtifactError, match="has SHA256"):
        verified(path)


def test_an_unchanged_file_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "CLOCK_GRAIN_SECONDS", -1.0)
    first = sha256_file(path)
    reads: list[Path] = []
    monkeypatch.setattr(Path, "open", lambda self, *_: reads.append(self))
    assert sha256_file(path) == first
    assert not reads


def test_a_file_just_written_is_not_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "CLOCK_GRAIN_SECONDS", 3600.0)
    memo, reads = hashing.FileMemo[int](), []
    for _ in range(2):
        memo.of(path, lambda file: reads.append(file) or 0)
    assert len(reads) == 2


def test_what_was_read_of_a_file_holds_until_the_file_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "CLOCK_GRAIN_SECONDS", -1.0)
    memo = hashing.FileMemo[bytes]()
    first = memo.of(path, Path.read_bytes)
    status = path.stat()
    path.write_bytes(bytes(len(first)))  # of the same size, and then given its old time of modification
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert memo.of(path, Path.read_bytes) == bytes(len(first)) != first


@pytest.mark.parametrize("quick", [True, False])
def test_a_sidecar_changed_after_a_look_is_read_again(path: Path, quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "CLOCK_GRAIN_SECONDS", -1.0)
    assert verified(path, quick=quick).sha256
    sidecar = sidecar_path(path)
    sidecar.write_text(sidecar.read_text().replace('"outcome": "succeeded"', '"outcome": "succeedeD"'))
    with pytest.raises(ArtifactError, match="changed after it was written"):
        verified(path, quick=quick)


def linked(path: Path) -> None:
    """Put a link to the same bytes in the place of a file."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted file": (lambda p: p.unlink(), "does not exist"),
    "deleted sidecar": (lambda p: sidecar_path(p).unlink(), "has no sidecar"),
    "truncated": (lambda p: os.truncate(p, 10), "has 10 bytes; its sidecar says"),
    "sidecar not JSON": (lambda p: sidecar_path(p).write_text("{"), "not readable as JSON"),
    "sidecar not text": (lambda p: sidecar_path(p).write_bytes(b"\xff\xfe\x00"), "not readable as JSON"),
    "sidecar nested": (lambda p: sidecar_path(p).write_text("[" * 200_000), "not readable as JSON"),
    "sidecar a list": (lambda p: sidecar_path(p).write_text("[]"), "does not hold a JSON object"),
    "hash edited": (lambda p: edit(sidecar_path(p), sha256="0" * 64), "changed after it was written"),
    "seed edited": (lambda p: edit(sidecar_path(p), seeds={"simulation": 43}), "changed after it was written"),
    "sidecar bit": (lambda p: flip(sidecar_path(p), 30), "sidecar"),
    "sidecar a folder": (lambda p: (sidecar_path(p).unlink(), sidecar_path(p).mkdir()), "is a folder, not a regular"),
    "sidecar a pipe": (lambda p: (sidecar_path(p).unlink(), os.mkfifo(sidecar_path(p))), "is a device or pipe"),
    "sidecar a link": (lambda p: linked(sidecar_path(p)), "is a symbolic link, not a regular file"),
    "a link": (linked, "is a symbolic link, not a regular file"),
    "a link in a circle": (lambda p: (p.unlink(), p.symlink_to(p)), "is a symbolic link, not a regular file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "is a folder, not a regular file"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "is a device or pipe, not a regular file"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_every_harm_makes_the_file_absent_with_a_sentence(path: Path, harm: str) -> None:
    action, sentence = HARMS[harm]
    action(path)
    for quick in (False, True):
        with pytest.raises(ArtifactError, match=sentence) as caught:
            verified(path, quick=quick)
        assert str(path) in str(caught.value)


def test_a_sidecar_vouches_only_for_its_own_file(path: Path) -> None:
    other = path.with_name("patched_test.npz")
    shutil.copy(path, other)
    shutil.copy(sidecar_path(path), sidecar_path(other))
    with pytest.raises(ArtifactError, match=r"belongs to another file, 'patched_train\.npz'"):
        verified(other)


def test_a_full_disk_leaves_the_old_file_and_no_rest(path: Path, layout: Layout) -> None:
    def writer(file: BinaryIO) -> None:
        file.write(CONTENT)
        file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(path.parent.iterdir())
    with pytest.raises(ArtifactError, match=r"patched_train.npz could not be written .*free some space"):
        write_artifact(layout, path, writer, Provenance())
    assert sorted(path.parent.iterdir()) == before
    assert verified(path).sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_size_limit_of_the_system_leaves_nothing(
    layout: Layout, in_child: Callable[[Callable[[], Any]], tuple[int, Any]]
) -> None:
    target = layout.patched(Dose(1000), "test")

    def work() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_artifact(layout, target, lambda file: file.write(CONTENT), Provenance())
        except ArtifactError as error:
            return str(error)
        return "written"

    code, sentence = in_child(work)
    assert code == 0
    assert "larger than the limit" in sentence
    assert list(target.parent.iterdir()) == []


def test_an_error_while_reading_an_input_is_not_blamed_on_the_output(layout: Layout) -> None:
    def writer(_: BinaryIO) -> None:
        raise PermissionError(errno.EACCES, "denied", "/elsewhere/input.npz")

    with pytest.raises(PermissionError, match="elsewhere"):
        write_artifact(layout, layout.base, writer, Provenance())


def test_what_ended_processes_left_is_recognised(tmp_path: Path) -> None:
    gone, parent, own = 2**22 + 5, os.getppid(), os.getpid()
    dead, alive, mine, reused = (
        tmp_path / f".base.npz.{pid}.{digit * 16}.tmp"
        for pid, digit in ((gone, "0"), (parent, "1"), (own, "2"), (own, "3"))
    )
    folder = tmp_path / f".scratch.{parent}.0123456789abcdef.tmp"
    folder.mkdir()
    (folder / "inside").write_bytes(b"x")
    for file in (dead, alive, mine, reused, tmp_path / "base.npz", tmp_path / ".other.tmp"):
        file.write_bytes(b"x")
    os.utime(reused, (1, 1))
    assert is_temporary(dead.name)
    assert not is_temporary("base.npz")
    assert set(remove_leftovers(tmp_path)) == {dead, reused, folder}
    assert {entry.name for entry in tmp_path.iterdir()} == {alive.name, mine.name, "base.npz", ".other.tmp"}


def test_bytes_reach_the_disk_before_the_name(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.folder.mkdir(parents=True)
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        events.append(f"fsync {name.split('.')[1] if name.startswith('.') else 'folder'}")
        fsync(descriptor)

    def spy_replace(self: Path, target: Path) -> Path:
        events.append(f"rename {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    write_artifact(layout, layout.base, lambda file: file.write(CONTENT), Provenance())
    renames = [("rename base.npz", "fsync folder"), ("rename base.npz.manifest.json", "fsync folder")]
    assert events == ["fsync base", "fsync base", "fsync folder", *renames[0], *renames[1]]


def test_json_refuses_nan_and_names_it() -> None:
    with pytest.raises(ArtifactError, match=r"document.losses.1 has no JSON form"):
        json_bytes({"losses": [1.0, float("nan")]}, "history")
    with pytest.raises(ArtifactError, match=r"document.set"):
        json_bytes({"set": {1}}, "history")


def test_json_hash_does_not_depend_on_order() -> None:
    assert json_sha256({"a": 1, "b": [1, 2]}) == json_sha256({"b": [1, 2], "a": 1})
    assert json_sha256({"a": 1}) != json_sha256({"a": 1.5})
