"""What is exported comes back as it was: counts, positions, bad pixels, probe, object and geometry."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.letter import letter_f
from fixtures.scan import measure, soft_probe

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.metadata import STAND_IN_OBJECT, build_metadata, has_stand_in_object, transformation
from fly64_assets.contract.npz import dataset_of
from fly64_assets.contract.validate import validate
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.opening import opened
from fly64_assets.formats.units import Optics, recorded_optics
from fly64_assets.formats.writing.content import product_of
from fly64_assets.formats.writing.cxi import write_cxi
from fly64_assets.formats.writing.ptychodus import write_archive, write_product
from fly64_assets.formats.writing.tiff import write_tiff
from fly64_assets.physics.probe_modes import orthogonal_modes
from fly64_assets.store.atomic import write_atomically

N = 64
OPTICS = Optics(12.5e-9, 1.5e-10, 2.0)
OBJECT = letter_f(141, 170)
GEOMETRY = {"pixel_size_m": 12.5e-9, "wavelength_m": 1.5e-10, "detector_distance_m": 2.0}


@pytest.fixture(scope="module")
def measured():
    bad = np.zeros((N, N), bool)
    bad[20:23], bad[40, 7] = True, True
    return replace(measure(OBJECT, soft_probe(N), 30, 1e5), bad_pixels=bad)


def imported(path):
    source, form = opened(path, {}, frames=True)
    arrays, _ = canonicalize(source, **form)
    validate(arrays).raise_if_failed(path.name)
    return dataset_of(arrays)


@pytest.mark.parametrize("ending", [".cxi", ".npz"])
@pytest.mark.parametrize("with_object", [True, False])
def test_a_data_set_comes_back(measured, tmp_path, ending, with_object):
    product = product_of(measured, OPTICS, OBJECT if with_object else None, name="letter")
    writer = write_cxi if ending == ".cxi" else write_archive
    write_atomically(tmp_path / f"f{ending}", lambda file: writer(file, product, measured))
    back = imported(tmp_path / f"f{ending}")
    again = back.measurement()
    assert np.array_equal(again.counts(), measured.counts())
    assert np.array_equal(again.bad_pixels, measured.bad_pixels)
    # The unit of the probe is arbitrary, its unit with the counts is not.
    assert np.allclose(again.intensity_scale * again.probe, measured.intensity_scale * measured.probe, rtol=1e-6)
    assert again.x == pytest.approx(measured.x, abs=1e-9)
    assert again.y == pytest.approx(measured.y, abs=1e-9)
    assert recorded_optics(back.metadata) == pytest.approx(GEOMETRY)
    # Where nobody knows the object, the ones that stand for it are no object on the way back either.
    assert has_stand_in_object(back.metadata) is not with_object
    if with_object:
        assert np.array_equal(back.object, OBJECT)
    else:
        source, form = opened(tmp_path / f"f{ending}", {}, frames=False)
        with pytest.raises(ContractError, match="lacks objectGuess"):
            canonicalize_base(source, **form)


@pytest.mark.parametrize("ending", [".cxi", ".npz"])
def test_several_modes_come_back_with_the_mask(measured, tmp_path, ending):
    odd = measured.probe * (np.arange(N) - N // 2) / 20
    modes = orthogonal_modes(np.stack([measured.probe, odd])).astype(np.complex64)
    several = replace(measured, probe=modes[0], further_modes=modes[1:])
    product = product_of(several, OPTICS, OBJECT, name="letter")
    writer = write_cxi if ending == ".cxi" else write_archive
    write_atomically(tmp_path / f"f{ending}", lambda file: writer(file, product, several))
    back = imported(tmp_path / f"f{ending}").measurement()
    np.testing.assert_allclose(back.intensity_scale * back.modes, several.intensity_scale * modes, rtol=1e-6)
    assert np.array_equal(back.counts(), several.counts())
    assert np.array_equal(back.bad_pixels, several.bad_pixels)


@pytest.mark.parametrize("with_object", [True, False])
def test_indices_dose_and_history_come_back_in_cxi(measured, tmp_path, with_object):
    """An object that is known now is no stand-in any more, and the amplitudes' scale is not that of counts."""
    index = np.arange(30) * 3 + 5
    steps = [transformation("simulate", {"dose": 1e5}), transformation(STAND_IN_OBJECT)]
    metadata = build_metadata(N, *steps, physics={"nphotons": 1e5, "intensity_scale": 7.0}, fields={"split": "train"})
    product = product_of(measured, OPTICS, OBJECT if with_object else None, name="letter")
    own = replace(measured, scan_index=index)
    write_atomically(tmp_path / "f.cxi", lambda file: write_cxi(file, product, own, metadata))
    back = imported(tmp_path / "f.cxi")
    assert back.scan_index.tolist() == index.tolist()
    assert back.metadata["physics_parameters"]["nphotons"] == 1e5
    assert back.metadata["physics_parameters"]["intensity_scale"] == 1.0
    assert back.metadata["split"] == "train"
    assert back.metadata["data_transformations"][0] == steps[0]
    assert has_stand_in_object(back.metadata) is not with_object
    source, _ = opened(tmp_path / "f.cxi", {}, frames=True)
    assert source.members["entry_1/fly64_assets/scan_index"] == "read as scan_index"
    assert source.members["entry_1/fly64_assets/metadata"].startswith("read as _metadata")


@pytest.mark.parametrize("ending", [".cxi", ".h5"])
def test_a_reconstruction_comes_back_as_a_base(measured, tmp_path, ending):
    product = product_of(measured, OPTICS, OBJECT, name="letter", loss=np.array([2.0, 1.0]))
    writer = write_cxi if ending == ".cxi" else write_product
    write_atomically(tmp_path / f"f{ending}", lambda file: writer(file, product))
    source, form = opened(tmp_path / f"f{ending}", {}, frames=False)
    arrays, _ = canonicalize_base(source, **form)
    assert np.array_equal(arrays["objectGuess"], OBJECT)
    assert np.allclose(arrays["probeGuess"], product.probe)
    assert arrays["xcoords"] == pytest.approx(measured.x, abs=1e-9)
    assert arrays["ycoords"] == pytest.approx(measured.y, abs=1e-9)


def test_a_picture_comes_back_as_amplitude_and_phase(tmp_path):
    write_atomically(tmp_path / "f.tif", lambda file: write_tiff(file, OBJECT, 12.5e-9))
    source, _ = opened(tmp_path / "f.tif", {}, frames=False)
    amplitude, phase = source.arrays["f"]
    assert np.allclose(amplitude * np.exp(1j * phase), OBJECT, atol=1e-6)
