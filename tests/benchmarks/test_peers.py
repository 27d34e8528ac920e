"""What other packages get is what the study measured, and what comes back is chosen without the truth."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.windows import Scan
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study.design import StudyDesign

DESIGN = StudyDesign(name="tiny", base=BaseRecipe("coins", "grass", 128, 60))
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    return importlib.import_module


@pytest.fixture
def frames_of(module, tmp_path_factory):
    """The frames of a cell, written to a file and read from it."""

    def frames_of(cell):
        file = tmp_path_factory.mktemp("frames") / "frames.cxi"
        module("export").write_frames(file, cell.test, seed=1)
        return module("frames_file").read_frames(file)

    return frames_of


@pytest.fixture
def exported(module):
    return dict(module("export").cells_of(DESIGN, ["baseline:1000"]))


def test_a_file_holds_the_counts_positions_and_probe_of_the_cell_and_no_truth(module, exported, tmp_path):
    cell, file = exported["baseline_1000"], tmp_path / "frames.cxi"
    module("export").write_frames(file, cell.test, seed=1)
    frames = module("frames_file").read_frames(file)
    assert np.array_equal(frames.counts, cell.test.counts())
    assert np.array_equal(frames.x, cell.test.x)
    assert np.array_equal(frames.y, cell.test.y)
    assert np.array_equal(frames.index, cell.test.scan_index)
    assert np.allclose(frames.probe, cell.test.intensity_scale * cell.test.probe, rtol=1e-6, atol=0)
    assert frames.object_shape == cell.truth.shape
    assert frames.fitted(everything=True)[0] is frames.counts
    assert np.array_equal(frames.fitted(everything=False)[0] + frames.held_out, frames.counts)
    assert 0.05 < frames.held_out.sum() / frames.counts.sum() < 0.15
    assert cell.truth.tobytes() not in file.read_bytes()


def test_the_expected_counts_are_those_of_probe_and_object_at_the_positions(frames_of, exported):
    # Both files: what the probe of the file predicts from the truth, with unit scale, is what was counted.
    for name, cell in exported.items():
        frames = frames_of(cell)
        scan = Scan(frames.x, frames.y, frames.object_shape, len(frames.probe))
        rates = patch_counts(cell.truth, frames.probe, scan, 1.0)
        bright = rates > 2
        chi_square = np.mean((frames.counts - rates)[bright] ** 2 / rates[bright])
        assert 0.8 < chi_square < 1.2, name


def test_whole_pixels_are_the_same_frames_at_rounded_positions(exported):
    cell, whole = exported["baseline_1000"], exported["baseline_1000_whole"]
    for half in ("train", "test"):
        fine, rounded = getattr(cell, half), getattr(whole, half)
        assert np.array_equal(rounded.x, np.rint(fine.x))
        assert np.array_equal(rounded.y, np.rint(fine.y))
        assert np.array_equal(rounded.scan_index, fine.scan_index)
        assert not np.array_equal(rounded.amplitude, fine.amplitude)


def test_an_object_comes_back_to_its_place_on_the_grid(frames_of, exported):
    cell = exported["baseline_1000_whole"]
    frames = frames_of(cell)
    for margin in (-5, 3):  # a package's object that ends before the grid, and one that reaches beyond it
        obj = np.pad(cell.truth, margin) if margin > 0 else cell.truth[-margin:margin, -margin:margin]
        corners = frames.corners + margin
        offset = frames.offset(corners)
        assert offset.tolist() == [-margin, -margin]
        inside = slice(max(0, -margin), min(0, margin) or None)
        placed = frames.on_grid(obj, offset)
        assert np.array_equal(placed[inside, inside], cell.truth[inside, inside])
        assert placed.shape == cell.truth.shape


def test_held_out_counts_choose_and_the_truth_has_a_row_of_its_own(module, frames_of, exported, tmp_path):
    cell = exported["baseline_1000_whole"]
    frames = frames_of(cell)
    noise = np.random.default_rng(1).normal(size=(2, *cell.truth.shape))
    objects = np.stack([cell.truth + k * (noise[0] + 1j * noise[1]) for k in (0.8, 0.05, 0.3)]).astype(np.complex64)
    # The truth chooses the second object of all counts; the held-out counts the first of those that were fitted.
    run = module("frames_file").Run(
        "baseline_1000_whole",
        "package",
        "step 1",
        [1, 2, 3],
        [0.1, 0.2, 0.3],
        objects,
        objects[[1, 2, 0]],
        frames.corners,
    )
    module("frames_file").write_run(tmp_path, run)
    (path,) = tmp_path.iterdir()
    by_counts, by_truth = module("score").rows_of([module("frames_file").read_run(path)], frames, cell, 2.0, truth=True)
    assert by_counts[:5] == ("baseline_1000_whole", "package", "held-out counts", "step 1", 1)
    assert by_truth[2:6] == ("truth", "step 1", 2, "0.2")
    assert float(by_truth[6]) < 0.08 < float(by_counts[6])
    itself = replace(run, fitted=None, corners=None)
    assert [row[2:5] for row in module("score").rows_of([itself], frames, cell, 2.0, truth=True)] == [
        ("itself", "step 1", 1)
    ]


def test_the_table_has_the_choice_of_the_counts_and_in_brackets_that_of_the_truth(module, monkeypatch, tmp_path):
    tables = module("tables")
    monkeypatch.setattr(module("table_rows"), "RESULTS", tmp_path)
    lines = [
        ",".join(module("score").COLUMNS),
        "dense_1000,cdtools amplitude,truth,rate 1,2,0.2,0.1",
        "dense_1000,cdtools amplitude,held-out counts,rate 2,9,0.6,0.2",
        "dense_1000,pty-chi epie,itself,,3,1.4,0.3",
        "dense_1000_whole,tv_ml,itself,TV weight 0.3,3,5,0.4",
    ]
    (tmp_path / "peers.csv").write_text("\n".join(lines) + "\n")
    own = tables.Contest([{
        "object": "demo", "view": "dense", "dose": "1000", "method": "tv_ml", "seed": "1", "phase_rmse": "0.5",
    }])  # fmt: skip
    made = tables.TABLES["peers"](own).splitlines()
    assert "| `tv_ml` | 0.5000 | – | – |" in made
    assert made[-2:] == ["| pty-chi epie | 0.3 | – | – |", "| cdtools amplitude | 0.2 (0.1) | – | – |"]
    assert tables.TABLES["peers_whole"](own).splitlines()[2:] == ["| `tv_ml` | 0.4 | – | – |"]
    assert "| cdtools amplitude | rate 2, 9 iterations, 0.6 s | – | – |" in tables.TABLES["peers_choices"](own)


def test_the_check_of_other_programs_has_every_form_and_what_is_expected(module, tmp_path):
    module("open_exports").write(tmp_path)
    assert {"data.cxi", "data.npz", "object.h5", "object.cxi", "expected.npz"} < {p.name for p in tmp_path.iterdir()}
    with np.load(tmp_path / "expected.npz") as expected, np.load(tmp_path / "data.npz") as file:
        assert np.array_equal(file["patterns"], expected["counts"])
        assert np.array_equal(file["bad_pixels"], expected["bad"])
        assert not expected["counts"][:, expected["bad"]].any()
