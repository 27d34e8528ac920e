"""A study of measured frames by two commands, from the file to the report."""

from __future__ import annotations

import json

import pytest
from fixtures.measured import write_measured

from fly64_assets.contract.npz import open_npz
from fly64_assets.measured.pairs import HALVES

STUDY = """
name: scan
patch_size_pixels: 64
scan: measured
dose_list: [1e4, 1e5]
overlap_views: {}
measured: {calibrate: false, thinning: independent}
pinn: {epochs: 1, levels: [0.3, 0.1], level_iterations: 4, steps_per_epoch: 2}
lsqml: {epochs: 2, stopping: epochs}
tv_ml: {levels: [0.3, 0.1], steps: 3}
"""


@pytest.mark.slow
def test_two_commands_from_the_file_to_the_report(fly64, tmp_path):
    study = tmp_path / "scan.yaml"
    study.write_text(STUDY)
    file = write_measured(tmp_path / "frames.npz", masked=True).path
    answer = fly64("base", "import", file, study=study)
    assert answer.exit_code == 0, answer.output
    answer = fly64("run", study=study)
    assert answer.exit_code == 0, answer.output

    (folder,) = (path.parent for path in (tmp_path / "data" / "scan").glob("*/base.npz"))
    halves = {path.name: open_npz(path) for path in folder.rglob("*pairs.npz")}
    assert set(halves) == {"pairs.npz", "test_pairs.npz"}
    assert all(tuple(objects) == HALVES for objects in halves.values())
    (judged,) = (
        json.loads(path.read_text()) for path in folder.rglob("comparison.json") if "dose_10000/" in path.as_posix()
    )
    assert judged["splits"]["test"]["primary"] == "counts complement"
    report = (folder / "report" / "report.md").read_text()
    assert "thinning can only take some away: a dose of 100000 is skipped" in report

    states = json.loads(fly64("status", "--json", study=study).output)["cells"]
    assert {stage["state"] for stage in states} == {"fresh", "skipped"}
    assert {stage["state"] for stage in states if stage["dose"] == 100_000} == {"skipped"}
    assert fly64("run", "--dry-run", study=study).exit_code == 0
