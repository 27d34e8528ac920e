"""Photon counts: seeded noise, stored amplitudes, binomial thinning."""

import numpy as np
import pytest

from fly64_assets.physics.counts import (
    READ_OUT,
    counts_from_amplitude,
    frame_generator,
    frame_generators,
    poisson_counts,
    stored_amplitude,
    thin_counts,
)

N = 32


def test_noise_depends_on_frame_dose_seed_and_repeat_only():
    rates = np.full((6, N, N), 3.0)
    frames = np.arange(6)
    whole = poisson_counts(rates, frames, 42, 1000)
    backwards = np.concatenate([poisson_counts(rates[:1], frames[j : j + 1], 42, 1000) for j in (5, 4, 3, 2, 1, 0)])[
        ::-1
    ]
    np.testing.assert_array_equal(whole, backwards)
    for other in ((42, 10000, 1), (43, 1000, 1), (42, 1000, 2)):
        assert (poisson_counts(rates, frames, other[0], other[1], other[2]) != whole).mean() > 0.5
    assert (whole[0] != whole[1]).mean() > 0.5


def test_frame_streams_do_not_run_into_each_other():
    long = frame_generator(42, 1000, 0).integers(0, 2**63, 100_000)
    assert not np.isin(frame_generator(42, 1000, 1).integers(0, 2**63, 1000), long).any()


def test_poisson_mean_and_variance():
    counts = poisson_counts(np.full((400, N, N), 5.0), np.arange(400), 1, 1)
    n = counts.size
    assert abs(counts.mean() - 5) < 5 * np.sqrt(5 / n)
    assert abs(counts.var() - 5) < 5 * np.sqrt((5 + 2 * 25) / n)


def test_amplitude_gives_back_integer_counts():
    counts = np.arange(1_000_000, dtype=np.int64)
    for scale in (0.37, 12.9, 811.0):
        np.testing.assert_array_equal(counts_from_amplitude(stored_amplitude(counts, scale), scale), counts)


def test_thinning_splits_into_independent_poisson_sets():
    counts = poisson_counts(np.full((300, N, N), 4.0), np.arange(300), 1, 1)
    kept, taken = thin_counts(counts.astype(float), 0.25, np.random.default_rng(0))
    np.testing.assert_array_equal(kept + taken, counts)
    assert taken.mean() == pytest.approx(1.0, rel=0.01)
    assert taken.var() == pytest.approx(1.0, rel=0.02)
    assert abs(np.corrcoef(kept.ravel(), taken.ravel())[0, 1]) < 5 / np.sqrt(counts.size)


def test_equal_sets_come_from_thinning_what_is_left():
    """Three independent sets of a third each, and nothing drawn where there is no photon."""
    counts = np.random.default_rng(1).poisson(np.full((200, N, N), 3.0)).astype(float)
    counts[:, :4] = 0
    generator, rest, sets = np.random.default_rng(2), counts, []
    for left in (3, 2, 1):
        rest, taken = thin_counts(rest, 1 / left, generator)
        sets.append(taken)
    assert not rest.any()
    np.testing.assert_array_equal(sum(sets), counts)
    filled = [one[:, 4:].ravel() for one in sets]
    for one in filled:
        assert one.mean() == pytest.approx(1.0, rel=0.01)
        assert one.var() == pytest.approx(1.0, rel=0.02)
    assert abs(np.corrcoef(filled[0], filled[2])[0, 1]) < 5 / np.sqrt(filled[0].size)


@pytest.mark.parametrize("stream", [0, READ_OUT])
def test_one_generator_set_to_each_frame_draws_what_its_own_would(stream):
    frames = [7, 3, 2**40, 7]
    for frame, generator in zip(frames, frame_generators(42, 1000, frames, 2, stream), strict=True):
        own = frame_generator(42, 1000, frame, 2, stream)
        generator.integers(0, 2**32, 3, dtype=np.uint32)  # leaves half of a 64-bit number behind
        own.integers(0, 2**32, 3, dtype=np.uint32)
        assert generator.poisson(9.0, 50).tolist() == own.poisson(9.0, 50).tolist()
        assert generator.normal(size=5).tolist() == own.normal(size=5).tolist()


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
@pytest.mark.parametrize("most", [3, 200])
def test_amplitudes_are_the_roots_however_many_counts_differ(dtype, most):
    for shape in ((0, 4, 4), (1, 4, 4), (9, 16, 16)):
        counts = np.random.default_rng(1).integers(0, most + 1, shape).astype(dtype)
        expected = (np.sqrt(counts.astype(np.float64)) / 0.37).astype(np.float32)
        assert stored_amplitude(counts, 0.37).tobytes() == expected.tobytes()
