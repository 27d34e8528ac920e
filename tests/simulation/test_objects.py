"""Generated objects and probes: every kind, its seed, what it is said to be; and the description of objects."""

import dataclasses

import numpy as np
import pytest

from fly64_assets.contract.schema import base_arrays
from fly64_assets.contract.validate import validate_base
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.simulation.objects.describing import describe_object
from fly64_assets.simulation.objects.kinds import (
    HELD_OUT,
    MEANINGS,
    OBJECT_KINDS,
    PROBE_KINDS,
    PROBE_MEANINGS,
    TUNABLE,
    GeneratedBase,
)
from fly64_assets.simulation.objects.making import GENERATORS, generated_base, make_object, make_probe


@pytest.mark.parametrize("kind", OBJECT_KINDS)
def test_every_kind_is_an_object_that_its_seed_fixes(kind):
    made = make_object(kind, 132, seed=1)
    assert (made.shape, made.dtype) == ((132, 132), np.complex64)
    assert np.isfinite(made).all()
    amplitude = np.abs(made)
    assert 0.5 < amplitude.min() < amplitude.max() <= 1.2
    np.testing.assert_array_equal(made, make_object(kind, 132, seed=1))
    another = make_object(kind, 132, seed=2)
    assert np.array_equal(made, another) == (kind not in GENERATORS)  # pictures are the same for every seed
    assert describe_object(made).phase_range > 0.1


def test_the_lists_of_kinds_agree():
    assert set(MEANINGS) == set(OBJECT_KINDS)
    assert set(PROBE_MEANINGS) == set(PROBE_KINDS)
    assert set(TUNABLE) | set(HELD_OUT) == set(OBJECT_KINDS)
    assert not set(TUNABLE) & set(HELD_OUT)
    with pytest.raises(KeyError):
        make_object("cat", 100, 1)


def test_kinds_are_what_they_are_said_to_be():
    found = {kind: describe_object(make_object(kind, 200, seed=3)) for kind in OBJECT_KINDS}
    assert found["wrapped"].phase_range > 9 > 2.5 > max(found[kind].phase_range for kind in TUNABLE)
    assert found["weak"].phase_range < 0.2
    for kind in ("texture", "grains", "edges"):
        assert abs(found[kind].amplitude_phase_correlation) < 0.5
    for kind in ("particles", "cells", "weak", "foam", "platelets"):
        assert found[kind].amplitude_phase_correlation < -0.9
    sparse = min(found[kind].gradient_sparsity for kind in ("particles", "platelets", "circuit", "edges"))
    assert sparse > max(found[kind].gradient_sparsity for kind in ("texture", "weak", "wrapped"))
    assert found["smooth"].bandwidth < 0.05 < found["circuit"].bandwidth < found["texture"].bandwidth


def test_the_exponent_of_a_known_spectrum_is_found():
    rng = np.random.default_rng(4)
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :])
    k[0, 0] = 1
    for exponent in (1.0, 2.0, 3.0):
        field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(256, 256))) * k ** (-exponent / 2)).real
        found = describe_object(np.exp(0.01j * field / field.std()))
        assert found.spectrum_exponent == pytest.approx(exponent, abs=0.25)
    for bad in (np.ones((64, 64), complex), np.full((64, 64), np.nan, complex)):
        with pytest.raises(ValueError, match="cannot be described"):
            describe_object(bad)


def test_probes_differ_in_phase_only():
    probes = {kind: make_probe(kind, 64, 0.25, 0.04, seed=5) for kind in PROBE_KINDS}
    for probe in probes.values():
        np.testing.assert_allclose(np.abs(probe), np.abs(probes["flat"]), atol=1e-6)
        assert probe_diameter_px(probe) == pytest.approx(probe_diameter_px(probes["flat"]), rel=1e-4)
    bright = np.abs(probes["flat"]) > 0.5
    spread = {kind: np.std(np.diff(np.unwrap(np.angle(p[32][bright[32]])))) for kind, p in probes.items()}
    assert spread["flat"] < 1e-3 < spread["curved"] < spread["structured"]
    assert not np.allclose(make_probe("structured", 64, 0.25, 0.04, seed=6), probes["structured"])


@pytest.mark.parametrize("probe", PROBE_KINDS)
def test_a_generated_base_keeps_the_contract(probe):
    recipe = GeneratedBase("circuit", probe, 3, object_size=120, positions=30, pattern="fermat")
    base = generated_base(recipe, 64, "one")
    assert validate_base(base_arrays(base), patch_size=64).ok
    (entry,) = base.metadata["data_transformations"]
    assert (entry["parameters"]["object"], entry["parameters"]["probe"]) == ("circuit", probe)
    given = generated_base(dataclasses.replace(recipe, seed=4), 64, "two", probe=base.probe)
    np.testing.assert_array_equal(given.probe, base.probe)
    assert given.metadata["data_transformations"][0]["parameters"]["probe"] == "given"
