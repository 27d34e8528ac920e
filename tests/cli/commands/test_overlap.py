"""``fly64 overlap FILE``: the overlap of the positions in a file, and one command for both uses."""

import json

import numpy as np
import pytest

from fly64_assets.physics.scan import split_indices, split_point, uniform_scan


def test_overlap_prints_the_golden_document(fly64, tmp_path):
    scan = uniform_scan(42, 10304, (464, 464), 128)
    x, y = scan.x, scan.y
    train = split_indices(y, split_point(y))["train"]
    path = tmp_path / "positions.npz"
    np.savez(path, xcoords=x[train], ycoords=y[train])
    options = ("--gridsize", 2, "--s-img", 0.8, "--n-groups", 512, "--probe-diameter-px", 38.4)
    answer = fly64("overlap", path, *options, "--rng-seed-subsample", 456, "--json")
    document = json.loads(answer.output)
    assert document["metric_1_group_based_avg"] == pytest.approx(0.8908832219844647, rel=1e-12)
    assert document["metrics_version"] == "1.0"
    text = " ".join(fly64("overlap", path, *options).output.split())
    assert "(mean area shared by probe discs 38.4 px wide: each frame with its 6 nearest frames)" in text
    assert "each frame of a group of four with its 3 nearest in the group" in text
    for wrong in (
        ("--s-img", 2),
        ("--s-img", "nan"),
        ("--probe-diameter-px", "nan"),
        ("--gridsize", 3),
        ("--n-groups", 0),
    ):
        assert fly64("overlap", path, *options, *wrong).exit_code == 2
    for arrays, message in (
        ({"x": x}, "xcoords, ycoords missing"),
        ({"xcoords": x, "ycoords": y[:5]}, "10304 xcoords but 5 ycoords"),
        ({"xcoords": x.astype(str), "ycoords": y}, "expected numbers of shape (n,)"),
    ):
        np.savez(path, **arrays)
        answer = fly64("overlap", path, *options)
        assert answer.exit_code == 1
        assert message in answer.output


def test_overlap_takes_the_probe_of_the_file_or_a_share_of_its_frames(fly64, base_file, tmp_path):
    options = ("--gridsize", 1, "--s-img", 1, "--n-groups", 8)
    document = json.loads(fly64("overlap", base_file, *options, "--json").stdout)
    assert 15 < document["probe_diameter_px"] < 32
    assert "probeGuess" in document["probe_diameter_source"]
    discs = document["probe_overlap"]["discs"]
    assert discs["half_energy"]["diameter_px"] == document["probe_diameter_px"] < discs["energy_90"]["diameter_px"]
    text = fly64("overlap", base_file, *options).output
    assert f"{100 * discs['energy_90']['linear']['nearest']:.1f}" in text
    assert "windows 64 px wide" in text
    path = tmp_path / "frames.npz"
    np.savez(path, xcoords=np.arange(5.0), ycoords=np.arange(5.0), diffraction=np.zeros((5, 64, 64), np.float32))
    document = json.loads(fly64("overlap", path, *options, "--json").stdout)
    assert document["probe_diameter_px"] == pytest.approx(38.4)
    assert document["probe_overlap"]["discs"]["given"]["linear"]["nearest"] == pytest.approx(1 - np.sqrt(2) / 38.4)
    assert document["probe_overlap"]["windows"]["nearest"] == pytest.approx(1 - np.sqrt(2) / 64)
    flat = {key: np.arange(20.0) for key in ("xcoords", "ycoords")}
    documents = []
    for shape in ((20,), (4, 5)):
        np.savez(
            path, **{key: values.reshape(shape) for key, values in flat.items()}, diffraction=np.zeros((20, 64, 64))
        )
        documents.append(json.loads(fly64("overlap", path, *options, "--rng-seed-subsample", 1, "--json").stdout))
    assert documents[0] == documents[1], "positions in rows and columns of a raster"
    np.savez(path, xcoords=np.zeros((4, 5)), ycoords=np.zeros((5, 4)))
    assert "expected numbers of shape (n,)" in fly64("overlap", path, *options).output
    np.savez(path, xcoords=np.arange(5.0), ycoords=np.arange(5.0))
    answer = fly64("overlap", path, *options)
    assert answer.exit_code == 1
    assert "--probe-diameter-px" in answer.output


OPTIONS = ("--gridsize", 1, "--s-img", 1, "--n-groups", 8)


@pytest.mark.parametrize("further", [(), ("--probe-diameter-px", 12)])
@pytest.mark.parametrize("kept", [("objectGuess", "probeGuess"), ("objectGuess",), ("probeGuess",), ("diffraction",)])
def test_positions_in_metres_are_refused_whatever_else_the_file_holds(fly64, base_file, tmp_path, kept, further):
    base = dict(np.load(base_file)) | {"diffraction": np.zeros((60, 64, 64), np.float32)}
    x, y = ((base[key] - 100) * 1e-8 for key in ("xcoords", "ycoords"))
    np.savez(tmp_path / "metres.npz", xcoords=x, ycoords=y, **{key: base[key] for key in kept})
    answer = fly64("overlap", tmp_path / "metres.npz", *OPTIONS, *further)
    assert answer.exit_code == 1
    assert "so they are no object pixels (metres?): divide them by the pixel size" in answer.output
    assert "metric" not in answer.output


@pytest.mark.parametrize("shift", [(-70, -70), (-32, -32), (500, 0)])
def test_overlap_asks_where_positions_count_from_as_a_base_does(fly64, base_file, tmp_path, shift):
    base = dict(np.load(base_file))
    base |= {"xcoords": base["xcoords"] + shift[0], "ycoords": base["ycoords"] + shift[1]}
    np.savez(tmp_path / "moved.npz", **base)
    answer = fly64("overlap", tmp_path / "moved.npz", *OPTIONS)
    assert answer.exit_code == 1
    assert "leave the object" in answer.output
    assert "fly64 base check" in answer.output
    assert fly64("base", "check", tmp_path / "moved.npz").exit_code == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_overlap_names_what_is_no_number(fly64, base_file, tmp_path, value):
    base = dict(np.load(base_file))
    base["xcoords"] = np.r_[value, base["xcoords"][1:]]
    np.savez(tmp_path / "broken.npz", **base)
    answer = fly64("overlap", tmp_path / "broken.npz", *OPTIONS)
    assert answer.exit_code == 1
    assert "xcoords" in answer.output


@pytest.mark.parametrize("diameter", ["1e300", "1e-300"])
def test_a_diameter_that_no_probe_has_is_refused(fly64, base_file, diameter):
    answer = fly64("overlap", base_file, "--probe-diameter-px", diameter)
    assert answer.exit_code == 1
    assert f"probe_diameter_px = {float(diameter):g}: must be in [0.1, 1,000,000]" in answer.output


def test_a_file_alone_is_measured_frame_by_frame(fly64, base_file):
    whole = fly64("overlap", base_file, "--gridsize", 1, "--s-img", 1, "--n-groups", 512, "--json")
    assert json.loads(fly64("overlap", base_file, "--json").stdout) == json.loads(whole.stdout)


def test_overlap_takes_columns_and_other_layouts_as_the_import_does(fly64, base_file, tmp_path):
    base = dict(np.load(base_file))
    plain = json.loads(fly64("overlap", base_file, *OPTIONS, "--json").stdout)
    for shape in ((-1, 1), (1, -1), (-1, 1, 1)):
        columns = {key: base[key].reshape(shape) for key in ("xcoords", "ycoords")}
        np.savez(tmp_path / "columns.npz", **{**base, **columns, "probeGuess": base["probeGuess"][None]})
        answer = fly64("overlap", tmp_path / "columns.npz", *OPTIONS, "--json")
        assert json.loads(answer.stdout) == plain
    last = np.zeros((64, 64, 60), np.float32)
    np.savez(tmp_path / "last.npz", xcoords=base["xcoords"], ycoords=base["ycoords"], diffraction=last)
    document = json.loads(fly64("overlap", tmp_path / "last.npz", *OPTIONS, "--json").stdout)
    assert document["probe_diameter_px"] == pytest.approx(38.4)
    np.savez(tmp_path / "table.npz", xcoords=np.zeros((5, 2)), ycoords=np.zeros((5, 2)))
    answer = fly64("overlap", tmp_path / "table.npz", *OPTIONS)
    assert "xcoords is float64 of shape (5, 2); expected numbers of shape (n,)" in answer.output


def test_overlap_shows_what_a_base_warns_of(fly64, base_file, tmp_path):
    base = dict(np.load(base_file))
    base["xcoords"][1], base["ycoords"][1] = base["xcoords"][0], base["ycoords"][0]
    np.savez(tmp_path / "twice.npz", **base)
    answer = fly64("overlap", tmp_path / "twice.npz", *OPTIONS)
    assert answer.exit_code == 0
    assert "1 of 60 positions repeat another one exactly" in answer.stderr


def test_overlap_has_one_help_for_both_of_its_uses(fly64):
    for arguments in (("overlap", "--help"), ("overlap", "x.npz", "--help")):
        text = fly64(*arguments).output
        assert "[OPTIONS] [FILE]" in text
        assert "--allow-missing" in text
        assert "FILE: groups to form" in text
