"""The photon limit: closed forms, a second implementation, an estimator that reaches it, and singular directions."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from fixtures.bound import N, curved_probe, positions, random_object, small_problem, windows

from fly64_assets.evaluation.bound import limit as limits
from fly64_assets.evaluation.bound.information import ObjectInformation, cut
from fly64_assets.evaluation.bound.limit import LimitProblem, dose_limit, estimated_limit, exact_limit
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.windows import Scan


@pytest.fixture(scope="module")
def problem():
    return small_problem()


@pytest.fixture(scope="module")
def exact(problem):
    return exact_limit(problem)


@pytest.mark.parametrize("units", [(2.0**-100, 1.0), (2.0**40, 2.0**66)])
@pytest.mark.parametrize("limit", [dose_limit, estimated_limit])
def test_the_units_of_probe_and_object_only_scale_the_bound(problem, units, limit):
    """The variance of a phase is that of fewer or more photons; that of an amplitude has the unit of the object."""
    probe, obj = units
    single = dataclasses.replace(
        problem, probe=problem.probe.astype(np.complex64), truth=problem.truth.astype(np.complex64)
    )
    other = dataclasses.replace(
        single,
        probe=single.probe * np.complex64(probe),
        truth=single.truth * np.complex64(obj),
        least_light=single.least_light * probe**2,
    )
    one, found = limit(single), limit(other)
    rtol = 1e-9 if limit is not estimated_limit or obj == 1 else 10 * one.phase.standard_error
    np.testing.assert_allclose(found.phase.variance * (probe * obj) ** 2, one.phase.variance, rtol=rtol)
    np.testing.assert_allclose(found.amplitude.variance * probe**2, one.amplitude.variance, rtol=rtol)
    np.testing.assert_allclose(found.phase_map.max() * (probe * obj) ** 2, one.phase_map.max(), rtol=rtol)
    arrays = limits.limit_arrays(found, "digest")
    read = limits.limit_from_arrays(arrays, "digest")
    np.testing.assert_allclose(read.phase_map, found.phase_map, rtol=1e-6)


# -- the matrix ---------------------------------------------------------------------------------------------------


def test_the_matrix_is_the_information_of_poisson_counts_by_finite_differences():
    """Second implementation: sum over detector pixels of (d lambda / d k) (d lambda / d l) / lambda, at s = 3."""
    obj, probe, s, step = random_object(3), curved_probe(), 3.0, 1e-5
    x, y = positions(4, 3)
    unknown = np.zeros(obj.shape, dtype=bool)
    unknown[9:14, 10:15] = True
    pixels = np.flatnonzero(unknown)

    def counts(direction):
        return patch_counts(
            obj * np.exp(direction.reshape(obj.shape)), probe, Scan(x, y, obj.shape, len(probe)), s
        ).ravel()

    slopes = []
    for unit in (1, 1j):
        for pixel in pixels:
            direction = np.zeros(obj.size, dtype=complex)
            direction[pixel] = unit * step
            slopes.append((counts(direction) - counts(-direction)) / (2 * step))
    slopes = np.array(slopes)
    expected = (slopes / counts(np.zeros(obj.size))) @ slopes.T
    ours = s**2 * ObjectInformation(obj, probe, Scan(x, y, obj.shape, len(probe)), unknown, np.complex128).dense()
    np.testing.assert_allclose(ours, expected, atol=1e-6 * np.abs(expected).max())


def test_amplitude_and_phase_of_a_pixel_share_four_times_its_photons():
    """With whole-pixel positions the two diagonals add up to 4 n, the most that coherent light can tell."""
    obj, probe = random_object(5), curved_probe()
    x, y = (np.round(p) for p in positions(6, 9))
    unknown = illumination(probe, Scan(x, y, obj.shape, len(probe))) > 0.1
    information = ObjectInformation(obj, probe, Scan(x, y, obj.shape, len(probe)), unknown, np.complex128)
    diagonal = np.diag(information.dense())
    pixels = np.count_nonzero(unknown)
    np.testing.assert_allclose(diagonal[:pixels] + diagonal[pixels:], 4 * information.photons[unknown], rtol=1e-10)


def chirp(order, size):
    """Uniform probe with a quadratic phase whose far field is uniform too (for odd orders prime to the size)."""
    axis = np.exp(1j * np.pi * order * (np.arange(size) - size // 2) ** 2 / size)
    return np.outer(axis, axis)


def test_flat_object_and_uniform_probe_in_closed_form():
    """A uniform chirp is a Fresnel transform: per frequency k, I = 4 [[cos^2, -cos sin], [-cos sin, sin^2]].

    One frame knows one of amplitude and phase at every frequency; two chirps know both wherever their phase contrasts
    differ, with a variance that is the mean over frequencies of the inverse blocks.
    """
    size = 16
    centre = np.array([size / 2])
    flat, everywhere = np.ones((size, size), dtype=complex), np.ones((size, size), dtype=bool)
    frequencies = np.arange(size)
    total = np.zeros((2 * size**2, 2 * size**2))
    blocks = np.zeros((size, size, 2, 2))
    for order in (1, 3):
        probe = chirp(order, size)
        matrix = np.zeros_like(total)
        tight = Scan(centre, centre, flat.shape, size).tight()
        information = ObjectInformation(cut(flat, tight), probe, tight, cut(everywhere, tight), np.complex128)
        matrix += information.dense()
        values = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(values, np.repeat([0.0, 4.0], size**2), atol=1e-8)
        kernel = np.fft.fft(np.exp(1j * np.pi * order * frequencies**2 / size))
        contrast = np.angle(kernel / kernel[0])
        chi = contrast[:, None] + contrast[None, :]
        wave = np.stack([np.cos(chi), -np.sin(chi)], axis=-1)
        blocks += 4 * wave[..., :, None] * wave[..., None, :]
        total += matrix
    np.testing.assert_allclose(np.linalg.eigvalsh(total), np.sort(np.linalg.eigvalsh(blocks).ravel()), atol=1e-8)
    regular = np.abs(np.linalg.det(blocks)) > 1e-6
    assert 20 < np.count_nonzero(regular) < size**2
    expected = np.trace(np.linalg.inv(blocks[regular]), axis1=1, axis2=2).sum()
    kept = np.linalg.eigvalsh(total)
    mixed = np.linalg.eigvalsh(blocks[~regular]).ravel()
    inverse_trace = (1 / kept[kept > 1e-6]).sum() - (1 / mixed[mixed > 1e-6]).sum()
    assert inverse_trace == pytest.approx(expected, rel=1e-8)


def two_pixels(b):
    """Two illuminated pixels, transmissions 1 and b exp(0.3 i), uniform probe, one frame: Young's fringes."""
    size = 32
    obj = np.ones((40, 40), dtype=complex)
    obj[20, 21] = b * np.exp(0.3j)
    probe = np.zeros((size, size), dtype=complex)
    probe[16, 16:18] = 1
    mask = np.zeros(obj.shape, dtype=bool)
    mask[20, 20:22] = True
    return LimitProblem(obj, probe, Scan(np.array([20.0]), np.array([20.0]), obj.shape, len(probe)), mask, 1.0)


def test_two_pixels_in_closed_form():
    """The fringes' information by residues, then the weighted mean taken away, as the fitted factor does.

    2 b^2 [[1, -1], [-1, 1]] of the phases, [[4 - 2 b^2, 2 b^2], [2 b^2, 2 b^2]] of the log-amplitudes.
    """
    b = 0.5
    found = dose_limit(two_pixels(b))
    assert found.method == "dense"
    assert found.singular == ()
    first, second = 1 / (1 + b**2), b**2 / (1 + b**2)
    phase_step = 1 / (2 * b**2)
    assert found.phase.variance == pytest.approx((first**2 + second**2) / 2 * phase_step, rel=1e-7)
    log_step = (1 + b**2) / (2 * b**2 * (1 - b**2))
    assert found.amplitude.variance == pytest.approx((second**2 + b**2 * first**2) / 2 * log_step, rel=1e-7)
    assert found.phase_map[20, 20] == pytest.approx(second**2 * phase_step, rel=1e-7)


def test_two_equal_pixels_cannot_tell_which_is_brighter():
    found = dose_limit(two_pixels(1.0))
    assert found.phase is None
    assert "2 of 2 evaluated pixels have a component in" in found.singular[0]
    assert "frames leave undetermined" in found.singular[0]


# -- the bound ----------------------------------------------------------------------------------------------------


def test_an_efficient_estimator_reaches_the_bound_and_no_more(problem, exact):
    """Fisher scoring to the maximum of the likelihood at many photons, the global factor fitted as for every method."""
    random = np.random.default_rng(7)
    tight = problem.scan.tight()
    obj = cut(problem.truth, tight)
    light = illumination(problem.probe, tight)
    unknown = (light >= limits.KNOWN_BELOW * problem.least_light) & (obj != 0)
    mask = cut(problem.mask, tight)
    s = 2000.0
    inverse = np.linalg.pinv(
        s**2 * ObjectInformation(obj, problem.probe, tight, unknown, np.complex128).dense(), rcond=1e-10
    )
    far = np.fft.fft2(problem.probe * windows(obj, tight), norm="ortho")
    pixels = np.count_nonzero(unknown)
    errors = []
    expected = np.abs(s * far) ** 2
    for _ in range(40):
        counts = random.poisson(expected)
        direction = np.zeros(obj.shape, dtype=complex)
        for _step in range(3):
            seen = obj * np.exp(direction)
            wave = s * np.fft.fft2(problem.probe * windows(seen, tight), norm="ortho")
            pull = np.fft.ifft2((counts / np.abs(wave) ** 2 - 1) * wave, norm="ortho") * s * problem.probe.conj()
            gradient = 2 * seen.conj() * spread(pull, tight)
            score = np.concatenate([gradient[unknown].real, gradient[unknown].imag])
            step = inverse @ score
            direction[unknown] += step[:pixels] + 1j * step[pixels:]
        estimate = (obj * np.exp(direction))[mask]
        truth = obj[mask]
        estimate = estimate * np.vdot(estimate, truth) / np.vdot(estimate, estimate)
        errors.append([np.mean(np.angle(estimate / truth) ** 2), np.mean((np.abs(estimate) - np.abs(truth)) ** 2)])
    mean, spread_ = np.mean(errors, axis=0), np.std(errors, axis=0) / np.sqrt(len(errors))
    for bound, found, error in zip((exact.phase, exact.amplitude), mean, spread_, strict=True):
        assert found == pytest.approx(bound.variance / s**2, abs=4 * error + 0.01 * found)
        assert 4 * error < 0.25 * found, "the test would not tell an efficient estimator from another"


def spread(views, scan):
    total = np.zeros(scan.object_shape, dtype=complex)
    for view, x, y in zip(views, scan.x - scan.origin[1], scan.y - scan.origin[0], strict=True):
        left, top = int(np.floor(x)) - N // 2, int(np.floor(y)) - N // 2
        for dy, wy in ((0, 1 - y % 1), (1, y % 1)):
            for dx, wx in ((0, 1 - x % 1), (1, x % 1)):
                total[top + dy : top + dy + N, left + dx : left + dx + N] += wy * wx * view
    return total


def test_dense_and_matrix_free_agree_within_the_stated_error(problem, exact):
    found = estimated_limit(problem)
    assert found.method == "conjugate gradients"
    assert found.unknown_pixels == exact.unknown_pixels > 100
    for ours, reference in ((found.phase, exact.phase), (found.amplitude, exact.amplitude)):
        allowed = 4 * ours.standard_error + 2 * ours.truncation
        assert allowed < 0.5, "the comparison would allow anything"
        assert ours.variance == pytest.approx(reference.variance, rel=allowed)
        assert 0 < ours.truncation <= 0.01 or ours.truncation == 0


def test_error_estimate_of_the_stochastic_diagonal_is_that_of_the_spread_over_seeds(problem, exact):
    """Estimates with other random vectors scatter about the dense value as much as they say themselves."""
    errors, stated = [], []
    for k in range(8):
        one = estimated_limit(dataclasses.replace(problem, least_light=problem.least_light * (1 + 1e-12 * (k + 1))))
        errors += [one.phase.variance / exact.phase.variance - 1, one.amplitude.variance / exact.amplitude.variance - 1]
        stated.append(one.phase.standard_error)
    assert abs(np.mean(errors)) < 4 * np.sqrt(np.mean(np.square(stated)) / len(stated))
    assert 0.4 < np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(stated))) < 2.5


def test_the_bound_lies_above_what_coherent_light_can_tell_at_all(problem, exact):
    photons = illumination(problem.probe, problem.scan) * np.abs(problem.truth) ** 2
    inside = problem.mask
    # The fitted factor takes one of as many phases as there are pixels.
    assert np.all(exact.phase_map[inside] > (1 - 3 / inside.sum()) / (4 * photons[inside]))
    assert np.all(exact.phase_map[~inside] == 0)
    assert exact.phase.variance == pytest.approx(exact.phase_map[inside].mean())
    probed = estimated_limit(problem)
    assert np.all(probed.phase_map[inside] >= 1 / (4 * photons[inside]) * (1 - 1e-6))


def test_more_frames_can_only_lower_the_bound(problem, exact):
    x, y = problem.scan.x, problem.scan.y
    doubled = dataclasses.replace(problem.scan, x=np.concatenate([x, x + 0.4]), y=np.concatenate([y, y - 0.3]))
    more = dataclasses.replace(problem, scan=doubled)
    both = exact_limit(dataclasses.replace(more, least_light=2 * problem.least_light))
    assert both.phase.variance < 0.6 * exact.phase.variance


def test_windows_that_reach_beyond_the_object_are_handled():
    inside = small_problem()
    cut = (slice(5, 21), slice(4, 22))
    edge = LimitProblem(
        inside.truth[cut],
        inside.probe,
        Scan(inside.scan.x - 4, inside.scan.y - 5, inside.truth[cut].shape, N),
        inside.mask[cut],
        inside.least_light,
    )
    padded = np.zeros_like(inside.truth)
    padded[cut] = inside.truth[cut]
    whole = dataclasses.replace(inside, truth=padded, mask=inside.mask & (padded != 0))
    assert inside.mask[cut].sum() == whole.mask.sum()
    assert exact_limit(edge).phase.variance == pytest.approx(exact_limit(whole).phase.variance, rel=1e-9)


# -- where there is none ------------------------------------------------------------------------------------------


def separate_problem(bridge=False):
    """Two groups of frames 12 px apart, illuminated by discs of 4 px radius, with or without a bridge of frames."""
    shape = (28, 40)
    rows, columns = np.indices((N, N)) - N // 2
    obj, probe = random_object(8, shape), np.where(rows**2 + columns**2 <= 16, curved_probe(), 0)
    random = np.random.default_rng(9)
    x = np.concatenate([random.uniform(12, 14, 12), random.uniform(26, 28, 12)])
    if bridge:
        x = np.concatenate([x, np.arange(14.3, 26, 1.7)])
    y = random.uniform(13, 15, len(x))
    light = illumination(probe, Scan(x, y, shape, len(probe)))
    return LimitProblem(obj, probe, Scan(x, y, obj.shape, len(probe)), light > 1.0, 1.0)


def test_groups_without_a_common_pixel_are_singular_by_name():
    apart = separate_problem()
    found = dose_limit(apart)
    assert (found.phase, found.amplitude, found.method) == (None, None, "structure")
    assert "2 groups that share no illuminated pixel" in found.singular[-1]
    assert "1 free phases besides the global one" in found.singular[-1]
    # The dense matrix says the same without knowing why.
    assert "evaluated pixels have a component in" in exact_limit(apart).singular[0]
    json.dumps(found.to_dict(), allow_nan=False)


def test_frames_in_between_connect_them():
    joined = separate_problem(bridge=True)
    found = dose_limit(joined)
    assert found.singular == ()
    assert found.phase.variance > 0


def test_fewer_values_than_unknowns_are_singular_by_count():
    probe = np.full((N, N), 1 + 0j)
    obj = random_object(10)
    mask = np.zeros(obj.shape, dtype=bool)
    mask[10:16, 10:16] = True
    found = dose_limit(
        LimitProblem(obj, probe, Scan(np.array([13.0]), np.array([13.0]), obj.shape, len(probe)), mask, 1.0)
    )
    assert found.singular == ("256 measured values for 512 unknowns: amplitude and phase of 256 illuminated pixels",)


def test_an_iteration_that_does_not_converge_is_called_singular(problem, monkeypatch):
    monkeypatch.setattr("fly64_assets.evaluation.bound.diagonal.MOST_ITERATIONS", 20)
    monkeypatch.setattr("fly64_assets.evaluation.bound.diagonal.TRUNCATION", 1e-9)
    found = estimated_limit(problem)
    assert found.phase is None
    assert "did not converge" in found.singular[0]


def test_pixels_without_light_or_transmission_are_refused_in_words(problem):
    with pytest.raises(ValueError, match="region is empty"):
        dose_limit(dataclasses.replace(problem, mask=np.zeros_like(problem.mask)))
    opaque = problem.truth.copy()
    opaque[tuple(np.argwhere(problem.mask)[0])] = 0
    with pytest.raises(ValueError, match="1 evaluated pixels of the truth transmit no light"):
        dose_limit(dataclasses.replace(problem, truth=opaque))


def test_the_digest_knows_every_input(problem):
    changed = [
        dataclasses.replace(problem, truth=problem.truth * 1.0001),
        dataclasses.replace(problem, probe=problem.probe * 1.0001),
        dataclasses.replace(problem, scan=dataclasses.replace(problem.scan, x=problem.scan.x + 0.001)),
        dataclasses.replace(problem, scan=dataclasses.replace(problem.scan, y=problem.scan.y + 0.001)),
        dataclasses.replace(problem, mask=~problem.mask),
        dataclasses.replace(problem, least_light=problem.least_light * 2),
    ]
    digests = {one.sha256() for one in [problem, *changed]}
    assert len(digests) == len(changed) + 1
    assert dataclasses.replace(problem).sha256() == problem.sha256()
