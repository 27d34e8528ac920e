"""Files whose probe has several incoherent modes: refused with their shares of the power, or one is taken by option."""

from __future__ import annotations

import numpy as np
import pytest

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.findings import FormError


@pytest.fixture
def save(tmp_path):
    def write(arrays):
        path = tmp_path / "modes.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture(params=["data set", "base"])
def read(request):
    return canonicalize if request.param == "data set" else canonicalize_base


def modes_of(arrays):
    """The probe with 80 % of the power, and the same turned by a quarter of a turn with the rest."""
    probe = arrays["probeGuess"]
    return np.stack([probe, np.rot90(probe) / 2])


def test_several_modes_are_refused_with_their_shares(save, arrays, read):
    words = (
        r"shape \(2, 16, 16\); expected one probe mode, and these hold 80\.0%, 20\.0% of the power: .*--probe-mode 0"
    )
    with pytest.raises(FormError, match=words):
        read(save(arrays | {"probeGuess": modes_of(arrays)}))


@pytest.mark.parametrize("axes", [0, 1])
@pytest.mark.parametrize("number", [0, 1])
def test_one_mode_is_taken_by_option_and_recorded(save, arrays, read, number, axes):
    probe = modes_of(arrays).reshape((1,) * axes + (2, 16, 16))
    found, done = read(save(arrays | {"probeGuess": probe}), corrections=Corrections(probe_mode=number))
    np.testing.assert_array_equal(found["probeGuess"], modes_of(arrays)[number])
    step = next(entry for entry in done if entry["operation"] == "choose_probe_mode")["parameters"]
    assert (step["mode"], step["share_of_power"]) == (number, pytest.approx([0.8, 0.2][number]))


def test_a_mode_that_is_not_there_or_cannot_be_one_is_refused(save, arrays, read):
    probe = modes_of(arrays)
    with pytest.raises(FormError, match="has 2 modes, counted from 0; there is no mode 2"):
        read(save(arrays | {"probeGuess": probe}), corrections=Corrections(probe_mode=2))
    for unfit in (0 * probe, probe * np.nan, np.full_like(probe, np.inf)):
        with pytest.raises(FormError, match="2 modes hold values that are not finite, or no power at all"):
            read(save(arrays | {"probeGuess": unfit}), corrections=Corrections(probe_mode=0))
