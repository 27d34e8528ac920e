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
    for wrong in (("--s-img", 2), ("--gridsize", 3), ("--n-groups", 0)):
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
    document = json.loads(fly64("overlap", base_file, *options, "--json").output)
    assert 15 < document["probe_diameter_px"] < 32
    assert "probeGuess" in document["probe_diameter_source"]
    path = tmp_path / "frames.npz"
    np.savez(path, xcoords=np.arange(5.0), ycoords=np.arange(5.0), diffraction=np.zeros((5, 64, 64), np.float32))
    document = json.loads(fly64("overlap", path, *options, "--json").output)
    assert document["probe_diameter_px"] == pytest.approx(38.4)
    np.savez(path, xcoords=np.arange(5.0), ycoords=np.arange(5.0))
    answer = fly64("overlap", path, *options)
    assert answer.exit_code == 1
    assert "--probe-diameter-px" in answer.output


def test_overlap_has_one_help_for_both_of_its_uses(fly64):
    for arguments in (("overlap", "--help"), ("overlap", "x.npz", "--help")):
        text = fly64(*arguments).output
        assert "[OPTIONS] [FILE]" in text
        assert "--allow-missing" in text
        assert "FILE: groups to form" in text
