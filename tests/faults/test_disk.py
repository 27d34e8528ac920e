"""A full disk, a read-only file system, permissions lost in the middle, a clock that has gone back."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.ledger import Ledger
from faults.study import CELL_VIEW, CHAIN, ENGINE_STAGES, FULL, SIMULATED, Reference

from fly64_assets.store.keys import StageKey

STAGES = CHAIN[1:] if FULL else (SIMULATED,)
FRACTIONS = (0.02, 0.3, 0.6, 0.9) if FULL else (0.5,)
"""Share of what a stage writes for which there is room; of stages with an engine only one is tried."""
FULL_DISKS = [(key, share) for key in STAGES for share in (FRACTIONS[2:3] if key in ENGINE_STAGES else FRACTIONS)]


@pytest.fixture
def small_disk(reference: Reference) -> Iterator[Path]:
    """A file system in memory of its own; where none may be mounted, the test is skipped."""
    folder = Path(tempfile.mkdtemp(dir=reference.scratch))
    if os.geteuid() != 0 or not mounted(folder, "size=64m,mode=755"):
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mounted(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "fly64", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def used(folder: Path) -> int:
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize(("key", "fraction"), FULL_DISKS, ids=lambda one: getattr(one, "stage", str(one)))
def test_a_full_disk(reference: Reference, ledger: Ledger, small_disk: Path, key: StageKey, fraction: float) -> None:
    study = reference.copy(small_disk)
    full = used(small_disk)
    for name in reference.outputs(key):
        (study.layout.folder / name).unlink()
    room = full - used(small_disk)
    before = study.files()
    mounted(small_disk, f"remount,size={used(small_disk) + int(fraction * room)}")
    answer = study.run(key)
    assert not answer["ok"]
    assert re.search(r"disk is full|No space left", answer["reason"]), answer
    assert study.state(key) in ("failed", "missing")
    mounted(small_disk, "remount,size=64m")
    reference.after(ledger, "disk full", study, key, before)


@pytest.mark.parametrize("key", STAGES, ids=lambda key: key.stage)
def test_a_read_only_file_system(reference: Reference, ledger: Ledger, small_disk: Path, key: StageKey) -> None:
    study = reference.copy(small_disk)
    study.forget(key)
    before = study.files()
    mounted(small_disk, "remount,ro")
    answer = study.run(key)
    assert not answer["ok"]
    assert "read-only" in answer["reason"]
    assert study.files() == before
    mounted(small_disk, "remount,rw")
    reference.after(ledger, "file system read-only", study, key, before)


@pytest.mark.parametrize("key", STAGES, ids=lambda key: key.stage)
def test_permission_lost_in_the_middle(reference: Reference, ledger: Ledger, key: StageKey) -> None:
    points = reference.points[key]
    for point in (1, points // 3, points - 3) if FULL and key not in ENGINE_STAGES else (points // 2,):
        study = reference.copy()
        study.forget(key)
        before = study.files()
        answer = study.run(key, lose_permission_at=point)
        # Dagster's own files are lost to the process as well, so that it may end without an answer.
        assert not answer.get("ok")
        if os.geteuid() != 0:
            study.layout.folder_of(key).chmod(0o755)
        reference.after(ledger, "permission lost in the middle", study, key, before)


@pytest.mark.parametrize("key", STAGES if FULL else (CELL_VIEW,), ids=lambda key: key.stage)
def test_a_clock_that_has_gone_back(reference: Reference, ledger: Ledger, key: StageKey) -> None:
    """Everything on disk is from a future of ten years ahead."""
    folder = Path(tempfile.mkdtemp(dir=reference.scratch))
    study = reference.copy(folder)
    ahead = time.time() + 10 * 365 * 86400
    for path in study.root.rglob("*"):
        os.utime(path, (ahead, ahead))
    before = study.files()
    assert [other.stage for other in CHAIN if study.state(other) != "fresh"] == []
    study.forget(key)
    assert study.state(key) == "missing"
    reference.after(ledger, "clock gone back", study, key, before)
