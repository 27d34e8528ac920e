"""What is stored where the detector did not measure reaches neither the input of ``cnn`` nor its losses."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
from fixtures.cnn import validation_losses
from fixtures.scan import gaps, masked

from fly64_assets.engines.execution import Execution
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.pinn.training import train

SETTINGS = CnnSettings(n_filters_scale=1, epochs=1, learning_rate=1e-2)
BAD = gaps(64)


@pytest.fixture(scope="module")
def results(wide, tmp_path_factory):
    """Training and reconstruction with two values under one mask, and without the mask."""
    folder = tmp_path_factory.mktemp("masked")
    found = {}
    for name, measurement in {
        "nan": masked(wide, BAD, np.nan),
        "bright": masked(wide, BAD, 65535.0),
        "whole": wide,
    }.items():
        result = train(measurement, SETTINGS, 2, 7, 1, Execution(), lambda *_: None, scratch=folder)
        bundle = Bundle({}, {"network": result.spec.to_dict()}, result.weights, [])
        found[name] = result, reconstruct(bundle, measurement, "cpu", folder, lambda *_: None)
    return found


def test_values_under_the_mask_change_no_bit(results):
    (one, obj), (other, again) = results["nan"], results["bright"]
    assert {name: value.tobytes() for name, value in one.weights.items()} == {
        name: value.tobytes() for name, value in other.weights.items()
    }
    assert (one.history, one.spec, one.flat_loss, one.phase_std) == (
        other.history,
        other.spec,
        other.flat_loss,
        other.phase_std,
    )
    assert obj.object.tobytes() == again.object.tobytes()


def test_a_mask_changes_weights_losses_and_object(results):
    (one, obj), (whole, other) = results["nan"], results["whole"]
    assert any(np.any(one.weights[name] != value) for name, value in whole.weights.items())
    assert one.history[0]["validation_loss"] != whole.history[0]["validation_loss"]
    assert one.flat_loss != whole.flat_loss
    assert np.abs(obj.object - other.object).max() > 1e-3


@pytest.mark.parametrize("name", ["nan", "whole"])
def test_losses_are_sums_over_the_good_pixels(results, wide, name):
    result, measurement = results[name][0], wide if name == "whole" else masked(wide, BAD, 0.0)
    losses = validation_losses(result.spec, result.weights, measurement, SETTINGS, 7, 1)
    assert losses == pytest.approx((result.history[0]["validation_loss"], result.flat_loss), rel=1e-5)
