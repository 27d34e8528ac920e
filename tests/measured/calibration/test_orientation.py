"""The orientation of frames against their positions, found by counts that were kept aside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fly64_assets.contract.orientation import turned
from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.measured.calibration.orientation import (
    OWN,
    PAIRS,
    Orientations,
    _compact,
    _turned,
    compare_orientations,
    neighbours,
)
from fly64_assets.physics.forward import patch_counts


def quiet(_done, _total, _values):
    """No progress."""


def even(value=0.5):
    return dict.fromkeys((name for pair in PAIRS for name in pair), value)


def test_exchanged_coordinates_are_refused_with_the_orientation_that_repairs_them(measurement):
    height, width = measurement.object_shape
    exchanged = replace(measurement, x=measurement.y, y=measurement.x, object_shape=(width, height))
    found = compare_orientations(exchanged, Execution(), quiet)
    assert found.better == "transpose"
    with pytest.raises(EngineError, match=r"--orientation transpose`.*transpose 0\.\d+.*--orientation transpose$"):
        found.require_own()
    # Turned as it says, the measurement is the one whose coordinates were exchanged, seen in a mirror.
    repaired = _turned(exchanged, "transpose")
    assert np.array_equal(repaired.measured(), np.swapaxes(measurement.measured(), 1, 2))


def test_a_tie_within_a_pair_leaves_the_orientation_of_the_file():
    orientations = Orientations(even() | {"rotate-180": 0.1}, pixels=100_000, frames=60)
    assert not orientations.better
    orientations.require_own()


@pytest.mark.parametrize(("better", "clear"), [(0.499, False), (0.40, True)])
def test_another_orientation_must_be_clearly_better(better, clear):
    orientations = Orientations(even() | {"flip-x": better}, pixels=100_000, frames=60)
    assert orientations.better == ("flip-x" if clear else "")


def test_few_counts_decide_nothing():
    assert not Orientations(even() | {"flip-x": 0.4}, pixels=500, frames=60).better


def test_half_a_turn_of_all_frames_is_explained_by_the_conjugates(truth):
    """The two members of a pair cannot be told apart."""
    scan, scale = truth.scan[:5], 30.0
    counts = patch_counts(truth.object, truth.probe, scan, scale)
    conjugate = patch_counts(truth.object.conj(), truth.probe.conj(), scan, scale)
    assert np.allclose(turned(counts, "rotate-180"), conjugate, rtol=1e-4, atol=1e-8)


def test_the_group_is_compact_and_keeps_its_windows(measurement):
    chosen = neighbours(measurement, 12)
    assert len(chosen) == 12
    middle = np.median(measurement.x), np.median(measurement.y)
    distance = np.hypot(measurement.x - middle[0], measurement.y - middle[1])
    assert distance[chosen].max() <= np.delete(distance, chosen).min()
    group = replace(measurement, x=measurement.x[chosen], y=measurement.y[chosen])
    small = _compact(group)
    assert small.scan.inside
    assert np.allclose(np.diff(small.x), np.diff(group.x))


def test_very_few_frames_are_not_compared(measurement):
    few = replace(
        measurement,
        amplitude=measurement.amplitude[:8],
        x=measurement.x[:8],
        y=measurement.y[:8],
        scan_index=measurement.scan_index[:8],
    )
    found = compare_orientations(few, Execution(), quiet)
    assert not found.better
    assert found.to_dict()["held_out_deviance_per_pixel"] == {}


def test_the_own_orientation_is_named():
    assert PAIRS[0][0] == OWN
