from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.pinn import bundle as bundle_module
from fly64_assets.pinn.bundle import MEMBERS, Bundle, read_bundle, write_bundle


def made() -> Bundle:
    weights = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.array([0.1], np.float32)}
    history = [{"epoch": 1, "train_loss": -12.3456789, "validation_loss": 1e-9}]
    return Bundle({"backend": "pytorch", "architecture": "unrolled"}, {"intensity_scale": 1 / 3}, weights, history)


@pytest.fixture
def path(tmp_path):
    write_bundle(tmp_path / "wts.h5.zip", made())
    return tmp_path / "wts.h5.zip"


def rewritten(path, change):
    """The same archive after ``change`` of its {name: bytes}; values may also be (name, bytes) pairs to add."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_what_was_written_is_read(path):
    found = read_bundle(path)
    assert found.params == made().params
    assert found.history == made().history
    assert found.manifest["models"] == ["autoencoder", "diffraction_to_obj"]
    assert found.manifest.items() >= made().manifest.items()
    assert list(found.weights) == ["a.bias", "b.weight"]
    for name, value in made().weights.items():
        assert found.weights[name].dtype == value.dtype
        np.testing.assert_array_equal(found.weights[name], value)


def test_equal_content_is_equal_bytes(path, tmp_path):
    reordered = made()
    reordered = Bundle(
        reordered.manifest, reordered.params, dict(reversed(reordered.weights.items())), reordered.history
    )
    sha256 = write_bundle(tmp_path / "other.zip", reordered)
    assert (tmp_path / "other.zip").read_bytes() == path.read_bytes()
    assert len(sha256) == 64
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == list(MEMBERS)
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("member", MEMBERS[1:])
def test_a_changed_member_is_named(path, member):
    def change(content):
        data = bytearray(content[member])
        data[len(data) // 2] ^= 1
        content[member] = bytes(data)

    with pytest.raises(ArtifactError, match=f"member {member} has SHA256"):
        read_bundle(rewritten(path, change))


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "..\\up", "C:/x"])
def test_names_that_leave_the_archive_are_refused(path, name):
    with pytest.raises(ArtifactError, match="leaves the archive"):
        read_bundle(rewritten(path, lambda content: content.update({name: b"x"})))


def test_other_versions_missing_and_extra_members_are_refused(path):
    original = path.read_bytes()

    def version(content):
        document = json.loads(content["manifest.json"]) | {"format_version": 2}
        content["manifest.json"] = json.dumps(document).encode()

    changes = {
        "format version 2": version,
        "expected exactly": lambda content: content.pop("history.csv"),
        "'model.pkl'": lambda content: content.update({"model.pkl": b"x"}),
        "is not JSON": lambda content: content.update({"manifest.json": b"{"}),
        "must be a JSON object": lambda content: content.update({"manifest.json": b"[]"}),
    }
    for words, change in changes.items():
        path.write_bytes(original)
        with pytest.raises(ArtifactError, match=words):
            read_bundle(rewritten(path, change))


def test_oversized_members_are_refused_whatever_they_declare(path, monkeypatch):
    monkeypatch.setattr(bundle_module, "MAX_MEMBER_BYTES", 200)
    with pytest.raises(ArtifactError, match="at most 200 are accepted"):
        read_bundle(path)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04" + bytes(50)])
def test_files_that_are_no_bundle_are_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="not a readable bundle"):
        read_bundle(path)
    path.unlink()
    with pytest.raises(ArtifactError, match="not a readable bundle"):
        read_bundle(path)


def test_a_truncated_bundle_is_refused(path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError):
        read_bundle(path)
