"""``fly64 import`` as a user of measured data has it."""

import re

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from fixtures import foreign_files as layouts
from fixtures.letter import measured_letter

from fly64_assets.cli.main import main
from fly64_assets.contract.npz import load_dataset
from fly64_assets.contract.orientation import ORIENTATIONS, turned


@pytest.fixture
def call():
    return lambda *arguments: CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture
def scan(tmp_path):
    layouts.cxi(tmp_path / "scan.cxi", measured_letter())
    return tmp_path / "scan.cxi"


def test_import_and_legacy_import_are_one_command(call, scan, tmp_path):
    assert main.commands["import"] is main.commands["legacy"].commands["import"]
    for words, name in ((["import"], "a.npz"), (["legacy", "import"], "b.npz")):
        answer = call(*words, scan, tmp_path / name)
        assert answer.exit_code == 0, answer.output
        assert answer.output.endswith(f"{name}: written\n")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("words", [["import"], ["legacy", "import"], ["legacy", "export"]])
@pytest.mark.parametrize("name", ["b32.h5", "b32", "b32.cxi"])
def test_an_archive_is_written_under_no_other_name(call, scan, tmp_path, words, name):
    answer = call(*words, scan, tmp_path / name)
    assert answer.exit_code == 2
    assert f"{name} does not end in .npz" in answer.output
    assert not (tmp_path / name).exists()


def test_a_new_folder_is_said(call, scan, tmp_path):
    out = tmp_path / "new" / "deeper" / "scan.npz"
    assert f"{out}: written, in the new folder {out.parent}\n" in call("import", scan, out).output
    assert call("import", scan, out, "--force").output.endswith(f"{out}: written\n")


def test_the_advice_about_metres_can_be_followed(call, scan, tmp_path):
    """Positions about zero in metres, without an object: the grid is made where they are."""
    with h5py.File(scan, "r+") as file:
        del file["entry_1/instrument_1/source_1/energy"]
    letter, out = measured_letter(), tmp_path / "out.npz"
    refused = call("import", scan, out).output
    assert "--positions-unit m --pixel-size" in refused
    assert "from-centre" not in refused
    for extra in ((), ("--positions", "from-centre"), ("--positions", "corners")):
        answer = call("import", scan, out, "--positions-unit", "m", "--pixel-size", letter.pixel, *extra, "--force")
        assert answer.exit_code == 0, answer.output
        found = load_dataset(out)
        moved = np.stack([found.x - letter.x, found.y - letter.y])
        assert np.allclose(moved, moved[:, :1], atol=1e-4)
        margins = found.x.min() - 32, found.y.min() - 32
        assert min(margins) >= 0


def test_a_probe_of_another_unit_is_named_by_import_and_export_and_scaled(call, scan, tmp_path):
    out, scaled = tmp_path / "out.npz", tmp_path / "scaled.npz"
    assert "warning    (contract) = PROBE-001.photons" in call("import", scan, out).output
    exported = call("export", "data", out, tmp_path / "out.cxi")
    assert exported.exit_code == 0, exported.output
    assert "PROBE-001.photons" in exported.output
    assert "PROBE-001" not in call("import", out, scaled, "--scale-probe").output
    exported = call("export", "data", scaled, tmp_path / "scaled.cxi")
    assert "PROBE-001" not in exported.output
    with h5py.File(tmp_path / "scaled.cxi") as file:
        photons = np.sum(np.abs(file["entry_1/instrument_1/source_1/illumination"][()]) ** 2)
        counts = file["entry_1/data_1/data"][()].sum(axis=(1, 2)).mean()
    assert photons == pytest.approx(counts, rel=0.2)  # less what falls on bad pixels


def test_the_help_says_which_way_frames_turn_and_the_order_of_the_steps(call):
    text = re.sub(r"\s+", " ", call("import", "--help").output)
    assert "rotate-90 counterclockwise as a picture with row 0 at the top" in text
    assert "flip-x mirrors left and right, flip-y top and bottom, transpose exchanges rows and columns" in text
    frame = np.zeros((8, 8))
    frame[4, 6] = 1  # to the right of the DC (4, 4)
    expected = {"rotate-90": (2, 4), "flip-x": (4, 2), "flip-y": (4, 6), "transpose": (6, 4), "rotate-270": (6, 4)}
    for name in set(ORIENTATIONS) & set(expected):
        assert np.argwhere(turned(frame, name)).tolist() == [list(expected[name])], name
    order = text[text.index("Steps are done in this order") :]
    named = ("--drop-frames", "masks", "--orientation", "--centre", "--crop", "--scale-probe")
    assert [order.index(name) for name in named] == sorted(order.index(name) for name in named)
