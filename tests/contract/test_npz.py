"""Writing: equal content is equal bytes, aligned and readable by numpy. Loading: only what may be seen."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import build_metadata, derive_metadata, transformation
from fly64_assets.contract.npz import (
    NpzWriter,
    load_base,
    load_dataset,
    load_measurement,
    open_npz,
    validate_file,
    write_npz,
)
from fly64_assets.errors import ContractError


def packed(arrays) -> bytes:
    target = io.BytesIO()
    write_npz(target, arrays)
    return target.getvalue()


def data_offset(content: bytes, name: str) -> int:
    """Where a member's array data start, found by the formats' own rules and not by the code under test."""
    info = zipfile.ZipFile(io.BytesIO(content)).getinfo(f"{name}.npy")
    local = content[info.header_offset : info.header_offset + 30]
    start = info.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    assert content[start : start + 6] == b"\x93NUMPY"
    return start + 10 + int.from_bytes(content[start + 8 : start + 10], "little")


@pytest.fixture
def path(tmp_path, arrays):
    target = tmp_path / "patched_train.npz"
    target.write_bytes(packed(arrays))
    return target


VARIETY = {
    "a": np.arange(7, dtype=np.int8),
    "bb": np.arange(24.0).reshape(2, 3, 4),
    "a_longer_name": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "complex": np.arange(5, dtype=np.complex64)[::-1],
    "text": np.array('{"a":"å"}'),
    "scalar": np.float32(3.5).reshape(()),
    "empty": np.zeros((0, 4), np.float32),
    "flags": np.array([True, False]),
}


def test_numpy_reads_what_is_written():
    with np.load(io.BytesIO(packed(VARIETY)), allow_pickle=False) as read:
        assert read.files == list(VARIETY)
        for name, array in VARIETY.items():
            assert read[name].dtype == array.dtype
            assert read[name].shape == array.shape
            np.testing.assert_array_equal(read[name], array)


def test_the_archive_is_sound_and_uncompressed():
    archive = zipfile.ZipFile(io.BytesIO(packed(VARIETY)))
    assert archive.testzip() is None
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_member_is_aligned_to_64_bytes():
    content = packed(VARIETY)
    assert [data_offset(content, name) % 64 for name in VARIETY] == [0] * len(VARIETY)


@pytest.mark.parametrize("step", [1, 7, 60])
def test_blocks_do_not_show_in_the_bytes(arrays, step):
    frames = arrays["diffraction"]
    target = io.BytesIO()
    with NpzWriter(target) as writer:
        blocks = (frames[start : start + step] for start in range(0, len(frames), step))
        writer.add_blocks("diffraction", frames.shape, np.float32, blocks)
        for name, array in arrays.items():
            if name != "diffraction":
                writer.add(name, array)
    assert hashlib.sha256(target.getvalue()).digest() == hashlib.sha256(packed(arrays)).digest()


def test_writing_twice_gives_the_same_bytes(arrays, monkeypatch):
    first = packed(arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    assert packed({key: array.copy() for key, array in arrays.items()}) == first


def test_a_mapped_array_passes_through_the_writer(tmp_path, monkeypatch, path, arrays):
    monkeypatch.setattr("fly64_assets.contract.archive.MAPPED_FROM_BYTES", 1)
    monkeypatch.setattr("fly64_assets.contract.archive.BLOCK_ELEMENTS", 5000)
    assert packed(open_npz(path)) == path.read_bytes()


@pytest.mark.parametrize(
    "blocks",
    [[np.zeros((2, 3))], [np.zeros((4, 3))], [np.zeros((3, 2))], [np.zeros((3, 3), np.float32)], [np.zeros(3)], []],
)
def test_blocks_that_do_not_fit_are_refused(blocks):
    with NpzWriter(io.BytesIO()) as writer, pytest.raises(ValueError, match="'x'"):
        writer.add_blocks("x", (3, 3), np.float64, blocks)


def test_writes_to_a_private_map_survive_being_read(tmp_path, arrays):
    np.save(tmp_path / "frames.npy", arrays["diffraction"])
    private = np.load(tmp_path / "frames.npy", mmap_mode="c")
    private[:] = 7
    packed({"x": private})
    assert (private == 7).all()


def test_objects_are_never_written():
    with NpzWriter(io.BytesIO()) as writer, pytest.raises(ValueError, match="Python objects"):
        writer.add("x", np.array([{}], dtype=object))


def test_large_stored_members_are_mapped_and_read_only(tmp_path):
    arrays = {"small": np.arange(4.0), "large": np.arange(2**18, dtype=np.float64)}
    for name, save in (("stored", np.savez), ("ours", lambda p, **a: p.write_bytes(packed(a)))):
        target = tmp_path / f"{name}.npz"
        save(target, **arrays)
        read = open_npz(target)
        assert isinstance(read["large"], np.memmap)
        assert isinstance(read["large"]._mmap, mmap.mmap)
        assert not isinstance(read["small"], np.memmap)
        for key, array in arrays.items():
            np.testing.assert_array_equal(read[key], array)
            assert not read[key].flags.writeable


def test_compressed_and_fortran_members_are_read(tmp_path, monkeypatch):
    for limit in (1, 2**20):
        monkeypatch.setattr("fly64_assets.contract.archive.MAPPED_FROM_BYTES", limit)
        for save in (np.savez, np.savez_compressed):
            save(tmp_path / "a.npz", **VARIETY)
            read = open_npz(tmp_path / "a.npz")
            for name, array in VARIETY.items():
                np.testing.assert_array_equal(read[name], array)


# -- loading ------------------------------------------------------------------------------------------------------


def test_a_data_set_comes_back(path, arrays):
    dataset = load_dataset(path)
    document = json.loads(str(arrays["_metadata"]))
    assert dataset.metadata == document
    assert dataset.intensity_scale == document["physics_parameters"]["intensity_scale"]
    assert schema.dataset_arrays(dataset).keys() == arrays.keys()
    for key, array in schema.dataset_arrays(dataset).items():
        np.testing.assert_array_equal(array, arrays[key])
    assert validate_file(path).findings == ()


def test_a_measurement_is_the_data_set_without_the_truth(path, arrays):
    seen = load_measurement(path)
    of_dataset = load_dataset(path).measurement()
    for measurement in (seen, of_dataset):
        np.testing.assert_array_equal(measurement.amplitude, arrays["diffraction"])
        np.testing.assert_array_equal(measurement.probe, arrays["probeGuess"])
        np.testing.assert_array_equal(measurement.x, arrays["xcoords"])
        np.testing.assert_array_equal(measurement.y, arrays["ycoords"])
        np.testing.assert_array_equal(measurement.scan_index, arrays["scan_index"])
        assert measurement.object_shape == (70, 66)
    assert seen.counts().sum() == of_dataset.counts().sum()
    assert seen.counts().mean(axis=0).sum() == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("key", ["objectGuess", "Y"])
def test_a_measurement_never_reads_the_truth(path, arrays, key):
    """Destroyed truth members go unnoticed: their bytes are not read, while loading the data set fails on them."""
    expected = load_measurement(path)
    content = bytearray(path.read_bytes())
    start = data_offset(bytes(content), key)
    content[start : start + arrays[key].nbytes] = bytes(arrays[key].nbytes)
    path.write_bytes(content)
    with pytest.raises(ContractError, match=f"'{key}' cannot be read"):
        load_dataset(path)
    seen = load_measurement(path)
    assert seen.object_shape == expected.object_shape
    assert seen.amplitude.tobytes() == expected.amplitude.tobytes()


def test_a_measurement_is_the_same_whatever_the_truth(tmp_path, path, arrays):
    expected = load_measurement(path)
    other = tmp_path / "other.npz"
    other.write_bytes(packed(arrays | {"objectGuess": arrays["objectGuess"] * 0 + 1, "Y": arrays["Y"] * 1j}))
    seen = load_measurement(other)
    for name in ("amplitude", "probe", "x", "y", "scan_index"):
        assert getattr(seen, name).tobytes() == getattr(expected, name).tobytes()
    assert seen.intensity_scale == expected.intensity_scale
    assert seen.object_shape == expected.object_shape


LARGE_FILE = """
import json, re, sys
from pathlib import Path
from fly64_assets.contract.npz import load_measurement, validate_file

def peak():
    # The peak of this program alone: rusage would start from the process that forked it.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

before = peak()
loaded = load_measurement(Path(sys.argv[1]))
after_load = peak()
report = validate_file(Path(sys.argv[1]))
print(json.dumps([loaded.frames, report.ok, after_load - before, peak() - before]))
"""


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Of 150 MB of frames and 300 MB of truth, loading holds nothing and validating one block."""
    n, size = 2300, 128
    target = tmp_path / "large.npz"
    row = np.zeros((100, size, size), np.float32)
    row[:, size // 2, size // 2] = 1
    document = build_metadata(size, physics={"nphotons": 1.0, "intensity_scale": 1.0, "expected_mean_counts": 1.0})
    obj, probe = np.ones((300, 300), np.complex64), np.ones((size, size), np.complex64)
    x = np.linspace(64.0, 236.0, n)
    with target.open("wb") as file, NpzWriter(file) as writer:
        writer.add_blocks("diffraction", (n, size, size), np.float32, [row] * (n // 100))
        writer.add_blocks("Y", (n, size, size), np.complex64, [row.astype(np.complex64)] * (n // 100))
        for name, array in schema.small_arrays(obj, probe, x, x, np.arange(n), document).items():
            writer.add(name, array)
    done = subprocess.run([sys.executable, "-c", LARGE_FILE, target], capture_output=True, text=True, check=True)
    frames, ok, loading_kib, all_kib = json.loads(done.stdout)
    assert (frames, ok) == (n, True)
    assert loading_kib < 10 * 1024
    assert all_kib < 100 * 1024


def test_a_data_set_that_cannot_be_used_is_refused(tmp_path, arrays):
    target = tmp_path / "a.npz"
    target.write_bytes(packed({key: value for key, value in arrays.items() if key not in ("probeGuess", "_metadata")}))
    for load in (load_dataset, load_measurement):
        with pytest.raises(ContractError, match=r"(?s)a\.npz.*missing probeGuess.*_metadata is missing"):
            load(target)


def test_a_data_set_without_scale_has_no_counts(tmp_path, part):
    target = tmp_path / "a.npz"
    target.write_bytes(packed(part(intensity_scale=None)))
    dataset = load_dataset(target)
    with pytest.raises(ContractError, match="intensity_scale"):
        dataset.measurement()


def test_a_base_comes_back(tmp_path, arrays):
    base = schema.Base(
        arrays["objectGuess"], arrays["probeGuess"], arrays["xcoords"], arrays["ycoords"], {"split": None}
    )
    target = tmp_path / "base.npz"
    target.write_bytes(packed(schema.base_arrays(base)))
    read = load_base(target)
    assert read.patch_size == 16
    assert read.metadata == {"split": None}
    for name in ("object", "probe", "x", "y"):
        np.testing.assert_array_equal(getattr(read, name), getattr(base, name))
    target.write_bytes(
        packed({"objectGuess": arrays["objectGuess"].astype(complex), "probeGuess": arrays["probeGuess"]})
    )
    with pytest.raises(ContractError, match=r"(?s)missing xcoords, ycoords.*objectGuess has dtype complex128"):
        load_base(target)


def test_legacy_keys_on_request(path):
    dataset = load_dataset(path)
    assert "diff3d" not in schema.dataset_arrays(dataset)
    exported = schema.dataset_arrays(dataset, legacy_keys=True)
    with np.load(io.BytesIO(packed(exported)), allow_pickle=False) as read:
        np.testing.assert_array_equal(read["diff3d"], read["diffraction"])
        assert {"scan_index", "xcoords_start", "ycoords_start", "_metadata", "Y"} <= set(read.files)


def test_metadata_tells_the_whole_history(arrays):
    document = json.loads(str(arrays["_metadata"]))
    entry = transformation("overlap_view", {"view": "dense"})
    derived = derive_metadata(document, entry, physics={"gridsize": 2}, fields={"view": "dense"})
    assert [t["operation"] for t in derived["data_transformations"]] == ["simulate", "overlap_view"]
    assert derived["physics_parameters"] == document["physics_parameters"] | {"gridsize": 2}
    assert derived["view"] == "dense"
    assert document["view"] is None
    assert set(derived["creation_info"]) == {"tool", "version"}
