"""The unit of a probe is arbitrary: no result may depend on it, over 60 orders of magnitude."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.scan import in_unit, masked, measure, soft_probe
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fly64_assets.contract.schema import Base
from fly64_assets.errors import ContractError, EngineError
from fly64_assets.physics.illumination import disc_illumination, illumination, probe_diameter_px
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.simulation.frames import simulate

UNITS = st.floats(-30, 30).map(lambda exponent: 10.0**exponent)
ROWS, COLUMNS = np.indices((48, 52))
OBJECT = ((0.8 + 0.2 * np.cos(COLUMNS / 5)) * np.exp(0.5j * np.sin(ROWS / 7))).astype(np.complex64)
MEASURED = measure(OBJECT, soft_probe(32), 5, 1e4)


def simulated(probe: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of a simulation with a probe; its diameter and mean intensity on the disc."""
    scan = simulate(Base(OBJECT, probe, MEASURED.x, MEASURED.y, {}), dose=1000, scan="base", axis="y", seed=1)
    amplitude = np.concatenate([block for half in scan.halves for block in scan.amplitude_blocks(half)])
    diameter = probe_diameter_px(probe)
    counts = (amplitude.astype(np.float64) * scan.scale) ** 2
    return counts, np.array([diameter, disc_illumination(probe, diameter)])


@given(unit=UNITS, dtype=st.sampled_from([np.complex64, np.complex128]))
@settings(max_examples=50, deadline=None)
def test_a_normalised_measurement_is_the_same_one(unit: float, dtype: type) -> None:
    own = in_unit(MEASURED, unit, dtype)
    normal = own.normalised()
    assert normal.probe.dtype == np.complex64
    assert 1 <= np.abs(normal.probe).max() < 2
    # Subnormal numbers round twice on the way, by one of their steps; every other number is the same to the last bit.
    step = float(np.finfo(np.float32).smallest_subnormal)
    stored = own.probe.astype(np.complex64)
    np.testing.assert_allclose(normal.in_stored_unit(normal.probe), stored, rtol=0, atol=1.5 * step)
    np.testing.assert_array_equal(own.counts(), MEASURED.counts())
    np.testing.assert_array_equal(normal.counts(), MEASURED.counts())
    assert normal.intensity_scale == own.intensity_scale * normal.unit
    assert normal.normalised().unit == normal.unit


def test_a_real_probe_is_normalised_too() -> None:
    own = in_unit(MEASURED, 1e-25)
    normal = Measurement(**{**vars(own), "probe": np.abs(own.probe)}).normalised()
    assert np.abs(own.probe).dtype == np.float32
    np.testing.assert_array_equal(normal.probe * normal.unit, np.abs(own.probe))


@given(unit=UNITS)
@settings(max_examples=30, deadline=None)
def test_coverage_is_finite_in_every_unit(unit: float) -> None:
    own = in_unit(MEASURED, unit)
    coverage, light = own.normalised().coverage(), illumination(own.probe, own.scan)
    np.testing.assert_allclose(coverage, light, rtol=1e-6, atol=1e-12 * light.max())
    assert coverage.dtype == (np.float32 if 1e-25 < light.max() < 1e38 else np.float64)


@given(exponent=st.integers(-100, 100), dtype=st.sampled_from([np.complex64, np.complex128]))
@settings(max_examples=30, deadline=None)
def test_a_simulation_has_the_same_counts_in_every_unit(exponent: int, dtype: type) -> None:
    probe = soft_probe(32).astype(dtype)
    counts, (diameter, intensity) = simulated(probe)
    found, (other_diameter, other_intensity) = simulated(probe * dtype(2.0**exponent))
    np.testing.assert_allclose(found, counts, rtol=1e-6)
    assert other_diameter == diameter
    assert other_intensity == intensity * 4.0**exponent


@pytest.mark.parametrize("unit", [3e38, 1e-40, 1e-44])
def test_amplitudes_beyond_single_precision_are_refused(unit: float) -> None:
    """And not stored as infinities, or with a part of their digits."""
    with pytest.raises(ContractError, match=r"single precision\); multiply the probe by a constant"):
        simulated((soft_probe(32).astype(np.complex128) * unit).astype(np.complex64))


@given(unit=UNITS)
@settings(max_examples=20, deadline=None)
def test_a_unit_that_rounds_the_probe_changes_hardly_a_count(unit: float) -> None:
    probe = soft_probe(32)
    counts, (diameter, _) = simulated(probe)
    found, (other, _) = simulated((probe.astype(np.complex128) * unit).astype(np.complex64))
    assert np.mean(np.abs(found - counts) > 0.5) < 1e-3, "rates differ in the eighth digit"
    np.testing.assert_allclose(other, diameter, rtol=1e-6)


# -- bad pixels ---------------------------------------------------------------------------------------------------


@given(value=st.floats(width=32), bad=arrays(np.bool_, (32, 32)).filter(lambda bad: MEASURED.amplitude[:, ~bad].any()))
@settings(max_examples=30, deadline=None)
def test_what_is_stored_at_a_bad_pixel_is_never_seen(value: float, bad: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        own = checked(masked(MEASURED, bad, value))
    expected = MEASURED.counts()
    expected[:, bad] = 0
    np.testing.assert_array_equal(own.counts(), expected)
    np.testing.assert_array_equal(own.counts(slice(1, 3)), expected[1:3])
    np.testing.assert_array_equal(own.measured(), np.where(bad, 0, MEASURED.amplitude))
    assert own.measured().dtype == np.float32


def test_a_mask_that_leaves_nothing_or_does_not_fit_is_refused() -> None:
    bad = np.zeros((32, 32), bool)
    assert checked(replace(MEASURED, bad_pixels=bad)).bad_pixels is bad
    for wrong, words in (
        (~bad, r"every pixel of the detector; nothing was measured \(is the mask inverted\?\)"),
        (bad[1:], r"bad_pixels is bool of the shape \(31, 32\); expected bool of the shape \(32, 32\)"),
        (bad.astype(np.uint8), "bad_pixels is uint8"),
    ):
        with pytest.raises(EngineError, match=words):
            checked(replace(MEASURED, bad_pixels=wrong))
    with pytest.raises(EngineError, match="frames are dark on the pixels that bad_pixels leaves"):
        checked(replace(MEASURED, bad_pixels=MEASURED.amplitude.any(axis=0)))
