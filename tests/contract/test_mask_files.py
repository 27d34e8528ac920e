"""A mask from a file of its own, in each container, and what is none."""

from contextlib import suppress

import numpy as np
import pytest
import tifffile

from fly64_assets.contract.mask_files import as_marks, read_mask
from fly64_assets.errors import ContractError

GAPS = np.zeros((12, 16), bool)
GAPS[3] = GAPS[:, 5] = True


def npy(path, array):
    with path.open("wb") as file:
        np.save(file, array)


def npz(path, array):
    with path.open("wb") as file:
        np.savez(file, other=np.arange(3), bad_pixels=array)


def lone_npz(path, array):
    with path.open("wb") as file:
        np.savez_compressed(file, mask=array)


def tiff(path, array):
    with path.open("wb") as file:
        tifffile.imwrite(file, array)


@pytest.mark.parametrize("write", [npy, npz, lone_npz, tiff])
@pytest.mark.parametrize("form", [bool, np.uint8, np.int32, np.float32, "255"])
def test_every_container_is_read_by_its_content(tmp_path, write, form):
    path = tmp_path / "mask.of_no_known_name"
    write(path, GAPS.astype(np.uint8) * 255 if form == "255" else GAPS.astype(form))
    read = read_mask(path)
    assert read.dtype == np.bool_
    np.testing.assert_array_equal(read, GAPS)


def test_axes_of_length_one_and_masks_of_one_value(tmp_path):
    path = tmp_path / "mask.npy"
    for array, expected in ((GAPS[None], GAPS), (np.zeros((4, 4)), False), (np.ones((4, 4), bool), True)):
        npy(path, array)
        np.testing.assert_array_equal(read_mask(path), np.broadcast_to(expected, read_mask(path).shape))


def test_bits_that_say_why_a_pixel_is_bad(tmp_path):
    npy(tmp_path / "mask.npy", GAPS * np.arange(16, dtype=np.uint32))
    read = read_mask(tmp_path / "mask.npy")
    np.testing.assert_array_equal(read[:, 1:], GAPS[:, 1:])
    assert not read[:, 0].any()


@pytest.mark.parametrize(
    "array",
    [
        np.where(GAPS, np.nan, 0),
        np.zeros((3, 4, 4), bool),
        GAPS.astype(complex),
        np.array([["a"]]),
        np.zeros((0, 4)),
        np.zeros(4),
        np.array(3),
    ],
)
def test_arrays_that_are_no_masks(tmp_path, array):
    npy(tmp_path / "mask.npy", array)
    with pytest.raises(ContractError, match=r"mask\.npy.* is no(t a complete NPY file| picture of finite numbers)"):
        read_mask(tmp_path / "mask.npy")


def test_masks_of_each_frame_mark_a_pixel_in_all():
    """Of both conventions, in bits, and one for all frames."""
    bits = np.zeros((5, 12, 16), np.uint32)
    bits[:, GAPS], bits[2, 7, 7] = 0b1000, 0b10
    ever = GAPS.copy()
    ever[7, 7] = True
    for array, good in ((bits, False), (bits == 0, True)):
        bad, differing = as_marks(array, "mask", frames=5, good=good)
        np.testing.assert_array_equal(bad, ever)
        assert differing == 1
    bad, differing = as_marks(bits[2] == 0, "mask", frames=5, good=True)
    np.testing.assert_array_equal(bad, ever)
    assert differing == 0
    with pytest.raises(ContractError, match="or one for each of the 4 frames"):
        as_marks(bits, "mask", frames=4)


def test_files_that_are_no_masks(tmp_path):
    path = tmp_path / "mask"
    with pytest.raises(ContractError, match="cannot be opened"):
        read_mask(path)
    with pytest.raises(ContractError, match="is a folder"):
        read_mask(tmp_path)
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(content)
        with pytest.raises(ContractError, match="a mask is an NPY, NPZ or TIFF file"):
            read_mask(path)
    with path.open("wb") as file:
        np.savez(file, mask=GAPS, other=GAPS)
    with pytest.raises(ContractError, match="holds mask, other; expected one array, or one named bad_pixels"):
        read_mask(path)
    with path.open("wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ContractError, match="is not a complete NPY file of numbers"):
        read_mask(path)


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 1000000), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, 5), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 40 + ",), }",
        "{'descr': '<f8', 'fortran_order': ",
        "(((((",
        "'",
        "",
        "{'descr': 'O', 'fortran_order': False, 'shape': (1,), }",
    ],
)
def test_headers_that_lie_or_are_none_take_no_memory(tmp_path, header):
    path = tmp_path / "mask.npy"
    path.write_bytes(npy_header(header) + b"\0" * 64)
    with pytest.raises(ContractError, match=r"mask\.npy is not a complete NPY file"):
        read_mask(path)


@pytest.mark.parametrize("write", [npy, npz, tiff])
def test_damaged_files_end_in_one_sentence(tmp_path, write):
    """Cut anywhere, and with any bytes changed; tifffile is happy with some of it, and then the mask is one."""
    path = tmp_path / "mask"
    write(path, GAPS.astype(np.uint16))
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    for length in (7, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ContractError, match="mask"):
            read_mask(path)
    for _ in range(60):
        broken = np.frombuffer(whole, np.uint8).copy()
        broken[rng.integers(8, min(len(whole), 300), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(broken.tobytes())
        with suppress(ContractError):
            assert read_mask(path).dtype == np.bool_


def test_packed_pictures_that_are_cut_and_sizes_over_the_limit(tmp_path):
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, np.random.default_rng(1).integers(0, 2, (64, 64), np.uint8), compression="zlib")
    np.testing.assert_array_equal(read_mask(path), tifffile.imread(path) != 0)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    content[offset + 2 : offset + 60] = b"\xff" * 58
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"mask\.tif cannot be read as TIFF"):
        read_mask(path)
    for write in (npy, npz, tiff):
        write(path, GAPS)
        with pytest.raises(ContractError, match="the limit is 100: if the file is trusted"):
            read_mask(path, max_bytes=100)
