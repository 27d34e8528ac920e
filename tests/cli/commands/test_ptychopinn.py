"""``fly64 legacy`` as a user has it."""

import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from fixtures import foreign_files as layouts
from fixtures.letter import measured_letter

from fly64_assets.cli.main import main
from fly64_assets.contract.npz import validate_file
from fly64_assets.study.design import load_design


def load_npz(path):
    with np.load(path) as held:
        return dict(held)


@pytest.fixture
def call():
    return lambda *arguments: CliRunner().invoke(main, ["legacy", *map(str, arguments)])


def test_a_good_configuration_becomes_a_design_file(call, tmp_path):
    (tmp_path / "t.yaml").write_text("model: {N: 64, gridsize: 2}\nneighbor_count: 7\nnepochs: 3\nnphotons: 1e4\n")
    result = call("config", tmp_path / "t.yaml", "--design", tmp_path / "study.yaml")
    assert result.exit_code == 0, result.output
    assert "understood nepochs = 3: pinn.epochs" in result.output
    design = load_design(tmp_path / "study.yaml")
    assert (design.pinn.epochs, design.doses) == (3, (10000,))


def test_a_refused_key_writes_nothing_and_fails(call, tmp_path):
    (tmp_path / "t.yaml").write_text("nepoch: 3\n")
    result = call("config", tmp_path / "t.yaml", "--design", tmp_path / "study.yaml")
    assert result.exit_code == 1
    assert "did you mean nepochs" in result.output
    assert not (tmp_path / "study.yaml").exists()
    document = json.loads(call("config", tmp_path / "t.yaml", "--json").output)
    assert (document["ok"], document["entries"][0]["verdict"]) == (False, "refused")


def test_what_is_no_file_is_one_sentence(call, tmp_path):
    for command in (("config", "no.yaml"), ("import", "no.npz", "out.npz"), ("export", "no.npz", "out.npz")):
        result = call(*(tmp_path / part if "." in part else part for part in command))
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def measured(tmp_path):
    """Counts of a measurement, without an object; positions count from the middle of the scan."""
    path = tmp_path / "measured.npz"
    random = np.random.default_rng(3)
    axis = np.arange(64) - 32
    probe = 50**0.5 * np.exp(-np.add.outer(axis**2, axis**2) / 200 + 0.3j * np.add.outer(axis, axis) / 9)
    rates = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"))) ** 2
    x, y = random.uniform(-20, 20, (2, 12))
    np.savez(path, diff3d=random.poisson(rates, (12, 64, 64)).astype(np.uint16), probeGuess=probe, xcoords=x, ycoords=y)
    return path


def test_a_measurement_without_an_object_is_imported(call, measured, tmp_path):
    out = tmp_path / "out.npz"
    result = call("import", measured, out)
    assert result.exit_code == 0, result.output
    assert "stand_in_object" in result.output
    assert "info       (contract) = DATA-001.metadata: objectGuess holds ones in place of the object" in result.output
    assert validate_file(out).errors == ()
    assert CliRunner().invoke(main, ["contract", "check", str(out), "--strict"]).exit_code == 0
    assert call("import", measured, tmp_path / "strict.npz", "--strict").exit_code == 0


def test_warnings_are_printed_and_strict_writes_nothing(call, measured, tmp_path):
    arrays = dict(np.load(measured))
    arrays["xcoords"][1], arrays["ycoords"][1] = arrays["xcoords"][0], arrays["ycoords"][0]
    path = tmp_path / "twice.npz"
    np.savez(path, **arrays)
    result = call("import", path, tmp_path / "out.npz")
    assert result.exit_code == 0
    assert (
        "! warning    (contract) = DATA-001.coordinates: 1 of 12 positions repeat another one exactly" in result.output
    )
    result = call("import", path, tmp_path / "strict.npz", "--strict", "--json")
    document = json.loads(result.output)
    assert (result.exit_code, document["ok"], document["written"]) == (1, False, None)
    assert not (tmp_path / "strict.npz").exists()
    assert CliRunner().invoke(main, ["contract", "check", str(tmp_path / "out.npz")]).exit_code == 0
    assert CliRunner().invoke(main, ["contract", "check", str(tmp_path / "out.npz"), "--strict"]).exit_code == 1


def test_no_command_writes_over_its_input_or_an_existing_file(call, measured, tmp_path):
    good = tmp_path / "good.npz"
    assert call("import", measured, good).exit_code == 0
    config = tmp_path / "c.yaml"
    config.write_text("nepochs: 3\n")
    (tmp_path / "hard.npz").hardlink_to(good)
    (tmp_path / "soft.npz").symlink_to(good)
    before = {path: path.read_bytes() for path in (measured, good, config)}
    for command in (("import", measured, measured), ("export", good, good), ("config", config, "--design", config)):
        for force in ((), ("--force",)):
            result = call(*command, *force)
            assert result.exit_code == 2
            assert "would replace" in result.output
    for other in ("hard.npz", "soft.npz"):
        assert call("export", good, tmp_path / other, "--force").exit_code == 2
    for command in (("import", measured, good), ("export", good, measured), ("config", config, "--design", good)):
        result = call(*command)
        assert result.exit_code == 1
        assert "exists already: choose another name, or replace it with --force" in result.output
    assert {path: path.read_bytes() for path in before} == before
    assert call("config", config, "--design", good, "--force").exit_code == 0
    assert good.read_bytes() != before[good]


def test_a_damaged_file_is_not_exported(call, measured, tmp_path):
    good = tmp_path / "good.npz"
    assert call("import", measured, good).exit_code == 0
    content = bytearray(good.read_bytes())
    content[content.index(b"diffraction.npy") + 5000] ^= 1
    good.write_bytes(content)
    result = call("export", good, tmp_path / "out.npz")
    assert result.exit_code == 1
    assert "'diffraction' cannot be read" in result.output
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("name", ["entry/instrument/pixel_mask", "a/detector_mask", "dead_pixels", "mask_array"])
def test_a_mask_under_a_path_is_not_lost(call, measured, tmp_path, name):
    """Whether it marks good or bad pixels is asked for, wherever in the file it lies."""
    path = tmp_path / "scan.h5"
    with np.load(measured) as held, h5py.File(path, "w") as file:
        for key in held:
            file[key] = held[key]
        side = held["diff3d"].shape[-1]
        file[name] = np.eye(side, dtype=np.uint8)
        file["entry/note"] = np.arange(5)
    result = call("import", path, tmp_path / "out.npz")
    assert result.exit_code == 1
    assert f"--rename {name}=bad_pixels" in result.output
    result = call("import", path, tmp_path / "out.npz", "--rename", f"{name}=bad_pixels", "--json")
    assert result.exit_code == 0, result.output
    assert np.array_equal(load_npz(tmp_path / "out.npz")["bad_pixels"], np.eye(side, dtype=bool))
    entries = {entry["key"]: entry for entry in json.loads(result.output)["entries"] if entry["value"] == "HDF5"}
    assert entries[name]["verdict"] == "understood"
    assert entries["entry/note"]["verdict"] == "ignored"
    assert entries["entry/note"]["text"] == "no key of the canonical form"


def test_positions_that_a_file_beside_replaces_are_not_called_read(call, tmp_path):
    letter = measured_letter()
    layouts.product_h5(tmp_path / "p.h5", letter)
    layouts.cxi(tmp_path / "f.cxi", letter)
    result = call("import", tmp_path / "f.cxi", tmp_path / "out.npz", "--with", tmp_path / "p.h5", "--json")
    assert result.exit_code == 0, result.output
    entries = {entry["key"]: entry for entry in json.loads(result.output)["entries"]}
    assert entries["entry_1/data_1/translation"]["text"] == "not taken: p.h5 holds it with its object"
    assert entries["p.h5: probe_position_x_m"]["verdict"] == "understood"


def test_an_npz_file_takes_geometry_and_mirror(call, measured, tmp_path):
    before, after = tmp_path / "before.npz", tmp_path / "after.npz"
    assert call("import", measured, before).exit_code == 0
    options = ("--energy", 10000, "--distance", 2, "--detector-pixel", 75e-6, "--mirror", "x")
    result = call("import", measured, after, *options)
    assert result.exit_code == 0, result.output
    found, old = load_npz(after), load_npz(before)
    document = json.loads(str(found["_metadata"]))
    physics = document["physics_parameters"]
    assert physics["energy_eV"] == 10000
    assert physics["detector_distance_m"] == 2
    assert physics["pixel_size_m"] == pytest.approx(1.2398e-10 * 2 / (64 * 75e-6), rel=1e-4)
    assert np.allclose(np.diff(found["xcoords"]), -np.diff(old["xcoords"]))
    assert np.allclose(np.diff(found["ycoords"]), np.diff(old["ycoords"]))
    steps = [step["operation"] for step in document["data_transformations"]]
    assert {"note_geometry", "mirror_positions"} <= set(steps)
    result = call("import", measured, tmp_path / "no.npz", *options, "--pixel-size", 1e-8)
    assert result.exit_code == 1
    assert "--pixel-size says 1e-08 m: give one of them" in " ".join(result.output.split())
    assert not (tmp_path / "no.npz").exists()
