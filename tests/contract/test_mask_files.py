"""A mask from a file of its own, in each container, and what is none."""

import numpy as np
import pytest
import tifffile

from fly64_assets.contract.mask_files import read_mask
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
    ("array", "said"),
    [
        (np.arange(6.0).reshape(2, 3), "a mask of dtype float64 holds 6 different values, as a picture does"),
        (np.where(GAPS, np.nan, 0), "no picture of finite numbers"),
        (np.zeros((3, 4, 4), bool), r"shape \(3, 4, 4\) is no picture"),
        (GAPS.astype(complex), "dtype complex128 and .* is no picture"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
    ],
)
def test_arrays_that_are_no_masks(tmp_path, array, said):
    npy(tmp_path / "mask.npy", array)
    with pytest.raises(ContractError, match=rf"mask\.npy: a mask .*{said}|{said}"):
        read_mask(tmp_path / "mask.npy")


def test_files_that_are_no_masks(tmp_path):
    path = tmp_path / "mask"
    with pytest.raises(ContractError, match="No such file"):
        read_mask(path)
    with pytest.raises(ContractError, match="mask"):
        read_mask(tmp_path)
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(content)
        with pytest.raises(ContractError, match="mask"):
            read_mask(path)
    with path.open("wb") as file:
        np.savez(file, mask=GAPS, other=GAPS)
    with pytest.raises(ContractError, match="holds mask, other; expected one array, or one named bad_pixels"):
        read_mask(path)
    with path.open("wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ContractError, match="the mask cannot be read"):
        read_mask(path)
    for write in (npy, npz, tiff):
        write(path, GAPS)
        whole = path.read_bytes()
        for length in (7, 20, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(ContractError, match=r"mask"):
                read_mask(path)
