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


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(6.0).reshape(2, 3), r"holds 6 different values \(0, 1, 2, 3, \.\.\.\); expected 0 at good pixels"),
        (np.where(GAPS, np.nan, 0), "different values .*nan"),
        (GAPS + 1, r"holds 2 different values \(1, 2\)"),
        (np.zeros((3, 4, 4), bool), r"shape \(3, 4, 4\) and dtype bool; expected one picture"),
        (GAPS.astype(complex), "dtype complex128; expected one picture"),
        (np.array([["a"]]), "dtype <U1"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
    ],
)
def test_arrays_that_are_no_masks(tmp_path, array, said):
    npy(tmp_path / "mask.npy", array)
    with pytest.raises(ContractError, match=rf"the mask .*mask\.npy .*{said}"):
        read_mask(tmp_path / "mask.npy")


def test_files_that_are_no_masks(tmp_path):
    path = tmp_path / "mask"
    with pytest.raises(ContractError, match="cannot be read: No such file"):
        read_mask(path)
    with pytest.raises(ContractError, match="cannot be read: Is a directory"):
        read_mask(tmp_path)
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(content)
        with pytest.raises(ContractError, match="no NPY, NPZ or TIFF"):
            read_mask(path)
    with path.open("wb") as file:
        np.savez(file, mask=GAPS, other=GAPS)
    with pytest.raises(ContractError, match="no array 'bad_pixels' but mask, other; store the mask under that name"):
        read_mask(path)
    with path.open("wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ContractError, match="no array that can be read"):
        read_mask(path)
    for write in (npy, npz, tiff):
        write(path, GAPS)
        whole = path.read_bytes()
        for length in (7, 20, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(ContractError, match=r"mask"):
                read_mask(path)
