"""`fly64 infer` and `fly64 pretrain` on a real data set."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from fixtures.scan import measure, soft_probe, write_data_set

from fly64_assets.cli.main import main


def fly64(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    rows, columns = np.mgrid[:140, :140]
    obj = 0.9 * np.exp(0.5j * np.sin(rows / 6.0) * np.cos(columns / 5.0))
    folder = tmp_path_factory.mktemp("scan")
    files = {}
    for dose in (20, 120, 10_000):
        files[dose] = write_data_set(
            folder / f"scan_{dose}.npz", measure(obj, soft_probe(64), 30, dose), obj, dose=dose
        )
    return files


def test_a_scan_is_reconstructed_by_the_network_of_the_package(scan, tmp_path):
    new = tmp_path / "object.npz"
    result = fly64("infer", "general", scan[10_000], new)
    assert result.exit_code == 0, result.output
    assert "30 frames in " in result.output
    with np.load(new) as file:
        assert file["reconstructed_object"].shape == (140, 140)
        assert file["coverage"].max() > 1
        metadata = json.loads(str(file["_metadata"]))
    assert metadata["outside_of_training"] == []
    assert metadata["network"]["architecture"] == "pretrained"
    assert metadata["gain_of_slow_phases"] is None
    result = fly64("infer", "general", scan[10_000], tmp_path / "with.npz", "--slow-phases")
    assert result.exit_code == 0
    with np.load(tmp_path / "with.npz") as file:
        gain = json.loads(str(file["_metadata"]))["gain_of_slow_phases"]
        changed = file["reconstructed_object"]
    with np.load(new) as file:
        assert gain > 0
        assert (gain > 0.25) == (not np.array_equal(changed, file["reconstructed_object"]))
    assert result.output.splitlines()[-2].startswith("slow phases" if gain > 0.25 else "no slow phases")
    again = fly64("infer", "general", scan[10_000], new)
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_a_scan_outside_of_the_training_is_named_and_one_far_outside_refused(scan, tmp_path):
    new = tmp_path / "object.npz"
    result = fly64("infer", "general", scan[120], new, "--strict")
    assert result.exit_code == 1
    assert not new.exists()
    result = fly64("infer", "general", scan[120], new)
    assert result.exit_code == 0
    assert "! mean photons per frame is 1" in result.output
    result = fly64("infer", "general", scan[20], tmp_path / "other.npz")
    assert result.exit_code == 1
    assert "outside of what general was trained for" in result.output
    assert not (tmp_path / "other.npz").exists()


def test_a_network_is_trained_and_used(scan, tmp_path):
    net, new = tmp_path / "net.zip", tmp_path / "object.npz"
    result = fly64("pretrain", net, "--seconds", 3, "--batch", 1, "--fields", 32, "--photons", 1e3, 1e5)
    assert result.exit_code == 0, result.output
    shown = fly64("bundle", "show", net, "--json")
    params = json.loads(shown.output)["params"]
    assert params["applicability"]["photons_per_frame"] == [1e3, 1e5]
    assert fly64("infer", net, scan[10_000], new).exit_code == 0
    result = fly64("pretrain", net, "--start", net, "--seconds", 1)
    assert result.exit_code == 2
    assert "would replace" in result.output
    result = fly64("pretrain", tmp_path / "x.zip", "--seconds", 1e-9, "--fields", 1)
    assert result.exit_code == 1
    assert "nothing is trained" in result.output
    assert not (tmp_path / "x.zip").exists()
    (tmp_path / "file").write_text("")
    result = fly64("pretrain", tmp_path / "file" / "x.zip")
    assert result.exit_code == 1
    assert "is no folder" in result.output
    result = fly64("pretrain", tmp_path / "x.zip", "--photons", 10, 5)
    assert result.exit_code == 2
    assert "expected MIN < MAX" in result.output


def test_a_file_that_is_no_network_is_refused(scan, tmp_path):
    result = fly64("infer", scan[10_000], scan[10_000], tmp_path / "object.npz")
    assert result.exit_code == 1
    assert "not a readable bundle" in result.output or "members" in result.output
