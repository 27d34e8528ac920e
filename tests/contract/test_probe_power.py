"""A probe in another unit than the counts: found, named with its factor, and scaled on request."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fixtures.letter import measured_letter
from fixtures.scan import soft_probe

from fly64_assets.contract.canonical import canonicalize
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.validate import validate
from fly64_assets.physics.forward import exit_wave_energies, patch_counts
from fly64_assets.physics.windows import Scan

PHOTONS = "PROBE-001.photons"


@pytest.fixture(scope="module")
def letter():
    """Counts with the probe whose unitary far field they are."""
    found = measured_letter()
    scan = Scan(found.x, found.y, found.obj.shape, found.n)
    unit = np.sqrt(1e5 / exit_wave_energies(found.obj, found.probe, scan).mean())
    return {
        "diffraction": found.counts,
        "objectGuess": found.obj,
        "probeGuess": (found.probe * unit).astype(np.complex64),
        "xcoords": found.x,
        "ycoords": found.y,
    }


def imported(folder, arrays, **corrections):
    np.savez(folder / "wild.npz", **arrays)
    return canonicalize(folder / "wild.npz", corrections=Corrections(**corrections))


def found(arrays):
    return [finding.message for finding in validate(arrays).findings if finding.code == PHOTONS]


def expected(arrays):
    scan = Scan(arrays["xcoords"], arrays["ycoords"], arrays["objectGuess"].shape, len(arrays["probeGuess"]))
    return patch_counts(arrays["objectGuess"], arrays["probeGuess"], scan, 1.0)


def test_a_probe_in_the_unit_of_the_counts_is_no_finding(letter, tmp_path):
    assert found(imported(tmp_path, letter)[0]) == []


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("factor", [64.0, 1 / 64, 1e-16, 1e12])
def test_another_unit_is_named_and_scaled(letter, tmp_path, factor, mask):
    """64 = N in the amplitude is a Fourier transform that is not unitary. A mask hides much of the light."""
    wild = letter | {"probeGuess": (letter["probeGuess"] / factor).astype(np.complex64)}
    if mask:
        wild["bad_pixels"] = np.zeros((64, 64), bool)
        wild["bad_pixels"][24:40] = True
    (message,) = found(imported(tmp_path, wild)[0])
    if factor == 64.0:
        assert float(message.split(" times as many")[0].rsplit(", ", 1)[1]) == pytest.approx(4096, rel=0.05)
    assert "--scale-probe" in message
    arrays, done = imported(tmp_path, wild, scale_probe=True)
    assert found(arrays) == []
    assert done[-1]["operation"] == "scale_probe"
    assert done[-1]["parameters"]["factor"] == pytest.approx(factor, rel=0.01)
    assert json.loads(str(arrays["_metadata"]))["data_transformations"][-1] == done[-1]
    np.testing.assert_allclose(arrays["probeGuess"], letter["probeGuess"], rtol=0.01)
    assert expected(arrays).sum(axis=(1, 2)).mean() == pytest.approx(
        letter["diffraction"].sum(axis=(1, 2)).mean(), 0.02
    )


def test_a_file_of_amplitudes_with_a_scale_is_judged_in_its_own_unit(letter, tmp_path):
    """Stored amplitudes X with (s X)^2 = counts: the probe belongs to X."""
    arrays, _ = imported(tmp_path, letter)
    document = json.loads(str(arrays["_metadata"]))
    document["physics_parameters"]["intensity_scale"] = 250.0
    other = arrays | {"_metadata": np.array(json.dumps(document)), "diffraction": arrays["diffraction"] / 250}
    other["diffraction"] = other["diffraction"].astype(np.float32)
    assert len(found(other)) == 1
    assert found(other | {"probeGuess": arrays["probeGuess"] / np.float32(250)}) == []


def test_without_an_object_only_what_no_object_does_is_named(letter, tmp_path):
    """An object may absorb nearly all light, and adds none."""
    measured = {key: array for key, array in letter.items() if key != "objectGuess"}
    for factor, number in ((1.0, 0), (5.0, 0), (1 / 2, 1), (20.0, 1)):
        wild = measured | {"probeGuess": (letter["probeGuess"] * factor).astype(np.complex64)}
        assert len(found(imported(tmp_path, wild)[0])) == number, factor
    arrays, _ = imported(tmp_path, measured | {"probeGuess": letter["probeGuess"] * 20}, scale_probe=True)
    assert np.sum(np.abs(arrays["probeGuess"]) ** 2) == pytest.approx(
        letter["diffraction"].sum(axis=(1, 2)).mean(), 1e-4
    )
    # The same again of the file that results: its object is a stand-in.
    again, done = imported(tmp_path, arrays | {"probeGuess": arrays["probeGuess"] * 20}, scale_probe=True)
    assert done[-1]["parameters"]["factor"] == pytest.approx(1 / 20, rel=1e-4)
    assert found(again) == []


def test_scaling_needs_counts_and_a_probe(letter, tmp_path):
    with pytest.raises(FormError, match="is not known: if they are counts, give --counts too"):
        imported(tmp_path, letter | {"diffraction": np.sqrt(letter["diffraction"] * 1.7)}, scale_probe=True)
    with pytest.raises(FormError, match="found nothing to compare"):
        imported(tmp_path, letter | {"probeGuess": 0 * letter["probeGuess"]}, scale_probe=True)
    with pytest.raises(FormError, match=r"found nothing to compare|shape"):
        imported(tmp_path, letter | {"probeGuess": soft_probe(32)}, scale_probe=True)


@pytest.mark.parametrize(
    "obj", [np.array(None, object), np.array(["a"]), np.zeros((0, 3), np.complex64), np.ones((9, 9))]
)
def test_what_is_no_object_raises_nothing(letter, tmp_path, obj):
    arrays, _ = imported(tmp_path, letter)
    assert found(arrays | {"objectGuess": obj}) == []
