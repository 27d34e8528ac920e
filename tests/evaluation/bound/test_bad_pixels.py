"""What a detector does not measure tells nothing: the bound with bad pixels, by a second implementation too."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fixtures.bound import N, curved_probe, positions, random_object, small_problem, windows

from fly64_assets.evaluation.bound.information import ObjectInformation, cut
from fly64_assets.evaluation.bound.limit import dose_limit, estimated_limit, exact_limit
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.windows import Scan


def gap_and_beamstop():
    """A column between two modules, the centre behind a beamstop and a few dead pixels: no symmetry hides a shift."""
    bad = np.zeros((N, N), bool)
    bad[:, 10] = bad[7:9, 8] = bad[3, 2:5] = True
    return bad


@pytest.fixture(scope="module")
def problem():
    return small_problem()


@pytest.fixture(scope="module")
def masked(problem):
    return dataclasses.replace(problem, bad_pixels=gap_and_beamstop())


@pytest.fixture(scope="module")
def exact(masked):
    return exact_limit(masked)


def test_the_matrix_is_that_of_the_measured_counts_by_finite_differences():
    """Sum over the good pixels of (d lambda / d k) (d lambda / d l) / lambda."""
    obj, probe, good, step = random_object(3), curved_probe(), ~gap_and_beamstop(), 1e-5
    scan = Scan(*positions(4, 3), obj.shape, N)
    unknown = np.zeros(obj.shape, bool)
    unknown[9:13, 10:14] = True

    def counts(direction):
        return patch_counts(obj * np.exp(direction), probe, scan, 1.0)[:, good].ravel()

    slopes = []
    for unit in (1, 1j):
        for row, column in np.argwhere(unknown):
            direction = np.zeros(obj.shape, complex)
            direction[row, column] = unit * step
            slopes.append((counts(direction) - counts(-direction)) / (2 * step))
    expected = (np.array(slopes) / counts(np.zeros(obj.shape))) @ np.array(slopes).T
    found = ObjectInformation(obj, probe, scan, unknown, np.complex128, ~good).dense()
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_the_bound_is_that_of_the_matrix_without_the_rows_of_bad_pixels(masked, exact):
    """Every row of A written out, those of bad pixels left out; then the pseudo-inverse and the fitted factor."""
    obj, good = cut(masked.truth, masked.tight), np.fft.ifftshift(~masked.bad_pixels)
    far = np.fft.fft2(masked.probe * windows(obj, masked.tight), norm="ortho")[:, good]
    rows = []
    for unit in (1, 1j):
        for row, column in np.argwhere(masked.unknown):
            change = np.zeros_like(obj)
            change[row, column] = unit * obj[row, column]
            moved = np.fft.fft2(masked.probe * windows(change, masked.tight), norm="ortho")[:, good]
            rows.append((moved * far.conj() / np.abs(far)).real.ravel())
    jacobian = 2 * np.array(rows)
    inverse = np.linalg.pinv(jacobian @ jacobian.T, rcond=1e-10, hermitian=True)
    pixels, mask = np.count_nonzero(masked.unknown), masked.evaluated[masked.unknown]
    weights = np.where(mask, np.abs(obj[masked.unknown]) ** 2, 0)
    fitted = np.eye(pixels) - weights / weights.sum()
    phase, log_amplitude = (np.diag(fitted @ part @ fitted.T)[mask] for part in _parts(inverse, pixels))
    assert exact.phase.variance == pytest.approx(phase.mean(), rel=1e-6)
    amplitude = (log_amplitude * np.abs(obj[masked.evaluated]) ** 2).mean()
    assert exact.amplitude.variance == pytest.approx(amplitude, rel=1e-6)


def _parts(inverse, pixels):
    return inverse[pixels:, pixels:], inverse[:pixels, :pixels]


def test_every_bad_pixel_can_only_raise_the_bound(problem, masked, exact):
    """On every pixel of the object; a mask that names no pixel changes nothing."""
    whole = exact_limit(problem)
    none = exact_limit(dataclasses.replace(problem, bad_pixels=np.zeros((N, N), bool)))
    assert (none.phase, none.amplitude) == (whole.phase, whole.amplitude)
    wider = masked.bad_pixels.copy()
    wider[4:6] = True
    widest = exact_limit(dataclasses.replace(masked, bad_pixels=wider))
    for less, more in ((whole, exact), (exact, widest)):
        for quantity in ("phase", "amplitude"):
            before, after = getattr(less, f"{quantity}_map"), getattr(more, f"{quantity}_map")
            assert np.all(after[problem.mask] >= before[problem.mask] * (1 - 1e-9))
            assert getattr(more, quantity).variance > 1.02 * getattr(less, quantity).variance
        assert more.measured_values < less.measured_values
    assert exact.measured_values == 24 * (N * N - masked.bad_pixels.sum())


def test_the_estimate_agrees_with_the_exact_bound_within_its_error(masked, exact):
    found = estimated_limit(masked)
    for ours, reference in ((found.phase, exact.phase), (found.amplitude, exact.amplitude)):
        allowed = 4 * ours.standard_error + 2 * ours.truncation
        assert allowed < 0.5, "the comparison would allow anything"
        assert ours.variance == pytest.approx(reference.variance, rel=allowed)


def test_estimates_of_both_problems_differ_by_the_mask_and_not_by_chance(problem, masked):
    """The same random vectors: what a wider mask adds to the sum of both variances is positive in every estimate."""
    none = dataclasses.replace(problem, bad_pixels=np.zeros((N, N), bool))
    whole, same, less = (estimated_limit(one) for one in (problem, none, masked))
    assert (same.phase, same.amplitude) == (whole.phase, whole.amplitude)
    few = np.zeros((N, N), bool)
    few[3, 2:5] = True
    few_bad = estimated_limit(dataclasses.replace(problem, bad_pixels=few))
    sums = [one.phase.variance + one.amplitude.variance for one in (whole, few_bad, less)]
    assert sums[0] < sums[1] < sums[2]
    assert sums[1] / sums[0] - 1 < whole.phase.standard_error, "other vectors would hide such a mask"


def test_a_problem_with_bad_pixels_is_another_problem(problem, masked):
    assert masked.sha256() != problem.sha256()
    moved = dataclasses.replace(masked, bad_pixels=np.roll(masked.bad_pixels, 1, axis=0))
    assert moved.sha256() != masked.sha256()


def test_a_detector_that_measures_too_little_leaves_the_object_undetermined(problem):
    bad = np.ones((N, N), bool)
    bad[8, 8:12] = False
    found = dose_limit(dataclasses.replace(problem, bad_pixels=bad))
    assert found.phase is None
    assert "96 measured values for" in found.singular[0]
