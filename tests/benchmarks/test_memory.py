"""Peak memory of the stages that read or write frames, each in a process of its own, at a number that would show."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMES = 10_000
HALF_MIB = FRAMES / 2 * 64 * 64 * 4 / 2**20
"""Frames of one half in memory, once: 78 MiB."""


@pytest.fixture(scope="module")
def peak(tmp_path_factory):
    """Peak of a stage in MiB, beyond a process that only loads the package."""
    folder = tmp_path_factory.mktemp("memory")

    def run(stage):
        command = [sys.executable, str(ROOT / "benchmarks/memory.py"), "--child", stage, "--folder", str(folder)]
        command += ["--frames", str(FRAMES)]
        found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        return json.loads(found.stdout.splitlines()[-1])["peak_mib"]

    least = run("imports")
    for stage in ("base", "simulate"):
        run(stage)
    return lambda stage: run(stage) - least


@pytest.mark.parametrize("stage", ["simulate", "views", "check", "hash", "counts", "import", "thin", "likelihood"])
def test_no_stage_holds_all_frames(peak, stage):
    # What is independent of the number of frames takes about 70 MiB, most of it copies of the object.
    assert peak(stage) < 1.3 * HALF_MIB
