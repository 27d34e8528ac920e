"""Damaged, unsafe and unclear files end in one sentence and exit status 1; nothing is written."""

from __future__ import annotations

import importlib.util
import io
import tracemalloc

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from click.testing import CliRunner
from fixtures import foreign_files as layouts

from fly64_assets.cli.main import main
from fly64_assets.formats.reading import hdf5

DATA = "entry_1/instrument_1/detector_1/data"


@pytest.fixture
def refused(tmp_path):
    def run(path, *options):
        out = tmp_path / "out.npz"
        answer = CliRunner().invoke(main, ["legacy", "import", str(path), str(out), *map(str, options)])
        assert answer.exit_code == 1, answer.output
        assert not out.exists()
        assert "Traceback" not in answer.output
        lines = [line for line in answer.output.strip().splitlines() if not line.endswith(": not written")]
        assert len(lines) == 1, answer.output
        return lines[0]

    return run


@pytest.fixture
def scan(tmp_path, letter):
    """A CXI file to spoil."""
    layouts.cxi(tmp_path / "f.cxi", letter)
    return tmp_path / "f.cxi"


def replace(path, name, **how):
    with h5py.File(path, "a") as file:
        del file[name]
        if "link" in how:
            file[name] = how["link"]
        else:
            file.create_dataset(name, **how)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.98])
def test_a_truncated_hdf5_file(refused, scan, part):
    content = scan.read_bytes()
    scan.write_bytes(content[: int(part * len(content))])
    assert "is not a complete HDF5 file (" in refused(scan)


def test_flipped_bytes_in_packed_frames(refused, scan):
    with h5py.File(scan) as file:
        where = file[DATA].id.get_chunk_info(0).byte_offset
    content = bytearray(scan.read_bytes())
    content[where + 4 : where + 60] = b"\xff" * 56
    scan.write_bytes(content)
    assert "cannot be read (" in refused(scan)
    assert "the file is damaged" in refused(scan)


def test_frames_behind_a_link_to_another_file(refused, scan):
    replace(scan, DATA, link=h5py.ExternalLink("/etc/passwd", "/data"))
    assert "is a link to another file, /etc/passwd, which is not opened" in refused(scan)


def test_a_soft_link_through_an_external_one_is_not_followed(refused, scan):
    replace(scan, DATA, link=h5py.SoftLink("/outside/data"))
    with h5py.File(scan, "a") as file:
        file["outside"] = h5py.ExternalLink("other.h5", "/")
    assert "is a link to another file, other.h5" in refused(scan)


def test_links_in_a_circle(refused, scan):
    replace(scan, DATA, link=h5py.SoftLink("/entry_1/data_1/data"))
    assert "is a loop of links" in refused(scan)


def test_frames_that_are_put_together_of_other_files(refused, scan):
    layout = h5py.VirtualLayout((24, 64, 64), "f4")
    layout[:] = h5py.VirtualSource("panel.h5", "data", (24, 64, 64))
    with h5py.File(scan, "a") as file:
        del file[DATA]
        file.create_virtual_dataset(DATA, layout)
    assert "the numbers of 'entry_1/data_1/data' are in another file, panel.h5" in refused(scan)


def test_raw_numbers_outside_of_the_file(refused, scan):
    replace(scan, DATA, shape=(24, 64, 64), dtype="f4", external=[("raw.bin", 0, 24 * 64 * 64 * 4)])
    assert "are in another file, " in refused(scan)


def test_objects_and_texts_where_numbers_are_expected(refused, scan):
    replace(scan, DATA, data=np.array(["a", "b"], dtype=object), dtype=h5py.string_dtype())
    assert "'entry_1/data_1/data' holds values of type object; expected numbers" in refused(scan)


def test_more_bytes_than_there_may_be(refused, scan):
    replace(scan, DATA, shape=(10**6, 4096, 4096), dtype="u2", chunks=(1, 256, 256), compression="gzip")
    assert "the limit is 17179869184: if the file is trusted" in refused(scan)
    replace(scan, DATA, shape=(24, 64, 64), dtype="u2")
    assert "the limit is 1000: if the file is trusted and the memory is there, raise it with --max-bytes" in refused(
        scan, "--max-bytes", 1000
    )


@pytest.mark.skipif(importlib.util.find_spec("hdf5plugin") is not None, reason="hdf5plugin knows the filter")
def test_a_compression_that_needs_another_package(refused, scan):
    with h5py.File(scan, "a") as file:
        del file[DATA]
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((1, 64, 64))
        made.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 2))
        space = h5py.h5s.create_simple((24, 64, 64))
        h5py.h5d.create(file.id, DATA.encode(), h5py.h5t.NATIVE_UINT32, space, made)
    sentence = refused(scan)
    assert "is compressed with filter 32008" in sentence
    assert "needs the package hdf5plugin: install the extra `hdf5`" in sentence


def test_an_energy_that_is_no_energy_in_joules(refused, scan):
    replace(scan, "entry_1/instrument_1/source_1/energy", data=8000.0)
    sentence = refused(scan)
    assert "'entry_1/instrument_1/source_1/energy' is 8000 without a unit" in sentence
    assert "give --energy in eV" in sentence


def test_nexus_without_positions_where_cxi_has_them(refused, scan):
    with h5py.File(scan, "a") as file:
        file["entry_1/definition"] = "NXcxi_ptycho"
        del file["entry_1/data_1/translation"]
        file["entry_1/sample_1/transformations/vector"] = np.zeros((24, 3))
    assert "holds no positions: none of entry_1/data_1/translation" in refused(scan)


def test_fourier_ptychography(refused, tmp_path, letter):
    layouts.ptylab(tmp_path / "f.hdf5", letter)
    with h5py.File(tmp_path / "f.hdf5", "a") as file:
        file["zled"], file["magnification"] = 0.1, 4.0
    assert "is a measurement of Fourier ptychography" in refused(tmp_path / "f.hdf5")


def test_a_product_with_oblong_pixels_or_of_the_near_field(refused, tmp_path, letter):
    path = tmp_path / "f.h5"
    layouts.product_h5(path, letter)
    with h5py.File(path, "a") as file:
        file.attrs["far_field"] = False
    assert "is a product of near-field propagation" in refused(path)
    with h5py.File(path, "a") as file:
        file.attrs["far_field"] = True
        file["object"].attrs["pixel_height_m"] = 2 * letter.pixel
    assert "DATA-001 knows squares only" in refused(path)


def test_a_product_without_frames_is_a_base(refused, tmp_path, letter):
    layouts.product_h5(tmp_path / "f.h5", letter)
    assert "lacks diffraction" in refused(tmp_path / "f.h5")
    assert "`fly64 base import` takes it" in refused(tmp_path / "f.h5")


def test_frames_of_another_scan_beside_a_product(refused, tmp_path, letter):
    layouts.product_h5(tmp_path / "f.h5", letter)
    np.savez(tmp_path / "p.npz", patterns=letter.counts[:2], indexes=[500, 501])
    assert "have no indices in common" in refused(tmp_path / "f.h5", "--with", tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", patterns=letter.counts[:2], indexes=[1, 1])
    assert "has an index twice" in refused(tmp_path / "f.h5", "--with", tmp_path / "p.npz")


def test_the_same_array_in_two_files(refused, scan, tmp_path, letter):
    np.savez(tmp_path / "p.npz", patterns=letter.counts)
    assert "both hold bad_pixels, diffraction" in refused(scan, "--with", scan)


@pytest.mark.parametrize("part", [0.05, 0.6])
def test_a_truncated_matlab_file(refused, tmp_path, letter, part):
    path = tmp_path / "f.mat"
    layouts.matlab_5(path, letter)
    content = path.read_bytes()
    path.write_bytes(content[: max(130, int(part * len(content)))])
    assert "is not a complete MATLAB file (" in refused(path)


def test_a_matlab_file_without_numbers(refused, tmp_path):
    scipy.io.savemat(tmp_path / "f.mat", {"cells": np.array([["a", 1]], dtype=object), "text": "x"})
    assert "lacks diffraction" in refused(tmp_path / "f.mat")


def test_npy_files_of_objects_and_cut_ones(refused, tmp_path, letter):
    np.save(tmp_path / "f.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "is not a complete NPY file of numbers" in refused(tmp_path / "f.npy")
    file = io.BytesIO()
    np.save(file, letter.counts)
    (tmp_path / "f.npy").write_bytes(file.getvalue()[:5000])
    assert "is not a complete NPY file of numbers" in refused(tmp_path / "f.npy")


def test_a_cut_tiff_file_and_one_of_unlike_pictures(refused, tmp_path, letter):
    path = tmp_path / "f.tif"
    tifffile.imwrite(path, letter.counts.astype(np.uint16), photometric="minisblack")
    content = path.read_bytes()
    path.write_bytes(content[:2000])
    assert "cannot be read as TIFF (" in refused(path)
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((8, 8), np.uint8), contiguous=False)
        file.write(np.zeros((9, 9), np.uint8), contiguous=False)
    assert "holds pictures of unlike form, (8, 8), (9, 9)" in refused(path)


def test_commands_that_take_npz_only_name_the_importer(tmp_path, letter):
    layouts.cxi(tmp_path / "f.cxi", letter)
    answer = CliRunner().invoke(main, ["contract", "check", str(tmp_path / "f.cxi")])
    assert answer.exit_code == 1
    assert f"a file of the kind HDF5: `fly64 import {tmp_path / 'f.cxi'} NEW.npz` makes a data set of it" in (
        answer.stderr
    )


def test_pairs_and_names_that_are_not_there(refused, scan):
    assert "there is no 'where' to be read as pairs; found" in refused(scan, "--pairs", "where=xy")
    answer = CliRunner().invoke(main, ["legacy", "import", str(scan), "out.npz", "--pairs", "where=zx"])
    assert answer.exit_code == 2


@pytest.mark.parametrize("chunks", [(2000, 8, 8), (3, 64, 64), (7, 64, 5), (2000, 1, 64), None])
def test_memory_does_not_grow_with_packed_frames_however_they_are_cut(tmp_path, chunks):
    """Chunks along the frames, too: 32 MB of frames in tiles of a few MB."""
    frames = np.random.default_rng(1).integers(0, 50, (2000, 64, 64)).astype(">i4" if chunks is None else "<i4")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("frames", data=frames, chunks=chunks)
    with hdf5.open_tree(tmp_path / "f.h5", None) as tree:
        tracemalloc.start()
        read = tree.read("frames")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2**24
    assert isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, frames)
