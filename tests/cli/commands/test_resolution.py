"""`fly64 resolution`: a real data set, its halves, reconstructions by LSQML and by anybody else."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from fixtures.scan import gaps, write_data_set

from fly64_assets.cli.main import main
from fly64_assets.contract.metadata import decode_metadata, encode_metadata
from fly64_assets.contract.npz import load_dataset, validate_file, write_npz
from fly64_assets.physics.counts import stored_amplitude
from fly64_assets.physics.forward import exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan

N, SIDE = 64, 128


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty frames of a smooth object at many photons, as a DATA-001 file; the object beside it."""
    random = np.random.default_rng(4)
    axis = np.arange(SIDE) / 7
    obj = (0.85 + 0.1 * np.sin(axis[:, None])) * np.exp(0.6j * np.cos(axis)[:, None] * np.sin(1.3 * axis)[None, :])
    grid = np.arange(N) - N / 2
    squared = grid[:, None] ** 2 + grid[None, :] ** 2
    probe = np.exp(-squared / 200 + 0.02j * squared).astype(np.complex64)
    x, y = random.uniform(44, 84, (2, 40))
    scale = intensity_scale(1e5, exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe))))
    counts = random.poisson(patch_counts(obj, probe, Scan(x, y, obj.shape, len(probe)), scale))
    path = tmp_path_factory.mktemp("data") / "scan.npz"
    measured = Measurement(stored_amplitude(counts, scale), scale, probe, x, y, obj.shape, np.arange(40))
    return write_data_set(path, measured, obj), obj


def masked_file(path, data, value):
    """The data set with bad pixels in which other programs left a value."""
    with np.load(data) as file:
        arrays = dict(file)
    document = decode_metadata(arrays["_metadata"])
    counts = load_dataset(data).measurement().counts()[:, ~gaps(N)]
    document["physics_parameters"]["expected_mean_counts"] = float(counts.sum() / len(counts))
    arrays["_metadata"] = encode_metadata(document)
    frames = np.where(gaps(N), np.float32(value), arrays["diffraction"])
    np.savez(path, **(arrays | {"diffraction": frames, "bad_pixels": gaps(N)}))
    return path


def fly64(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def write_object(path, obj):
    with path.open("wb") as file:
        write_npz(file, {"reconstructed_object": obj.astype(np.complex64)})
    return path


def test_reconstructions_of_anybody_are_compared_and_the_halves_kept(data, tmp_path):
    path, obj = data
    random = np.random.default_rng(5)
    files = [write_object(tmp_path / f"{k}.npz", obj + 0.02 * random.normal(size=obj.shape)) for k in (1, 2)]
    answer = fly64("resolution", path, "--objects", *files, "--save", tmp_path / "halves", "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output)
    assert found["frames"] == [20, 20]
    assert found["scores"]["frc_half_bit"]["value"] > 2
    assert len(found["frc"]["correlation"]) > 10
    indices = []
    for number in (1, 2):
        half = tmp_path / "halves" / f"half_{number}.npz"
        assert validate_file(half).errors == ()
        indices += load_dataset(half).scan_index.tolist()
    assert sorted(indices) == list(range(40))
    said = fly64("resolution", path, "--objects", *files)
    assert "two halves of 20 and 20 frames" in said.output
    assert f"{found['scores']['frc_05']['value']:.2f} px" in said.output


def test_halves_keep_the_mask_and_nothing_of_what_is_under_it(data, tmp_path):
    files = [write_object(tmp_path / f"{k}.npz", data[1]) for k in (1, 2)]
    for name, value in (("nan", np.nan), ("bright", 65535.0)):
        masked = masked_file(tmp_path / f"{name}.npz", data[0], value)
        answer = fly64("resolution", masked, "--objects", *files, "--save", tmp_path / name)
        assert answer.exit_code == 0, answer.output
    whole = load_dataset(data[0])
    for half in ("half_1.npz", "half_2.npz"):
        assert (tmp_path / "nan" / half).read_bytes() == (tmp_path / "bright" / half).read_bytes()
        found = load_dataset(tmp_path / "nan" / half)
        np.testing.assert_array_equal(found.bad_pixels, gaps(N))
        counts = whole.measurement().counts(found.scan_index)[:, ~gaps(N)].sum(axis=1)
        assert found.metadata["physics_parameters"]["expected_mean_counts"] == pytest.approx(counts.mean(), rel=1e-12)


@pytest.mark.slow
def test_lsqml_reconstructs_the_halves_without_a_truth(data, tmp_path):
    study = tmp_path / "quick.yaml"
    study.write_text("name: quick\nlsqml: {epochs: 12}\n")
    answer = fly64("--study", study, "resolution", data[0], "--save", tmp_path / "halves", "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output[answer.output.index("{") :])
    assert 2 <= found["scores"]["frc_half_bit"]["value"] < 40
    assert (tmp_path / "halves" / "half_2" / "ptychi_reconstruction.npz").is_file()


def test_what_does_not_fit_is_said_in_one_sentence(data, tmp_path):
    path, obj = data
    whole = write_object(tmp_path / "whole.npz", obj)
    small = write_object(tmp_path / "small.npz", obj[:40])
    answer = fly64("resolution", path, "--objects", whole, small)
    assert answer.exit_code == 1
    assert "shape" in answer.output
    answer = fly64("resolution", path, "--objects", whole, path)
    assert answer.exit_code == 1
    assert "holds no 'reconstructed_object'" in answer.output
    assert fly64("resolution", tmp_path / "none.npz").exit_code == 1


def test_measured_counts_without_an_object_and_nothing_is_replaced(data, tmp_path):
    dataset = load_dataset(data[0])
    measured = tmp_path / "measured.npz"
    counts = dataset.measurement().counts(slice(None)).astype(np.uint32)
    x, y = dataset.x - 64, dataset.y - 64
    np.savez(measured, diff3d=counts, probeGuess=dataset.probe, xcoords=x, ycoords=y)
    answer = fly64(
        "resolution", measured, "--objects", tmp_path / "a.npz", tmp_path / "b.npz", "--save", tmp_path / "h"
    )
    assert answer.exit_code == 1  # the halves are there, the objects are not
    half = load_dataset(tmp_path / "h" / "half_1.npz")
    files = [write_object(tmp_path / name, np.ones(half.object.shape)) for name in ("a.npz", "b.npz")]
    answer = fly64("resolution", measured, "--objects", *files)
    assert answer.exit_code == 0, answer.output
    assert "two halves of 20 and 20 frames" in answer.output
    assert "objectGuess holds ones in place of the object" in answer.output
    again = fly64("resolution", measured, "--objects", *files, "--save", tmp_path / "h")
    assert again.exit_code == 1
    assert "exists already" in again.output
    own = fly64("resolution", tmp_path / "h" / "half_1.npz", "--objects", *files, "--save", tmp_path / "h", "--force")
    assert own.exit_code == 2
    assert "would replace" in own.output
    np.savez(tmp_path / "corner.npz", **{**np.load(measured), "probeGuess": np.fft.fftshift(dataset.probe)})
    answer = fly64("resolution", tmp_path / "corner.npz")
    assert answer.exit_code == 1
    assert "--probe-corner" in answer.output
    assert "fly64 import" in answer.output
