"""``fly64 base`` for a study of measured frames: what a file can carry, its import, its options."""

import json

import numpy as np
import pytest
from fixtures.measured import write_measured

from fly64_assets.cli.commands.base import base
from fly64_assets.cli.commands.importing import import_data
from fly64_assets.contract.npz import open_npz
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import BASE

DESIGN = """
name: small
patch_size_pixels: 64
scan: measured
dose_list: [1000, 10000, 1e6]
measured: {calibrate: false}
"""


@pytest.fixture
def design(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(DESIGN)
    return path


@pytest.fixture
def frames(tmp_path):
    return write_measured(tmp_path / "frames.npz").path


def test_base_import_and_check_have_every_option_of_import():
    own = {"out", "force", "as_json"}
    names = {parameter.name for parameter in import_data.params} - own
    for command in ("import", "check"):
        assert names <= {parameter.name for parameter in base.commands[command].params}


@pytest.mark.parametrize("words", [["import"], ["check"]])
def test_options_about_frames_are_refused_where_frames_are_simulated(fly64, base_file, words):
    answer = fly64("base", *words, base_file, "--counts", "--gain", 2, "--frames-first")
    assert answer.exit_code == 2
    assert "--gain, --counts, --frames-last: " in answer.output
    assert "reads no frames, which are simulated from the base" in " ".join(answer.output.split())
    assert fly64("base", *words, base_file).exit_code == 0


def test_check_says_what_the_file_can_carry_and_writes_nothing(fly64, design, frames, tmp_path):
    answer = fly64("base", "check", frames, study=design)
    assert answer.exit_code == 0, answer.output
    assert "60 frames of 64 px with 2.0" in answer.output
    assert "doses of 1000, 10000 photons per frame can be made; 1e+06 will be skipped: 2.0" in answer.output
    assert "view sparse: 2 train and 2 test frames; it will be skipped where there are fewer than 4" in answer.output
    assert "a linear overlap of" in answer.output
    assert answer.output.endswith("frames.npz: can carry study small\n")
    assert not (tmp_path / "data").exists()
    document = json.loads(fly64("base", "check", frames, "--json", "--strict", study=design).output)
    assert not document["ok"]
    assert {"STUDY.measured_doses", "STUDY.measured_views"} <= {
        one["code"] for one in document["findings"] if one["severity"] == "error"
    }


def test_check_names_the_option_that_is_lacking(fly64, design, frames):
    arrays = open_npz(frames)
    np.savez(frames, **{key: array for key, array in arrays.items() if key != "probeGuess"})
    answer = fly64("base", "check", frames, study=design)
    assert answer.exit_code == 1
    assert "frames.npz lacks probeGuess" in answer.output
    assert "start from the mean frame with --probe-from-frames" in answer.output
    with_probe = fly64("base", "check", frames, "--probe-from-frames", study=design)
    assert "can carry study small" in with_probe.output


def test_import_list_and_use(fly64, design, frames, tmp_path):
    answer = fly64("base", "import", frames, study=design)
    assert answer.exit_code == 0, answer.output
    assert "is the active base of study small: object 132 x 132 px, N = 64, 60 positions" in answer.output
    assert "60 measured frames with 2.0" in answer.output
    assert "taken from the file (measured.calibrate: false)" in answer.output
    listed = fly64("base", "list", study=design)
    assert "measured frames with 2.0" in listed.output
    (row,) = json.loads(fly64("base", "list", "--json", study=design).output)["bases"]
    assert row["active"]
    assert row["frames"] == 60
    assert fly64("base", "use", row["base"], study=design).exit_code == 0
    assert fly64("status", study=design).exit_code == 0


def test_a_base_that_failed_is_listed_with_its_reason_and_is_not_used(fly64, design, frames, tmp_path):
    store = ArtifactStore(tmp_path / "data", "small")
    layout = store.layout("frames_01234567")
    facts = {"inputs": {}, "parameters": {}, "design_sha256": "0" * 64, "code_version": "1", "seeds": {}}
    with pytest.raises(RuntimeError), store.build(layout, BASE, **facts):
        raise RuntimeError("the frames do not fit")
    listed = fly64("base", "list", study=design)
    assert listed.exit_code == 0
    assert "frames_01234567" in listed.output
    assert "failed: RuntimeError: the frames do not fit" in listed.output
    answer = fly64("base", "use", "frames_01234567", study=design)
    assert answer.exit_code == 1
    assert "the frames do not fit" in answer.output
