"""Hostile and broken files: one clear sentence, never a traceback of another kind, never a pickle."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fly64_assets.contract import archive as archives
from fly64_assets.contract import size_limit
from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.npz import load_base, load_dataset, load_measurement, open_npz, validate_file, write_npz
from fly64_assets.errors import ContractError

READERS = (open_npz, load_dataset, load_measurement, load_base, validate_file, canonicalize, canonicalize_base)


def refused(path, match):
    """Every reader refuses the file with one sentence that names it."""
    for reader in READERS:
        with pytest.raises(ContractError, match=match) as caught:
            reader(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


def npy(array) -> bytes:
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def header(text: str) -> bytes:
    content = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def good(tmp_path, arrays):
    path = tmp_path / "good.npz"
    with path.open("wb") as file:
        write_npz(file, arrays)
    return path


def test_missing_empty_folder_device(tmp_path):
    refused(tmp_path / "nothing.npz", "cannot be opened")
    (tmp_path / "empty.npz").touch()
    refused(tmp_path / "empty.npz", "0 bytes")
    (tmp_path / "folder.npz").mkdir()
    refused(tmp_path / "folder.npz", "is a folder")
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz", "not a regular file")


def test_not_a_zip(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"hello", npy(np.arange(3)), b"PK\x03\x04" * 100, b"PK\x05\x06" + bytes(18) * 3):
        path.write_bytes(content)
        with pytest.raises(ContractError, match=r"a\.npz"):
            load_dataset(path)


def test_truncated_anywhere(good, tmp_path):
    content = good.read_bytes()
    path = tmp_path / "cut.npz"
    for end in [1, 30, 100, len(content) // 2, len(content) - 200, len(content) - 22, len(content) - 1]:
        path.write_bytes(content[:end])
        refused(path, "not a complete zip archive")


@pytest.mark.parametrize(
    "name",
    ["../evil.npy", "/etc/evil.npy", "a/../../evil.npy", "..\\evil.npy", "C:evil.npy", "a\nb.npy", "a\x1b[2J.npy"],
)
def test_unsafe_member_names(tmp_path, name):
    refused(zipped(tmp_path / "a.npz", [(name, npy(np.arange(3.0)))]), "outside the archive")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("name", ["readme.txt", "folder/", "folder/readme.txt", ".npy", "folder/.npy"])
def test_members_that_are_no_arrays(tmp_path, name):
    refused(zipped(tmp_path / "a.npz", [(name, b"")]), "no array")


def test_a_key_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        zipped(tmp_path / "a.npz", [("x.npy", npy(np.arange(3))), ("x.npy", npy(np.arange(4)))])
    refused(tmp_path / "a.npz", "two members")


def test_too_many_members(tmp_path):
    refused(zipped(tmp_path / "a.npz", [(f"{i}.npy", b"") for i in range(1025)]), "1025 members")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_object_arrays_are_never_unpickled(tmp_path, monkeypatch, arrays):
    monkeypatch.chdir(tmp_path)
    for key in ("diffraction", "objectGuess", "probeGuess", "xcoords"):
        members = [(f"{name}.npy", npy(array)) for name, array in arrays.items() if name != key]
        path = zipped(tmp_path / "a.npz", [*members, (f"{key}.npy", npy(np.array([Bomb()], dtype=object)))])
        for reader in (open_npz, load_dataset, load_measurement, validate_file, canonicalize):
            with pytest.raises(ContractError, match="Python objects"):
                reader(path)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "exploded").is_dir()  # the bomb is a real one


def test_zip_bomb_by_declared_size(tmp_path):
    path = zipped(tmp_path / "a.npz", [("x.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with pytest.raises(ContractError, match="declares 8000128 bytes of arrays; the limit is 8000000"):
        validate_file(path, max_bytes=8_000_000)
    with archives.open_archive(path, max_bytes=8_000_128) as archive:
        assert archive.read("x").shape == (10**6,)
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 2**32 - 2)  # four bombs are over 16 GiB, one is not
    path.write_bytes(content)
    with pytest.raises(ContractError, match="damaged"):
        open_npz(path)


def test_the_default_limit_grows_with_the_file(good, monkeypatch):
    """What is stored uncompressed cannot be a bomb, however large."""
    monkeypatch.setattr(size_limit, "DEFAULT_MAX_BYTES", 1000)
    assert load_dataset(good).frames == 60
    assert open_npz(good)
    bomb = zipped(good.parent / "b.npz", [("x.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED)
    with pytest.raises(ContractError, match="limit"):
        load_base(bomb)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': 3}",
        "{'descr': 'rubbish', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': [('a',)], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f8', 'shape': (3,)}",
        "__import__('os').mkdir('exploded')",
        "(" * 9000,
        "",
    ],
)
def test_lying_npy_headers(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = zipped(tmp_path / "a.npz", [("x.npy", header(text) + bytes(24))])
    with pytest.raises(ContractError, match="'x'"):
        open_npz(path)
    assert not (tmp_path / "exploded").exists()


def test_npy_versions(tmp_path):
    second = io.BytesIO()
    np.lib.format.write_array(second, np.arange(3), version=(2, 0))
    assert open_npz(zipped(tmp_path / "a.npz", [("x.npy", second.getvalue())]))["x"].tolist() == [0, 1, 2]
    third = io.BytesIO()
    np.lib.format.write_array(third, np.zeros(3), version=(3, 0))
    assert third.getvalue()[6:8] == b"\x03\x00"
    assert open_npz(zipped(tmp_path / "a.npz", [("x.npy", third.getvalue())]))["x"].shape == (3,)
    with pytest.raises(ContractError, match="npy version"):
        open_npz(zipped(tmp_path / "a.npz", [("x.npy", b"\x93NUMPY\x04\x00" + npy(np.arange(3))[8:])]))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(tmp_path, compression):
    refused(zipped(tmp_path / "a.npz", [("x.npy", npy(np.arange(3)))], compression), "compression method")


def test_an_encrypted_member(tmp_path):
    path = zipped(tmp_path / "a.npz", [("x.npy", npy(np.arange(3)))])
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_a_flipped_byte_in_a_read_member(good):
    content = bytearray(good.read_bytes())
    position = content.index(b"\x93NUMPY", content.index(b"probeGuess.npy")) + 300
    content[position] ^= 0x40
    good.write_bytes(content)
    with pytest.raises(ContractError, match="'probeGuess' cannot be read"):
        load_measurement(good)


@pytest.mark.parametrize("change", ["append", "rewrite"])
def test_a_file_that_changes_while_it_is_read(good, change):
    def work():
        with archives.open_archive(good) as archive:
            archive.read("xcoords")
            if change == "append":
                with good.open("ab") as file:
                    file.write(b"more")
            else:
                content = good.read_bytes()
                with good.open("r+b") as file:
                    file.write(content)
                os.utime(good, ns=(1, 1))

    with pytest.raises(ContractError, match=r"good\.npz changed while it was read"):
        work()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_gives_arrays_or_one_sentence(good, tmp_path, data):
    content = bytearray(good.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for _ in range(data.draw(st.integers(1, 6))):
        low = data.draw(st.sampled_from([0, directory]))
        content[data.draw(st.integers(low, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    for reader in (validate_file, load_measurement, canonicalize):
        with contextlib.suppress(ContractError):
            reader(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("key", ["Y", "diffraction", "objectGuess", "scan_index", "remark"])
def test_one_flipped_byte_anywhere_is_seen(tmp_path, arrays, monkeypatch, key, compression):
    """Every member is read to its end, whether a rule or a conversion looks at it or not, mapped or not."""
    monkeypatch.setattr(archives, "MAPPED_FROM_BYTES", 256)
    arrays["remark"] = np.arange(1000)
    path = zipped(tmp_path / "a.npz", [(f"{name}.npy", npy(array)) for name, array in arrays.items()], compression)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{key}.npy")
    content[member.header_offset + 30 + len(member.filename) + member.compress_size - 20] ^= 1
    path.write_bytes(content)
    with np.load(path) as numpy_archive, pytest.raises((zipfile.BadZipFile, zlib.error)):
        numpy_archive[key]
    for reader in (open_npz, validate_file, canonicalize, canonicalize_base, load_dataset):
        with pytest.raises(ContractError, match=f"'{key}' cannot be read"):
            reader(path)


def test_what_an_archiver_adds_is_no_array_and_arrays_need_no_suffix(tmp_path, arrays):
    members = [(name if name != "Y" else "Y.npy", npy(array)) for name, array in arrays.items()]
    added = [("__MACOSX/", b""), ("__MACOSX/._Y.npy", bytes(120)), ("._xcoords.npy", bytes(9)), (".DS_Store", b"x")]
    found = open_npz(zipped(tmp_path / "a.npz", [*members, *added]))
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["xcoords"], arrays["xcoords"])
    refused(zipped(tmp_path / "b.npz", [*members, ("notes", b"by hand")]), "'notes' that is no array")
    refused(zipped(tmp_path / "c.npz", [*members, ("Y", npy(arrays["Y"]))]), "two members for the key 'Y'")
    folder = [("mine/", b""), *((f"mine/{name}", content) for name, content in members), *added]
    assert open_npz(zipped(tmp_path / "d.npz", folder)).keys() == arrays.keys()
    refused(zipped(tmp_path / "e.npz", [*members[1:], (f"mine/{members[0][0]}", members[0][1])]), "in no folder")
