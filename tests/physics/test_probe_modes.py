"""Incoherent modes: what may not change when they are made orthogonal, and what a method of one mode says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from fixtures.scan import measure, soft_probe

from fly64_assets.errors import EngineError
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement_check import checked
from fly64_assets.physics.probe_modes import orthogonal_modes, power_shares
from fly64_assets.physics.windows import Scan

N = 16
SCAN = Scan(np.array([12.0, 14.3]), np.array([11.0, 13.6]), (26, 28), N)


def random_object():
    random = np.random.default_rng(2)
    return (0.8 + 0.2 * random.random(SCAN.object_shape)) * np.exp(1j * random.random(SCAN.object_shape))


def hermite(power=(4.0, 2.0, 1.0)):
    """A Gaussian and its products with x and y, orthogonal by symmetry, with these powers."""
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    gauss = np.exp(-(x**2 + y**2) / 12 + 0.05j * (x**2 + y**2))
    modes = np.stack([gauss, x * gauss, y * gauss])
    return modes * np.sqrt(power / (np.abs(modes) ** 2).sum(axis=(1, 2)))[:, None, None]


def mixed(seed=3):
    """The same light by modes that are not orthogonal: a random unitary matrix mixes them."""
    unitary = scipy.stats.unitary_group.rvs(3, random_state=seed)
    return np.tensordot(unitary, hermite(), axes=1)


def counts(modes):
    return sum(patch_counts(random_object(), mode, SCAN, 10.0) for mode in modes)


def test_mixing_modes_changes_no_count_and_the_decomposition_undoes_it():
    expected = counts(hermite())
    np.testing.assert_allclose(counts(mixed()), expected, rtol=1e-10)
    found = orthogonal_modes(mixed())
    np.testing.assert_allclose(counts(found), expected, rtol=1e-10)
    gram = np.einsum("mij,nij->mn", found, found.conj())
    np.testing.assert_allclose(gram, np.diag([4.0, 2.0, 1.0]), atol=1e-12)
    overlaps = np.einsum("mij,mij->m", found, hermite().conj())
    np.testing.assert_allclose(np.abs(overlaps), [4.0, 2.0, 1.0], rtol=1e-10)
    np.testing.assert_allclose(power_shares(found), np.array([4, 2, 1]) / 7, rtol=1e-12)
    assert power_shares(mixed())[0] < power_shares(found)[0] - 0.05, "no single mode holds more"


def test_orthogonal_modes_in_order_come_out_as_they_went_in():
    np.testing.assert_allclose(orthogonal_modes(hermite()), hermite(), atol=1e-12)
    again = orthogonal_modes(orthogonal_modes(mixed()))
    np.testing.assert_allclose(again, orthogonal_modes(mixed()), atol=1e-12)
    swapped = orthogonal_modes(hermite()[::-1])
    np.testing.assert_allclose(swapped, hermite(), atol=1e-12)


def test_the_mutual_intensity_is_that_of_the_first_modes():
    """Second implementation: eigenvectors of sum_m P_m(r) P_m*(r') on all pairs of pixels."""
    flat = mixed().reshape(3, -1)
    intensity = np.einsum("mr,ms->rs", flat, flat.conj())
    values, vectors = np.linalg.eigh(intensity)
    found = orthogonal_modes(mixed()).reshape(3, -1)
    np.testing.assert_allclose((np.abs(found) ** 2).sum(axis=1), values[:-4:-1], rtol=1e-10)
    for k in range(3):
        own = np.outer(found[k], found[k].conj())
        np.testing.assert_allclose(
            own, values[-1 - k] * np.outer(vectors[:, -1 - k], vectors[:, -1 - k].conj()), atol=1e-10
        )


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_shares_do_not_depend_on_the_unit_of_the_probe(unit):
    modes = (hermite() * unit).astype(np.complex64)
    np.testing.assert_allclose(power_shares(modes), np.array([4, 2, 1]) / 7, rtol=1e-6)
    np.testing.assert_allclose(power_shares(orthogonal_modes(modes)), np.array([4, 2, 1]) / 7, rtol=1e-6)


def test_more_modes_than_pixels_and_no_light():
    modes = np.arange(1, 6, dtype=float).reshape(5, 1, 1) * 1j
    found = orthogonal_modes(modes)
    assert found.shape == (5, 1, 1)
    np.testing.assert_allclose(power_shares(found), [1, 0, 0, 0, 0], atol=1e-12)
    for value in (0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="zero everywhere, or not finite"):
            power_shares(np.full((2, 4, 4), value))


def test_a_method_of_one_mode_says_how_much_that_one_holds():
    measured = measure(random_object(), soft_probe(N), 4, 1e4)
    modes = orthogonal_modes(mixed()).astype(np.complex64)
    several = replace(measured, probe=modes[0], further_modes=modes[1:])
    words = r"3 incoherent modes, and this method knows one: the strongest orthogonal one holds 57\.1% of the power"
    with pytest.raises(EngineError, match=words):
        checked(several)
    assert checked(several, modes=True).modes.shape == (3, N, N)
    with pytest.raises(EngineError, match=r"the further modes have the shape \(2, 8, 8\)"):
        checked(replace(several, further_modes=several.further_modes[:, :8, :8]), modes=True)
    with pytest.raises(EngineError, match=r"the probe has the shape \(1, 16, 16\); expected \(N, N\)"):
        checked(replace(measured, probe=measured.probe[None]))
