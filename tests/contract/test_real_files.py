"""The validator and the conversions on real files, which are not part of the repository."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
import pytest

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.npz import open_npz
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ContractError

DATA = Path(__file__).parents[3] / "shared" / "data"


def real(name):
    if not (DATA / name).is_file():
        pytest.skip(f"the real file {name} is not in {DATA}")
    return DATA / name


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    path = tmp_path_factory.mktemp("star") / "siemens-star-small.npz"
    path.write_bytes(bz2.decompress(real("siemens-star-small.npz.bz2").read_bytes()))
    return path


def test_run1084_becomes_a_base():
    path = real("run1084_base.npz")
    raw = open_npz(path)
    report = validate_base(raw, patch_size=64)
    assert report.ok
    assert {f.code for f in report.findings} == {"DATA-001.dtype"}
    arrays, done = canonicalize_base(path)
    assert validate_base(arrays, patch_size=64).findings == ()
    assert arrays["objectGuess"].shape == (227, 226)
    assert arrays["objectGuess"].dtype == arrays["probeGuess"].dtype == np.complex64
    np.testing.assert_allclose(arrays["objectGuess"], raw["objectGuess"], rtol=1e-6)
    np.testing.assert_array_equal(arrays["xcoords"], raw["xcoords"])
    assert [entry["operation"] for entry in done] == ["convert_dtype"] * 2 + ["replace_start_coordinates"] * 2


def test_siemens_star_gets_findings_a_scientist_agrees_with(star):
    report = validate(open_npz(star))
    said = {(f.code, f.severity): "" for f in report.findings}
    for finding in report.findings:
        said[finding.code, finding.severity] += finding.message + "\n"
    assert "missing diffraction, objectGuess, probeGuess, xcoords, ycoords" in said["DATA-001.keys", "error"]
    unknown = said["DATA-001.unknown", "info"]
    assert (
        "'data' of shape (1, 516, 128, 128) is no key of the contract: it looks like diffraction with 1 axis" in unknown
    )
    assert "it looks like probeGuess with 4 axes too many" in unknown
    assert "positions as pairs with 1 axis too many; in (y, x) order" in unknown
    assert "data: every value is an integer" in said["DATA-001.amplitude", "error"]
    assert "data: of the mean frame's energy" in said["DATA-001.centre", "error"]
    assert "fftshift" in said["DATA-001.centre", "error"]
    assert not report.ok


def test_siemens_star_is_no_base(star):
    report = validate_base(open_npz(star))
    assert not report.ok
    assert {f.code for f in report.findings} == {
        "DATA-001.keys",
        "DATA-001.unknown",
        "DATA-001.amplitude",
        "DATA-001.centre",
    }
    for convert in (canonicalize, canonicalize_base):
        with pytest.raises(ContractError, match="'probe' looks like probeGuess"):
            convert(star)


def test_siemens_star_with_positions_and_confirmed_guesses(star, tmp_path):
    """With the missing keys supplied, the confirmed guesses make a valid data set of the measured frames."""
    raw = open_npz(star)
    row, column = raw["scan"][0].T.astype(float) + 300
    flat = np.ones((600, 600), np.complex64)
    np.savez(tmp_path / "star.npz", **raw, xcoords=column, ycoords=row, objectGuess=flat)
    renamed = {"data": "diffraction", "probe": "probeGuess"}
    with pytest.raises(ContractError, match="--counts"):
        canonicalize(tmp_path / "star.npz", rename=renamed)
    with pytest.raises(ContractError, match="--dc-corner"):
        canonicalize(tmp_path / "star.npz", rename=renamed, counts=True)
    arrays, _ = canonicalize(tmp_path / "star.npz", rename=renamed, counts=True, dc_corner=True)
    report = validate(arrays)
    assert report.ok, report.findings
    counts = np.fft.ifftshift(arrays["diffraction"].astype(float) ** 2, axes=(1, 2))
    np.testing.assert_allclose(counts, raw["data"][0], atol=1e-2)
