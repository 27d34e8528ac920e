"""Files whose probe has several incoherent modes: carried as orthogonal ones, or one is taken by option."""

from __future__ import annotations

import numpy as np
import pytest

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.npz import dataset_of, load_base, load_dataset, load_measurement, write_npz
from fly64_assets.contract.schema import base_arrays, dataset_arrays
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ContractError
from fly64_assets.physics.probe_modes import in_order, power_shares
from fly64_assets.ptychopinn.data_sets import export_data_set


@pytest.fixture(params=["data set", "base"])
def read(request):
    return canonicalize if request.param == "data set" else canonicalize_base


def modes_of(arrays):
    """The probe with 80 % of the power, and the same turned by a quarter of a turn with the rest."""
    probe = arrays["probeGuess"]
    return np.stack([probe, np.rot90(probe) / 2])


def mutual(modes):
    """Mutual intensity, which fixes the counts of every object."""
    flat = modes.reshape(len(modes), -1).astype(np.complex128)
    return flat.T @ flat.conj()


def step_of(done, operation):
    return next((entry["parameters"] for entry in done if entry["operation"] == operation), None)


@pytest.mark.parametrize("axes", [0, 1])
def test_several_modes_become_orthogonal_ones_of_the_same_counts(save, arrays, read, axes):
    modes = modes_of(arrays)[::-1]
    found, done = read(save(arrays | {"probeGuess": modes.reshape((1,) * axes + modes.shape)}))
    made = found["probeGuess"]
    assert (made.shape, made.dtype) == ((2, 16, 16), np.complex64)
    assert in_order(made)
    np.testing.assert_allclose(mutual(made), mutual(modes), atol=1e-5 * np.abs(mutual(modes)).max())
    step = step_of(done, "orthogonalise_modes")
    assert step["shares_before"] == pytest.approx([0.2, 0.8])
    assert step["shares"] == pytest.approx(power_shares(made).tolist(), abs=1e-6)


def test_canonical_modes_stay_to_the_last_bit(save, arrays, read):
    found, _ = read(save(arrays | {"probeGuess": modes_of(arrays)}))
    again, done = read(save(found))
    assert again["probeGuess"].tobytes() == found["probeGuess"].tobytes()
    assert step_of(done, "orthogonalise_modes") is None


def test_modes_that_are_the_same_are_one(save, arrays, read):
    found, done = read(save(arrays | {"probeGuess": np.stack([arrays["probeGuess"]] * 3)}))
    np.testing.assert_allclose(found["probeGuess"], np.sqrt(3) * arrays["probeGuess"], rtol=1e-5, atol=1e-6)
    assert step_of(done, "orthogonalise_modes")["left_out"] == 2


def test_modes_are_judged_and_named_with_their_shares(save, arrays):
    found, _ = canonicalize(save(arrays | {"probeGuess": modes_of(arrays)}))
    report = validate(found)
    assert report.ok, report.errors
    (said,) = [finding for finding in report.findings if finding.code == "DATA-001.modes"]
    assert said.severity == "info"
    assert "2 incoherent modes hold" in said.message
    assert "--probe-mode 0" in said.message
    wrong = found | {"probeGuess": found["probeGuess"][::-1]}
    assert "not orthogonal by falling power" in str([f.message for f in validate(wrong).errors])
    small = found | {"probeGuess": found["probeGuess"][:, :8, :8]}
    assert "shape (8, 8); expected (16, 16)" in str([f.message for f in validate(small).errors])
    spoilt = found["probeGuess"].copy()
    spoilt[1, 0, 0] = np.nan
    assert "NaN" in str([f.message for f in validate(found | {"probeGuess": spoilt}).errors])


def test_modes_go_into_a_data_set_and_back(save, arrays, tmp_path):
    found, _ = canonicalize(save(arrays | {"probeGuess": modes_of(arrays)}))
    dataset = dataset_of(found)
    np.testing.assert_array_equal(dataset.probe, found["probeGuess"][0])
    np.testing.assert_array_equal(dataset.further_modes, found["probeGuess"][1:])
    with (tmp_path / "again.npz").open("wb") as file:
        write_npz(file, dataset_arrays(dataset))
    np.testing.assert_array_equal(load_dataset(tmp_path / "again.npz").modes, found["probeGuess"])
    measured = load_measurement(tmp_path / "again.npz")
    np.testing.assert_array_equal(measured.modes, found["probeGuess"])
    with pytest.raises(ContractError, match=r"PtychoPINN knows one: .*--probe-mode 0"):
        export_data_set(tmp_path / "again.npz", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_modes_of_a_base_go_into_a_base_and_back(save, arrays, tmp_path):
    found, _ = canonicalize_base(save(arrays | {"probeGuess": modes_of(arrays)}))
    with (tmp_path / "base.npz").open("wb") as file:
        write_npz(file, found)
    base = load_base(tmp_path / "base.npz")
    assert base.patch_size == 16
    assert base_arrays(base)["probeGuess"].tobytes() == found["probeGuess"].tobytes()


def test_modes_in_fft_order_and_of_another_side(save, arrays, read):
    probe = np.fft.fftshift(modes_of(arrays), axes=(1, 2))
    found, done = read(save(arrays | {"probeGuess": probe}), probe_corner=True)
    expected, _ = read(save(arrays | {"probeGuess": modes_of(arrays)}))
    np.testing.assert_allclose(found["probeGuess"], expected["probeGuess"], atol=1e-5)
    assert step_of(done, "shift_probe_to_centre")["axes"] == [0, 1]


@pytest.mark.parametrize("axes", [0, 1])
@pytest.mark.parametrize("number", [0, 1])
def test_one_mode_is_taken_by_option_and_recorded(save, arrays, read, number, axes):
    probe = modes_of(arrays).reshape((1,) * axes + (2, 16, 16))
    found, done = read(save(arrays | {"probeGuess": probe}), corrections=Corrections(probe_mode=number))
    whole, _ = read(save(arrays | {"probeGuess": modes_of(arrays)}))
    np.testing.assert_allclose(found["probeGuess"], whole["probeGuess"][number], atol=1e-6)
    step, shares = step_of(done, "choose_probe_mode"), power_shares(whole["probeGuess"])
    assert (step["mode"], step["share_of_power"]) == (number, pytest.approx(shares[number], abs=1e-5))


@pytest.mark.parametrize("number", [0, 1])
def test_orthogonal_modes_in_order_are_taken_as_they_are(save, arrays, read, number):
    whole, _ = read(save(arrays | {"probeGuess": modes_of(arrays)}))
    found, _ = read(save(arrays | {"probeGuess": whole["probeGuess"]}), corrections=Corrections(probe_mode=number))
    np.testing.assert_array_equal(found["probeGuess"], whole["probeGuess"][number])


def test_a_mode_without_power_is_left_out(save, arrays, read):
    probe = arrays["probeGuess"]
    found, done = read(save(arrays | {"probeGuess": np.stack([probe, 0 * probe])}))
    np.testing.assert_array_equal(found["probeGuess"], probe.astype(np.complex64))
    assert step_of(done, "orthogonalise_modes")["left_out"] == 1


@pytest.mark.parametrize("axes", [0, 1])
def test_modes_on_the_last_axis_are_moved_and_are_not_taken_for_fft_order(save, arrays, read, axes):
    modes = modes_of(arrays)
    expected, _ = read(save(arrays | {"probeGuess": modes}))
    last = np.moveaxis(modes, 0, -1).reshape(16, 16, *(1,) * axes, 2)
    found, done = read(save(arrays | {"probeGuess": last}))
    np.testing.assert_array_equal(found["probeGuess"], expected["probeGuess"])
    assert step_of(done, "move_modes_axis_first")["shape"] == [16, 16, 2]
    judge = validate if read is canonicalize else validate_base
    stored = expected | {"probeGuess": np.moveaxis(expected["probeGuess"], 0, -1)}
    (said,) = [finding.message for finding in judge(stored).errors]
    assert "shape (16, 16, 2); expected (M, N, N): the import moves modes" in said
    one, _ = read(save(arrays | {"probeGuess": last}), corrections=Corrections(probe_mode=1))
    np.testing.assert_allclose(one["probeGuess"], expected["probeGuess"][1], atol=1e-6)


def test_a_mode_of_rounding_alone_is_not_taken(save, arrays, read):
    probe = arrays["probeGuess"]
    with pytest.raises(FormError, match="mode 1 of its orthogonal modes holds none of the power"):
        read(save(arrays | {"probeGuess": np.stack([probe, 2 * probe])}), corrections=Corrections(probe_mode=1))
    with pytest.raises(FormError, match="has 1 mode, counted from 0; there is no mode 1"):
        read(save(arrays | {"probeGuess": probe}), corrections=Corrections(probe_mode=1))


def test_no_modes_and_no_light_are_errors(save, arrays, read):
    judge = validate if read is canonicalize else validate_base
    found, _ = read(save(arrays | {"probeGuess": modes_of(arrays)[:0]}))
    assert "shape (0, 16, 16): there is no probe in it" in str([f.message for f in judge(found).errors])
    for dark in (0 * arrays["probeGuess"], 0 * modes_of(arrays)):
        found, _ = read(save(arrays | {"probeGuess": dark}))
        assert "probeGuess is zero everywhere" in str([f.message for f in judge(found).errors])


def test_a_mode_that_is_not_there_or_cannot_be_one_is_refused(save, arrays, read):
    probe = modes_of(arrays)
    with pytest.raises(FormError, match="has 2 modes, counted from 0; there is no mode 2"):
        read(save(arrays | {"probeGuess": probe}), corrections=Corrections(probe_mode=2))
    for unfit in (0 * probe, probe * np.nan, np.full_like(probe, np.inf)):
        with pytest.raises(FormError, match="2 modes hold values that are not finite, or no power at all"):
            read(save(arrays | {"probeGuess": unfit}), corrections=Corrections(probe_mode=0))


def test_modes_of_a_base_in_another_window(save, arrays):
    found, done = canonicalize_base(save(arrays | {"probeGuess": modes_of(arrays)}), corrections=Corrections(crop=12))
    assert found["probeGuess"].shape == (2, 12, 12)
    assert in_order(found["probeGuess"])
    assert step_of(done, "resize_window")["old"] == [16, 16]
