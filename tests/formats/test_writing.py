"""What an exported file says, read by the definition of its format alone, predicts the counts that it holds.

The object is a letter F, so that a transposed, mirrored or displaced picture is another one.
"""

import resource
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
from fixtures.letter import letter_f
from fixtures.scan import measure, soft_probe

from fly64_assets.contract.metadata import build_metadata
from fly64_assets.errors import ArtifactError
from fly64_assets.formats.units import Optics
from fly64_assets.formats.writing.content import Patterns, product_of
from fly64_assets.formats.writing.cxi import write_cxi
from fly64_assets.formats.writing.ptychodus import write_archive, write_product
from fly64_assets.formats.writing.tiff import write_tiff
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.windows import Scan
from fly64_assets.store.atomic import write_atomically

N, HEIGHT, WIDTH = 32, 90, 111
OPTICS = Optics(12.5e-9, 1.5e-10, 2.0)
OBJECT = letter_f(HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def measured():
    found = measure(OBJECT, soft_probe(N), 40, 1e5)
    # An index that is no row number, as in a half of a scan, and a gap between two modules.
    bad = np.zeros((N, N), bool)
    bad[5:8] = True
    return replace(found, scan_index=3 * found.scan_index, bad_pixels=bad)


@pytest.fixture(scope="module")
def product(measured):
    return product_of(measured, OPTICS, OBJECT, name="letter", comments="made here", loss=np.array([3.0, 2.0]))


def chi_square(counts, obj, probe, rows, columns, bad):
    """Of counts about what the windows that begin at pixels ``rows`` and ``columns`` predict."""
    size = probe.shape[-1]
    scan = Scan(np.asarray(columns) + size // 2, np.asarray(rows) + size // 2, obj.shape, size)
    rates = patch_counts(obj, probe, scan, 1.0)
    used = (rates > 2) & ~bad
    return np.mean((counts - rates)[used] ** 2 / rates[used])


def read_cxi(path):
    """Counts, object, probe, first rows and columns of the windows, bad pixels, from what CXI defines alone."""
    with h5py.File(path) as file:
        counts, obj = file["entry_1/data_1/data"][()], file["entry_1/image_2/data"][()]
        probe = file["entry_1/instrument_1/source_1/illumination"][()]
        detector = file["entry_1/instrument_1/detector_1"]
        wavelength = 6.62607015e-34 * 299792458 / file["entry_1/instrument_1/source_1/energy"][()]
        pixels = [detector[f"{axis}_pixel_size"][()] for axis in "xy"]
        x_pixel, y_pixel = (wavelength * detector["distance"][()] / (counts.shape[-1] * pixel) for pixel in pixels)
        x, y, _ = file["entry_1/data_1/translation"][()].T
        bad = detector["mask"][()] != 0
    rows = y / y_pixel + (obj.shape[0] - counts.shape[1]) / 2
    columns = x / x_pixel + (obj.shape[1] - counts.shape[2]) / 2
    return counts, obj, probe, rows, columns, bad


def read_archive(path):
    """The same of ptychodus: the pixel (W - 1) / 2 of an object is its centre, as the pixel (N - 1) / 2 of a window."""
    with np.load(path) as file:
        assert np.array_equal(file["indexes"], file["probe_position_indexes"])
        counts, obj, probe = file["patterns"], file["object"][0], file["probe"][0, 0]
        first = {}
        for axis, side, extent in (("x", "width", obj.shape[1]), ("y", "height", obj.shape[0])):
            metres = file[f"probe_position_{axis}_m"] - file[f"object_center_{axis}_m"]
            middle = metres / file[f"object_pixel_{side}_m"] + (extent - 1) / 2
            first[axis] = middle - (counts.shape[-1] - 1) / 2
        return counts, obj, probe, first["y"], first["x"], file["bad_pixels"]


WRITTEN = {".cxi": (write_cxi, read_cxi), ".npz": (write_archive, read_archive)}


@pytest.mark.parametrize("ending", WRITTEN)
def test_a_data_set_predicts_its_own_counts(ending, measured, product, tmp_path):
    writer, reader = WRITTEN[ending]
    write_atomically(tmp_path / f"f{ending}", lambda file: writer(file, product, measured))
    counts, obj, probe, rows, columns, bad = reader(tmp_path / f"f{ending}")
    assert counts.dtype == np.int32
    assert np.array_equal(counts, measured.counts())
    assert np.array_equal(bad, measured.bad_pixels)
    assert np.array_equal(obj, OBJECT)
    assert rows == pytest.approx(measured.y - N // 2, abs=1e-9)
    assert columns == pytest.approx(measured.x - N // 2, abs=1e-9)
    assert 0.8 < chi_square(counts, obj, probe, rows, columns, bad) < 1.2
    # Such a file shows every mistake: x and y exchanged, a sign, half a pixel, frames transposed.
    for wrong in (
        (counts, obj, probe, columns, rows),
        (counts, obj, probe, HEIGHT - N - rows, columns),
        (counts, obj, probe, rows, columns + 0.5),
    ):
        assert chi_square(*wrong, bad) > 2
    assert chi_square(np.swapaxes(counts, 1, 2), obj, probe, rows, columns, bad | bad.T) > 2


def test_a_product_has_positions_about_the_centre_of_the_object(product, tmp_path):
    write_atomically(tmp_path / "f.h5", lambda file: write_product(file, product))
    with h5py.File(tmp_path / "f.h5") as file:
        assert np.array_equal(file["object"][0], OBJECT)
        assert file["object"].attrs["pixel_width_m"] == file["object"].attrs["pixel_height_m"] == OPTICS.pixel_size_m
        assert file["object"].attrs["center_x_m"] == file["object"].attrs["center_y_m"] == 0
        x, y = file["probe_position_x_m"][()] / 12.5e-9, file["probe_position_y_m"][()] / 12.5e-9
        assert x == pytest.approx(product.x - WIDTH / 2, abs=1e-9)
        assert y == pytest.approx(product.y - HEIGHT / 2, abs=1e-9)
        assert file["loss_values"][()].tolist() == [3, 2]
        assert file["loss_epochs"][()].tolist() == [1, 2]
        assert file.attrs["probe_photon_count"] == pytest.approx(np.sum(np.abs(file["probe"][()]) ** 2), rel=1e-6)
        assert file.attrs["detector_object_distance_m"] == 2.0
        assert file.attrs["photon_energy_eV"] == pytest.approx(8265.6, rel=1e-5)
        assert (file.attrs["name"], file.attrs["comments"]) == ("letter", "made here")


def test_several_modes_stay_modes(measured, tmp_path):
    modes = np.stack([measured.probe, 0.5j * measured.probe])
    product = product_of(measured, OPTICS, OBJECT, modes, name="modes")
    write_atomically(tmp_path / "f.h5", lambda file: write_product(file, product))
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["probe"].shape == (1, 2, N, N)
        assert np.allclose(file["probe"][0, 1], 0.5j * file["probe"][0, 0])


def test_a_tiff_has_both_pictures_in_their_places_and_the_pixel_size(tmp_path):
    for pixel in (12.5e-9, None):
        write_atomically(tmp_path / "f.tif", lambda file, pixel=pixel: write_tiff(file, OBJECT, pixel))
        with tifffile.TiffFile(tmp_path / "f.tif") as file:
            amplitude, phase = file.asarray()
            about = file.imagej_metadata
            tags = file.pages[0].tags
            if pixel:
                pixels, micrometres = tags["XResolution"].value
                assert micrometres / pixels == pytest.approx(12.5e-3)
                assert tags["YResolution"].value == (pixels, micrometres)
                assert about["unit"] == "um"
            else:
                assert "unit" not in about
        assert about["Labels"] == ["amplitude", "phase [rad]"]
        assert amplitude.dtype == phase.dtype == np.float32
        assert np.allclose(amplitude * np.exp(1j * phase), OBJECT, atol=1e-6)


def test_equal_content_is_equal_bytes_at_another_time(measured, product, tmp_path):
    document = build_metadata(N)
    writers = {
        "f.cxi": lambda file: write_cxi(file, product, measured, document),
        "f.h5": lambda file: write_product(file, product),
        "f.npz": lambda file: write_archive(file, product, measured),
        "f.tif": lambda file: write_tiff(file, OBJECT, 1e-8),
    }
    first = {name: write_atomically(tmp_path / name, writer) for name, writer in writers.items()}
    time.sleep(1.1)  # HDF5 keeps times in seconds
    (tmp_path / "again").mkdir()
    assert first == {name: write_atomically(tmp_path / "again" / name, writer) for name, writer in writers.items()}


@pytest.mark.parametrize("ending", [".cxi", ".h5", ".npz", ".tif"])
def test_a_disk_that_takes_no_more_is_one_sentence_and_leaves_nothing(measured, product, tmp_path, ending, in_child):
    writers = {
        ".cxi": lambda file: write_cxi(file, product, measured),
        ".h5": lambda file: write_product(file, product),
        ".npz": lambda file: write_archive(file, product, measured),
        ".tif": lambda file: write_tiff(file, OBJECT, None),
    }
    noise = np.random.RandomState(1).normal(size=(2, HEIGHT, WIDTH)).astype(np.complex64)
    product = replace(product, object=noise[0] + 1j * noise[1])  # a letter is compressed to less

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(ArtifactError, match="larger than the limit of this process"):
            write_atomically(tmp_path / f"f{ending}", writers[ending])

    assert in_child(write) == (0, None)
    assert list(tmp_path.iterdir()) == []


def test_counts_beyond_32_bits_are_not_cut(measured):
    bright = replace(measured, amplitude=measured.amplitude.copy(), bad_pixels=None)
    bright.amplitude[7, 3, 4] = np.sqrt(2.0**33) / bright.intensity_scale
    patterns = Patterns(bright)
    assert patterns.dtype == np.int64
    (block,) = (counts for _, counts in patterns.blocks())
    assert block[7, 3, 4] == bright.counts()[7, 3, 4] > 2**32
    gap = replace(bright, bad_pixels=np.zeros((N, N), bool))
    gap.bad_pixels[3, 4] = True  # what is stored at a bad pixel has no say
    assert Patterns(gap).dtype == np.int32


def test_what_does_not_belong_together_is_refused(measured):
    with pytest.raises(ValueError, match=r"shape \(111, 90\), the grid of the data set is \(90, 111\)"):
        product_of(measured, OPTICS, OBJECT.T, name="f")
    with pytest.raises(ValueError, match="32 pixels a side"):
        product_of(measured, OPTICS, OBJECT, soft_probe(64), name="f")


def test_a_probe_found_from_a_measurement_has_the_unit_of_the_file(measured):
    """A method works in another unit and gives the probe back in that of the file."""
    normal = replace(measured, probe=measured.probe / 8, intensity_scale=measured.intensity_scale * 8, unit=8.0)
    known = product_of(measured, OPTICS, OBJECT, name="f").probe
    assert np.allclose(product_of(normal, OPTICS, OBJECT, name="f").probe, known)
    assert np.allclose(product_of(normal, OPTICS, OBJECT, measured.probe, name="f").probe, known)


def test_the_modes_of_a_measurement_are_exported_all(measured):
    several = replace(measured, further_modes=0.5j * measured.probe[None])
    product = product_of(several, OPTICS, OBJECT, name="modes")
    assert product.probe.shape == (2, *measured.probe.shape)
    np.testing.assert_allclose(product.probe, measured.intensity_scale * several.modes, rtol=1e-6)
