"""Linear and area overlap of probes: analytic probes and grids, and what is asked of huge scans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from fly64_assets.errors import ProbeError
from fly64_assets.physics.illumination import probe_diameter_px, probe_fwhm_px
from fly64_assets.physics.overlap import disc_overlap
from fly64_assets.physics.probe_overlap import overlap_of_discs, probe_diameters, probe_overlap, select_by_overlap
from fly64_assets.physics.scan import SCANS


def radius(side=128):
    axis = np.arange(side) - side / 2
    return np.hypot(axis[:, None], axis[None, :])


def gaussian(sigma):
    """A probe whose intensity is a Gaussian of this standard deviation."""
    return np.exp(-(radius() ** 2) / (4 * sigma**2)).astype(np.complex64)


def grid(columns, rows, step):
    x, y = np.meshgrid(step * np.arange(columns), step * np.arange(rows))
    return np.c_[x.ravel(), y.ravel()]


def test_diameters_of_a_gaussian_and_of_a_disc():
    sigma = 9.0
    widths = probe_diameters(gaussian(sigma))
    # A disc of radius r holds 1 - exp(-r^2 / 2 sigma^2).
    assert widths["half_energy"] == pytest.approx(2 * sigma * np.sqrt(2 * np.log(2)), rel=2e-3)
    assert widths["energy_90"] == pytest.approx(2 * sigma * np.sqrt(2 * np.log(10)), rel=2e-3)
    assert widths["fwhm"] == pytest.approx(2 * sigma * np.sqrt(2 * np.log(2)), rel=1e-2)
    flat = probe_diameters((radius() <= 20).astype(complex))
    assert flat["half_energy"] == pytest.approx(40 * np.sqrt(0.5), rel=1e-2)
    assert flat["energy_90"] == pytest.approx(40 * np.sqrt(0.9), rel=1e-2)
    assert flat["fwhm"] == pytest.approx(40, rel=0.03)
    assert widths["half_energy"] == probe_diameter_px(gaussian(sigma))


def test_a_dark_centre_does_not_narrow_the_probe():
    ring = ((radius() > 12) & (radius() <= 20)).astype(complex)
    assert probe_fwhm_px(ring) == pytest.approx(40, rel=0.03)
    assert probe_fwhm_px(np.ones((8, 8), complex)) > 8  # up to the corners: no fall within the window
    for bad in (np.zeros((8, 8), complex), np.fft.fftshift(gaussian(6))):
        with pytest.raises(ProbeError):
            probe_fwhm_px(bad)


def test_modes_add_their_intensities():
    modes = np.stack([gaussian(6), 0.5 * gaussian(14)])
    together = np.sqrt((np.abs(modes.astype(complex)) ** 2).sum(axis=0))
    assert probe_diameters(modes) == pytest.approx(probe_diameters(together))


def test_a_square_and_a_hexagonal_grid():
    found = overlap_of_discs(grid(60, 60, 5.0), {"half_energy": 20.0}, window_px=64)
    assert found.nearest_px == pytest.approx(5.0)
    disc = found.of("half_energy")
    assert disc.linear.nearest == disc.linear.nearest_low == pytest.approx(0.75)
    assert disc.area.nearest == pytest.approx(float(disc_overlap(5.0, 20.0)))
    assert found.windows.nearest == pytest.approx(1 - 5 / 64)
    x, y = grid(60, 60, 5.0).T
    hexagonal = np.c_[x + 2.5 * (np.rint(y / 5) % 2), y * np.sqrt(3) / 2]
    inner = overlap_of_discs(hexagonal, {"half_energy": 20.0}, window_px=None)
    # All six are a step away, but for positions on the border.
    assert inner.of("half_energy").linear.six == pytest.approx(0.75, abs=0.02)
    assert inner.windows is None
    assert inner.of("half_energy").linear.six <= inner.of("half_energy").linear.nearest + 1e-12


def test_a_gap_is_negative_and_shares_no_area():
    found = overlap_of_discs(grid(10, 10, 30.0), {"half_energy": 20.0}, window_px=20)
    disc = found.of("half_energy")
    assert disc.linear.nearest == pytest.approx(-0.5)
    assert disc.area.nearest == 0
    assert found.sentence() == (
        "nearest probes are 50 % of their diameter of 20.0 px (half of the energy) apart from edge to edge, windows "
        "not at all"
    )
    with pytest.raises(KeyError):
        found.of("fwhm")


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_means_and_quantiles_are_those_of_all_pairs(n, seed):
    coords = np.random.default_rng(seed).uniform(0, 50, (n, 2))
    distance = np.sort(cdist(coords, coords), axis=1)[:, 1:7]
    found = overlap_of_discs(np.r_[coords, coords[:1]], {"half_energy": 15.0}, window_px=64)
    assert (found.positions, found.neighbours) == (n, min(6, n - 1))
    linear = 1 - distance / 15
    disc = found.of("half_energy")
    np.testing.assert_allclose(
        (disc.linear.nearest, disc.linear.nearest_low, disc.linear.six, disc.linear.six_low),
        (linear[:, 0].mean(), np.quantile(linear[:, 0], 0.1), linear.mean(1).mean(), np.quantile(linear.mean(1), 0.1)),
        atol=1e-12,
    )
    assert disc.area.six == pytest.approx(float(disc_overlap(distance, 15.0).mean()))


def test_one_place_has_no_neighbour():
    assert probe_overlap(np.zeros((5, 2)), gaussian(6)) is None


def test_a_large_scan_and_its_document():
    coords = np.random.default_rng(1).uniform(0, 2000, (100_000, 2))
    document = probe_overlap(coords, gaussian(9)).to_dict()
    # Of uniform positions with density rho the mean distance to the nearest is 1 / (2 sqrt(rho)).
    assert document["nearest_px"] == pytest.approx(0.5 / np.sqrt(100_000 / 2000**2), rel=0.01)
    assert list(document["discs"]) == ["half_energy", "energy_90", "fwhm"]
    assert set(document["discs"]["fwhm"]) == {"diameter_px", "linear", "area"}


@pytest.mark.parametrize("kind", list(SCANS))
@pytest.mark.parametrize(("overlap", "diameter"), [(0.8, 20.0), (0.5, 20.0), (0.2, 20.0), (0.0, 30.0)])
def test_views_by_the_probe_reach_their_overlap_on_every_kind_of_scan(kind, overlap, diameter):
    scan = SCANS[kind](7, 4000, (240, 200), 64)
    found = select_by_overlap(np.c_[scan.x, scan.y], overlap, diameter, 64)
    kept = np.c_[scan.x, scan.y][found.selection.kept]
    measured = overlap_of_discs(kept, {"half_energy": diameter}, window_px=64)
    assert found.reached == pytest.approx(measured.of("half_energy").linear.nearest)
    assert found.reached == pytest.approx(overlap, abs=0.03)
    assert not found.short
    document = found.to_dict()
    assert (document["target_linear_overlap"], document["n_accepted"]) == (overlap, len(kept))


def test_an_overlap_that_the_scan_does_not_have_is_said_to_be_short():
    scan = SCANS["raster"](7, 100, (240, 200), 64)
    found = select_by_overlap(np.c_[scan.x, scan.y], 0.9, 20.0, 64)
    assert found.short
    assert len(found.selection.kept) == 100
    assert found.reached < 0.9
    with pytest.raises(ValueError, match="must be in"):
        select_by_overlap(np.c_[scan.x, scan.y], 1.0, 20.0, 64)
