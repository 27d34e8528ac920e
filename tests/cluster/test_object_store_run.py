"""The tiny study on a data root in an object store: the same bytes as in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.object_store import s3_address, s3_url  # noqa: F401

TINY = Path(__file__).parents[2] / ".ci" / "tiny.yaml"


def fly64(root: str, home: Path, *command: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "fly64_assets.cli.main", "--study", str(TINY), "--data-root", root, *command]
    home.mkdir(exist_ok=True)
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "DAGSTER_HOME": str(home)})


@pytest.mark.cluster
def test_base_and_frames_have_the_same_sha256(s3_url: str, tmp_path: Path) -> None:  # noqa: F811
    roots = {str(tmp_path / "data"): tmp_path / "home_folder", s3_url: tmp_path / "home_store"}
    runs = [fly64(root, home, "generate") for root, home in roots.items()]
    assert [(run.communicate()[0], run.returncode)[1] for run in runs] == [0, 0]
    found = []
    for root, home in roots.items():
        with fly64(root, home, "status", "--json") as asked:
            cells = json.loads(asked.communicate()[0])["cells"]
        found.append({cell["path"]: cell["sha256"] for cell in cells if cell["sha256"]})
    assert found[0] == found[1]
    assert len(found[0]) == 3
