"""Locks of processes that see one data root through different mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.store import BASE_ID, Workshop

from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import Dose, StageKey

KEY = StageKey("simulated", Dose(1000))
BUILDERS = 4
CHILD = """
import os, sys, time
from pathlib import Path
from fly64_assets.store.artifacts import ArtifactStore
from fixtures.store import BASE_ID, Workshop

root, log = Path(sys.argv[1]), Path(sys.argv[2])
store = ArtifactStore(root, "demo")
workshop = Workshop(store, store.layout(BASE_ID))
options = dict(inputs=(), parameters={"seed": 42}, design_sha256="0" * 64, code_version="1", seeds={})
from fly64_assets.store.keys import Dose, StageKey

def note(word):
    with log.open("a") as file:
        file.write(f"{word} {os.getpid()}\\n")

for _ in range(3):
    with store.build(workshop.layout, StageKey("simulated", Dose(1000)), **options) as build:
        if build.done:
            continue
        note("begins")
        time.sleep(0.1)
        build.write_bytes(workshop.layout.patched(Dose(1000), "train"), str(os.getpid()).encode())
        build.succeed({})
        note("ends")
"""


def may_mount() -> bool:
    asked = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return asked.returncode == 0


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_processes_with_mounts_of_their_own_take_turns(tmp_path: Path, kind: str) -> None:
    if not may_mount():
        pytest.skip("only root may mount file systems")
    root, tests = tmp_path / "data", Path(__file__).parents[1]
    root.mkdir()
    views = [tmp_path / f"view_{number}" for number in range(BUILDERS)]
    for view in views:
        view.mkdir()
    log = tmp_path / "log"
    child = f'mount --bind "{root}" "$VIEW" && exec "{sys.executable}" -c "$CHILD" "$VIEW" "{log}"'
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(root)], check=True)
    try:
        processes = [
            subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", child],
                cwd=tests,
                env={**os.environ, "VIEW": str(view), "CHILD": CHILD},
            )
            for view in views
        ]
        assert [process.wait(180) for process in processes] == [0] * BUILDERS
        store = ArtifactStore(root, "demo")
        workshop = Workshop(store, store.layout(BASE_ID))
        lines = [line.split() for line in log.read_text().splitlines()]
        begins, ends = lines[::2], lines[1::2]
        assert {word for word, _ in begins} == {"begins"}
        assert [pid for _, pid in begins] == [pid for _, pid in ends]
        assert workshop.layout.patched(Dose(1000), "train").read_text() == begins[-1][1]
        assert verify_folder(workshop.layout.folder).ok
    finally:
        if kind == "tmpfs":
            subprocess.run(["umount", str(root)], check=True)
