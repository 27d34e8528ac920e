"""Photon floor: closed forms, the study's example, and conservation of photons."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fly64_assets.evaluation.scores.photons import FLOOR_LABEL, expected_photons, phase_variance_floor, photon_budget
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.windows import Scan


def test_floor_of_even_illumination_in_closed_form():
    # s = 3, W = 5, |O| = 0.5: 11.25 photons per pixel, 1 / (4 n) = 1 / 45.
    budget = photon_budget(np.full((8, 8), 5.0), np.full((8, 8), 0.3 + 0.4j), np.ones((8, 8), bool), 3.0, 7)
    assert budget.photons_per_pixel == pytest.approx(11.25, rel=1e-14)
    assert budget.phase_floor_rad == pytest.approx(1 / np.sqrt(45), rel=1e-14)
    assert budget.frames == 7
    assert budget.reason is None


def test_floor_is_the_root_of_the_mean_variance_over_the_region():
    light = np.array([[1.0, 4.0, 1e9]])
    budget = photon_budget(light, np.ones((1, 3)), np.array([[True, True, False]]), 1.0, 1)
    assert budget.photons_per_pixel == pytest.approx(2.5)
    assert budget.phase_floor_rad == pytest.approx(np.sqrt((1 / 4 + 1 / 16) / 2))


def test_floor_of_the_study_example():
    """8-px steps: 1e5 photons per frame are 1562 per pixel and 0.0127 rad, 1e3 are 0.127 rad."""
    for dose, rad in ((1e5, 0.0127), (1e3, 0.127)):
        assert np.sqrt(phase_variance_floor(np.array(dose / 64))) == pytest.approx(rad, rel=0.005)


def test_floor_is_the_inverse_information_of_a_phase_in_poisson_counts():
    """Two ports of an interferometer, n (1 +- sin phi) / 2 each side, with as many photons in a known reference.

    All of the information about the phase of n photons against a strong reference is 4 n.
    """
    photons, reference, step = 20.0, 1e9, 1e-5

    def rates(phase):
        sum_, beat = photons + reference, 2 * np.sqrt(photons * reference) * np.sin(phase)
        return np.array([sum_ + beat, sum_ - beat]) / 2

    slope = (rates(step) - rates(-step)) / (2 * step)
    information = (slope**2 / rates(0.0)).sum()
    assert phase_variance_floor(np.array(photons)) == pytest.approx(1 / information, rel=1e-6)


def test_photons_through_all_pixels_are_the_photons_on_the_detector(truth, probe, grid):
    x, y = grid(30, 60, 30, 60, 6)
    photons = expected_photons(illumination(probe, Scan(x, y, truth.shape, len(probe))), truth, 12.5)
    assert photons.sum() == pytest.approx(
        patch_counts(truth, probe, Scan(x, y, truth.shape, len(probe)), 12.5).sum(), rel=1e-6
    )


def test_what_has_no_floor_says_why():
    light = np.ones((4, 4))
    empty = photon_budget(light, np.ones((4, 4)), np.zeros((4, 4), bool), 1.0, 3)
    assert (empty.photons_per_pixel, empty.phase_floor_rad) == (None, None)
    assert "empty" in empty.reason
    opaque = np.ones((4, 4), dtype=complex)
    opaque[1, 2] = 0
    dark = photon_budget(light, opaque, np.ones((4, 4), bool), 1.0, 3)
    assert dark.phase_floor_rad is None
    assert dark.photons_per_pixel == pytest.approx(15 / 16)
    assert "1 evaluated pixels" in dark.reason
    document = json.loads(json.dumps(dark.to_dict(), allow_nan=False))
    assert document["phase_floor_label"] == FLOOR_LABEL
