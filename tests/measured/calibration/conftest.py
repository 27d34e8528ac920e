from __future__ import annotations

import pytest
from fixtures.measured import FRAMES, measured_truth

from fly64_assets.contract.npz import dataset_of
from fly64_assets.contract.schema import Base
from fly64_assets.measured.twin import simulated_measurement
from fly64_assets.physics.measurement import Measurement

assert FRAMES == 60


@pytest.fixture(scope="session")
def truth() -> Base:
    """Object, probe and positions of a scan."""
    return measured_truth()


@pytest.fixture(scope="session")
def measurement(truth: Base) -> Measurement:
    """Its 60 frames with 20,000 photons each."""
    return dataset_of(simulated_measurement(truth, 20_000.0, 3)).measurement()
